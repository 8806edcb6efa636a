"""``python -m recbole_universal``: ``recommend``, ``analyze``, ``run``, ``doctor``, or any script with the plugin."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

from recbole_universal.signals import default_signals, one_line_when_stopped

_USAGE = """usage: python -m recbole_universal recommend INTERACTIONS --output RECS [options]
       python -m recbole_universal analyze DATASET [DATASET...] [options]
       python -m recbole_universal run [options]
       python -m recbole_universal doctor
       python -m recbole_universal SCRIPT [arguments]

The first recommends items to the users of a CSV, TSV or Parquet file with a pre-trained model; its options:
python -m recbole_universal recommend --help

The second writes a report on data sets: whether universal statistics hold there, and what the model makes of them;
python -m recbole_universal analyze --help

The third trains and evaluates a model on a dataset of RecBole and prints a table with baselines. It is
run_recbole_universal.py of the repository, for an installed package; python -m recbole_universal run --help

The fourth prints versions, devices and the patches of RecBole, and tests itself within seconds.

The fifth runs a Python script of yours with the models and features of recbole_universal registered, for example
run_recbole.py, run_recbole_group.py or run_hyper.py. These three are in RecBole's repository
(https://github.com/RUCAIBox/RecBole); its wheel does not hold them:

  python -m recbole_universal run_recbole.py --model=UniversalMLP --dataset=ml-100k
"""


# Which RecBole's wheel lacks.
_RECBOLE_SCRIPTS = ("run_recbole.py", "run_recbole_group.py", "run_hyper.py", "significance_test.py")


def main() -> None:
    """Run what the command line names."""
    if len(sys.argv) < 2 or sys.argv[1] in ("-h", "--help"):
        print(_USAGE)
        raise SystemExit(0 if len(sys.argv) > 1 else 2)
    if sys.argv[1] in ("recommend", "analyze", "doctor"):  # a script of that name is run as ./recommend
        with one_line_when_stopped(sys.argv[1]):
            raise SystemExit(_command(sys.argv[1], sys.argv[2:]))
    if sys.argv[1] == "run":
        from recbole_universal.app.quick_start import main as run

        sys.argv = ["python -m recbole_universal run", *sys.argv[2:]]  # RecBole reads the keys there
        run()
        raise SystemExit(0)
    script = Path(sys.argv[1])
    if not script.is_file():
        where = " It is in RecBole's repository, https://github.com/RUCAIBox/RecBole: download it and give its path."
        hint = where if script.name in _RECBOLE_SCRIPTS else ""
        raise SystemExit(f"python -m recbole_universal: there is no script [{script}].{hint}\n\n{_USAGE}")
    sys.argv = sys.argv[1:]
    sys.path[0] = str(script.resolve().parent)
    default_signals()  # the script's own from here on
    try:
        runpy.run_path(str(script), run_name="__main__")
    except OSError as error:
        from recbole_universal.app.quick_start import explain_file_error

        explanation = explain_file_error(error)
        if explanation is None:
            raise  # the script's own
        raise SystemExit(f"{script.name}: {explanation}") from error


def _command(name: str, arguments: list[str]) -> int:
    if name == "recommend":
        from recbole_universal.app.recommend import main as recommend

        return recommend(arguments)
    if name == "analyze":
        from recbole_universal.app.analysis.command import main as analyze

        return analyze(arguments)
    if arguments:
        print(f"python -m recbole_universal doctor: takes no arguments, got {arguments}.", file=sys.stderr)
        return 2
    from recbole_universal.app.doctor import main as doctor

    return doctor()


if __name__ == "__main__":
    main()
