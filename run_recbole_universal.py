"""The command line: same arguments as RecBole's run_recbole.py. See --help."""

from recbole_universal.app.quick_start import main

if __name__ == "__main__":
    main()
