"""The command ``pretrain``."""

from __future__ import annotations

import argparse

from recbole_universal.app.commands import config_keys

SUMMARY = "pre-train a model of your own on many datasets"
DESCRIPTION = """Pre-train a model of your own on many datasets and save it in pretrain_dir/model. The
datasets are RecBole atomic files. After a kill, the same command continues. The command
run with --train_stage=pretrain does the same."""
EXAMPLES = (
    config_keys.HELP
    + """
examples:
  {program} --pretrain_sources="['ml-1m','lastfm-2k']" --data_path=../data
  {program} --config_files=properties/quick_start_config/pretrain.yaml --data_path=../data
"""
)
TAKES_KEYS = True


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument(
        "--model",
        "-m",
        help="UniversalMLP, UniversalSequential or UniversalSASRec (default: UniversalMLP, unless a config file names "
        "one)",
    )
    config_keys.add_config_files(parser)


def run(options: argparse.Namespace, words: list[str]) -> int:
    """Pre-train the model; returns the exit status."""
    files = config_keys.give_to_recbole(options, words)
    return config_keys.explained(options.name, lambda: _run(options, files))


def _run(options: argparse.Namespace, files: list[str] | None) -> None:
    from recbole_universal.app.checks import keys_in_files
    from recbole_universal.app.pretrain import pretrain

    model = options.model or (None if "model" in keys_in_files(files) else "UniversalMLP")
    print(f"\nThe model is in [{pretrain(files, model=model)}]; give this folder to the key pretrained.")
