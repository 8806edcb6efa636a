"""The command line: ``recbole-universal``, ``python -m recbole_universal`` and ``run_recbole_universal.py``."""

from __future__ import annotations

import argparse
import importlib.util
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import recbole_universal
from recbole_universal.app.commands import (
    analyze,
    compare,
    convert,
    doctor,
    evaluate,
    explain,
    fit,
    pretrain,
    recommend,
    refresh,
    run,
    script,
    serve,
    similar,
    user_vectors,
)
from recbole_universal.signals import REPOSITORY_SCRIPT, one_line_when_stopped

_COMMANDS = {
    "recommend": recommend,
    "fit": fit,
    "similar": similar,
    "explain": explain,
    "serve": serve,
    "refresh": refresh,
    "evaluate": evaluate,
    "convert": convert,
    "analyze": analyze,
    "run": run,
    "compare": compare,
    "pretrain": pretrain,
    "user-vectors": user_vectors,
    "doctor": doctor,
}
_OF_RECBOLE = {"run", "pretrain", "user-vectors", "doctor"}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command, or a script with the plugin registered.

    Args:
        arguments: Words of the command line; ``None`` takes those of the process.

    Returns:
        The exit status.
    """
    words = list(sys.argv[1:] if arguments is None else arguments)
    if words and not words[0].startswith("-") and words[0] not in _COMMANDS:
        return script.run(_program(), words, _COMMANDS)
    parser = _parser()
    options, others = parser.parse_known_args(words)
    if others and not options.takes_keys:
        hint = "; quote a pattern, such as 'logs/*.csv', so that the shell leaves it alone"
        options.parser.error(f"unrecognized arguments: {' '.join(others)}{hint * all(map(os.path.exists, others))}")
    if options.command in _OF_RECBOLE and importlib.util.find_spec("recbole") is None:
        print(f"{options.name}: RecBole is not installed; pip install 'recbole>=1.2,<1.3'.", file=sys.stderr)
        return 1
    with one_line_when_stopped(options.name):
        return options.run(options, others)


def run_script() -> int:
    """The command ``run``, under the name of the repository's script."""
    return main(["run", *sys.argv[1:]])


def _program() -> str:
    """The words that started the process, for messages."""
    return "recbole-universal" if Path(sys.argv[0]).stem == "recbole-universal" else "python -m recbole_universal"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=_program(),
        usage="%(prog)s COMMAND [options]\n       %(prog)s SCRIPT [arguments]",
        description="Recommendations for datasets that a model has never seen, and RecBole with universal features.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=script.HELP.format(program=_program()),
    )
    parser.add_argument("--version", action="version", version=f"recbole-universal {recbole_universal.__version__}")
    commands = parser.add_subparsers(title="commands", dest="command", metavar="COMMAND", required=True)
    for name, module in _COMMANDS.items():
        is_script = name == "run" and Path(sys.argv[0]).name == REPOSITORY_SCRIPT
        program = REPOSITORY_SCRIPT if is_script else f"{_program()} {name}"
        command = commands.add_parser(
            name,
            prog=program,
            usage="%(prog)s [options] [--key=value ...]" if module.TAKES_KEYS else None,
            help=module.SUMMARY,
            description=module.DESCRIPTION,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            epilog=module.EXAMPLES.format(program=program),
            allow_abbrev=False,
        )
        module.add_options(command)
        name = REPOSITORY_SCRIPT if is_script else name
        command.set_defaults(run=module.run, name=name, parser=command, takes_keys=module.TAKES_KEYS)
    return parser
