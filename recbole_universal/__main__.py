"""``python -m recbole_universal``: the same as the command ``recbole-universal``."""

from recbole_universal.app.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
