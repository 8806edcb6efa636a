"""The command ``recbole-universal run``: same arguments as RecBole's run_recbole.py. See --help."""

from recbole_universal.app.cli import run_script

if __name__ == "__main__":
    raise SystemExit(run_script())
