"""Processor time of ranking on an idle machine and while other processes keep it busy.

Threads that wait for each other in a loop take processor time without work, most of it where they do not get a core.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

import numpy as np
from harness import PublishedSplit

from recbole_universal import UniversalRanker
from recbole_universal.graph.sums import compiled

#: Processes that run during the ranking.
N_LOOPS = 8
#: Users that are ranked.
N_USERS = 4096


def busy(dataset: str, data_path: str) -> dict:
    """Processor and wall seconds of lists of some users, idle and with busy loops, in turns."""
    split = PublishedSplit(dataset, data_path, 2020, 0)
    ranker = UniversalRanker(split.train, "universal-base")
    users = np.random.default_rng(0).permutation(split.test_users)[:N_USERS]
    ranker.top_k(users[:256], 20)
    result: dict = {"what": f"{dataset}, busy", "dataset": dataset, "ranked": len(users)}
    result |= {"loops": N_LOOPS, "numba": compiled() is not None, "load_1m": os.getloadavg()[0]}
    for _ in range(2):  # the lower of two turns counts
        for name, n_loops in (("idle", 0), ("busy", N_LOOPS)):
            # The process of a measurement is a daemon of multiprocessing, which may not have children of that kind.
            loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(n_loops)]
            time.sleep(min(1, n_loops) * 3)  # until they have started
            wall, cpu = time.perf_counter(), time.process_time()
            ranker.top_k(users, 20)
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
            for loop in loops:
                loop.kill()
                loop.wait()
            result[f"{name}_cpu_s"] = min(cpu, result.get(f"{name}_cpu_s", cpu))
            result[f"{name}_s"] = min(wall, result.get(f"{name}_s", wall))
    return result | {"ratio": result["busy_cpu_s"] / result["idle_cpu_s"]}
