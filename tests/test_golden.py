"""The recommendations of the shipped models on ml-100k, which RecBole ships, and the figure of the README.

``golden/ml-100k.npz`` holds the top-10 lists of all users. After an intended change of the lists, make it anew
with ``python tests/test_golden.py``, and add the change to the change log.
"""

from __future__ import annotations

import hashlib
import json
import platform
import sys
from dataclasses import dataclass
from pathlib import Path

import dense_reference as dense
import numpy as np
import pytest
import torch

import recbole_universal  # noqa: F401  before any import of RecBole

FILE = Path(__file__).parent / "golden" / "ml-100k.npz"
MODELS = ("universal-base", "universal-paper")


def versions() -> dict[str, str]:
    """The libraries and the machine on which the last digits may depend."""
    import scipy
    import sklearn

    libraries = (torch, np, scipy, sklearn)
    return {"machine": platform.machine()} | {library.__name__: str(library.__version__) for library in libraries}


@dataclass
class Movies:
    """ml-100k as RecBole splits it by default.

    Attributes:
        matrix: the training part.
        tokens: item ids of the file by RecBole's internal id, int [n_items].
        users: RecBole's internal ids of the users.
        seen: items of the validation part by user, which RecBole does not recommend for the test part either.
        held_out: items of the test part by user.
        zero_shot: RecBole's result of the model of that name on the test part.
        rankers: a ranker of each model on the training part.
        ranked: the best items of each model by RecBole's internal id, more than ten, since seen items are left out.
    """

    matrix: object
    tokens: np.ndarray
    users: np.ndarray
    seen: dict[int, set[int]]
    held_out: dict[int, set[int]]
    zero_shot: dict[str, float]
    rankers: dict
    ranked: dict[str, np.ndarray]

    def lists(self, name: str) -> np.ndarray:
        """Item ids of the top-10 lists, int64 [n_users, 10]; items of one score, which universal-paper has, by id."""
        if name == "universal-base":
            return self.tokens[self.ranked[name][:, :10]]
        scores = self.rankers[name].network.score_all(torch.from_numpy(self.users)).detach().numpy()
        scores[self.matrix[self.users].nonzero()] = -np.inf
        scores[:, 0] = -np.inf
        order = np.lexsort((np.broadcast_to(self.tokens, scores.shape), -np.round(scores, 4)), axis=1)
        return self.tokens[order[:, :10]]


def made(cache: str) -> Movies:
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.utils import get_model, get_trainer, init_seed

    from recbole_universal import UniversalRanker
    from recbole_universal.plugin.dataset import training_matrix

    settings = {"show_progress": False, "state": "ERROR", "gpu_id": "", "universal_cache_dir": cache}
    config = Config("UniversalMLP", "ml-100k", config_dict=settings)
    init_seed(config["seed"], config["reproducibility"])
    dataset = create_dataset(config)
    train, valid, test = data_preparation(config, dataset)
    model = get_model(config["model"])(config, train._dataset)
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    trainer.eval_collector.data_collect(train)
    zero_shot = dict(trainer.evaluate(test, load_best_model=False))
    matrix = training_matrix(train._dataset)
    items = {}
    for name, loader in (("valid", valid), ("test", test)):
        inter, items[name] = loader._dataset.inter_feat, {}
        for user, item in zip(inter["user_id"].tolist(), inter["item_id"].tolist(), strict=True):
            items[name].setdefault(user, set()).add(item)
    tokens = np.array([0, *map(int, dataset.field2id_token["item_id"][1:])])
    rankers = {name: UniversalRanker(matrix, name, seed=config["seed"], cache_dir=cache) for name in MODELS}
    users = np.arange(1, matrix.shape[0])
    length = 10 + max(map(len, items["valid"].values()))
    ranked = {name: ranker.top_k(users, length)[0] for name, ranker in rankers.items()}
    return Movies(matrix, tokens, users, items["valid"], items["test"], zero_shot, rankers, ranked)


@pytest.fixture(scope="module")
def movies(tmp_path_factory):
    folder = tmp_path_factory.mktemp("golden")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setattr("sys.argv", ["pytest"])  # RecBole reads its keys from there
        yield made(str(folder / "cache"))


def digest(lists: np.ndarray) -> str:
    return hashlib.sha256(np.ascontiguousarray(lists, dtype="<u2").tobytes()).hexdigest()


@pytest.mark.parametrize("name", MODELS)
def test_lists(movies, name):
    """Lists are equal with the libraries and the kind of processor of the file, and nearly equal with others.

    Two items whose scores differ in the sixth digit may swap if sums are taken in another order. ``conftest.py`` sets
    the instruction set of MKL to AVX2, and the file was made with it (``MKL_CBWR=AVX2``). With AVX-512 the same items
    are in the lists, and 2 of 9,430 are in other places. The features of universal-paper are clusters of an embedding:
    one node in another cluster changes many lists a little.
    """
    with np.load(FILE) as file:
        stored, of = file[name], json.loads(str(file["versions"]))
    lists = movies.lists(name)
    assert lists.shape == stored.shape == (943, 10)
    shared = np.mean([len(set(one) & set(other)) / 10 for one, other in zip(lists, stored, strict=True)])
    assert shared >= {"universal-base": 0.999, "universal-paper": 0.95}[name]
    if name == "universal-base":
        assert (lists == stored).mean() >= 0.999
        if versions() == of:
            assert digest(lists) == digest(stored)


@pytest.mark.parametrize(
    ("name", "expected", "tolerance"), [("universal-base", 0.3424, 5e-4), ("universal-paper", 0.1356, 3e-3)]
)
def test_ndcg_of_the_test_part(movies, name, expected, tolerance):
    """The README's .3424, by RecBole and counted from the lists of the ranker."""
    gains = []
    for user, items in zip(movies.users.tolist(), movies.ranked[name].tolist(), strict=True):
        if user in movies.held_out:
            left = [item for item in items if item not in movies.seen.get(user, ())][:10]
            gains.append(dense.ndcg(np.isin(left, list(movies.held_out[user])), len(movies.held_out[user])))
    assert np.mean(gains) == pytest.approx(expected, abs=tolerance)
    if name == "universal-base":
        assert movies.zero_shot["ndcg@10"] == pytest.approx(np.mean(gains), abs=1e-4)


def test_the_network_ranks_and_not_popularity(movies):
    for ranker in movies.rankers.values():
        assert not ranker.fallback_reason()
    assert not movies.rankers["universal-base"].fallback_reason(fast=True)


if __name__ == "__main__":
    import tempfile

    sys.argv = sys.argv[:1]
    with tempfile.TemporaryDirectory() as folder:
        whole = made(folder)
    FILE.parent.mkdir(exist_ok=True)
    lists = {name: whole.lists(name).astype(np.uint16) for name in MODELS}
    np.savez_compressed(FILE, versions=np.array(json.dumps(versions())), **lists)
    print(FILE, {name: digest(values) for name, values in lists.items()}, whole.zero_shot)
