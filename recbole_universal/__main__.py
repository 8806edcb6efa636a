"""``python -m recbole_universal``: ``recommend``, ``analyze``, ``doctor``, or any script with the plugin registered."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

_USAGE = """usage: python -m recbole_universal recommend INTERACTIONS --output RECS [options]
       python -m recbole_universal analyze DATASET [DATASET...] [options]
       python -m recbole_universal doctor
       python -m recbole_universal SCRIPT [arguments]

The first recommends items to the users of a CSV, TSV or Parquet file with a pre-trained model; its options:
python -m recbole_universal recommend --help

The second writes a report on data sets: whether universal statistics hold there, and what the model makes of them;
python -m recbole_universal analyze --help

The third prints versions, devices and what is mended in RecBole, and tests itself within seconds.

The fourth runs a Python script, for example RecBole's run_recbole.py, run_recbole_group.py or run_hyper.py, with
the models and features of recbole_universal registered:

  python -m recbole_universal run_recbole.py --model=UniversalMLP --dataset=ml-100k
"""


def main() -> None:
    """Run what the command line names."""
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        print(_USAGE)
        raise SystemExit(0 if len(sys.argv) > 1 else 2)
    if sys.argv[1] == "recommend":  # a script of that name is run as ./recommend
        from recbole_universal.recommend import main as recommend

        raise SystemExit(recommend(sys.argv[2:]))
    if sys.argv[1] == "analyze":
        from recbole_universal.analysis.command import main as analyze

        raise SystemExit(analyze(sys.argv[2:]))
    if sys.argv[1] == "doctor":
        if len(sys.argv) > 2:
            print(f"python -m recbole_universal doctor: takes no arguments, got {sys.argv[2:]}.", file=sys.stderr)
            raise SystemExit(2)
        from recbole_universal.doctor import main as doctor

        raise SystemExit(doctor())
    script = Path(sys.argv[1])
    if not script.is_file():
        raise SystemExit(f"python -m recbole_universal: there is no script [{script}].\n\n{_USAGE}")
    sys.argv = sys.argv[1:]
    sys.path[0] = str(script.resolve().parent)
    runpy.run_path(str(script), run_name="__main__")


if __name__ == "__main__":
    main()
