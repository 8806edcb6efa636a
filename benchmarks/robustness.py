"""How results change with fewer interactions, with random ones among them, and with interactions to fine-tune on.

    python benchmarks/robustness.py --data-path DATA --models OUT/models.json --output OUT/robustness.jsonl
    python benchmarks/robustness.py --output OUT/robustness.jsonl --report docs/robustness.md

Splits, users, metric and what is masked are those of `benchmarks/zero_shot.py`, at every point of a curve.
**Sparsity**: of each user's training interactions a random part is kept, rounded up. **Noise**: random pairs that are
no interaction are added to the training part, users drawn by their number of interactions, items evenly; they are
masked for every row. Knobs of the peers are chosen on validation at every point. The frozen model saw no data set of
the domain. **Fine-tuning**: the frozen model trained to find so many hidden training interactions of the data set
again; its features are those of the whole training part, and learning rate and epoch are chosen on the whole
validation part.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
from itertools import chain
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse as sp

import recbole_universal  # noqa: F401  mends RecBole, so it comes before any import of it
from recbole_universal.files import write_text

# isort: split
from peers import PEERS
from results import add_result, read_results
from zero_shot import Split, markdown, peer_row, recbole_row, zero_shot_row

KEPT = (0.1, 0.2, 0.4, 0.6, 0.8, 1.0)
ADDED = (0.1, 0.25, 0.5, 1.0)
FEW = (100, 300, 1000, 3000, None)
RATES = (0.0003, 0.001)


def thinned(train: sp.csr_matrix, share: float, generator: np.random.Generator) -> sp.csr_matrix:
    """A share of each user's interactions, rounded up."""
    users = np.repeat(np.arange(train.shape[0]), np.diff(train.indptr))
    order = np.lexsort((generator.random(train.nnz), users))
    rank = np.empty(train.nnz, dtype=np.int64)
    rank[order] = np.arange(train.nnz) - train.indptr[users]
    kept = rank < np.ceil(share * np.diff(train.indptr))[users]
    return sp.csr_matrix((train.data[kept], (users[kept], train.indices[kept])), shape=train.shape)


def noise(split: Split, share: float, generator: np.random.Generator) -> sp.csr_matrix:
    """Random pairs that are no interaction in any part, as many as a share of the training interactions at most."""
    train = split.train
    users = np.repeat(np.arange(train.shape[0]), np.diff(train.indptr))
    number = round(share * train.nnz)
    others = np.flatnonzero(np.bincount(train.indices, minlength=train.shape[1]))
    drawn = generator.choice(users, number), generator.choice(others, number)
    pairs = sp.csr_matrix((np.ones(number, dtype=np.float32), drawn), shape=train.shape)
    pairs.data[:] = 1.0
    real = train + split.valid + split.test
    pairs = (pairs - pairs.multiply(real > 0)).tocsr()
    pairs.eliminate_zeros()
    return pairs


def curves(split: Split, model: str, seed: int):
    """Results of sparsity and noise.

    What is masked stays the same at every point of the first curve; random pairs are masked too, for every row.
    """
    whole, seen = split.train, split.seen
    for share in KEPT:
        split.train = split.search = thinned(whole, share, np.random.default_rng(seed))
        yield from point(split, model, "kept", share)
    for share in ADDED:
        split.train = whole
        pairs = noise(split, share, np.random.default_rng(seed))
        split.train = split.search = whole + pairs
        split.seen = {part: matrix + pairs for part, matrix in seen.items()}
        yield from point(split, model, "added", share)
    split.train = split.search = whole
    split.seen = seen


def point(split: Split, model: str, kind: str, share: float):
    """Results of all rows at one point of a curve."""
    for name in PEERS:
        yield {"kind": kind, "x": share, "row": name, "ndcg@10": peer_row(split, name)["ndcg@10"]}
    yield {"kind": kind, "x": share, "row": "zero-shot", "ndcg@10": zero_shot_row(split, model)["ndcg@10"]}


def fine_tuned(split: Split, model: str):
    """Results of fine-tuning on so many interactions."""
    for number in FEW:
        keys = {"train_stage": "finetune", "pretrained": model}
        if number:
            keys["finetune_interactions"] = number
        found = recbole_row(split, "UniversalMLP", [{**keys, "learning_rate": rate} for rate in RATES])
        yield {"kind": "fine-tuned", "x": number or 0, "row": "fine-tuned", "ndcg@10": found["ndcg@10"]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-path", default="dataset/")
    parser.add_argument("--datasets", nargs="*", default=["ml-100k", "lastfm-2k", "amazon-instruments"])
    parser.add_argument("--models", type=Path, help="JSON of leave-one-domain-out models")
    parser.add_argument("--seed", type=int, default=2020)
    parser.add_argument("--output", type=Path, required=True, help="file of results, one a line")
    parser.add_argument(
        "--report", type=Path, help="write the Markdown page and the plot of what is there, run nothing"
    )
    arguments = parser.parse_args()
    sys.argv = sys.argv[:1]  # RecBole would read the rest as config
    logging.disable(logging.WARNING)
    file = arguments.output
    results = read_results(file)
    if arguments.report:
        write_text(arguments.report, report(pd.DataFrame(results)))
        plot(pd.DataFrame(results), arguments.report.with_suffix(".html"))
        print(arguments.report.read_text())
        return
    if not arguments.models:
        parser.error("--models is needed to run")
    models = json.loads(arguments.models.read_text())["zero-shot"]
    for dataset in arguments.datasets:
        split = Split(dataset, arguments.data_path, arguments.seed, 2000)
        found = {result["kind"] for result in results if result["dataset"] == dataset and result.get("last")}
        parts = {"curves": lambda s=split, d=dataset: curves(s, models[d], arguments.seed)}
        parts["fine-tuned"] = lambda s=split, d=dataset: fine_tuned(s, models[d])
        for part, run in parts.items():
            if part in found:
                continue
            for result in chain(run(), [{"kind": part, "last": True}]):
                add_result(file, {"dataset": dataset, "seed": arguments.seed, **result})


def report(table: pd.DataFrame) -> str:
    """Markdown page."""
    lines = ["# Sparsity, noise and fine-tuning", "", *(__doc__ or "").strip().splitlines()[5:], ""]
    lines += ["A plot of the curves: [robustness.html](robustness.html)."]
    table = table[table["ndcg@10"].notna()]
    titles = {"kept": "Sparsity: share of the training interactions that is kept", "added": "Noise: random pairs added"}
    for kind, title in titles.items():
        part = table[table["kind"] == kind].drop_duplicates(["dataset", "x", "row"], keep="last")
        lines += ["", f"## {title}"]
        for dataset, group in part.groupby("dataset", sort=False):
            values = group.pivot_table(index="row", columns="x", values="ndcg@10", sort=False)
            head = [dataset, *(f"{x:.0%}" for x in values.columns)]
            lines += markdown(head, [[row, *(f"{v:.4f}" for v in cells)] for row, cells in values.iterrows()])
    tuned = table[table["kind"] == "fine-tuned"].drop_duplicates(["dataset", "x"], keep="last")
    frozen = table[(table["row"] == "zero-shot") & (table["kind"] == "kept") & (table["x"] == 1)]
    frozen = frozen.drop_duplicates("dataset", keep="last").set_index("dataset")["ndcg@10"]
    lines += ["", "## Fine-tuning: number of interactions that it trains on"]
    rows = []
    for dataset, group in tuned.groupby("dataset", sort=False):
        values = group.set_index("x")["ndcg@10"]
        cells = [f"{values[x or 0]:.4f}" if (x or 0) in values else "-" for x in FEW]
        rows.append([dataset, f"{frozen[dataset]:.4f}", *cells])
    lines += markdown(["", "0 (zero-shot)", *(f"{x:,}" if x else "as many as it takes by default" for x in FEW)], rows)
    lines += ["", "Made by `python benchmarks/robustness.py --data-path DATA --models OUT/models.json --output "]
    lines[-1] += "OUT/robustness.jsonl`, then `--report docs/robustness.md`; `OUT` is the folder of "
    lines[-1] += "`benchmarks/pretrain.py --leave-out`. Seed " + ", ".join(map(str, table["seed"].unique())) + "."
    return "\n".join(lines) + "\n"


def plot(table: pd.DataFrame, file: Path) -> None:
    """The curves of sparsity and noise."""
    import plotly.express

    part = table[table["kind"].isin(["kept", "added"])].drop_duplicates(["dataset", "kind", "x", "row"], keep="last")
    part = part.rename(columns={"x": "share of the training interactions"})
    figure = plotly.express.line(
        part,
        x="share of the training interactions",
        y="ndcg@10",
        color="row",
        facet_col="dataset",
        facet_row="kind",
        markers=True,
    )
    figure.update_yaxes(matches=None, rangemode="tozero").update_xaxes(matches=None)
    write_text(file, figure.to_html(include_plotlyjs="cdn"))


if __name__ == "__main__":
    main()
