"""NDCG@10 with fewer training interactions, with random ones among them, and by the interactions to fine-tune on.

    python benchmarks/robustness.py --data-path DATA --models OUT/models.json --output OUT/robustness.jsonl
    python benchmarks/robustness.py --output OUT/robustness.jsonl --report docs/robustness.md

A run that is started again skips the curves that are complete. docs/robustness.md says how the figures are measured.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp
from baselines import BASELINES, baseline_result
from harness import Results, Split, parse, parser_with
from models import fine_tuning_trials, recbole_result, zero_shot_result
from report import cell, fill, markdown, write_plot

SHARES_KEPT = (0.1, 0.2, 0.4, 0.6, 0.8, 1.0)
SHARES_ADDED = (0.1, 0.25, 0.5, 1.0)
N_INTERACTIONS = (100, 300, 1000, 3000, None)


def thinned(train: sp.csr_matrix, share: float, generator: np.random.Generator) -> sp.csr_matrix:
    """A share of each user's interactions, rounded up."""
    users = np.repeat(np.arange(train.shape[0]), np.diff(train.indptr))
    order = np.lexsort((generator.random(train.nnz), users))
    rank = np.empty(train.nnz, dtype=np.int64)
    rank[order] = np.arange(train.nnz) - train.indptr[users]
    chosen = rank < np.ceil(share * np.diff(train.indptr))[users]
    return sp.csr_matrix((train.data[chosen], (users[chosen], train.indices[chosen])), shape=train.shape)


def random_pairs(split: Split, share: float, generator: np.random.Generator) -> sp.csr_matrix:
    """Random pairs that are no interaction of any part, at most a share of the number of training interactions.

    Users are drawn by their number of interactions, items with equal probability.
    """
    train = split.train
    users = np.repeat(np.arange(train.shape[0]), np.diff(train.indptr))
    n_drawn = round(share * train.nnz)
    items = np.flatnonzero(np.bincount(train.indices, minlength=train.shape[1]))
    drawn = generator.choice(users, n_drawn), generator.choice(items, n_drawn)
    pairs = sp.csr_matrix((np.ones(n_drawn, dtype=np.float32), drawn), shape=train.shape)
    pairs.data[:] = 1.0
    real = train + split.valid + split.test
    pairs = (pairs - pairs.multiply(real > 0)).tocsr()
    pairs.eliminate_zeros()
    return pairs


def curves(split: Split, model: str, seed: int) -> Iterator[dict]:
    """Results of sparsity and noise.

    The masked items stay the same at every point of the sparsity curve. Random pairs are masked too, for every row.
    """
    train, seen = split.train, split.seen
    for share in SHARES_KEPT:
        split.train = split.tuning_train = thinned(train, share, np.random.default_rng(seed))
        yield from point(split, model, "kept", share)
    for share in SHARES_ADDED:
        split.train = train
        pairs = random_pairs(split, share, np.random.default_rng(seed))
        split.train = split.tuning_train = train + pairs
        split.seen = {part: matrix + pairs for part, matrix in seen.items()}
        yield from point(split, model, "added", share)
    split.train = split.tuning_train = train
    split.seen = seen


def point(split: Split, model: str, kind: str, share: float) -> Iterator[dict]:
    """Results of all rows at one point of a curve."""
    for name in BASELINES:
        yield {"kind": kind, "x": share, "row": name, "ndcg@10": baseline_result(split, name)["ndcg@10"]}
    yield {"kind": kind, "x": share, "row": "zero-shot", "ndcg@10": zero_shot_result(split, model)["ndcg@10"]}


def fine_tuning(split: Split, model: str) -> Iterator[dict]:
    """Results by the number of interactions that fine-tuning trains on."""
    for n in N_INTERACTIONS:
        trials = fine_tuning_trials(model, **({"finetune_interactions": n} if n else {}))
        value = recbole_result(split, "UniversalMLP", trials)["ndcg@10"]
        yield {"kind": "fine-tuned", "x": n or 0, "row": "fine-tuned", "ndcg@10": value}


def run(results: Results, datasets: list[str], data_path: str, models: dict[str, str], seed: int) -> None:
    """Measure the curves that the results lack."""
    for dataset in datasets:
        setting, model = {"dataset": dataset, "seed": seed}, models[dataset]
        ends = {part: {**setting, "kind": part, "last": True} for part in ("curves", "fine-tuned")}
        missing = [part for part, end in ends.items() if not results.has(end)]
        if missing:
            split = Split(dataset, data_path, seed, 2000)
            measured = {"curves": curves(split, model, seed), "fine-tuned": fine_tuning(split, model)}
            for result in chain.from_iterable(chain(measured[part], [ends[part]]) for part in missing):
                results.add({**setting, **result})


def curve_tables(table: pd.DataFrame) -> str:
    """NDCG@10 by row and share, one table a dataset."""
    tables = []
    for dataset, group in table.groupby("dataset", sort=False):
        values = group.pivot_table(index="row", columns="x", values="ndcg@10", sort=False)
        head = [dataset, *(f"{share:.0%}" for share in values.columns)]
        tables.append(markdown(head, [[row, *map(cell, cells)] for row, cells in values.iterrows()]))
    return "\n\n".join(tables)


def tables_of(table: pd.DataFrame) -> dict[str, str]:
    """Markdown by name of the table, "" for a table without results."""
    table = table[table["ndcg@10"].notna()].drop_duplicates(["dataset", "kind", "x", "row"], keep="last")
    frozen = table[(table["row"] == "zero-shot") & (table["kind"] == "kept") & (table["x"] == 1)]
    frozen = frozen.set_index("dataset")["ndcg@10"]
    rows = []
    for dataset, group in table[table["kind"] == "fine-tuned"].groupby("dataset", sort=False):
        values = group.set_index("x")["ndcg@10"]
        rows.append([dataset, cell(frozen.get(dataset)), *(cell(values.get(n or 0)) for n in N_INTERACTIONS)])
    head = ["dataset", "0 (zero-shot)", *(f"{n:,}" if n else "default" for n in N_INTERACTIONS)]
    kinds = dict(list(table.groupby("kind", sort=False)))
    curves = {"sparsity": "kept", "noise": "added"}
    tables = {name: curve_tables(kinds[kind]) if kind in kinds else "" for name, kind in curves.items()}
    return {**tables, "fine-tuning": markdown(head, rows) if rows else ""}


def plot(table: pd.DataFrame, file: Path) -> None:
    """The curves of sparsity and noise."""
    import plotly.express

    share = "share of the training interactions"
    points = table[table["kind"].isin(["kept", "added"])].drop_duplicates(["dataset", "kind", "x", "row"], keep="last")
    facets = {"color": "row", "facet_col": "dataset", "facet_row": "kind", "markers": True}
    figure = plotly.express.line(points.rename(columns={"x": share}), x=share, y="ndcg@10", **facets)
    figure.update_yaxes(matches=None, rangemode="tozero").update_xaxes(matches=None)
    write_plot(file, figure)


def main() -> None:
    parser = parser_with(
        __doc__,
        *("data-path", "datasets", "models", "seed", "output", "report"),
        datasets=["ml-100k", "lastfm-2k", "amazon-instruments"],
    )
    arguments = parse(parser)
    results = Results(arguments.output)
    if arguments.report:
        table = pd.DataFrame(results.rows)
        fill(arguments.report, tables_of(table))
        plot(table[table["ndcg@10"].notna()], arguments.report.with_suffix(".html"))
        return
    if not arguments.models:
        parser.error("--models is needed to run")
    models = json.loads(arguments.models.read_text())["zero-shot"]
    run(results, arguments.datasets, arguments.data_path, models, arguments.seed)


if __name__ == "__main__":
    main()
