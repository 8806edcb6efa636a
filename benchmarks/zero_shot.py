"""NDCG@10 of frozen, in-domain and fine-tuned universal models, of baselines and of RecBole's models.

    python benchmarks/zero_shot.py --data-path DATA --datasets ml-1m --rows baselines zero-shot --output OUT
    python benchmarks/zero_shot.py --output OUT --report docs/zero_shot.md

Every row of a dataset sees the same split and the same evaluated users. Each line of ``OUT/results.jsonl`` is a result.
A run that is started again skips the results in the file. ``--models`` is the file {row: {dataset: folder}} of
``benchmarks/pretrain.py --leave-out``. docs/zero_shot.md says how the figures are measured.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
from baselines import BASELINES, baseline_result
from harness import PublishedSplit, Results, Split, parse, parser_with
from models import TRAINED, fast_result, trained_result, zero_shot_result
from zero_shot_tables import write_page
from zero_shot_values import ndcg_file

from recbole_universal.checkpoint import model_folder
from recbole_universal.files import atomic_write


def checkpoint_file(output: Path, dataset: str, model: str, seed: int) -> Path:
    """The checkpoint of a trained row, which ``benchmarks/interpolation.py`` reads."""
    return output / "bases" / f"{dataset}-{model}-{seed}.pth"


def pretrained_model(row: str, dataset: str, pretrained: dict) -> str:
    """Name or folder of the pre-trained model whose weights a row reads; empty if it reads none."""
    if row in (*BASELINES, *TRAINED, "in-domain", "zero-shot, fast"):
        return ""
    # Fine-tuning starts from the frozen model that it is compared with.
    shipped = "universal-paper" if "paper" in row else "universal-base"
    return pretrained.get("zero-shot" if row == "fine-tuned" else row, {}).get(dataset, shipped)


def weights_digest(model: str) -> str:
    """Start of the SHA-256 of a model's weights file."""
    described = json.loads((model_folder(model) / "model.json").read_text(encoding="utf-8"))
    return described["weights"]["sha256"][:12]


def result_of(split: Split, row: str, model: str, arguments: argparse.Namespace) -> dict:
    """Test metrics of one row."""
    if row in BASELINES:
        return baseline_result(split, row)
    if row == "zero-shot, fast":
        return fast_result(split)
    if row in (*TRAINED, "in-domain", "fine-tuned"):
        file = checkpoint_file(arguments.output, split.label, row, arguments.seed)
        return trained_result(split, row, model, arguments.rates, file)
    return zero_shot_result(split, model)


def label_of(dataset: str, arguments: argparse.Namespace) -> str:
    """Name of the dataset in the results."""
    if arguments.unfiltered:
        return f"{dataset}, unfiltered"
    if arguments.in_time_order:
        return f"{dataset}, in time order"
    if arguments.sample:
        return f"{dataset}, {arguments.sample} users"
    return f"{dataset}, published split" if arguments.published else dataset


def split_of(dataset: str, arguments: argparse.Namespace) -> Split:
    """The split that the arguments ask for."""
    drawn = (dataset, arguments.data_path, arguments.seed, arguments.max_users)
    if arguments.published:
        return PublishedSplit(*drawn)
    keys = {"in_time_order": arguments.in_time_order, "five_core": not arguments.unfiltered}
    return Split(*drawn, arguments.sample, **keys)


def run(arguments: argparse.Namespace) -> None:
    """Measure the rows that the results lack."""
    results = Results(arguments.output / "results.jsonl")
    rows = [name for row in arguments.rows for name in {"baselines": BASELINES, "trained": TRAINED}.get(row, [row])]
    pretrained = json.loads(arguments.models.read_text()) if arguments.models else {}
    for dataset in arguments.datasets:
        label = label_of(dataset, arguments)
        setting = {"dataset": label, "seed": arguments.seed, "max_users": arguments.max_users}
        models = {row: pretrained_model(row, dataset, pretrained) for row in rows}
        weights = {row: weights_digest(model) for row, model in models.items() if model}
        for row, digest in weights.items():
            results.check_weights({**setting, "row": row}, digest)
        missing = [row for row in rows if not results.has({**setting, "row": row})]
        if not missing:
            continue
        split = split_of(dataset, arguments)
        split.label = label
        for row in missing:
            result = {**setting, "row": row, **result_of(split, row, models[row], arguments)}
            result |= {"weights": weights[row]} if row in weights else {}
            if "ndcg_by_user" in result:  # missing of a baseline that is not affordable
                file = ndcg_file(arguments.output, result)
                file.parent.mkdir(parents=True, exist_ok=True)
                with atomic_write(file) as stream:
                    np.save(stream, result.pop("ndcg_by_user"))
            results.add(result)


def main() -> None:
    shared = ("data-path", "datasets", "models", "seed", "max-users", "output", "report")
    parser = parser_with(__doc__, *shared)
    parser.add_argument(
        "--rows", nargs="*", default=["baselines", "zero-shot"], help="baselines, trained, or names of rows"
    )
    parser.add_argument("--rates", nargs="*", type=float, default=[0.001, 0.005], help="learning rates of trained rows")
    parser.add_argument("--published", action="store_true", help="the published split; not for trained rows")
    parser.add_argument("--sample", type=int, default=0, help="users of the dataset that all rows share; 0: all")
    parser.add_argument("--unfiltered", action="store_true", help="all users and items, not the 5-core")
    parser.add_argument("--in-time-order", action="store_true", help="split each user in time, leave one out")
    arguments = parse(parser)
    if arguments.report:
        write_page(arguments.output, arguments.report)
    else:
        run(arguments)


if __name__ == "__main__":
    main()
