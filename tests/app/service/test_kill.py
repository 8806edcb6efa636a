"""A server with two workers that is killed in the middle of appends loses no interaction that it acknowledged."""

from __future__ import annotations

import http.client
import json
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from pathlib import Path

import pytest

import recbole_universal
from recbole_universal.app.service.appended import AppendedInteractions

N_KILLS, N_CLIENTS = 20, 6


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def started(folder: Path, port: int) -> subprocess.Popen:
    """A server of its own process group that answers."""
    words = ["-m", "recbole_universal", "serve", str(folder), "--port", str(port), "--workers", "2"]
    root = str(Path(recbole_universal.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([root, os.environ.get("PYTHONPATH", "")])}
    environment.pop("RECBOLE_UNIVERSAL_TOKEN", None)
    server = subprocess.Popen([sys.executable, *words], env=environment, start_new_session=True)
    try:
        for _ in range(600):
            time.sleep(0.2)
            assert server.poll() is None, "the server ended"
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=5):
                    return server
            except OSError:
                continue
        raise AssertionError("the server does not answer")
    except BaseException:
        os.killpg(server.pid, signal.SIGKILL)
        raise


def append(port: int, name: str, acknowledged: set, stop: threading.Event) -> None:
    """Append interactions until the server is gone, and note those that it acknowledged."""
    number = 0
    while not stop.is_set():
        rows = [{"user": name, "item": f"{number}-{index}"} for index in range(random.randint(1, 5))]
        number += 1
        request = urllib.request.Request(
            f"http://127.0.0.1:{port}/interactions",
            json.dumps({"interactions": rows}).encode(),
            {"content-type": "application/json"},
        )
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                assert answer.status == 201 and json.load(answer) == {"appended": len(rows)}
        except (OSError, ValueError, http.client.HTTPException):  # no answer, or half of one
            continue
        acknowledged.update((row["user"], row["item"]) for row in rows)


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "killpg"), reason="needs process groups")
def test_no_acknowledged_interaction_is_lost(folders, port):
    acknowledged: list[set] = []
    for kill in range(N_KILLS):
        server, stop = started(folders / "shop", port), threading.Event()
        sets: list[set] = [set() for _ in range(N_CLIENTS)]
        threads = [
            threading.Thread(target=append, args=(port, f"client-{kill}-{index}", some, stop))
            for index, some in enumerate(sets)
        ]
        try:
            for thread in threads:
                thread.start()
            deadline = time.monotonic() + 120
            while not all(sets) and time.monotonic() < deadline:
                time.sleep(0.01)
            time.sleep(random.uniform(0.0, 0.5))
        finally:
            os.killpg(server.pid, signal.SIGKILL)
            server.wait()
            stop.set()
            for thread in threads:
                thread.join()
        acknowledged += sets
        stored = {(row.user, row.item) for row in AppendedInteractions(folders / "shop").rows(0)[0]}
        assert all(some and some <= stored for some in acknowledged)
    print(f"{N_KILLS} kills, {sum(map(len, acknowledged))} acknowledged interactions, {len(stored)} stored")
