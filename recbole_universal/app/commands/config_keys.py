"""Config keys on the command line, which the commands ``run`` and ``pretrain`` share."""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable

HELP = """any config key:
  --key=value        e.g. --learning_rate=0.01 --epochs=20 --universal_features="['activity']"
                     RecBole's keys: https://recbole.io/docs/user_guide/config_settings.html
                     our keys:       properties/overall_universal.yaml, properties/model/UniversalMLP.yaml
"""


def add_config_files(parser: argparse.ArgumentParser) -> None:
    """Add the option ``--config_files``."""
    parser.add_argument("--config_files", help="yaml files, separated by blanks; later ones win")


def give_to_recbole(options: argparse.Namespace, words: list[str]) -> list[str] | None:
    """Leave the keys where each RecBole ``Config`` reads them, in ``sys.argv``.

    Args:
        options: Options of the command.
        words: All other words of the command line. RecBole ignores words of another form than ``--key=value``, so
            such a word ends the command with a message.

    Returns:
        Paths of the yaml files.
    """
    for k, word in enumerate(words):
        if not re.fullmatch(r"--[^=\s]+=[^=]*", word, re.DOTALL):
            options.parser.error(_right_form(word, words[k + 1 :]))
    sys.argv = [options.parser.prog, *words]
    return options.config_files.split() if options.config_files else None


def _right_form(word: str, following: list[str]) -> str:
    key, equals, value = word.partition("=")
    if equals and key.startswith("--") and "=" in value:
        return (
            f"[{word}]: RecBole cannot read a value with an equals sign from the command line; write "
            f"{key[2:]}: {value} into a yaml file and name it with --config_files."
        )
    if word.startswith("-") and not equals:
        value = following[0] if following and not following[0].startswith("--") else "value"
        return f"[{word}]: a config key and its value are one word: write --{word.lstrip('-')}={value}"
    if equals:
        return f"[{word}]: a config key begins with two dashes: write --{key.lstrip('-')}={value}"
    return f"[{word}] is no option and no config key; config keys are given as --key=value"


def explained(name: str, command: Callable[[], None]) -> int:
    """Run a command; a mistake of the user ends it with one line on stderr and the status 1.

    Raises:
        SystemExit: With the line.
        Exception: Any other error, whose traceback shows where it comes from.
    """
    try:
        command()
    except Exception as error:
        from recbole_universal.app.mistakes import explain

        explanation = explain(error)
        if explanation is None:
            raise
        raise SystemExit(f"{name}: {explanation}") from error
    return 0
