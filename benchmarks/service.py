"""The service under load on this machine, beside an item-item model of `implicit` behind the same route.

    python benchmarks/service.py --dataset yelp2018 --data-path DATA --output OUT/service.jsonl

Each server has the same number of workers. The clients are one more process. A result has requests a second,
percentiles of the time of a request, errors, memory of the server's processes at the start, in the middle and at the
end, seconds of processor a request, and NDCG@10 of the lists that the server gave to users of the test part. The number
of neighbours of `implicit` is the one with the best NDCG on the test part, so the choice favours `implicit`.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import psutil
import scipy.sparse as sp
from harness import PublishedSplit, Split, add_result, parse, parser_with
from service_load import K

from recbole_universal import Recommender

HERE = Path(__file__).resolve().parent
# Neighbours of an item in the models of `implicit`, users of a request for NDCG, and seconds of warming up.
NEIGHBORS, N_USERS, WARM_S = (20, 50, 100, 200), 100, 3


class Server:
    """A server in processes of their own.

    Args:
        command: its command without the port.
        variables: further variables of its environment.
    """

    def __init__(self, command: list[str], variables: dict[str, str] | None = None) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        words = [sys.executable, "-m", *command, "--port", str(self.port)]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(HERE.parent), str(HERE)]), **(variables or {})}
        self._process = subprocess.Popen(words, env=environment, start_new_session=True, stdout=subprocess.DEVNULL)

    def __enter__(self) -> Server:
        for _ in range(3000):
            time.sleep(0.2)
            if self._process.poll() is not None:
                raise RuntimeError("the server ended")
            try:
                urllib.request.urlopen(f"http://127.0.0.1:{self.port}/health", timeout=5).close()
                break
            except OSError:
                continue
        return self

    def __exit__(self, *_: object) -> None:
        os.killpg(self._process.pid, signal.SIGTERM)
        self._process.wait()

    def lists(self, users: list[int]) -> list[list[int]]:
        """The items of the lists of some users."""
        body = json.dumps({"users": users, "k": K}).encode()
        url, headers = f"http://127.0.0.1:{self.port}/recommend", {"content-type": "application/json"}
        with urllib.request.urlopen(urllib.request.Request(url, body, headers), timeout=120) as answer:
            return [[int(item["item"]) for item in one["items"]] for one in json.load(answer)["lists"]]

    def memory(self) -> dict[str, float]:
        """MiB of all processes: with shared pages divided among them (PSS), and with each page of each process."""
        full = [process.memory_full_info() for process in self._processes()]
        return {"pss_mib": sum(one.pss for one in full) / 2**20, "rss_mib": sum(one.rss for one in full) / 2**20}

    def processor_s(self) -> float:
        """Seconds of processor of all processes."""
        times = [process.cpu_times() for process in self._processes()]
        return sum(one.user + one.system for one in times)

    def _processes(self) -> list[psutil.Process]:
        parent = psutil.Process(self._process.pid)
        return [parent, *parent.children(recursive=True)]


def loaded(server: Server, users: Path, clients: int, seconds: float, appenders: int) -> dict:
    """Figures of a server under load."""

    def start(duration: float) -> subprocess.Popen:
        numbers = [str(server.port), str(clients), str(duration), str(users), str(appenders)]
        return subprocess.Popen([sys.executable, str(HERE / "service_load.py"), *numbers], stdout=subprocess.PIPE)

    start(WARM_S).communicate()
    before, used = server.memory(), server.processor_s()
    process = start(seconds)
    time.sleep(seconds / 2)
    middle = server.memory()
    figures = json.loads(process.communicate()[0])
    n_requests = figures["requests"] + figures.get("appends", {}).get("requests", 0)
    figures["processor_ms"] = 1000 * (server.processor_s() - used) / max(1, n_requests)
    return {**figures, "start": before, "middle": middle, "end": server.memory()}


def fitted_implicit(folder: Path, matrix: sp.csr_matrix, ndcg: Callable[[np.ndarray, np.ndarray], float]) -> int:
    """Save the item-item model with the best NDCG; returns its number of neighbours."""
    from implicit.nearest_neighbours import CosineRecommender

    users = np.flatnonzero(np.diff(matrix.indptr))
    best = (-1.0, 0)
    for n_neighbors in NEIGHBORS:
        model = CosineRecommender(K=n_neighbors)
        model.fit(matrix, show_progress=False)
        items, _ = model.recommend(users, matrix[users], K)
        value = ndcg(users, items)
        if value > best[0]:
            best = value, n_neighbors
            model.save(str(folder / "model.npz"))
    sp.save_npz(folder / "matrix.npz", matrix)
    return best[1]


def main() -> None:
    parser = parser_with(__doc__, "data-path", "output", "seed")
    parser.add_argument("--dataset", default="yelp2018")
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--clients", type=int, default=50)
    parser.add_argument("--appenders", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--test-users", type=int, default=4000, help="users whose lists NDCG is taken of")
    arguments = parse(parser)
    published = (Path(arguments.data_path) / arguments.dataset / f"{arguments.dataset}.train.inter").is_file()
    kind = PublishedSplit if published else Split
    split = kind(arguments.dataset, arguments.data_path, arguments.seed, arguments.test_users)
    matrix = sp.csr_matrix(split.seen["test"])
    known = np.flatnonzero(np.diff(matrix.indptr))
    tested = np.intersect1d(split.test_users, known)

    def ndcg(users: np.ndarray, items: np.ndarray) -> float:
        some = np.isin(users, tested)
        return split.ndcg_of_lists(users[some], items[some])

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        users, items = matrix.nonzero()
        rec = Recommender.fit(pd.DataFrame({"user": users, "item": items}), model="universal-base", show_progress=False)
        rec.ranker.item_item()  # the fast server reads it
        rec.save(folder / "shop")
        (folder / "users.json").write_text(json.dumps(known.tolist()))
        n_neighbors = fitted_implicit(folder, matrix, ndcg)
        workers = ["--workers", str(arguments.workers)]
        ours = ["recbole_universal", "serve", str(folder / "shop"), *workers]
        theirs = ["uvicorn", "service_implicit:app", "--factory", "--log-level", "warning", *workers]
        servers: list[tuple[str, list[str], int]] = [
            (f"implicit, cosine of {n_neighbors} neighbours", theirs, 0),
            ("service, fast", [*ours, "--fast"], 0),
            ("service, fast, with appends", [*ours, "--fast"], arguments.appenders),
            ("service", ours, 0),
            ("service, with appends", ours, arguments.appenders),
        ]
        for what, command, appenders in servers:
            with Server(command, {"MODEL": str(folder)}) as server:
                blocks = [tested[start : start + N_USERS].tolist() for start in range(0, len(tested), N_USERS)]
                lists = [one for block in blocks for one in server.lists(block)]
                value = ndcg(tested, np.array([one + [-1] * (K - len(one)) for one in lists]))
                figures = loaded(server, folder / "users.json", arguments.clients, arguments.seconds, appenders)
            setting = {"dataset": arguments.dataset, "workers": arguments.workers, "clients": arguments.clients}
            add_result(arguments.output, {"what": what, **setting, "ndcg@10": value, **figures})


if __name__ == "__main__":
    main()
