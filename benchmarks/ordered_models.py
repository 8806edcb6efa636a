"""Models that RecBole trains for the next item: sequential ones, the fine-tuned universal model, and their mixture.

Each learning rate is trained with early stopping on the validation part. The best one there is tested. The checkpoints
of trained models are kept for their mixtures with the frozen model.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from harness import FIVE_CORE, IN_TIME_ORDER
from ordered_split import OrderedSplit
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.data.interaction import Interaction
from recbole.utils import get_model, get_trainer, init_seed

from recbole_universal.files import atomic_write
from recbole_universal.graph.histories import Histories

_TRAINED = {"train_batch_size": 1024, "epochs": 200, "stopping_step": 10}
_CROSS_ENTROPY = {"loss_type": "CE", "train_neg_sample_args": None, **_TRAINED}
#: Rows that RecBole trains: the model and its config keys.
TRAINED_ORDERED: dict[str, tuple[str, dict]] = {
    "SASRec": ("SASRec", _CROSS_ENTROPY),
    "GRU4Rec": ("GRU4Rec", _CROSS_ENTROPY),
    "BERT4Rec": ("BERT4Rec", _CROSS_ENTROPY),
    "fine-tuned": ("UniversalSequential", {"train_stage": "finetune"}),
}
#: Mixtures of a trained row, whose checkpoint must be in the results, and the frozen model.
MIXED_ORDERED = {f"{name} + sequential": name for name in ("SASRec", "GRU4Rec")}


def trained_ordered_ranks(
    split: OrderedSplit,
    row: str,
    data_path: str,
    pretrained: str,
    rates: list[float],
    checkpoints: Path,
    minutes: float,
) -> tuple[np.ndarray, dict]:
    """Test ranks of a trained row, and how they came about.

    Args:
        split: a leave-one-out split, whose users RecBole trains on in the same split.
        row: of :data:`TRAINED_ORDERED` or :data:`MIXED_ORDERED`.
        data_path: RecBole's ``data_path``.
        pretrained: the pre-trained model of rows that read one.
        rates: learning rates to try.
        checkpoints: folder of the best checkpoint of each trained row.
        minutes: limit of one training. The best epoch until then is kept.
    """
    start, best = time.perf_counter(), -1.0
    keys = {"data_path": data_path, "valid_metric": "NDCG@10", "metrics": ["NDCG"], "topk": [10], "seed": 2020}
    keys |= {"show_progress": False, "state": "ERROR", "universal_cache_dir": None, **FIVE_CORE, **IN_TIME_ORDER}
    file = checkpoints / f"{split.name}-{row}.pth"
    if row in MIXED_ORDERED:
        base = checkpoints / f"{split.name}-{MIXED_ORDERED[row]}.pth"
        keys |= {"base_checkpoint": str(base), "pretrained": pretrained, "train_stage": "zero_shot"}
        name, rates = "UniversalInterpolation", [0.0]
    else:
        name, more = TRAINED_ORDERED[row]
        # Longer lists cost time by their length.
        lengths = split.test.train.lengths
        keys["MAX_ITEM_LIST_LENGTH"] = int(min(50, np.ceil(np.quantile(lengths[lengths > 0], 0.95)) + 1))
        keys |= more | ({"pretrained": pretrained} if name == "UniversalSequential" else {})
    for rate in rates:
        with tempfile.TemporaryDirectory() as folder:
            config = Config(name, split.name, config_dict={**keys, "learning_rate": rate, "checkpoint_dir": folder})
            init_seed(config["seed"], config["reproducibility"])
            train, valid, _ = data_preparation(config, create_dataset(config))
            model = get_model(name)(config, train.dataset).to(config["device"])
            trainer = get_trainer(config["MODEL_TYPE"], name)(config, model)
            try:
                trainer.fit(train, valid, verbose=False, show_progress=False, callback_fn=_limit(minutes))
                stopped = "early stopping"
            except _OutOfTimeError:
                stopped = "time"
            if trainer.best_valid_score > best:
                best, chosen, reason = float(trainer.best_valid_score), rate, stopped
                checkpoint = torch.load(trainer.saved_model_file, map_location="cpu", weights_only=False)
                model.load_state_dict(checkpoint["state_dict"])
                model.load_other_parameter(checkpoint.get("other_parameter"))
                kept = model.eval(), config
                if row in MIXED_ORDERED.values():
                    checkpoints.mkdir(parents=True, exist_ok=True)
                    with atomic_write(file) as stream:
                        torch.save({**checkpoint, "optimizer": None}, stream)
    ranks = split.evaluate(lambda queries: _scores(*kept, queries), "test")
    found = {
        "hyperparameters": {"learning_rate": chosen},
        "valid": best,
        "stopped": reason,
        "device": str(kept[1]["device"]),
    }
    if row in MIXED_ORDERED:
        found["hyperparameters"] = {"interpolation_weight": kept[0].universal_weights.tolist()}
    return ranks, {**found, "seconds": time.perf_counter() - start}


class _OutOfTimeError(Exception):
    """A training has reached its limit."""


def _limit(minutes: float) -> Callable[[int, float], None]:
    """What RecBole calls after each epoch."""
    end = time.monotonic() + 60 * minutes

    def check(epoch: int, score: float) -> None:
        if time.monotonic() > end:
            raise _OutOfTimeError

    return check


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
    batch = Interaction({name: torch.from_numpy(values) for name, values in columns.items()}).to(config["device"])
    parts = [model.full_sort_predict(batch[start : start + 256]) for start in range(0, len(queries), 256)]
    return torch.cat([part.reshape(-1) for part in parts]).view(len(queries), -1).cpu().numpy()
