"""More data than memory: processor minutes and peak memory by stage, from Parquet files to recommendations.

    python benchmarks/large.py --rows 100000000 --folder FOLDER --output OUT/large.jsonl
    python benchmarks/large.py --output OUT/large.jsonl --report docs/scale_results.md

DuckDB makes the files by a seed and keeps them in the folder. The popularity of items and the activity of users follow
power laws. Each user and each item belongs to one of 50 communities, and most interactions of a user stay inside it.
Rows may repeat a pair. The measurement runs in a process of its own, without a limit on its memory.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from pathlib import Path

import duckdb
from harness import add_result, read_results
from report import fill, table_of

N_COMMUNITIES = 50
INSIDE = 0.7
#: Exponents of the power laws of items and of users.
ITEM_EXPONENT, USER_EXPONENT = 0.6, 0.3
#: Users and items a row.
USERS_PER_ROW, ITEMS_PER_ROW = 1 / 100, 1 / 1000
_PART = 2_000_000
_STAGES = "import reading matrix build ranking".split()

_MEASURED = """
import json, resource, sys, threading, time, warnings
from pathlib import Path
warnings.simplefilter("ignore")

def resident():
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize() / 2**30

class Stages:
    def __init__(self):
        self.rows, self.peak, self.ended = {}, 0.0, False
        self.start, self.cpu = time.perf_counter(), time.process_time()
        threading.Thread(target=self.watch, daemon=True).start()
    def watch(self):
        while not self.ended:
            self.peak = max(self.peak, resident())
            time.sleep(0.05)
    def end(self, name):
        now, cpu = time.perf_counter(), time.process_time()
        self.rows[name] = {"s": now - self.start, "cpu_s": cpu - self.cpu, "peak_gib": max(self.peak, resident()),
                           "stays_gib": resident()}
        print(name, {key: round(value, 2) for key, value in self.rows[name].items()}, file=sys.stderr, flush=True)
        self.start, self.cpu, self.peak = now, cpu, 0.0

folder, n_users, output, model = sys.argv[1], int(sys.argv[2]), sys.argv[3], sys.argv[4]
stages = Stages()
import numpy as np
from recbole_universal.app.fitted_interactions import FittedInteractions
from recbole_universal.app.model_choice import given_model, ranker_of
from recbole_universal.app.recommendation_files import open_recommendations
from recbole_universal.io.interactions import read_interactions
model = given_model(model)
stages.end("import")
read_times = model is None or "sequence" in model.families
table = read_interactions(folder, None, None, lambda message: print(message, file=sys.stderr), read_times=read_times)
n_pairs, shape = len(table.user_codes), (len(table.users), len(table.items))
stages.end("reading")
read = FittedInteractions.of_table(table)
del table
stages.end("matrix")
ranker = ranker_of(read.matrix, read.histories, model, lambda message: print(message, file=sys.stderr),
                   show_progress=False)
print("popularity ranks:", ranker.fallback_reason() or "no", file=sys.stderr)
stages.end("build")
users = np.sort(np.random.default_rng(0).permutation(shape[0])[:n_users])
with open_recommendations(Path(output)) as writer:
    writer.columns = "user_id", "item_id", "score", "rank"
    for start in range(0, len(users), 2048):
        rows = users[start : start + 2048]
        items, scores = ranker.top_k(rows, 10)
        user, rank = np.nonzero(items >= 0)
        writer.write(read.users.take(rows[user]), read.items.take(items[user, rank]), scores[user, rank],
                     (rank + 1).astype(np.int32))
stages.end("ranking")
stages.ended = True
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
print(json.dumps({"pairs": n_pairs, "users": shape[0], "items": shape[1], "ranked": len(users), "peak_gib": peak,
                  "stages": stages.rows, "falls_back": bool(ranker.fallback_reason())}))
"""


def made(folder: Path, rows: int, seed: int = 0) -> Path:
    """A folder of Parquet files with the columns user_id, item_id and timestamp, written unless it is there.

    Args:
        folder: where the folder is made.
        rows: number of rows.
        seed: source of all randomness.
    """
    target = folder / f"interactions-{rows}"
    target.mkdir(parents=True, exist_ok=True)
    n_users, n_items = max(100, int(rows * USERS_PER_ROW)), max(50, int(rows * ITEMS_PER_ROW))
    duck = duckdb.connect(":memory:", config={"threads": 2, "memory_limit": "1GB"})

    def draw(number: int) -> str:
        return f"(hash(row * 16 + {number}, {seed}) / 18446744073709551616.0)"

    for part, start in enumerate(range(0, rows, _PART)):
        file = target / f"part-{part:04}.parquet"
        if file.exists():
            continue
        user_power, item_power = 1 / (1 - USER_EXPONENT), 1 / (1 - ITEM_EXPONENT)
        duck.execute(
            f"""
            COPY (
                SELECT 'u' || user_rank AS user_id, item_rank AS item_id,
                       (1600000000 + 100000000 * {draw(3)})::BIGINT AS timestamp
                FROM (
                    SELECT row, user_rank,
                           CASE WHEN {draw(2)} < {INSIDE}
                           THEN least(floor({n_items // N_COMMUNITIES} * pow({draw(1)}, {item_power}))::BIGINT,
                                      {n_items // N_COMMUNITIES - 1}) * {N_COMMUNITIES}
                                + hash(user_rank, {seed} + 1) % {N_COMMUNITIES}
                           ELSE least(floor({n_items} * pow({draw(1)}, {item_power}))::BIGINT, {n_items - 1})
                           END AS item_rank
                    FROM (SELECT range AS row,
                                 least(floor({n_users} * pow({draw(0).replace("row", "range")}, {user_power}))::BIGINT,
                                       {n_users - 1}) AS user_rank
                          FROM range({start}, {min(rows, start + _PART)})))
            ) TO '{file}.tmp' (FORMAT parquet)
            """
        )
        Path(f"{file}.tmp").rename(file)
    return target


def measured(folder: Path, n_users: int, model: str) -> dict:
    """One run in a process of its own."""
    output = folder.parent / f"{folder.name}-recommendations.parquet"
    command = [sys.executable, "-c", _MEASURED, str(folder), str(n_users), str(output), model]
    result = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    return json.loads(result.stdout.strip().splitlines()[-1])


def tables_of(rows: list[dict]) -> dict[str, str]:
    """The tables of docs/scale_results.md: of each number of rows and model, the last result."""
    last = {(row["rows"], row["model"]): row for row in rows}
    flat = []
    for _, row in sorted(last.items()):
        stages = {f"{stage}_{key}": value for stage, one in row["stages"].items() for key, value in one.items()}
        minutes = {f"{stage}_minutes": stages[f"{stage}_cpu_s"] / 60 for stage in _STAGES}
        flat.append({**row, **stages, **minutes})
    times = {stage: (f"{stage}_minutes", ".1f") for stage in _STAGES}
    memory = {stage: (f"{stage}_peak_gib", ".2f") for stage in _STAGES}
    data = {"rows": ("rows", ",d"), "Parquet, GB": ("parquet_gb", ".2f"), "pairs": ("pairs", ",d")}
    data |= {"users": ("users", ",d"), "items": ("items", ",d"), "ranked users": ("ranked", ",d")}
    rows_column = {"rows": ("rows", ",d"), "model": ("model", "")}
    return {
        "large, data": table_of(flat, data | {"peak GiB": ("peak_gib", ".2f")}),
        "large, minutes": table_of(flat, rows_column | times),
        "large, memory": table_of(flat, rows_column | memory),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--ranked", type=int, default=10_000, help="users who get recommendations")
    parser.add_argument("--model", default="universal-base", help="as --model of recommend")
    parser.add_argument("--folder", type=Path, help="where the files are made and kept")
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--report", type=Path)
    options = parser.parse_args()
    if options.report:
        fill(options.report, tables_of(read_results(options.output)))
        return
    folder = made(options.folder, options.rows)
    size = sum(file.stat().st_size for file in folder.iterdir()) / 1e9
    row = measured(folder, options.ranked, options.model)
    add_result(
        options.output, {"what": "large", "rows": options.rows, "parquet_gb": size, "model": options.model, **row}
    )


if __name__ == "__main__":
    main()
