"""Whether the data sets you have are those that the tables were made of.

    python benchmarks/data.py --data-path DATA            # compares with docs/data.csv
    python benchmarks/data.py --data-path DATA --write    # makes that file anew

A data set is its distinct pairs of user and item tokens, whatever their order and the other columns: the fingerprint is
the SHA-256 of the sorted lines "user<TAB>item", each ended by a newline, in UTF-8.
"""

from __future__ import annotations

import argparse
import hashlib
from pathlib import Path

import pandas as pd
import recbole
from pretrain import DOMAINS

FILE = Path(__file__).resolve().parent.parent / "docs" / "data.csv"


def described(file: Path) -> dict:
    """Sizes and fingerprint of an atomic file of interactions."""
    pairs = pd.read_csv(file, sep="\t", dtype=str, usecols=["user_id:token", "item_id:token"], keep_default_na=False)
    pairs = pairs.drop_duplicates()
    users, items = pairs["user_id:token"], pairs["item_id:token"]
    lines = sorted((users + "\t" + items + "\n").str.encode("utf-8"))
    return {
        "users": users.nunique(),
        "items": items.nunique(),
        "interactions": len(pairs),
        "sha256": hashlib.sha256(b"".join(lines)).hexdigest(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-path", type=Path, required=True)
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    found = {}
    for name in sorted({name for names in DOMAINS.values() for name in names.split()}):
        own = arguments.data_path / name / f"{name}.inter"
        files = [own, Path(recbole.__file__).parent / "dataset_example" / name / own.name]
        file = next((file for file in files if file.is_file()), None)
        if file:
            found[name] = described(file)
    if arguments.write:
        pd.DataFrame.from_dict(found, orient="index").to_csv(FILE, index_label="name")
        return
    expected = pd.read_csv(FILE, index_col="name").to_dict(orient="index")
    for name, ours in expected.items():
        there = found.get(name)
        if there is None:
            print(f"{name}: not there")
            continue
        differ = [f"{key} {there[key]} instead of {ours[key]}" for key in ours if there[key] != ours[key]]
        print(f"{name}: {', '.join(differ) or 'the same'}")


if __name__ == "__main__":
    main()
