"""The command ``doctor``."""

from __future__ import annotations

import argparse

SUMMARY = "print versions, devices and patches of RecBole, and run a self-test"
DESCRIPTION = """Print the versions of all libraries, the devices, the patches of RecBole and the shipped
models, and rank a small dataset as a self-test. It takes about ten seconds. The exit
status is 1 if the self-test fails."""
EXAMPLES = """example:
  {program}
"""
TAKES_KEYS = False


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add nothing: the command has no options."""


def run(options: argparse.Namespace, _: list[str]) -> int:
    """Print the report; returns the exit status."""
    from recbole_universal.app.doctor import report

    return report()
