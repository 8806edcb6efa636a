"""What weights of interactions change: play counts and ratings, the pre-trained model and each scorer.

    python benchmarks/event_weights.py --data-path DATA --output event_weights.csv
    python benchmarks/event_weights.py --output event_weights.csv --report docs/weights.md  # writes the tables

A fifth of the interactions of each user with at least five is held out. All rows of a dataset have the same held-out
interactions, full ranking, and at most --max-users users. Every row leaves out the same seen items. Relevant is each
held-out item, or a liked one: at least four stars, or at least as many plays as the median item of the user.

The part "lists" trains with all interactions equal, with weights, with stars below three as weight 0, or with both.
The scorers "neighbors" and "regression" are ItemKNN and EASE. The part "functions" compares functions of the weights,
in the items of the user alone or in the relations of items too. It ranks by the mean over the scorers of each score
relative to the user's best item, so no network takes part.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import recbole
import scipy.sparse as sp
from report import fill, markdown

from recbole_universal import UniversalRanker
from recbole_universal.features.candidates import best_of_scorers, best_unseen
from recbole_universal.files import write_text
from recbole_universal.graph import GraphScorers
from recbole_universal.graph.held_out import held_out_hits
from recbole_universal.graph.histories import Histories
from recbole_universal.graph.interaction_weights import evidence_of, pair_weights
from recbole_universal.graph.scorer_definitions import SCORERS
from recbole_universal.metrics import ndcg

#: Datasets, and whether their ratings are numbers of plays; otherwise they are stars.
DATASETS = {"lastfm-2k": True, "ml-100k": False, "ml-latest-small": False}
EXAMPLES = Path(recbole.__file__).parent / "dataset_example"
MODEL = "universal-base"
#: Functions of the amounts that the part "functions" compares.
FUNCTIONS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "1": np.ones_like,
    "w": lambda w: w,
    "square root": np.sqrt,
    "cube root": np.cbrt,
    "fourth root": lambda w: w**0.25,
    "log(1 + w)": np.log1p,
}
MEAN = "mean of the scorers"
_CUTOFF, _FEW, _SHARE = 10, 5, 0.2
_LOW, _LIKED = 3, 4


def matrix_of(name: str, data_path: Path) -> sp.csr_matrix:
    """Ratings or numbers of plays, csr float64 [n_users, n_items]."""
    folder = next(path for path in (data_path, EXAMPLES) if (path / name).is_dir())
    columns = ["user_id:token", "item_id:token", "rating:float"]
    table = pd.read_csv(folder / name / f"{name}.inter", sep="\t", usecols=columns).drop_duplicates(columns[:2])
    users, items = (pd.factorize(table[column], sort=True)[0] for column in columns[:2])
    return sp.csr_matrix((table[columns[2]].to_numpy(np.float64), (users, items)))


def split(amounts: sp.csr_matrix, is_plays: bool, seed: int) -> tuple[sp.csr_matrix, dict[str, sp.csr_matrix]]:
    """The training part, and the relevant held-out interactions by name, csr of one shape."""
    generator = np.random.default_rng(seed)
    held_out, liked = np.zeros(amounts.nnz, dtype=bool), np.zeros(amounts.nnz, dtype=bool)
    for start, stop in zip(amounts.indptr, amounts.indptr[1:], strict=False):
        values = amounts.data[start:stop]
        liked[start:stop] = values >= (np.median(values) if is_plays else _LIKED)
        if len(values) >= _FEW:
            held_out[start + generator.permutation(len(values))[: round(_SHARE * len(values))]] = True

    def part(chosen: np.ndarray) -> sp.csr_matrix:
        some = sp.csr_matrix((amounts.data * chosen, amounts.indices, amounts.indptr), shape=amounts.shape, copy=True)
        some.eliminate_zeros()
        return some

    return part(~held_out), {"all": part(held_out), "liked": part(held_out & liked)}


def variants(train: sp.csr_matrix, is_plays: bool) -> dict[str, sp.csr_matrix | None]:
    """Weights of the training interactions by name; ``None``: all count the same."""
    found: dict[str, sp.csr_matrix | None] = {"equal": None, "weights": pair_weights(train)}
    if not is_plays:
        high = train.copy()
        high.data = high.data * (high.data >= _LOW)
        binary = high.copy()
        binary.data = (binary.data > 0) * 1.0
        found |= {"low stars are nothing": binary, "both": pair_weights(high)}
    return found


def lists(train: sp.csr_matrix, weights: sp.csr_matrix | None, users: np.ndarray) -> dict[str, np.ndarray]:
    """Recommendations of the model and of each scorer alone, int64 [n_users, 10] each."""
    ranker = UniversalRanker(train, MODEL, weights=weights)
    found = {MODEL: ranker.top_k(users, _CUTOFF)[0], f"{MODEL}, fast": ranker.top_k(users, _CUTOFF, fast=True)[0]}
    binary = ranker.matrix
    evidence = binary if weights is None else evidence_of(binary, weights)
    scorers = GraphScorers(evidence, weighted=weights is not None)
    blocks = []
    for start in range(0, len(users), scorers.block_users):
        block = users[start : start + scorers.block_users]
        blocks.append(best_of_scorers(scorers, scorers.histories[block], binary[block], _CUTOFF).numpy())
    return found | dict(zip(SCORERS, np.concatenate(blocks, axis=1), strict=True))


def lists_of_functions(train: sp.csr_matrix, users: np.ndarray) -> Iterator[tuple[str, dict[str, np.ndarray]]]:
    """The lists of :data:`MEAN` by function of the weights and by where they count."""
    binary = train.sign()
    plain = GraphScorers(binary)
    for function, apply in FUNCTIONS.items():
        weights = train.copy()
        weights.data = apply(train.data)
        evidence = evidence_of(binary, weights)
        histories = Histories(
            evidence.indices, evidence.indptr, np.arange(len(evidence.indptr) - 1), weights=evidence.data
        )
        yield f"{function}, items of the user", {MEAN: _best_by_mean(plain, histories, users)}
        if function != "1":
            weighted = GraphScorers(evidence, weighted=True)
            yield f"{function}, both", {MEAN: _best_by_mean(weighted, histories, users)}


def _best_by_mean(scorers: GraphScorers, histories: Histories, users: np.ndarray) -> np.ndarray:
    """The best unseen items by the mean of all scorers but popularity, int64 [n_users, 10]."""
    personal = [index for index, name in enumerate(SCORERS) if name != "popularity"]
    blocks = []
    for start in range(0, len(users), scorers.block_users):
        block = users[start : start + scorers.block_users]
        values = scorers.scores_of(histories[block])[personal]
        seen = scorers.matrix[block]
        row, column = seen.nonzero()
        values[:, row, column] = 0.0
        mean = (values / values.amax(dim=2, keepdim=True).clamp(min=1e-9)).mean(dim=0)
        blocks.append(best_unseen(mean[None], seen, _CUTOFF)[1][0].numpy())
    return np.concatenate(blocks)


def rows(name: str, part: str, data_path: Path, max_users: int, seed: int) -> list[dict]:
    """One row for each variant, list and kind of relevance of a part for a dataset."""
    train, relevant = split(matrix_of(name, data_path), DATASETS[name], seed)
    generator = np.random.default_rng(seed)
    able = np.flatnonzero((np.diff(train.indptr) > 0) & (np.diff(relevant["all"].indptr) > 0))
    users = np.sort(generator.permutation(able)[:max_users])
    by_variant: Iterable[tuple[str, dict[str, np.ndarray]]]
    if part == "functions":
        by_variant = lists_of_functions(train, users)
    else:
        by_variant = ((v, lists(train, weights, users)) for v, weights in variants(train, DATASETS[name]).items())
    results, base = [], {}
    for variant, found in by_variant:
        for row, items in found.items():
            for kind, target in relevant.items():
                has_any = np.diff(target[users].indptr) > 0
                hits = held_out_hits(items[has_any], target[users[has_any]])
                values = ndcg(hits, np.diff(target[users[has_any]].indptr))
                difference = values - base.setdefault((row, kind), values)
                results.append(
                    {
                        **{"dataset": name, "relevant": kind, "list": row, "variant": variant, "users": len(values)},
                        "ndcg@10": round(float(values.mean()), 5),
                        "difference": round(float(difference.mean()), 5),
                        "standard error": round(float(difference.std(ddof=1) / len(values) ** 0.5), 5),
                    }
                )
                if row in (MODEL, MEAN):
                    print(results[-1], flush=True)
    return results


def tables(results: pd.DataFrame) -> dict[str, str]:
    """The tables of the page: the model, ItemKNN and EASE by variant, and each scorer with and without weights."""
    named = {MODEL: MODEL, f"{MODEL}, fast": f"{MODEL}, fast", "neighbors": "ItemKNN", "regression": "EASE"}
    by_row = results.set_index(["dataset", "list", "relevant", "variant"])
    kinds = [f"{dataset}, {kind}" for dataset in results["dataset"].unique() for kind in ("all", "liked")]
    model_rows, scorer_rows = [], []
    for dataset in results["dataset"].unique():
        for row, name in named.items():
            chosen = (results["dataset"] == dataset) & (results["list"] == row)
            for variant in results.loc[chosen, "variant"].unique():
                cells = [_cell(by_row.loc[dataset, row, kind, variant]) for kind in ("all", "liked")]
                model_rows.append([dataset, name, variant, *cells])
    for scorer in SCORERS:
        cells = [
            _cell(by_row.loc[dataset, scorer, kind, "weights"])
            for dataset in results["dataset"].unique()
            for kind in ("all", "liked")
        ]
        scorer_rows.append([scorer, *cells])
    of_functions = results[results["list"] == MEAN]
    function_kinds = [kind for kind in kinds if kind.rsplit(", ", 1)[0] in set(of_functions["dataset"])]
    function_rows = []
    for variant in of_functions["variant"].unique():
        cells = [
            _cell(by_row.loc[dataset, MEAN, kind, variant])
            for dataset in of_functions["dataset"].unique()
            for kind in ("all", "liked")
        ]
        function_rows.append([*variant.split(", "), *cells])
    return {
        "functions": markdown(["weight", "where", *function_kinds], function_rows),
        "models": markdown(
            ["dataset", "list", "training interactions", "all held-out items", "liked items"], model_rows
        ),
        "scorers": markdown(["scorer", *kinds], scorer_rows),
    }


def _cell(result: pd.Series) -> str:
    """NDCG@10, and in brackets the difference to equal interactions with its standard error."""
    if not result["standard error"]:
        return f"{result['ndcg@10']:.4f}"
    return f"{result['ndcg@10']:.4f} ({result['difference']:+.4f} ± {result['standard error']:.4f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-path", type=Path)
    parser.add_argument("--output", type=Path, required=True, help="CSV file")
    parser.add_argument("--datasets", nargs="+", default=list(DATASETS), choices=list(DATASETS))
    parser.add_argument("--parts", nargs="+", default=["lists", "functions"], choices=["lists", "functions"])
    parser.add_argument("--max-users", type=int, default=2000)
    parser.add_argument("--seed", type=int, default=2020)
    parser.add_argument("--report", type=Path, help="page whose tables to write from the CSV file")
    arguments = parser.parse_args()
    if arguments.report:
        fill(arguments.report, tables(pd.read_csv(arguments.output)))
        return
    table = pd.DataFrame()
    for part in arguments.parts:
        for name in arguments.datasets:
            found = rows(name, part, arguments.data_path, arguments.max_users, arguments.seed)
            table = pd.concat([table, pd.DataFrame(found)])
            write_text(arguments.output, table.to_csv(index=False))


if __name__ == "__main__":
    main()
