"""Compare your datasets with the datasets of the tables.

    python benchmarks/data.py --data-path DATA            # compares with docs/data.csv; exit status 1 if one differs
    python benchmarks/data.py --data-path DATA --write    # writes that file

A file has two fingerprints. The first is the SHA-256 of its bytes. The second is the SHA-256 of its distinct pairs of
user and item tokens, written as sorted lines "user<TAB>item" in UTF-8, each with a newline. If only the second is
equal, ratings or timestamps may differ, and RecBole splits the rows differently.
"""

from __future__ import annotations

import argparse
import hashlib
import sys
from pathlib import Path

import pandas as pd
import recbole
from harness import DOMAINS

from recbole_universal.files import write_text

FILE = Path(__file__).resolve().parent.parent / "docs" / "data.csv"
EXAMPLES = Path(recbole.__file__).parent / "dataset_example"


def described(file: Path) -> dict:
    """Sizes and fingerprints of an atomic file of interactions."""
    pairs = pd.read_csv(file, sep="\t", dtype=str, usecols=["user_id:token", "item_id:token"], keep_default_na=False)
    users, items = pairs["user_id:token"], pairs["item_id:token"]
    lines = sorted({line.encode() for line in users + "\t" + items + "\n"})
    return {
        "users": users.nunique(),
        "items": items.nunique(),
        "rows": len(pairs),
        "sha256 of pairs": hashlib.sha256(b"".join(lines)).hexdigest(),
        "sha256 of file": hashlib.sha256(file.read_bytes()).hexdigest(),
    }


def compared(actual: dict, expected: dict) -> str:
    """How a file differs from the expected one."""
    if actual == expected:
        return "the same file"
    if actual["rows"] == expected["rows"] and actual["sha256 of pairs"] == expected["sha256 of pairs"]:
        return "the same pairs in another file: the order of the rows, or other columns, differ"
    return ", ".join(f"{key} {actual[key]}, not {expected[key]}" for key in expected if actual[key] != expected[key])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-path", type=Path, required=True)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    actual = {}
    for name in sorted({name for names in DOMAINS.values() for name in names.split()}):
        folders = [folder / name for folder in (arguments.data_path, EXAMPLES) if (folder / name).is_dir()]
        for file in sorted(folders[0].glob(f"{name}*.inter")) if folders else ():
            actual[file.name] = described(file)
    if arguments.write:
        write_text(FILE, pd.DataFrame.from_dict(actual, orient="index").to_csv(index_label="file"))
        return
    expected = pd.read_csv(FILE, index_col="file").to_dict(orient="index")
    answers = {name: compared(actual[name], ours) if name in actual else "not there" for name, ours in expected.items()}
    for name, text in answers.items():
        print(f"{name}: {text}")
    sys.exit(any(name in actual and actual[name] != ours for name, ours in expected.items()))


if __name__ == "__main__":
    main()
