"""Fit, save and load of a recommender: seconds, memory, and whether a new process gives the same lists.

    python benchmarks/everyday.py --data-path DATA --output OUT/everyday.jsonl

``DATA/yelp2018/yelp2018.inter`` is fitted and saved in one new process, and loaded in another, which ranks 2,000 users.
Each line of the output is a result. Memory is what /proc/self/smaps_rollup says: resident (``rss``), with shared pages
divided among their processes (``pss``), and what no file holds (``anonymous``). Mapped files count as resident once
they are read. The system can drop them at any time, and processes that load one folder share them.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from pathlib import Path

#: Users whose lists are compared, and the length of a list.
N_USERS, K = 2000, 10


def memory_mib() -> dict[str, int]:
    """Memory of this process by kind."""
    lines = Path("/proc/self/smaps_rollup").read_text().splitlines()[1:]
    size = {name: int(value.split()[0]) for name, value in (line.split(":") for line in lines)}
    return {name.lower(): size[name] // 1024 for name in ("Rss", "Pss", "Anonymous")}


def peak_mib() -> int:
    """Peak resident memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024


def lists_of(rec, path: Path) -> float:
    """Write the lists of users that are spread over all; returns the seconds without the writing."""
    users = rec.users[:: max(1, len(rec.users) // N_USERS)][:N_USERS]
    start = time.perf_counter()
    found = rec.recommend(users, k=K)
    seconds = time.perf_counter() - start
    found.to_parquet(path)
    return seconds


def fit(source: Path, folder: Path) -> dict:
    """Fit and save, and write the lists."""
    from recbole_universal import Recommender

    before, start = memory_mib(), time.perf_counter()
    rec = Recommender.fit(source, show_progress=False)
    fitted = time.perf_counter()
    peak = peak_mib()
    rec.save(folder / "rec")
    saved = time.perf_counter()
    n_bytes = sum(path.stat().st_size for path in (folder / "rec").rglob("*") if path.is_file())
    lists_of(rec, folder / "fit.parquet")
    return {
        **{"fit_s": fitted - start, "save_s": saved - fitted, "fit_peak_mib": peak, "folder_mib": n_bytes // 2**20},
        **{"imports_mib": before, "repr": repr(rec)},
    }


def load(folder: Path) -> dict:
    """Load, and write the lists."""
    start = time.perf_counter()
    from recbole_universal import Recommender
    from recbole_universal.ranking.ranker import UniversalRanker  # noqa: F401  the import of PyTorch

    imported, before = time.perf_counter(), memory_mib()
    rec = Recommender.load(folder / "rec")
    seconds, after = time.perf_counter() - imported, memory_mib()
    first = time.perf_counter()
    rec.recommend(rec.users[:1])
    first_list = time.perf_counter() - first
    ranked = lists_of(rec, folder / "load.parquet")
    return {
        **{"import_s": imported - start, "load_s": seconds, "first_list_s": first_list, "lists_s": ranked},
        **{"imports_mib": before, "loaded_mib": after, "ranked_mib": memory_mib(), "load_peak_mib": peak_mib()},
    }


def in_new_process(*words: str | Path) -> dict:
    """What a phase prints."""
    command = [sys.executable, __file__, *map(str, words)]
    return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)


def equal_lists(folder: Path) -> bool:
    """Whether both processes wrote the same lists, to the last bit."""
    import pandas as pd

    return pd.read_parquet(folder / "fit.parquet").equals(pd.read_parquet(folder / "load.parquet"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-path", type=Path, help="folder of the dataset's folder")
    parser.add_argument("--dataset", default="yelp2018")
    parser.add_argument("--output", type=Path, default=Path("everyday.jsonl"))
    parser.add_argument("--phase", nargs="+", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.phase:
        warnings.simplefilter("ignore")
        phase, *paths = arguments.phase
        print(json.dumps({"fit": fit, "load": load}[phase](*map(Path, paths))))
        return
    from harness import add_result

    source = arguments.data_path / arguments.dataset / f"{arguments.dataset}.inter"
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        fitted = in_new_process("--phase", "fit", source, folder)
        in_new_process("--phase", "load", folder)  # the files are then in the page cache
        loaded = in_new_process("--phase", "load", folder)
        result = {"dataset": arguments.dataset, **fitted, **loaded, "users": N_USERS, "equal": equal_lists(folder)}
    add_result(arguments.output, result)


if __name__ == "__main__":
    main()
