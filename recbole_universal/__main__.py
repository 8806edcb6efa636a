"""``python -m recbole_universal SCRIPT [arguments]``: run any stock RecBole script with the plugin registered."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

_USAGE = """usage: python -m recbole_universal SCRIPT [arguments]

Runs a Python script, for example RecBole's run_recbole.py, run_recbole_group.py or run_hyper.py, with the
models and features of recbole_universal registered:

  python -m recbole_universal run_recbole.py --model=UniversalMLP --dataset=ml-100k
"""


def main() -> None:
    """Run the script that the command line names."""
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        print(_USAGE)
        raise SystemExit(0 if len(sys.argv) > 1 else 2)
    script = Path(sys.argv[1])
    if not script.is_file():
        raise SystemExit(f"python -m recbole_universal: there is no script [{script}].\n\n{_USAGE}")
    sys.argv = sys.argv[1:]
    sys.path[0] = str(script.resolve().parent)
    runpy.run_path(str(script), run_name="__main__")


if __name__ == "__main__":
    main()
