"""Processes that are killed at random moments: their files are complete, and no temporary file remains.

All take some minutes::

    python -m pytest -m slow tests/fuzz/test_kills.py            # as often as the constants say
    KILLS=0.2 python -m pytest -m slow tests/fuzz/test_kills.py  # a fifth of that

``KILLS_SEED`` sets the seed of the moments. The state of a process at a moment depends on the machine.
"""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import resource
import shutil
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from conftest import write_atomic

from recbole_universal import Recommender, files
from recbole_universal.array_store import array_digest
from recbole_universal.features import FeaturePipeline

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(files._NAMELESS is None, reason="elsewhere a killed process leaves its temporary file"),
]

SHARE = float(os.environ.get("KILLS", "1"))
SEED = int(os.environ.get("KILLS_SEED", "15"))
N_PRETRAININGS, N_FINETUNINGS, N_RECOMMENDATIONS, N_CACHE_ROUNDS, N_SAVES = (
    max(1, round(SHARE * number)) for number in (20, 10, 80, 30, 40)
)
SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGKILL)
RUN = {"show_progress": False, "gpu_id": "", "state": "ERROR"}


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(SEED)


@pytest.fixture(scope="module")
def context():
    """Starts processes that have imported the package already, from one that has computed nothing."""
    found = multiprocessing.get_context("forkserver")
    found.set_forkserver_preload(["recbole_universal.app.pretrain", "recbole_universal.app.recommend", "conftest"])
    return found


@pytest.fixture
def keys(tmp_path) -> dict:
    """Config keys of two sources and a target, of 60 users each."""
    rng = np.random.default_rng(0)
    for name in ("red", "green", "target"):
        weight = 1 / np.arange(3, 33)
        rows = [
            (f"u{user}", f"i{item}")
            for user in range(60)
            for item in rng.choice(30, 10, replace=False, p=weight / weight.sum())
        ]
        write_atomic(tmp_path / "data", name, rows)
    return {**RUN, "data_path": str(tmp_path / "data"), "query_users": 40, "list_batch_size": 8}


def in_folder(folder: str, what, *arguments) -> None:
    """The work of a process, in a separate folder."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    os.chdir(folder)
    sys.argv = ["test"]
    what(*arguments)


def pretrain(keys: dict) -> None:
    import recbole_universal

    recbole_universal.pretrain(config_dict=keys)


def finetune(keys: dict) -> None:
    from recbole.quick_start import run_recbole

    run_recbole("UniversalMLP", "target", config_dict=keys)


def recommend(arguments: list[str]) -> None:
    from recbole_universal.app.cli import main

    sys.exit(main(["recommend", *arguments]))


def save_on_and_on(sources: list[str], folder: str) -> None:
    from recbole_universal import Recommender

    made = [Recommender.load(source) for source in sources]
    while True:
        for each in made:
            each.save(folder)


def features(folder: str) -> dict[str, np.ndarray]:
    matrix = sp.random(60, 40, 0.2, "csr", dtype=np.float32, random_state=0)
    found = FeaturePipeline(["activity", "cooccurrence", "proximity"], seed=0, cache_dir=folder)(matrix)
    return {name: found[name].user for name in ("activity", "cooccurrence")}


def timed(context, *arguments) -> float:
    """Seconds of a process that ends well."""
    start = time.perf_counter()
    process = context.Process(target=in_folder, args=arguments)
    process.start()
    process.join()
    assert process.exitcode == 0
    return time.perf_counter() - start


def weights_of(folder: Path) -> str:
    (file,) = folder.glob("model-*.safetensors")
    return hashlib.sha256(file.read_bytes()).hexdigest()


def names_in(folder: Path) -> list[str]:
    return sorted(path.name.split("-")[0] for path in folder.rglob("*") if path.is_file())


def test_pretrainings(context, keys, tmp_path, rng):
    keys |= {"universal_features": ["proximity"], "pretrain_sources": ["red", "green"], "epochs": 12}
    keys |= {"pretrain_dir": "model", "pretrain_lists": "lists", "mlp_hidden_size": [16], "n_networks": 2}
    whole = tmp_path / "whole"
    whole.mkdir()
    took = timed(context, str(whole), pretrain, keys)
    expected, n_kills = weights_of(whole / "model" / "model"), 0
    for k in range(N_PRETRAININGS):
        folder = tmp_path / str(k)
        folder.mkdir()
        for _ in range(3):
            process = context.Process(target=in_folder, args=(str(folder), pretrain, keys))
            process.start()
            process.join(rng.uniform(0, took))
            n_kills += process.exitcode is None
            process.kill()
            process.join()
        timed(context, str(folder), pretrain, keys)
        assert weights_of(folder / "model" / "model") == expected, k
        assert names_in(folder / "model") == names_in(whole / "model")
        assert names_in(folder / "lists") == ["green", "red"]
        shutil.rmtree(folder)
    assert n_kills > 0
    print(f"{N_PRETRAININGS} pre-trainings, {n_kills} kills: the same weights, nothing left")


def test_finetunings(context, keys, tmp_path, rng):
    keys |= {"train_stage": "finetune", "epochs": 10, "learning_rate": 0.0003}
    whole = tmp_path / "whole"
    whole.mkdir()
    took = timed(context, str(whole), finetune, keys)
    (model,) = (whole / "saved").glob("UniversalMLP-*/")
    expected, n_kills = weights_of(model), 0
    for k in range(N_FINETUNINGS):
        folder = tmp_path / str(k)
        folder.mkdir()
        process = context.Process(target=in_folder, args=(str(folder), finetune, keys))
        process.start()
        process.join(rng.uniform(0, took))
        n_kills += process.exitcode is None
        process.kill()
        process.join()
        before = set((folder / "saved").glob("UniversalMLP-*/")) if (folder / "saved").is_dir() else set()
        timed(context, str(folder), finetune, keys)
        (model,) = set((folder / "saved").glob("UniversalMLP-*/")) - before
        assert weights_of(model) == expected, k
        assert not list(folder.rglob("*.tmp")) and not list(folder.rglob(".*")), k
        shutil.rmtree(folder)
    assert n_kills > 0
    print(f"{N_FINETUNINGS} fine-tunings, {n_kills} kills: the same weights, nothing left")


def test_recommendations(context, tmp_path, rng):
    rows = [f"u{user},i{item}" for user in range(400) for item in rng.choice(60, 12, replace=False)]
    (tmp_path / "in.csv").write_text("\n".join(["user,item", *rows]) + "\n")
    folder = tmp_path / "out"
    folder.mkdir()
    arguments = [str(tmp_path / "in.csv"), "--output", "out.csv", "--quiet", "--device", "cpu", "--top-k", "40"]
    took = timed(context, str(folder), recommend, arguments)
    new = (folder / "out.csv").read_bytes()
    ends: Counter = Counter()
    for k in range(N_RECOMMENDATIONS):
        (folder / "out.csv").write_bytes(b"old")
        number = SIGNALS[k % len(SIGNALS)]
        process = context.Process(target=in_folder, args=(str(folder), recommend, arguments))
        process.start()
        process.join(rng.uniform(0, took))
        if process.exitcode is None:
            os.kill(process.pid, number)
        process.join()
        ended = process.exitcode == 0
        assert process.exitcode in (0, -number, 128 + number), (k, process.exitcode)
        assert (folder / "out.csv").read_bytes() == (new if ended else b"old") or process.exitcode == 128 + number
        assert (folder / "out.csv").read_bytes() in (b"old", new)
        assert os.listdir(folder) == ["out.csv"], k
        ends[number.name if not ended else "came to its end"] += 1
    assert set(ends) & {number.name for number in SIGNALS}
    print(f"{N_RECOMMENDATIONS} runs of recommend, {dict(ends)}: the old file or the new one, nothing beside it")


def test_cache(context, tmp_path, rng):
    expected = array_digest(features(str(tmp_path / "expected")))
    names = sorted(os.listdir(tmp_path / "expected"))
    folder, n_kills = tmp_path / "cache", 0
    took = timed(context, str(tmp_path), features, str(tmp_path / "timed"))
    for k in range(N_CACHE_ROUNDS):
        arguments = (str(tmp_path), features, str(folder))
        pair = [context.Process(target=in_folder, args=arguments) for _ in range(2)]
        for process in pair:
            process.start()
        for process in pair:
            process.join(rng.uniform(0, took / 2))
            n_kills += process.exitcode is None
            process.kill()
            process.join()
        left = os.listdir(folder) if folder.is_dir() else []
        assert set(left) <= set(names), k
        assert array_digest(features(str(folder))) == expected, k
        assert sorted(os.listdir(folder)) == names, k
        shutil.rmtree(folder)
    assert n_kills > 0
    print(f"{N_CACHE_ROUNDS} rounds of two processes, {n_kills} kills: the right features, nothing left")


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_saved_recommenders(context, tmp_path, rng):
    """A folder that is read while it is saved, and after a kill, holds one of the two recommenders, or none yet."""
    sources, expected = [], []
    for name in ("one", "other"):
        rows = [(f"u{user}", f"i{item}") for user in range(60) for item in rng.choice(30, 8, replace=False)]
        made = Recommender.fit(pd.DataFrame(rows, columns=["user", "item"]), show_progress=False)
        made.save(tmp_path / name)
        sources.append(str(tmp_path / name))
        expected.append(made.recommend(k=5))
    found: Counter = Counter()

    def read(folder: Path) -> None:
        try:
            lists = Recommender.load(folder).recommend(k=5)
        except FileNotFoundError as error:
            assert "holds no recommender" in str(error)
            found["none"] += 1
            return
        (index,) = [index for index, one in enumerate(expected) if lists.equals(one)]
        found[index] += 1

    for k in range(N_SAVES):
        folder = tmp_path / f"saved {k // 4}"
        folder.mkdir(exist_ok=True)
        process = context.Process(target=in_folder, args=(str(tmp_path), save_on_and_on, sources, str(folder)))
        process.start()
        for _ in range(3):
            process.join(rng.uniform(0, 0.5))
            read(folder)
        assert process.exitcode is None
        process.kill()
        process.join()
        read(folder)
        made.save(folder)
        read(folder)
        assert len(list(folder.iterdir())) == 2
    assert found[0] and found[1] and found["none"]
    print(f"{N_SAVES} kills: {dict(found)}")
