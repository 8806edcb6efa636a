"""Makes the shipped models and the leave-one-domain-out models that benchmarks/zero_shot.py evaluates.

    python benchmarks/pretrain.py --data-path DATA --output OUT               # all sources: the shipped model
    python benchmarks/pretrain.py --data-path DATA --output OUT --leave-out   # one per fold, and OUT/models.json

A fold leaves out whole domains. The model that is evaluated on a dataset has seen no dataset of its domain. The
candidate lists of a source are made once and shared by the folds. The same command gives the same weights again.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

from harness import DATASET_KEYS, DOMAINS, FIVE_CORE, IN_TIME_ORDER, ORDERED, parse

import recbole_universal
from recbole_universal.files import write_text

FOLDS = {
    "movies": ["movies"],
    "shops": ["music", "books", "amazon"],
    "places": ["local", "web"],
    "reading": ["science", "food", "feed", "pins"],
}
ORDERED_FOLDS = {
    "movies": ["movies"],
    "shops": ["amazon", "groceries", "music"],
    "places": ["local", "learning", "tags"],
    "sessions": ["sessions", "web"],
}
MODELS = {
    "universal-base": {"universal_features": ["proximity"]},
    "universal-paper": {
        "universal_features": ["activity", "cooccurrence", "interaction"],
        "n_networks": 1,
        "query_users": 600,
        "epochs": 8,
    },
    "universal-sequential": {"universal_features": ["sequence"], **IN_TIME_ORDER},
}
SETTINGS = {
    "mlp_hidden_size": [64, 64],
    "n_networks": 4,
    "learning_rate": 0.003,
    "epochs": 2,
    "list_batch_size": 64,
    "query_users": 1200,
    "query_share": 0.2,
    "load_col": {"inter": ["user_id", "item_id"]},
    "state": "ERROR",
    **FIVE_CORE,
}


def domains_of(model: str) -> dict[str, str]:
    """The source datasets of a model by domain."""
    return ORDERED if model == "universal-sequential" else DOMAINS


def folds_of(model: str) -> dict[str, list[str]]:
    """The domains that each fold of a model leaves out."""
    return ORDERED_FOLDS if model == "universal-sequential" else FOLDS


def sources(model: str, left_out: list[str]) -> list[dict]:
    """The datasets of all other domains, each with the config keys that it needs."""
    domains = domains_of(model)
    banned = {name for domain in left_out for name in domains[domain].split()}
    names = dict.fromkeys(name for domain in domains.values() for name in domain.split())
    return [{"dataset": name, **DATASET_KEYS.get(name, {})} for name in names if name not in banned]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-path", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--models", nargs="*", default=["universal-base"], choices=list(MODELS))
    parser.add_argument("--leave-out", action="store_true", help="one model a fold of left-out domains")
    parser.add_argument("--set", default="{}", help="JSON: other settings, for experiments")
    arguments = parse(parser)
    command = "python benchmarks/pretrain.py --data-path DATA --output OUT" + " --leave-out" * arguments.leave_out
    needed = {source["dataset"] for model in arguments.models for source in sources(model, [])}
    missing = sorted(name for name in needed if not (arguments.data_path / name).is_dir())
    if missing:
        parser.error(f"--data-path: [{arguments.data_path}] has no folders {', '.join(missing)}; see docs/data.md")
    folders: dict[str, dict[str, str]] = {}
    for model in arguments.models:
        row = "zero-shot" if model == "universal-base" else f"zero-shot, {model}"
        for fold, left_out in folds_of(model).items() if arguments.leave_out else [("all", [])]:
            start = time.perf_counter()
            folder = recbole_universal.pretrain(
                config_dict={
                    **SETTINGS,
                    **MODELS[model],
                    **json.loads(arguments.set),
                    "data_path": str(arguments.data_path),
                    "pretrain_sources": sources(model, left_out),
                    "pretrain_dir": str(arguments.output / f"{model}-{fold}"),
                    "pretrain_lists": str(arguments.output / "lists"),
                    "pretrain_name": model if fold == "all" else f"{model} without {', '.join(left_out)}",
                    "pretrain_command": f"{command} --models {model}",
                }
            )
            print(f"{model}, {fold}: {time.perf_counter() - start:.0f} s, {folder}", flush=True)
            for name in {name for domain in left_out for name in domains_of(model)[domain].split()}:
                folders.setdefault(row, {})[name] = str(folder)
    if arguments.leave_out:
        write_text(arguments.output / "models.json", json.dumps(folders, indent=1, sort_keys=True))


if __name__ == "__main__":
    main()
