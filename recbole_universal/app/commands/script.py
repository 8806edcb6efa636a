"""Any Python script, with the plugin registered."""

from __future__ import annotations

import difflib
import runpy
import sys
from collections.abc import Iterable
from pathlib import Path

from recbole_universal.signals import default_signals

HELP = """a script instead of a command:
  SCRIPT runs as under python, with the models and features of recbole_universal registered. RecBole's own scripts
  (run_recbole.py, run_recbole_group.py, run_hyper.py) are in its repository, https://github.com/RUCAIBox/RecBole;
  its wheel does not hold them.

examples:
  {program} recommend ratings.csv --output recs.csv
  {program} run --dataset=ml-100k
  {program} run_recbole.py --model=UniversalMLP --dataset=ml-100k
"""
# RecBole's wheel lacks these.
_RECBOLE_SCRIPTS = ("run_recbole.py", "run_recbole_group.py", "run_hyper.py", "significance_test.py")


def run(program: str, words: list[str], commands: Iterable[str]) -> int:
    """Run a script.

    Args:
        program: Name of the command line, for messages.
        words: The script and its arguments.
        commands: Names of the commands, for messages.

    Returns:
        The exit status, 2 if there is no such script.

    Raises:
        SystemExit: If RecBole cannot use a file.
    """
    script = Path(words[0])
    if not script.is_file():
        print(f"{program}: {_missing(script, list(commands))}", file=sys.stderr)
        return 2
    sys.argv = words
    sys.path[0] = str(script.resolve().parent)
    default_signals()  # the script decides from here on
    try:
        runpy.run_path(str(script), run_name="__main__")
    except OSError as error:
        from recbole_universal.app.mistakes import explain_file_error

        explanation = explain_file_error(error)
        if explanation is None:
            raise  # an error of the script itself
        raise SystemExit(f"{script.name}: {explanation}") from error
    return 0


def _missing(script: Path, commands: list[str]) -> str:
    if script.name in _RECBOLE_SCRIPTS:
        where = "It is in RecBole's repository, https://github.com/RUCAIBox/RecBole: download it and give its path."
        return f"there is no script [{script}]. {where}"
    if script.suffix or len(script.parts) > 1:
        return f"there is no script [{script}]."
    near = difflib.get_close_matches(script.name, commands, 1)
    hint = f"did you mean {near[0]}?" if near else f"commands are {', '.join(commands)}."
    return f"there is no command and no script [{script}]; {hint}"
