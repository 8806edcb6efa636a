"""Places of new items in lists: hits in lists of 10 with known items alone, with new items alone, and with both.

    python benchmarks/new_items.py --data-path DATA --content-path CONTENT     # appends to results/new_items.jsonl
    python benchmarks/new_items.py --page docs/content.md                      # writes the table into the page

A fifth of the items is new, and a fifth of each user's interactions is the future. New items lose all interactions of
the past. So a new item has as many users in the future as a known item of the same popularity. Data and texts are those
of ``content.py``.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import scipy.sparse as sp
from content import Catalogue, ranked
from harness import Results
from report import cell as number
from report import fill, markdown

from recbole_universal.array_store import ArrayStore
from recbole_universal.content.new_items import NewItems, split_items
from recbole_universal.content.places import even_places, merged, next_places, rates_of_fewer
from recbole_universal.graph.held_out import held_out_hits, support_query_split
from recbole_universal.metrics import paired_z_score
from recbole_universal.ranking.next_rates import next_rates
from recbole_universal.ranking.ranker import UniversalRanker

DATASETS = "ml-latest-small hm-copurchase coco-mooc bx-books anime lastfm-2k"
N_USERS, K = 1000, 10


def measure(catalogue: Catalogue, seed: int) -> dict:
    """Hits in lists of 10 of each rule, for one draw of the items and of the future."""
    start = time.process_time()
    generator = np.random.default_rng(seed)
    matrix = catalogue.matrix
    past, future = support_query_split(matrix, matrix.shape[0], 0.2, generator)
    items = np.flatnonzero(np.bincount(matrix.indices, minlength=matrix.shape[1]))
    new = np.sort(generator.permutation(items)[: len(items) // 5])
    past, _ = split_items(past, new)
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
    earned, raw = next_places(known_rate, new_rate, K), next_places(known_rate, model.check.hit_rate, K)
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
        "trust": model.check.trust,
        "ranks": int(earned.sum()),
        "hits": {name: int(each.sum()) for name, each in hits.items()},
        "z, earned": paired_z_score((hits["earned"] - hits["known alone"]).astype(float)),
        "expected": {name: float(rate.sum()) for name, rate in expected.items()},
        "found": {name: float((each / n_future).mean()) for name, each in found.items()},
        "seconds": time.process_time() - start,
    }


def table(results: list[dict]) -> str:
    """The rows of the page."""
    names = list(results[0]["hits"])
    rows = []
    for name in dict.fromkeys(result["dataset"] for result in results):
        of = [result for result in results if result["dataset"] == name]
        mean = [f"{np.mean([result['hits'][rule] for result in of]):.0f}" for rule in names]
        ranks = ", ".join(str(result["ranks"]) for result in of)
        row = [name, str(len(of)), str(of[0]["n_new"]), ranks, *mean]
        rows.append([*row, number(np.mean([result["z, earned"] for result in of]), "+.1f")])
    return markdown(["dataset", "draws", "new items", "ranks earned", *names, "z, earned against known"], rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-path", type=Path)
    parser.add_argument("--content-path", type=Path)
    parser.add_argument("--datasets", nargs="+", default=DATASETS.split())
    parser.add_argument("--seeds", nargs="+", type=int, default=[2020, 2021])
    parser.add_argument("--cache", type=Path, help="folder for the vectors of encoders")
    parser.add_argument("--output", type=Path, default=Path("results/new_items.jsonl"))
    parser.add_argument("--page", type=Path, help="write the table into this page instead")
    options = parser.parse_args()
    results = Results(options.output)
    if options.page:
        fill(options.page, {"new-item-places": table(results.rows) if results.rows else ""})
        return
    store = ArrayStore(options.cache, limit_gb=None)
    for name in options.datasets:
        missing = [seed for seed in options.seeds if not results.has({"dataset": name, "seed": seed})]
        if missing:
            catalogue = Catalogue(name, options.data_path, options.content_path, ["tfidf", "distil"], store)
        for seed in missing:
            results.add({"dataset": name, "seed": seed, **measure(catalogue, seed)})


if __name__ == "__main__":
    main()
