"""Models that RecBole trains for the next item: sequential ones, the fine-tuned universal model, and their mixture.

Each learning rate is trained with early stopping on the validation part. The best one there is tested.
"""

from __future__ import annotations

import tempfile
import time

import numpy as np
import torch
from harness import FIVE_CORE, IN_TIME_ORDER
from ordered_split import OrderedSplit
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.data.interaction import Interaction
from recbole.utils import get_model, get_trainer, init_seed

from recbole_universal.graph.histories import Histories

_SASREC = {"loss_type": "CE", "train_neg_sample_args": None, "train_batch_size": 512, "epochs": 60, "stopping_step": 4}
_UNIVERSAL = {"universal_cache_dir": None}
#: Rows that RecBole trains: the model and its config keys.
TRAINED_ORDERED: dict[str, tuple[str, dict]] = {
    "SASRec": ("SASRec", _SASREC),
    "GRU4Rec": ("GRU4Rec", _SASREC),
    "fine-tuned": ("UniversalSequential", {"train_stage": "finetune", **_UNIVERSAL}),
    "SASRec + sequential": ("UniversalInterpolation", {"base_model": "SASRec", **_SASREC, **_UNIVERSAL}),
}


def trained_ordered_ranks(
    split: OrderedSplit, row: str, data_path: str, pretrained: str, rates: list[float]
) -> tuple[np.ndarray, dict]:
    """Test ranks of a trained row, and how they came about.

    Args:
        split: a leave-one-out split, whose users RecBole trains on in the same split.
        row: of :data:`TRAINED_ORDERED`.
        data_path: RecBole's ``data_path``.
        pretrained: the pre-trained model of rows that read one.
        rates: learning rates to try.
    """
    name, keys = TRAINED_ORDERED[row]
    start, best = time.perf_counter(), -1.0
    for rate in rates:
        with tempfile.TemporaryDirectory() as folder:
            settings = {
                **{"data_path": data_path, "checkpoint_dir": folder, "learning_rate": rate, "valid_metric": "NDCG@10"},
                **{"metrics": ["NDCG"], "topk": [10], "show_progress": False, "state": "ERROR", "seed": 2020},
                **FIVE_CORE,
                **IN_TIME_ORDER,
                **keys,
                **({} if name in ("SASRec", "GRU4Rec") else {"pretrained": pretrained}),
            }
            config = Config(name, split.name, config_dict=settings)
            init_seed(config["seed"], config["reproducibility"])
            train, valid, _ = data_preparation(config, create_dataset(config))
            model = get_model(name)(config, train.dataset).to(config["device"])
            trainer = get_trainer(config["MODEL_TYPE"], name)(config, model)
            score, _ = trainer.fit(train, valid, verbose=False, saved=True, show_progress=False)
            if score > best:
                best, chosen = float(score), rate
                checkpoint = torch.load(trainer.saved_model_file, map_location="cpu", weights_only=False)
                model.load_state_dict(checkpoint["state_dict"])
                model.load_other_parameter(checkpoint.get("other_parameter"))
                kept = model.eval(), config
    ranks = split.evaluate(lambda queries: _scores(*kept, queries), "test")
    return ranks, {"hyperparameters": {"learning_rate": chosen}, "seconds": time.perf_counter() - start}


@torch.no_grad()
def _scores(model, config: Config, queries: Histories) -> np.ndarray:
    """Scores of all items by a sequential model of RecBole, float32 [n, n_items]."""
    longest = config["MAX_ITEM_LIST_LENGTH"]
    latest = queries.latest(longest)
    lists = np.zeros((len(queries), longest), dtype=np.int64)
    lists[latest.rows, np.arange(len(latest.items)) - latest.indptr[latest.rows]] = latest.items
    columns = {
        config["ITEM_ID_FIELD"] + config["LIST_SUFFIX"]: lists,
        config["ITEM_LIST_LENGTH_FIELD"]: latest.lengths,
        config["USER_ID_FIELD"]: queries.users,
        config["TIME_FIELD"]: queries.now.astype(np.float32),
    }
    batch = Interaction({name: torch.from_numpy(values) for name, values in columns.items()})
    parts = [model.full_sort_predict(batch[start : start + 256]) for start in range(0, len(queries), 256)]
    return torch.cat([part.reshape(-1) for part in parts]).view(len(queries), -1).numpy()
