"""Real workers of Ray: lists that do not depend on their number, workers and callers that are killed."""

from __future__ import annotations

import contextlib
import importlib
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import engine_data
import numpy as np
import pandas as pd
import psutil
import pytest

from recbole_universal import Recommender, recommend, recommend_on_ray
from recbole_universal.app import cli

pytest.importorskip("pyarrow")
pytestmark = pytest.mark.slow
# A part a user, so that there is time to kill a worker in the middle.
SETTINGS = {"top_k": 4, "part_users": 1, "show_progress": False}


@pytest.fixture(scope="module")
def shop(tmp_path_factory) -> Path:
    try:
        importlib.import_module("ray")
    except ImportError as error:
        pytest.skip(f"Ray cannot be imported: {error}")
    folder = tmp_path_factory.mktemp("ray") / "shop"
    engine_data.saved(folder)
    return folder


@pytest.fixture(autouse=True)
def eager_workers(monkeypatch):
    """Workers that do not wait for everything else on a busy machine, as those of Ray do."""
    monkeypatch.setenv("RAY_worker_niceness", "0")


@pytest.fixture(scope="module")
def expected(shop) -> pd.DataFrame:
    return recommend(shop, top_k=4, show_progress=False)


def processes(of: psutil.Process, name: str) -> list[psutil.Process]:
    """Processes below another one whose words contain a name."""
    found = []
    for process in of.children(recursive=True):
        try:
            if name in " ".join(process.cmdline()):
                found.append(process)
        except psutil.Error:  # it has ended
            continue
    return found


def wait_for(condition, seconds=600):
    """The first true value of a function."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, "it takes too long"
        time.sleep(0.01)
    return value


def has_ended(process: psutil.Process) -> bool:
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


@contextlib.contextmanager
def running(shop, output, workers) -> Iterator[subprocess.Popen]:
    """A process that writes all parts."""
    call = f"recommend_on_ray({str(shop)!r}, {str(output)!r}, workers={workers}, **{SETTINGS!r})"
    code = f"from recbole_universal import recommend_on_ray\n{call}"
    process = subprocess.Popen([sys.executable, "-W", "ignore", "-c", code])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def files(output) -> list[Path]:
    return sorted(Path(output).glob("part-*.parquet"))


def test_a_killed_worker_loses_nothing(shop, expected, tmp_path):
    with running(shop, tmp_path / "out", 2) as process:
        wait_for(lambda: len(files(tmp_path / "out")) > 2)
        workers = processes(psutil.Process(process.pid), "ray::PartWriter")
        assert 1 <= len(workers) <= 2
        workers[0].kill()
        assert len(files(tmp_path / "out")) < engine_data.N_USERS, "the worker was killed too late"
        with pytest.raises(OSError):  # no dashboard
            socket.create_connection(("127.0.0.1", 8265), timeout=5).close()
        assert process.wait(900) == 0
    assert len(files(tmp_path / "out")) == engine_data.N_USERS
    pd.testing.assert_frame_equal(engine_data.joined(files(tmp_path / "out")), expected, rtol=1e-5)


def test_a_killed_caller_goes_on(shop, expected, tmp_path):
    with running(shop, tmp_path / "out", 1) as process:
        wait_for(lambda: len(files(tmp_path / "out")) > 2)
        children = psutil.Process(process.pid).children(recursive=True)
        process.kill()
        process.wait()
    wait_for(lambda: all(map(has_ended, children)))
    done = {file: file.stat().st_mtime_ns for file in files(tmp_path / "out")}
    assert 2 < len(done) < engine_data.N_USERS
    with pytest.warns(UserWarning, match=f"{len(done)} of 53 users have lists in"):
        found = recommend_on_ray(shop, tmp_path / "out", workers=1, **SETTINGS)
    assert {file: file.stat().st_mtime_ns for file in done} == done
    pd.testing.assert_frame_equal(engine_data.joined(found), expected, rtol=1e-5)


def test_a_ray_that_runs_is_used_and_stays(shop, expected, tmp_path):
    import ray

    before = signal.getsignal(signal.SIGTERM)
    assert not ray.is_initialized()
    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    try:
        found = recommend_on_ray(shop, tmp_path / "out", **{**SETTINGS, "part_users": 30})
        pd.testing.assert_frame_equal(engine_data.joined(found), expected, rtol=1e-5)
        with pytest.raises(ValueError, match=r"workers \(--workers\): Ray has 1 cores, which is fewer than 2"):
            recommend_on_ray(shop, tmp_path / "two", workers=2, **SETTINGS)
        with pytest.raises(ValueError, match=r"address \(--address\): this process is connected to Ray already"):
            recommend_on_ray(shop, tmp_path / "two", address="auto", **SETTINGS)
        assert ray.is_initialized()
    finally:
        ray.shutdown()
        signal.signal(signal.SIGTERM, before)


def test_errors_of_workers_come_back(shop, tmp_path, monkeypatch):
    monkeypatch.setattr("recbole_universal.app.recommend_on_ray.recommender_digest", lambda folder: "another")
    with pytest.raises(ValueError, match=r"has been saved again since the run began"):
        recommend_on_ray(shop, tmp_path / "out", workers=1, **SETTINGS)
    import ray

    assert not ray.is_initialized() and not files(tmp_path / "out")


def test_fit_gives_the_same_recommender(tmp_path, capsys):
    rows = [(f"u{user}", f"i{(7 * user + step) % 40}") for user in range(90) for step in range(5)]
    pd.DataFrame(rows, columns=["user", "item"]).to_csv(tmp_path / "orders.csv", index=False)
    words = ["fit", str(tmp_path / "orders.csv"), "--model", "universal-base", "--quiet", "--output"]
    assert cli.main([*words, str(tmp_path / "one")]) == 0
    assert cli.main([*words, str(tmp_path / "ray"), "--engine", "ray", "--workers", "1"]) == 0
    one, other = (Recommender.load(tmp_path / name).ranker.arrays() for name in ("one", "ray"))
    assert list(one) == list(other)
    for name, values in one.items():
        assert values.dtype == other[name].dtype and np.array_equal(values, other[name], equal_nan=True), name
    assert cli.main([*words, str(tmp_path / "two"), "--workers", "2"]) == 1
    assert "--workers: belongs to --engine ray, which is not given." in capsys.readouterr().err
