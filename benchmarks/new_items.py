"""Places of new items in lists: hits in lists of 10 with known items alone, with new items alone, and with both.

    python benchmarks/new_items.py --data-path DATA --content-path CONTENT     # appends to results/new_items.jsonl
    python benchmarks/new_items.py --page docs/content.md                      # writes the table into the page
    python benchmarks/new_items.py --data-path DATA --content-path CONTENT --datasets NAME --write FOLDER
                                                # orders.csv without a fifth of the items, and items.csv of all

A fifth of the items is new, and a fifth of each user's interactions is the future. New items lose all interactions of
the past. So new items are as popular in the future as known ones. Data and texts are those of ``content.py``.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp
from content import Catalogue, five_core, hit_rates, ranked
from harness import Results
from report import cell as number
from report import fill, markdown

from recbole_universal.array_store import ArrayStore
from recbole_universal.content.held_out_items import split_items
from recbole_universal.content.new_items import NewItems
from recbole_universal.content.places import even_places, merged, next_places, rates_of_fewer
from recbole_universal.graph.held_out import held_out_hits, support_query_split
from recbole_universal.metrics import paired_z_score
from recbole_universal.ranking.next_rates import next_rates
from recbole_universal.ranking.ranker import UniversalRanker

DATASETS = "ml-latest-small hm-copurchase coco-mooc bx-books anime lastfm-2k"
N_USERS, K = 1000, 10


def random_future(catalogue: Catalogue, generator: np.random.Generator) -> tuple[sp.csr_matrix, sp.csr_matrix]:
    """Past and future, csr each, in which a fifth of the items is new, and so is a fifth of a user's interactions."""
    matrix = catalogue.matrix
    past, future = support_query_split(matrix, matrix.shape[0], 0.2, generator)
    items = np.flatnonzero(np.bincount(matrix.indices, minlength=matrix.shape[1]))
    return split_items(past, np.sort(generator.permutation(items)[: len(items) // 5]))[0], future


def later_future(catalogue: Catalogue) -> tuple[sp.csr_matrix, sp.csr_matrix]:
    """Past and future, csr each: the interactions before and after the time that 80 % of them come before."""
    columns = ["user_id:token", "item_id:token", "timestamp:float"]
    kinds = {columns[0]: str, columns[1]: str, columns[2]: float}
    frame = pd.read_csv(catalogue.file, sep="\t", usecols=columns, dtype=kinds, quoting=3, keep_default_na=False)
    frame = frame.groupby(columns[:2], as_index=False).min()
    codes = catalogue.users.get_indexer(frame[columns[0]]), catalogue.items.get_indexer(frame[columns[1]])
    stays, times = (codes[0] >= 0) & (codes[1] >= 0), frame[columns[2]].to_numpy()
    earlier = times < np.quantile(times[stays], 0.8)

    def part(chosen: np.ndarray) -> sp.csr_matrix:
        ones = np.ones(int(chosen.sum()), dtype=np.float32)
        return sp.csr_matrix((ones, (codes[0][chosen], codes[1][chosen])), shape=catalogue.matrix.shape)

    return part(stays & earlier), part(stays & ~earlier)


def measure(catalogue: Catalogue, seed: int, by_time: bool) -> dict:
    """Hits in lists of 10 of each rule, for one draw of the items and of the future, or for the time."""
    start = time.process_time()
    generator = np.random.default_rng(seed)
    past, future = later_future(catalogue) if by_time else random_future(catalogue, generator)
    new = np.flatnonzero(np.bincount(past.indices, minlength=past.shape[1]) == 0)
    known = np.flatnonzero(np.bincount(past.indices, minlength=past.shape[1]))
    users = np.flatnonzero((np.diff(past.indptr) > 0) & (np.diff(future.indptr) > 0))
    users = np.sort(generator.permutation(users)[:N_USERS])
    rows = np.flatnonzero(np.diff(past.indptr))
    ranker = UniversalRanker(past[rows][:, known], "universal-base")
    of_known = known[ranker.top_k(np.searchsorted(rows, users), K)[0]]
    spaces = [catalogue.spaces[name] for name in ("tfidf", "distil")]
    model = NewItems(past, spaces)
    of_new = ranked(model.scores(past[users], new), new, K)
    known_rate, new_rate = next_rates(ranker), rates_of_fewer(model.check.next_rate, len(new))
    # Without a common scale: hits in a fifth of the interactions against hits in all interactions with new items.
    earned, raw = next_places(known_rate, new_rate, K), next_places(known_rate, hit_rates(model, past, 0), K)
    rules = {
        "known alone": np.zeros(K, bool),
        "new alone": np.ones(K, bool),
        "earned": earned,
        "rates as they are": raw,
    }
    rules |= {f"{n} places": even_places(n, K) for n in (1, 2, 5)}
    hits = {
        name: held_out_hits(merged(of_known, of_new, places), sp.csr_matrix(future[users])).sum(axis=1)
        for name, places in rules.items()
    }
    expected = {"known": known_rate[:K], "new": new_rate[:K]}
    found = {"known": hits["known alone"], "new": hits["new alone"]}
    n_future = np.diff(future.indptr)[users]
    return {
        "n_users": len(users),
        "n_new": len(new),
        "share of the future": float(np.isin(future[users].indices, new).mean()),
        "trust": model.check.trust,
        "ranks": int(earned.sum()),
        "hits": {name: int(each.sum()) for name, each in hits.items()},
        "z, earned": paired_z_score((hits["earned"] - hits["known alone"]).astype(float)),
        "expected": {name: float(rate.sum()) for name, rate in expected.items()},
        "found": {name: float((each / n_future).mean()) for name, each in found.items()},
        "seconds": time.process_time() - start,
    }


def write(name: str, data: Path, content: Path, folder: Path) -> None:
    """Interactions without a fifth of the items, and the items, as files for the command ``recommend``."""
    columns = {"user_id:token": "user_id", "item_id:token": "item_id"}
    file = next(place for place in (content, data) if (place / name / f"{name}.inter").is_file())
    pairs = pd.read_csv(file / name / f"{name}.inter", sep="\t", dtype=str, usecols=list(columns), quoting=3)
    pairs = five_core(pairs[list(columns)].rename(columns=columns))
    items = sorted(pairs["item_id"].unique())
    new = np.random.default_rng(2020).permutation(items)[: len(items) // 5]
    table = pd.read_csv(content / name / f"{name}.item", sep="\t", dtype=str, quoting=3, keep_default_na=False)
    table.columns = [column.partition(":")[0] for column in table]
    folder.mkdir(parents=True, exist_ok=True)
    table[table["item_id"].isin(items)].to_csv(folder / "items.csv", index=False)
    pairs[~pairs["item_id"].isin(new)].to_csv(folder / "orders.csv", index=False)


def table(results: list[dict]) -> str:
    """The rows of the page."""
    if not results:
        return ""
    names = list(results[0]["hits"])
    rows = []
    for name in dict.fromkeys(result["dataset"] for result in results):
        of = [result for result in results if result["dataset"] == name]
        mean = [f"{np.mean([result['hits'][rule] for result in of]):.0f}" for rule in names]
        ranks = ", ".join(str(result["ranks"]) for result in of)
        row = [name, str(of[0]["n_new"]), ranks, *mean]
        if of[0]["by time"]:
            row.insert(2, f"{np.mean([result['share of the future'] for result in of]):.0%}")
        rows.append([*row, number(np.mean([result["z, earned"] for result in of]), "+.1f")])
    named = ["1 place" if name == "1 places" else name for name in names]
    head = ["dataset", "new items", "ranks earned", *named, "z, earned against known"]
    if results[0]["by time"]:
        head.insert(2, "share of the future")
    return markdown(head, rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-path", type=Path)
    parser.add_argument("--content-path", type=Path)
    parser.add_argument("--datasets", nargs="+", default=DATASETS.split())
    parser.add_argument("--seeds", nargs="+", type=int, default=[2020, 2021])
    parser.add_argument("--cache", type=Path, help="folder for the vectors of encoders")
    parser.add_argument("--output", type=Path, default=Path("results/new_items.jsonl"))
    parser.add_argument("--by-time", action="store_true", help="the future are the last fifth of the interactions")
    parser.add_argument("--write", type=Path, help="write the files of one dataset into this folder instead")
    parser.add_argument("--page", type=Path, help="write the table into this page instead")
    options = parser.parse_args()
    results = Results(options.output)
    if options.page:
        parts = {kind: [row for row in results.rows if row["by time"] == kind] for kind in (False, True)}
        fill(options.page, {"new-item-places": table(parts[False]), "new-item-places-by-time": table(parts[True])})
        return
    if options.write:
        write(options.datasets[0], options.data_path, options.content_path, options.write)
        return
    store = ArrayStore(options.cache, limit_gb=None)
    for name in options.datasets:
        common = {"dataset": name, "by time": options.by_time}
        missing = [seed for seed in options.seeds if not results.has({**common, "seed": seed})]
        if missing:
            catalogue = Catalogue(name, options.data_path, options.content_path, ["tfidf", "distil"], store)
        for seed in missing:
            results.add({**common, "seed": seed, **measure(catalogue, seed, options.by_time)})


if __name__ == "__main__":
    main()
