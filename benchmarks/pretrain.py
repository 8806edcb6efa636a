"""Makes the shipped models, and the leave-one-domain-out models that benchmarks/zero_shot.py judges.

    python benchmarks/pretrain.py --data-path DATA --output OUT               # all sources: the shipped model
    python benchmarks/pretrain.py --data-path DATA --output OUT --leave-out   # one a fold, and OUT/models.json

A fold leaves out whole domains: the model that is judged on a data set has seen no data set of its domain. Candidate
lists are made once a source and shared. The same command gives the same weights again.
"""

from __future__ import annotations

import argparse
import json
import logging
import sys
import time
from pathlib import Path

import recbole_universal
from recbole_universal.files import write_text

# isort: split
from zero_shot import CORE, SPECIAL

DOMAINS = {
    "movies": "ml-100k ml-latest-small flixster-mgcnn filmtrust douban-mgcnn douban-movie ml-1m",
    "music": "yahoo-music-mgcnn lastfm-2k amazon-digital-music",
    "amazon": "amazon-instruments amazon-hin amazon-toys amazon-video-games amazon-sports amazon-digital-music "
    "amazon-book-kgat epinions",
    "books": "book-crossing amazon-book-kgat",
    "local": "yelp-hin yelp-s3rec yelp2018",
    "science": "citations-a citeulike-a",
    "food": "allrecipes tafeng",
    "web": "msweb frappe coco-mooc",
    "feed": "tenrec-article kuairand",
    "pins": "delicious-tags pinterest",
}
FOLDS = {
    "movies": ["movies"],
    "shops": ["music", "books", "amazon"],
    "places": ["local", "web"],
    "reading": ["science", "food", "feed", "pins"],
}
MODELS = {
    "universal-base": {"universal_features": ["proximity"]},
    "universal-paper": {
        "universal_features": ["activity", "cooccurrence", "interaction"],
        "n_networks": 1,
        "query_users": 600,
        "epochs": 8,
    },
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
    **CORE,
}


def sources(left_out: list[str]) -> list[dict]:
    """Data sets of all domains but some, with the config keys each needs."""
    banned = {name for domain in left_out for name in DOMAINS[domain].split()}
    names = dict.fromkeys(name for domain in DOMAINS.values() for name in domain.split())
    return [{"dataset": name, **SPECIAL.get(name, {})} for name in names if name not in banned]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-path", type=Path, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--models", nargs="*", default=["universal-base"], choices=list(MODELS))
    parser.add_argument("--leave-out", action="store_true", help="one model a fold of left-out domains")
    parser.add_argument("--set", default="{}", help="JSON: other settings, for experiments")
    arguments = parser.parse_args()
    command = "python benchmarks/pretrain.py --data-path DATA --output OUT" + " --leave-out" * arguments.leave_out
    missing = [source["dataset"] for source in sources([]) if not (arguments.data_path / source["dataset"]).is_dir()]
    if missing:
        parser.error(f"--data-path: [{arguments.data_path}] has no folders {', '.join(missing)}; see docs/data.md")
    sys.argv = sys.argv[:1]  # RecBole would read the rest as config
    logging.disable(logging.WARNING)
    judged: dict[str, dict[str, str]] = {}
    for model in arguments.models:
        row = "zero-shot" if model == "universal-base" else f"zero-shot, {model}"
        for fold, left_out in FOLDS.items() if arguments.leave_out else [("all", [])]:
            start = time.perf_counter()
            folder = recbole_universal.pretrain(
                config_dict={
                    **SETTINGS,
                    **MODELS[model],
                    **json.loads(arguments.set),
                    "data_path": str(arguments.data_path),
                    "pretrain_sources": sources(left_out),
                    "pretrain_dir": str(arguments.output / f"{model}-{fold}"),
                    "pretrain_lists": str(arguments.output / "lists"),
                    "pretrain_name": model if fold == "all" else f"{model} without {', '.join(left_out)}",
                    "pretrain_command": f"{command} --models {model}",
                }
            )
            print(f"{model}, {fold}: {time.perf_counter() - start:.0f} s, {folder}", flush=True)
            for name in {name for domain in left_out for name in DOMAINS[domain].split()}:
                judged.setdefault(row, {})[name] = str(folder)
    if arguments.leave_out:
        write_text(arguments.output / "models.json", json.dumps(judged, indent=1, sort_keys=True))


if __name__ == "__main__":
    main()
