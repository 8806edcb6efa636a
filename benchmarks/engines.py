"""Lists for many users by one process, by workers of Ray and by Spark: seconds, memory, and a hash of the lists.

    python benchmarks/engines.py --data-path DATA --output OUT/engines.jsonl
    python benchmarks/engines.py --output OUT/engines.jsonl --report docs/scale_results.md

``DATA/yelp2018/yelp2018.inter`` is fitted once (``--folder`` keeps the saved recommender). Each engine then runs in a
new process, from its start to the last file. Scores depend in the last digit on the users of a block, so the hash is
that of users, items and ranks. The cost of a larger run is computed from the rate of the workers, at an assumed price.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path

#: Length of a list.
K = 20
#: By name, the engine, the number of its threads or workers.
RUNS = {
    "one process, 1 thread": ("process", 1),
    "one process, 2 threads": ("process", 2),
    "Ray, 1 worker": ("ray", 1),
    "Ray, 2 workers": ("ray", 2),
    "Spark, local[2]": ("spark", 2),
}
# The run whose cost is computed: interactions, interactions of a user, dollars a core-hour, cores of a machine.
INTERACTIONS, PER_USER, PRICE, CORES = 10**9, 50, 0.05, 16
_PART_USERS = 2048


class WorkerMemory(threading.Thread):
    """Watches the largest private and the largest proportional memory of the worker processes below this one."""

    def __init__(self, name: str) -> None:
        super().__init__(daemon=True)
        self._name, self._ends = name, threading.Event()
        self.private = self.proportional = 0

    def run(self) -> None:
        """Read the memory twice a second."""
        import psutil

        while not self._ends.wait(0.5):
            for process in psutil.Process().children(recursive=True):
                try:
                    if self._name in " ".join(process.cmdline()):
                        memory = process.memory_full_info()
                        self.private = max(self.private, memory.uss >> 20)
                        self.proportional = max(self.proportional, memory.pss >> 20)
                except psutil.Error:  # it has ended
                    continue

    def stop(self) -> dict[str, int]:
        """The memory in MiB."""
        self._ends.set()
        return {"worker_uss_mib": self.private, "worker_pss_mib": self.proportional}


def by_process(folder: Path, users: Path, output: Path, _: int) -> dict:
    """Lists by one process, whose threads the environment limits."""
    from recbole_universal.app import cli

    output.mkdir()
    words = ["--users", str(users), "--top-k", str(K), "--output", str(output / "part.parquet"), "--quiet"]
    assert cli.main(["recommend", str(folder), *words]) == 0
    return {}


def by_ray(folder: Path, users: Path, output: Path, workers: int) -> dict:
    """Lists by workers of Ray; the seconds a user without start come from the times of the parts."""
    from recbole_universal import recommend_on_ray

    memory = WorkerMemory("ray::PartWriter")
    memory.start()
    settings = {"top_k": K, "workers": workers, "part_users": _PART_USERS, "show_progress": False}
    times = sorted(part.stat().st_mtime for part in recommend_on_ray(folder, output, users=users, **settings))
    # The first part of each worker includes its start.
    n_timed = _PART_USERS * (len(times) - workers)
    return {"ms_a_user": 1000 * (times[-1] - times[workers - 1]) / n_timed if n_timed > 0 else None, **memory.stop()}


def by_spark(folder: Path, users: Path, output: Path, workers: int) -> dict:
    """Lists by Spark on this machine."""
    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    from spark_data import java_home

    with tempfile.TemporaryDirectory() as java:
        os.environ["JAVA_HOME"] = java_home(Path(java) / "java")
        from pyspark.sql import SparkSession

        from recbole_universal import ArrowLists

        settings = {"spark.ui.enabled": "false", "spark.sql.execution.arrow.maxRecordsPerBatch": str(_PART_USERS)}
        builder = SparkSession.builder.master(f"local[{workers}]")
        for name, value in settings.items():
            builder = builder.config(name, value)
        spark = builder.getOrCreate()
        lists = ArrowLists(folder, k=K)
        asked = spark.read.parquet(str(users)).repartition(workers)
        asked.mapInArrow(lists, lists.schema).write.parquet(str(output))
        spark.stop()
    return {}


def prepare(source: Path, folder: Path, users: Path, n_users: int) -> None:
    """Fit, unless the folder holds a recommender, and write the ids of users that are spread over all."""
    import pandas as pd

    from recbole_universal import Recommender

    if not (folder / "recommender.json").exists():
        Recommender.fit(source, model="universal-base", show_progress=False).save(folder)
    ids = Recommender.load(folder).users
    asked = ids if not n_users else ids[:: max(1, len(ids) // n_users)][:n_users]
    pd.DataFrame({"user_id": asked}).to_parquet(users)


def hash_of_lists(output: Path) -> tuple[str, int, int]:
    """Hash of users, items and ranks, the number of users and of rows."""
    import pandas as pd

    lists = pd.read_parquet(output)
    user, item = list(lists)[:2]
    text = lists.sort_values([user, "rank"])[[user, item, "rank"]].to_csv(index=False)
    return hashlib.sha256(text.encode()).hexdigest()[:16], lists[user].nunique(), len(lists)


def measured(name: str, folder: Path, users: Path, output: Path) -> dict:
    """One run in a new process."""
    engine, n = RUNS[name]
    words = [sys.executable, __file__, "--phase", engine, *map(str, (folder, users, output, n))]
    start = time.perf_counter()
    done = subprocess.run(
        words, env={**os.environ, "OMP_NUM_THREADS": str(n if engine == "process" else 1)}, stdout=subprocess.PIPE
    )
    seconds = time.perf_counter() - start
    if done.returncode:
        raise SystemExit(f"{name}: exit status {done.returncode}")
    found, n_users, n_rows = hash_of_lists(output)
    more = json.loads(done.stdout.decode().strip().splitlines()[-1])
    return {"engine": name, "seconds": seconds, "users": n_users, "rows": n_rows, "hash": found, **more}


def cost_table(ms: float, scaling: float) -> str:
    """Hours and dollars of lists for all users of a billion interactions; computed.

    Args:
        ms: milliseconds of one core for a list.
        scaling: rate of two workers divided by twice that of one.
    """
    from report import markdown

    users, rows = INTERACTIONS // PER_USER, []
    for machines in (1, 4, 16, 64):
        cores = machines * CORES
        hours = users * ms / 3.6e6 / cores / scaling
        rows.append([f"{machines}", f"{cores}", f"{hours:.2f}", f"{hours * cores * PRICE:.2f}"])
    return markdown(["machines", "cores", "hours", "dollars"], rows)


def report(results: list[dict], page: Path) -> None:
    """Write the tables into a page."""
    from report import fill, table_of

    latest = {row["engine"]: row for row in results}
    rows = [latest[name] for name in RUNS if name in latest]
    columns = {
        "engine": ("engine", "s"),
        "users": ("users", ",d"),
        "seconds, with start": ("seconds", ".0f"),
        "ms a user, without start": ("ms_a_user", ".2f"),
        "private MiB of a worker": ("worker_uss_mib", ",d"),
        "its share of all, MiB": ("worker_pss_mib", ",d"),
        "hash of the lists": ("hash", "s"),
    }
    tables = {"engines": table_of(rows, columns)}
    one, two = (latest.get(f"Ray, {n} worker{'s' * (n > 1)}", {}).get("ms_a_user") for n in (1, 2))
    tables["engines, cost"] = cost_table(one, min(1.0, one / (2 * two))) if one and two else ""
    fill(page, tables)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-path", type=Path, help="folder of the dataset's folder")
    parser.add_argument("--dataset", default="yelp2018")
    parser.add_argument("--file", help="file of interactions in it (default: DATASET.inter)")
    parser.add_argument("--folder", type=Path, help="saved recommender, which is made where it is missing")
    parser.add_argument("--users", type=int, default=8 * _PART_USERS, help="users who get lists; 0: all")
    parser.add_argument("--runs", nargs="+", default=list(RUNS), choices=list(RUNS))
    parser.add_argument("--output", type=Path, default=Path("engines.jsonl"))
    parser.add_argument("--report", type=Path, metavar="PAGE", help="write the tables into a page instead")
    parser.add_argument("--phase", nargs=5, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.phase:
        warnings.simplefilter("ignore")
        engine, *paths, n = arguments.phase
        print(json.dumps({"process": by_process, "ray": by_ray, "spark": by_spark}[engine](*map(Path, paths), int(n))))
        return
    from harness import add_result, read_results

    if arguments.report:
        report(read_results(arguments.output), arguments.report)
        return
    source = arguments.data_path / arguments.dataset / (arguments.file or f"{arguments.dataset}.inter")
    with tempfile.TemporaryDirectory() as name:
        temporary = Path(name)
        folder, users = arguments.folder or temporary / "folder", temporary / "users.parquet"
        prepare(source, folder, users, arguments.users)
        results = []
        for run in arguments.runs:
            results.append(measured(run, folder, users, temporary / f"lists-{len(results)}"))
            add_result(arguments.output, results[-1])
        if len({row["hash"] for row in results}) > 1:
            raise SystemExit("The lists differ.")


if __name__ == "__main__":
    main()
