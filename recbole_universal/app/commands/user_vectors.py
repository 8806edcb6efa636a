"""The command ``user-vectors``."""

from __future__ import annotations

import argparse

SUMMARY = "write one vector for each user of a model that RecBole trained"
DESCRIPTION = """Write one vector for each user of a model that RecBole trained, for other tasks than ranking
items. A sequential model reads the latest items of each user."""
EXAMPLES = """
examples:
  {program} --checkpoint saved/UniversalSASRec-Nov-28-2026.pth --output users.npz
  {program} --checkpoint saved/BPR-Nov-28-2026.pth --data-path ../data --output users.parquet
"""
TAKES_KEYS = False


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options."""
    parser.add_argument("--checkpoint", metavar="PTH", required=True, help="a model that RecBole trained; a pickle")
    parser.add_argument("--data-path", metavar="DIR", help="the folder that holds the folder of its dataset")
    parser.add_argument("--output", metavar="FILE", required=True, help="file to write: .npz or .parquet")
    parser.add_argument(
        "--pooling", default="last", help="last: after the last item; mean: over the items, of UniversalSASRec"
    )
    parser.add_argument("--device", default="cpu", help="cpu, cuda, ...; only cpu is tested")


def run(options: argparse.Namespace, words: list[str]) -> int:
    """Write the vectors; returns the exit status."""
    from recbole_universal.app.commands.config_keys import explained

    return explained(options.name, lambda: _run(options))


def _run(options: argparse.Namespace) -> None:
    from recbole_universal.app.user_vectors import check_output, user_vectors, write_user_vectors

    check_output(options.output)
    vectors = user_vectors(options.checkpoint, options.data_path, options.device, options.pooling)
    write_user_vectors(vectors, options.output)
    print(f"Wrote {len(vectors)} vectors of {vectors.shape[1]} numbers to {options.output}.")
