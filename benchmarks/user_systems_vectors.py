"""Models, user vectors and profiles for benchmarks/user_systems.py."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import recbole
import scipy.sparse as sp
import torch
from content_systems_data import Small
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.utils import get_model, get_trainer, init_seed
from sklearn.decomposition import TruncatedSVD

Histories = tuple[torch.Tensor, torch.Tensor]


def loaded(dataset: str, keys: dict[str, Any], model: str = "UniversalSASRec") -> tuple[Any, Any, list[Any]]:
    """A config, a model, and the loaders of the three parts."""
    config = Config(model, dataset, config_dict=dict(keys))
    init_seed(config["seed"], True)
    parts = list(data_preparation(config, create_dataset(config)))
    init_seed(config["seed"], True)
    return config, get_model(model)(config, parts[0]._dataset).to(config["device"]), parts


def trained(dataset: str, keys: dict[str, Any], model: str = "UniversalSASRec") -> tuple[Any, Any, dict[str, float]]:
    """A model with the weights of its best epoch, its dataset and its metrics on the test part."""
    config, network, (train, valid, test) = loaded(dataset, keys, model)
    trainer = get_trainer(config["MODEL_TYPE"], model)(config, network)
    trainer.fit(train, valid, verbose=False, saved=True, show_progress=False)
    metrics = trainer.evaluate(test, load_best_model=True, show_progress=False)
    return network.eval(), train._dataset, {name: float(value) for name, value in metrics.items()}


def histories_of(small: Small, dataset: Any, longest: int) -> Histories:
    """The last items of all users by RecBole's ids, with their number."""
    lists = [dataset.token2id("item_id", items[-longest:]) for items in small.histories.values()]
    items = torch.zeros((len(lists), longest), dtype=torch.int64)
    for row, one in enumerate(lists):
        items[row, : len(one)] = torch.from_numpy(np.asarray(one))
    return items, torch.tensor([len(one) for one in lists])


@torch.no_grad()
def vectors_of(model: Any, histories: Histories, pooling: str = "last") -> np.ndarray:
    """User vectors, float32 [n_users, dim]: after the last item, or the mean over the items."""
    model.eval()
    function = model.mean_vectors if pooling == "mean" else model
    return torch.cat([function(*block) for block in zip(*(one.split(256) for one in histories), strict=True)]).numpy()


def profiles(data: Path, users: list[str]) -> dict[str, np.ndarray]:
    """Gender, age group and occupation of some users of ml-100k."""
    folders = (data, Path(recbole.__file__).parent / "dataset_example")
    file = next(each / "ml-100k" / "ml-100k.user" for each in folders if (each / "ml-100k").is_dir())
    frame = pd.read_csv(file, sep="\t", dtype=str).set_index("user_id:token").loc[users]
    age = pd.cut(frame["age:token"].astype(int), [0, 24, 34, 44, 120], labels=["-24", "25-34", "35-44", "45-"])
    return {"gender": frame["gender:token"].to_numpy(), "age": age.astype(str).to_numpy()} | {
        "occupation": frame["occupation:token"].to_numpy()
    }


def item_svd(small: Small, size: int) -> np.ndarray:
    """Truncated SVD of users by items."""
    items = pd.factorize(np.concatenate(list(small.histories.values())))[0]
    rows = np.repeat(np.arange(len(small.histories)), [len(one) for one in small.histories.values()])
    matrix = sp.csr_matrix((np.ones(len(rows), dtype=np.float32), (rows, items)))
    return TruncatedSVD(size, random_state=0).fit_transform(matrix)


def content_means(model: Any, histories: Histories) -> np.ndarray:
    """Mean of the content vectors of a user's items, without any training."""
    (vectors,) = model.item_embedding._catalogue.vectors.values()
    return (vectors[histories[0]].sum(dim=1) / histories[1][:, None]).numpy()
