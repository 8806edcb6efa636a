"""New items by content: a fifth of the items loses all its interactions, and is found by what it is.

With ``--part warm``, known items: the model with and without content (``content_warm.py``).

    python benchmarks/content.py --data-path DATA --content-path CONTENT     # appends to results/content.jsonl
    python benchmarks/content.py --page docs/content.md                      # writes the tables into the page

Data: 5-core, pairs without rows of other columns. CONTENT/NAME/NAME.item holds texts, and CONTENT/NAME/NAME.image_*.npz
vectors of images where there are any. The last tenth of the remaining interactions of the test users is held out, too,
so that lists of all items have something to lose. All choices of a baseline are made on a fifth of the other items.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
import recbole
import scipy.sparse as sp
import torch
from content_warm import DENSE, SPARSE, measure_warm, warm_table
from harness import Results
from report import cell as number
from report import fill, markdown
from sklearn.decomposition import TruncatedSVD

from recbole_universal.array_store import ArrayStore
from recbole_universal.content.arrays import item_vectors
from recbole_universal.content.encoders import text_encoder
from recbole_universal.content.held_out_items import split_items
from recbole_universal.content.join_test import content_join_z
from recbole_universal.content.new_items import NewItems, held_out_draws
from recbole_universal.content.places import merged, next_places
from recbole_universal.content.spaces import Space, array_space, combined, text_space
from recbole_universal.content.texts import texts_of_table
from recbole_universal.graph.held_out import support_query_split
from recbole_universal.graph.regression import mean_degree, ridge_regressions
from recbole_universal.graph.sparse_sums import UserItems
from recbole_universal.io.item_table import read_items
from recbole_universal.metrics import paired_z_score, recall

DATASETS = "ml-latest-small anime coco-mooc bx-books hm-copurchase ml-1m lastfm-2k yelp-s3rec citeulike-a"
#: Recall@10 that a first experiment reached, with the best of its encoders chosen on the test part.
FLOORS = {"ml-latest-small": 0.111, "anime": 0.155, "coco-mooc": 0.125, "bx-books": 0.113, "hm-copurchase": 0.306}
N_USERS, K, REGRESSION = 500, 10, 3000
DEVICE = torch.device("cpu")


def five_core(pairs: pd.DataFrame, items_too: bool = True) -> pd.DataFrame:
    """The pairs of users, and of items, with five interactions."""
    pairs = pairs.drop_duplicates()
    while True:
        counts = [pairs[column].map(pairs[column].value_counts()) for column in pairs]
        stays = (counts[0] >= 5) & ((counts[1] >= 5) | (not items_too))
        if stays.all():
            return pairs
        pairs = pairs[stays]


class Catalogue:
    """Interactions, csr [n_users, n_items], and spaces of a dataset; items in the order of their ids."""

    def __init__(
        self, name: str, data: Path, content: Path, encoders: list[str], store: ArrayStore, filter_items: bool = True
    ):
        folders = (content, data, Path(recbole.__file__).parent / "dataset_example")
        file = next(
            folder / name / f"{name}.inter" for folder in folders if (folder / name / f"{name}.inter").is_file()
        )
        columns = ["user_id:token", "item_id:token"]
        pairs = pd.read_csv(file, sep="\t", dtype=str, usecols=columns, quoting=3, keep_default_na=False)
        pairs = five_core(pairs[columns], filter_items)
        table = read_items(content / name / f"{name}.item", None, print)
        users, self.users = pd.factorize(pairs[columns[0]])
        self.items = pd.Index(sorted(pairs[columns[1]].unique(), key=lambda one: (len(one), one)))
        self.file = file
        codes = self.items.get_indexer(pairs[columns[1]])
        self.matrix = sp.csr_matrix((np.ones(len(users), dtype=np.float32), (users, codes)))
        texts = texts_of_table(table.frame, table.ids, self.items, None, name)
        self.spaces = {encoder: text_space(texts, text_encoder(encoder), store) for encoder in encoders}
        for images in sorted((content / name).glob(f"{name}.image_*.npz")):
            self.spaces["image"] = array_space("image", item_vectors(images, self.items))


def ranked(scores: np.ndarray, items: np.ndarray, k: int) -> np.ndarray:
    """The k best items of each user, int64 [n_users, k]; NaN and -inf are no items."""
    values = np.nan_to_num(scores, nan=-np.inf, neginf=-np.inf)
    best = np.argsort(-values, axis=1, kind="stable")[:, :k]
    return np.where(np.isfinite(np.take_along_axis(values, best, axis=1)), items[best], -1)


def recall_of(lists: np.ndarray, query: sp.csr_matrix) -> np.ndarray:
    hits = np.stack([np.isin(row, query[user].indices) for user, row in enumerate(lists)])
    return recall(hits, np.diff(query.indptr))


def profile(space: Space, user_items: sp.csr_matrix, targets: np.ndarray, k: int | None) -> np.ndarray:
    """Content kNN: the cosines of a user's items and the target, all of them or those among its k nearest."""
    sources = np.flatnonzero(np.bincount(user_items.indices, minlength=user_items.shape[1]))
    if k is None:
        return np.asarray(user_items[:, sources] @ space.cosines(targets, sources).T)
    return (user_items @ space.neighbors(targets, sources, k).T).toarray()


def ridge(space: Space, split: ColdSplit, penalty: float) -> np.ndarray:
    """Content to collaborative factors in closed form; a user is the sum of the factors of the user's items."""
    known = np.flatnonzero(np.bincount(split.train.indices, minlength=split.train.shape[1]))
    vectors = space.vectors[known].astype(np.float64)
    gram = vectors.T @ vectors
    system = gram + penalty * np.trace(gram) / len(gram) * np.eye(len(gram))
    predicted = space.vectors[split.cold] @ np.linalg.solve(system, vectors.T @ split.factors[known])
    return (split.user_items @ split.factors) @ predicted.T


def known_scores(train: sp.csr_matrix, user_items: sp.csr_matrix) -> np.ndarray:
    """Scores of the items that others have had, by a regression (EASE); -inf for the user's own and for new items."""
    (model,) = ridge_regressions(train, [mean_degree(train, REGRESSION)], REGRESSION, DEVICE)
    scores = torch.zeros(user_items.shape)
    model.put_scores(scores, torch.full((user_items.shape[0],), -1), UserItems.of(user_items, DEVICE))
    values = scores.numpy()
    values[user_items.nonzero()] = -np.inf
    values[:, np.bincount(train.indices, minlength=train.shape[1]) == 0] = -np.inf
    return values


class ColdSplit:
    """A fifth of the items without interactions, and a tenth of the users' other interactions held out."""

    def __init__(self, matrix: sp.csr_matrix, generator: np.random.Generator):
        self.degree = np.diff(matrix.indptr)
        items = np.flatnonzero(np.bincount(matrix.indices, minlength=matrix.shape[1]))
        self.cold = np.sort(generator.permutation(items)[: len(items) // 5])
        warm, self.query = split_items(matrix, self.cold)
        users = np.flatnonzero((np.diff(warm.indptr) >= 2) & (np.diff(self.query.indptr) > 0))
        self.users = np.sort(generator.permutation(users)[:N_USERS])
        asked = sp.diags(np.isin(np.arange(matrix.shape[0]), self.users).astype(np.float32)) @ warm
        asked.eliminate_zeros()
        _, self.known_query = support_query_split(sp.csr_matrix(asked), N_USERS, 0.1, generator)
        self.train = sp.csr_matrix(warm - self.known_query)
        self.train.eliminate_zeros()
        self.user_items = self.train[self.users]
        scale = 1 / np.sqrt(np.maximum(1, np.bincount(self.train.indices, minlength=self.train.shape[1])))
        decomposition = TruncatedSVD(min(64, min(self.train.shape) - 1), random_state=0)
        self.factors = decomposition.fit(self.train @ sp.diags(scale)).components_.T  # collaborative factors of items

    def among_cold(self, scores: np.ndarray) -> np.ndarray:
        """Recall@10 of each user when only new items are ranked."""
        return recall_of(ranked(scores, self.cold, K), self.query[self.users])

    def among_all(self, lists: np.ndarray) -> np.ndarray:
        """Recall@10 of each user in lists of all items."""
        return recall_of(lists, (self.query + self.known_query)[self.users])


def baselines(split: ColdSplit, spaces: dict[str, Space], chosen: dict[str, object] | None) -> dict[str, np.ndarray]:
    """Scores of the new items by each baseline, or, without a choice, by each of its settings."""
    scores = {}
    for name, space in spaces.items():
        for k in (None, 10, 20, 50, 100):
            if chosen is None or chosen[f"kNN {name}"] == k:
                scores[f"kNN {name}", k] = profile(space, split.user_items, split.cold, k)
        for penalty in (0.1, 1.0, 10.0):
            if chosen is None or chosen[f"ridge {name}"] == penalty:
                scores[f"ridge {name}", penalty] = ridge(space, split, penalty)
    return scores


def choose(split: ColdSplit, spaces: dict[str, Space]) -> dict[str, object]:
    """The setting of each baseline with the highest recall on a split of the training part."""
    best: dict[str, tuple[float, object]] = {}
    for (name, setting), scores in baselines(split, spaces, None).items():
        value = float(split.among_cold(scores).mean())
        if value > best.get(name, (-1.0, None))[0]:
            best[name] = value, setting
    return {name: setting for name, (_, setting) in best.items()}


def hit_rates(model: NewItems, matrix: sp.csr_matrix, seed: int) -> np.ndarray:
    """Share of the tested users with a hit at each of the first K ranks of held-out items, float64 [K].

    A user counts 1 / number of the user's items, so that a few users with very many items do not decide for the others.
    """
    draws = held_out_draws(matrix, model.relations.spaces, seed)
    users = np.concatenate([draw.users for draw in draws])
    share_tested = np.mean([draw.share_tested for draw in draws])
    return model.check.next_rate[:K] / (share_tested * (1 / np.diff(matrix.indptr)[users]).mean())


def rates(lists: np.ndarray, split: ColdSplit) -> np.ndarray:
    """Hit rate of known items by rank, weighted as in the self-check on held-out items."""
    query = split.known_query[split.users]
    hits = np.stack([np.isin(row, query[user].indices) for user, row in enumerate(lists)])
    return np.average(hits, axis=0, weights=1 / split.degree[split.users])


def measure(catalogue: Catalogue, seed: int) -> list[dict]:
    """The results of one draw of the items."""
    generator = np.random.default_rng(seed)
    split = ColdSplit(catalogue.matrix, generator)
    inner = ColdSplit(split.train, generator)
    spaces = dict(catalogue.spaces)
    text = [space for name, space in spaces.items() if name in ("tfidf", "distil")]
    models = {"content model": text}
    if len(spaces) > len(text):
        models["content model, all spaces"] = list(spaces.values())
    if "image" in spaces:
        spaces["text + image"] = combined([*text, spaces["image"]])
    scores: dict[str, np.ndarray] = {"random": generator.random((len(split.users), len(split.cold)))}
    scores |= {name: value for (name, _), value in baselines(split, spaces, choose(inner, spaces)).items()}
    known = known_scores(split.train, split.user_items)
    known_lists = ranked(known, np.arange(known.shape[1]), K)
    inner_known = known_scores(inner.train, inner.user_items)
    known_rate = rates(ranked(inner_known, np.arange(known.shape[1]), K), inner)
    rows, by_user = [], {}
    for name, chosen in models.items():
        model = NewItems(split.train, chosen, seed, REGRESSION)
        scores[name] = model.scores(split.user_items, split.cold)
        places = next_places(known_rate, hit_rates(model, split.train, seed), K)
        lists = merged(known_lists, ranked(scores[name], split.cold, K), places)
        by_user[name] = split.among_all(lists)
        rows.append(
            {"method": name, "choice": model.check.choice, "trust": model.check.trust, "places": int(places.sum())}
        )
    all_known = split.among_all(known_lists)
    for name, values in scores.items():
        cold = split.among_cold(values)
        if name not in models:
            rows.append({"method": name})
            # The same merge for a baseline: its rate is measured nowhere, so it takes every second rank.
            by_user[name] = split.among_all(merged(known_lists, ranked(values, split.cold, K), np.arange(K) % 2 == 1))
        row = next(one for one in rows if one["method"] == name)
        row |= {"cold": float(cold.mean()), "all": float(by_user[name].mean())}
        row |= {"error": float(cold.std(ddof=1) / len(cold) ** 0.5), "by_user": [round(float(v), 5) for v in cold]}
        row |= {"z of all": paired_z_score(by_user[name] - all_known)}
    rows.append({"method": "known items alone", "cold": 0.0, "all": float(all_known.mean()), "error": 0.0})
    common = {"seed": seed, "cold items": len(split.cold), "users": len(split.users)}
    best = max((row for row in rows if row["method"].startswith(("kNN", "ridge"))), key=lambda row: row["cold"])
    for row in rows:
        if "by_user" in row:
            row["z to best"] = paired_z_score(np.array(row["by_user"]) - np.array(best["by_user"]))
    for row in rows:
        row.pop("by_user", None)
        row |= common
    return rows


def tables(rows: list[dict]) -> dict[str, str]:
    """The tables of the page, of the run with the most encoders of each dataset."""
    rows = [row for row in rows if row.get("part") != "warm"]
    most = {
        row["dataset"]: max((one["encoders"] for one in rows if one["dataset"] == row["dataset"]), key=len)
        for row in rows
    }
    rows = [row for row in rows if row["encoders"] == most[row["dataset"]]]
    frame = pd.DataFrame([row for row in rows if "method" in row])
    if frame.empty:
        return {"cold": "", "cold-all": "", "cold-join": ""}
    means = frame.groupby(["dataset", "method"]).mean(numeric_only=True)
    names = [name for name in DATASETS.split() if name in set(frame["dataset"])]
    methods = list(dict.fromkeys(frame["method"]))
    kinds = [one for one in methods if one.startswith(("kNN", "ridge", "content"))]
    cold, everything = [], []
    for name in names:
        of_set = means.loc[name]
        others = of_set.loc[[one for one in of_set.index if one.startswith(("kNN", "ridge"))]]
        best = others["cold"].idxmax()

        def cell(method: str, column: str = "cold", of_set=of_set) -> str:
            return number(of_set[column].get(method), ".3f")

        n_draws = frame.loc[frame["dataset"] == name, "seed"].nunique()
        texts = [name, str(n_draws), f"{of_set['cold items'].max():.0f}", cell("random")]
        texts += [cell(one) for one in kinds]
        cold.append(texts)
        ours = [one for one in kinds if one.startswith("content")]
        mark = [number(of_set["z to best"].get(one), "+.1f") for one in ours]
        floor = number(FLOORS.get(name), ".3f")
        everything.append(
            [name, cell("known items alone", "all"), f"{best} {cell(best, 'all')}"]
            + [cell(one, "all") for one in ours]
            + [floor, f"{best} {cell(best)}", *mark]
        )
    ours = [one for one in kinds if one.startswith("content")]
    head = [
        "dataset",
        "known items alone",
        "best baseline at every second rank",
        *ours,
        "floor (cold)",
        "best baseline (cold)",
        *(f"z, {one}" for one in ours),
    ]
    joins = [row for row in rows if "space" in row]
    join = markdown(
        ["dataset", "space", "z", "interactions with content"],
        [[row["dataset"], row["space"], f"{row['z']:.1f}", f"{row['share']:.0%}"] for row in joins],
    )
    return {
        "cold": markdown(["dataset", "draws", "new items", "random", *kinds], cold),
        "cold-all": markdown(head, everything),
        "cold-join": join,
    }


def run_warm(options: argparse.Namespace, results: Results) -> None:
    """Measure known items on all sets: those without a filter of items first, one seed after the other."""
    encoders, store = options.encoders or ["tfidf", "distil"], ArrayStore(options.cache, limit_gb=None)
    for seed in options.seeds:
        for filtered, names in ((False, SPARSE), (True, DENSE)):
            for name in names.split():
                common = {"part": "warm", "dataset": name, "five_core": filtered, "encoders": " ".join(encoders)}
                wanted = name in options.datasets if options.datasets else True
                if wanted and not results.has({**common, "seed": seed}):
                    catalogue = Catalogue(name, options.data_path, options.content_path, encoders, store, filtered)
                    spaces = [catalogue.spaces[encoder] for encoder in encoders]
                    results.add({**common, **measure_warm(catalogue.matrix, spaces, seed)})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--part", choices=["new", "warm"], default="new", help="new items, or known ones")
    parser.add_argument("--data-path", type=Path)
    parser.add_argument("--content-path", type=Path)
    parser.add_argument("--datasets", nargs="*")
    parser.add_argument("--encoders", nargs="*")
    parser.add_argument("--seeds", type=int, nargs="*", default=[2020, 2021])
    parser.add_argument("--cache", type=Path, help="folder for the vectors of encoders")
    parser.add_argument("--output", type=Path, default=Path("results/content.jsonl"))
    parser.add_argument("--page", type=Path, help="write the tables into this page instead")
    options = parser.parse_args()
    results = Results(options.output)
    if options.page:
        warm = options.part == "warm"
        fill(options.page, {"warm": warm_table(results.rows)} if warm else tables(results.rows))
        return
    if options.part == "warm":
        run_warm(options, results)
        return
    options.encoders = options.encoders or ["tfidf", "distil", "minilm"]
    for name in options.datasets or DATASETS.split():
        common = {"dataset": name, "encoders": " ".join(options.encoders)}
        missing = [seed for seed in options.seeds if not results.has({**common, "seed": seed})]
        if not missing:
            continue
        store = ArrayStore(options.cache, limit_gb=None)
        catalogue = Catalogue(name, options.data_path, options.content_path, options.encoders, store)
        if not results.has({**common, "seed": -1}):
            for space in catalogue.spaces.values():
                test = content_join_z(catalogue.matrix, space)
                results.add({**common, "seed": -1, **test._asdict()})
        for seed in missing:
            for row in measure(catalogue, seed):
                results.add({**common, **row})


if __name__ == "__main__":
    main()
