"""Seconds and peak memory of reading a large file of interactions, for any checkout of the package.

    python benchmarks/reading.py --rows 10000000 --folder FOLDER --checkout . --checkout ../old

The files are made by a seed and kept in the folder. Each reading is a process of its own.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd

_BLOCK = 2**20
_READ = """
import resource, sys, time
import recbole_universal
try:
    from recbole_universal.io.interactions import read_interactions
except ImportError:  # 0.1.0
    from recbole_universal.data.interaction_table import read_interactions
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start, cpu = time.perf_counter(), time.process_time()
table = read_interactions(sys.argv[1], None, None, lambda message: None)
seconds, cpu = time.perf_counter() - start, time.process_time() - cpu
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
start = time.perf_counter()
table.matrix()
print(f"{len(table.user_codes)} pairs, {len(table.users)} users, {len(table.items)} items: {seconds:.1f} s "
      f"({cpu:.1f} s of CPU), peak {peak / 2**20:.2f} GiB ({before / 2**20:.2f} before), "
      f"matrix() {time.perf_counter() - start:.1f} s")
"""


def made(folder: Path, rows: int, ending: str) -> Path:
    """The file, written unless it is there."""
    path = folder / f"interactions-{rows}{ending}"
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    frames = []
    with open(path, "w", encoding="utf-8") as file:
        for start in range(0, rows, _BLOCK):
            n = min(_BLOCK, rows - start)
            frame = pd.DataFrame(
                {
                    "user_id": "user" + pd.Series(rng.zipf(1.2, n) % 300_000).astype(str),
                    "item_id": rng.zipf(1.3, n) % 50_000,
                    "rating": rng.integers(1, 6, n),
                    "timestamp": rng.integers(1_500_000_000, 1_700_000_000, n),
                }
            )
            if ending == ".parquet":
                frames.append(frame)
            elif ending == "-quoted.csv":
                frame.to_csv(file, index=False, header=start == 0, quoting=1)
            else:
                frame.to_csv(file, index=False, header=start == 0)
    if frames:
        pd.concat(frames).to_parquet(path, index=False)
    return path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--checkout", action="append", type=Path, help="folder of a checkout; may be given again")
    options = parser.parse_args()
    for ending in (".csv", "-quoted.csv", ".parquet"):
        path = made(options.folder, options.rows, ending)
        for checkout in options.checkout or [Path(".")]:
            command = [sys.executable, "-c", _READ, str(path.resolve())]
            result = subprocess.run(command, cwd=checkout, capture_output=True, text=True)
            lines = (result.stdout if result.returncode == 0 else result.stderr).strip().splitlines()
            print(f"{path.name}, {checkout}: {lines[-1] if lines else 'no output'}", flush=True)


if __name__ == "__main__":
    main()
