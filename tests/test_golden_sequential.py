"""The recommendations of universal-sequential on ml-100k, and its figure under leave-one-out.

``golden/ml-100k-sequential.npz`` holds the top-10 lists of all users. After an intended change of the lists, make it
anew with ``python tests/test_golden_sequential.py``, and add the change to the change log.
"""

from __future__ import annotations

import sys
from pathlib import Path

import dense_reference as dense
import numpy as np
import pytest

import recbole_universal  # noqa: F401  before any import of RecBole

#: NDCG@10 of the validation items.
EXPECTED = 0.1507
FILE = Path(__file__).parent / "golden" / "ml-100k-sequential.npz"


def made() -> tuple[np.ndarray, float, float]:
    """Item ids of the lists, int64 [n_users, 10], NDCG@10 of the validation items in them, and RecBole's NDCG@10."""
    from recbole.config import Config
    from recbole.data import create_dataset, data_preparation
    from recbole.utils import get_model, get_trainer, init_seed

    from recbole_universal import UniversalRanker

    settings = {"show_progress": False, "state": "ERROR", "gpu_id": "", "universal_cache_dir": None}
    config = Config("UniversalSequential", "ml-100k", config_dict=settings)
    init_seed(config["seed"], config["reproducibility"])
    dataset = create_dataset(config)
    train, valid, _ = data_preparation(config, dataset)
    model = get_model(config["model"])(config, train.dataset)
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    trainer.eval_collector.data_collect(train)
    by_recbole = trainer.evaluate(valid, load_best_model=False)["ndcg@10"]
    histories = model._histories._training
    matrix = histories.matrix(dataset.item_num)
    ranker = UniversalRanker(matrix, "universal-sequential", histories=histories, seed=config["seed"])
    feat = valid.dataset.inter_feat
    target = dict(zip(feat["user_id"].tolist(), feat["item_id"].tolist(), strict=True))
    asked = dict(zip(feat["user_id"].tolist(), feat["timestamp"].double().tolist(), strict=True))
    users = np.arange(1, dataset.user_num)
    queries = histories[users]
    queries.now = np.array([asked[user] for user in users.tolist()])
    lists = ranker.top_k_of(queries, 10)[0]
    gains = [dense.ndcg(items == target[user], 1) for user, items in zip(users.tolist(), lists, strict=True)]
    tokens = np.array([0, *map(int, dataset.field2id_token["item_id"][1:])])
    return tokens[lists], float(np.mean(gains)), float(by_recbole)


@pytest.fixture(scope="module")
def movies(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("golden"))
        patch.setattr("sys.argv", ["pytest"])  # RecBole reads its keys from there
        yield made()


def test_lists(movies):
    """Two items whose scores differ in the last digits may swap if sums are taken in another order."""
    lists, *_ = movies
    with np.load(FILE) as file:
        stored = file["lists"]
    assert lists.shape == stored.shape == (943, 10)
    shared = np.mean([len(set(one) & set(other)) / 10 for one, other in zip(lists, stored, strict=True)])
    assert shared >= 0.99


def test_ndcg_of_the_validation_items(movies):
    """By the lists of the ranker, and by RecBole from its batches, whose histories are cut and completed."""
    _, of_lists, by_recbole = movies
    assert of_lists == pytest.approx(EXPECTED, abs=2e-3)
    assert by_recbole == pytest.approx(of_lists, abs=2e-3)


if __name__ == "__main__":
    sys.argv = sys.argv[:1]
    lists, *figures = made()
    np.savez_compressed(FILE, lists=lists.astype(np.uint16))
    print(FILE, figures)
