"""Fixtures of all tests: a clean command line, one folder per test, small datasets."""

from __future__ import annotations

import contextlib
import logging
import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

if "PYTEST_XDIST_WORKER" in os.environ:  # threads of several processes would wait for each other
    os.environ.setdefault("OMP_NUM_THREADS", "1")
# MKL adds numbers in another order on each kind of processor, and node2vec amplifies the difference. With this setting
# the golden values hold on every processor with AVX2.
os.environ.setdefault("MKL_CBWR", "AVX2")

import recbole_universal  # noqa: F401  patches RecBole, so it comes before any import of it
from recbole_universal.ranking.pretraining import Pretrainer

# No deadline, since the machine may be busy.
settings.register_profile("laws", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("laws")

# Small and fast settings for tests that need features of any quality.
SMALL_FEATURES = {
    "activity": {"n_bins": 4},
    "cooccurrence": {"n_bins": 4, "n_clusters": 6},
    "interaction": {"n_bins": 4, "n_clusters": 6},
    "node2vec": {"embedding_dim": 8, "walk_length": 6, "context_size": 3, "walks_per_node": 2},
}


@pytest.fixture(autouse=True)
def clean_run(tmp_path, monkeypatch):
    """RecBole takes ``--key=value`` from any process's command line and writes into the current folder.

    It also sets the level of the root logger, which would suppress the warnings of later tests.
    """
    level = logging.getLogger().level
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", ["pytest"])
    yield
    root = logging.getLogger()
    root.setLevel(level)
    for handler in root.handlers[:]:
        if isinstance(handler, logging.FileHandler):
            handler.close()
            root.removeHandler(handler)


@pytest.fixture
def small_config() -> dict:
    """Config keys of a run on a tiny dataset that takes a second."""
    return {
        "epochs": 2,
        "train_stage": "in_domain",
        "universal_features": ["activity", "cooccurrence", "interaction"],
        "show_progress": False,
        "universal_feature_args": SMALL_FEATURES,
        "gpu_id": "",
        "state": "ERROR",
    }


def meet_in_a_file(folder: Path) -> str:
    """Python code after which RecBole's processes meet by a file, since a free port may be taken in the meantime."""
    return (
        "import torch.distributed\n"
        "_init = torch.distributed.init_process_group\n"
        f"_place = {{'init_method': {(folder / 'meeting').as_uri()!r}}}\n"
        "torch.distributed.init_process_group = lambda **settings: _init(**{**settings, **_place})\n"
    )


def write_atomic(folder: Path, name: str, rows: list[tuple], fields: str = "user_id:token\titem_id:token") -> str:
    """Write an atomic file ``folder/name/name.inter``; return the ``data_path`` to give to RecBole."""
    (folder / name).mkdir(parents=True, exist_ok=True)
    lines = ["\t".join(map(str, row)) for row in rows]
    (folder / name / f"{name}.inter").write_text("\n".join([fields, *lines]) + "\n", encoding="utf-8")
    return str(folder)


def write_planted(folder: Path, name: str, seed: int, n_users: int = 60, n_items: int = 30) -> None:
    """A dataset on which only a personal recommender is good, since all items are about equally popular.

    Users have one of three tastes, and take 8 of the 10 items of their taste and 2 others.
    """
    rng = np.random.default_rng(seed)
    rows = []
    for user in range(n_users):
        same = np.arange(user % 3, n_items, 3)
        other = np.setdiff1d(np.arange(n_items), same)
        items = [*rng.choice(same, 8, replace=False), *rng.choice(other, 2, replace=False)]
        rows += [(f"u{user}", f"i{item}") for item in rng.permutation(items)]
    write_atomic(folder, name, rows)


@pytest.fixture
def tiny(tmp_path) -> dict:
    """Config keys of a dataset of 40 users and 30 items, ratings and timestamps, 12 interactions per user."""
    rng = np.random.default_rng(7)
    popularity = 1 / np.arange(1, 31)
    rows = []
    for user in range(40):
        items = rng.choice(30, size=12, replace=False, p=popularity / popularity.sum())
        rows += [(f"u{user}", f"i{item}", rng.integers(1, 6), time) for time, item in enumerate(items)]
    fields = "user_id:token\titem_id:token\trating:float\ttimestamp:float"
    path = write_atomic(tmp_path / "data", "tiny", rows, fields)
    return {"data_path": path, "load_col": {"inter": ["user_id", "item_id", "rating", "timestamp"]}}


@contextlib.contextmanager
def killed_after_epoch(epoch: int):
    """A pre-training in the ``with`` block ends as by Ctrl-C, right after it has saved the state of an epoch."""
    save = Pretrainer._save

    def killed(self, state, optimizer):
        save(self, state, optimizer)
        if state["epoch"] == epoch:
            raise KeyboardInterrupt

    with pytest.MonkeyPatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Pretrainer, "_save", killed)
        yield
