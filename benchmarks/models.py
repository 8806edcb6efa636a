"""Models that the tables compare with the baselines: frozen pre-trained models, and models that RecBole trains."""

from __future__ import annotations

import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
import torch
from harness import Scores, Split
from recbole.data.interaction import Interaction
from recbole.quick_start import load_data_and_model, run_recbole
from recbole.utils import ModelType

from recbole_universal import UniversalRanker
from recbole_universal.checkpoint import load_pretrained

#: RecBole's models by name. Batches are larger than RecBole's 2048, so that a graph model takes minutes; those of
#: MultiVAE are of users.
TRAINED: dict[str, dict] = {
    "BPR": {"train_batch_size": 8192},
    "NeuMF": {"train_batch_size": 8192},
    "NGCF": {"train_batch_size": 8192},
    "LightGCN": {"train_batch_size": 8192},
    "MultiVAE": {"train_batch_size": 512},
    "SASRec": {"train_neg_sample_args": None, "MAX_ITEM_LIST_LENGTH": 20},
}
#: Validation every second epoch; training stops after 20 epochs without a better one.
STOPPING = {"epochs": 400, "eval_step": 2, "stopping_step": 10}
IN_DOMAIN = {
    "train_stage": "in_domain",
    "universal_features": ["proximity"],
    "learning_rate": 0.003,
    "mlp_hidden_size": [64, 64],
}
FINE_TUNING_RATES = (0.0003, 0.001)


def universal_scores(split: Split, model) -> Scores:
    """Scores of a frozen universal model, a name, a folder or a loaded one."""
    scorer = UniversalRanker(split.train, model, seed=split.keys["seed"]).network

    @torch.no_grad()
    def scores(users: np.ndarray) -> np.ndarray:
        return scorer.score_all(torch.from_numpy(users)).numpy()

    return scores


def zero_shot_result(split: Split, model: str) -> dict:
    """Test metrics of a frozen universal model."""
    start = time.perf_counter()
    pretrained = load_pretrained(model)
    metrics = split.evaluate(universal_scores(split, pretrained), "test")
    return {**metrics, "seconds": time.perf_counter() - start, "sources": len(pretrained.card.get("sources", ()))}


def fast_result(split: Split) -> dict:
    """Test metrics of the ranker's item-item matrix, which needs no network and so no pre-training."""
    start = time.perf_counter()
    ranker = UniversalRanker(split.train, seed=split.keys["seed"])
    relations = ranker.item_item()
    popularity = np.bincount(split.train.indices, minlength=split.train.shape[1]) / split.train.nnz - 1

    def scores(users: np.ndarray) -> np.ndarray:
        sums = (ranker.matrix[users] @ relations).toarray()
        return np.where(sums > 0, sums, popularity)

    return {**split.evaluate(scores, "test"), "seconds": time.perf_counter() - start}


def trained_result(split: Split, name: str, model: str, rates: list[float], checkpoint: Path) -> dict:
    """Test metrics of a model of ``TRAINED``, of "in-domain" or of "fine-tuned" (from the universal ``model``)."""
    if name in TRAINED:
        trials = [{"learning_rate": rate, **STOPPING, **TRAINED[name]} for rate in rates]
        return recbole_result(split, name, trials, checkpoint)
    return recbole_result(split, "UniversalMLP", [IN_DOMAIN] if name == "in-domain" else fine_tuning_trials(model))


def fine_tuning_trials(model: str, **keys) -> list[dict]:
    """Config keys of fine-tuning a universal model, by learning rate."""
    return [
        {"train_stage": "finetune", "pretrained": model, **keys, "learning_rate": rate} for rate in FINE_TUNING_RATES
    ]


def recbole_result(split: Split, model: str, trials: list[dict], checkpoint: Path | None = None) -> dict:
    """Test metrics of a model that RecBole trains.

    Args:
        split: the dataset.
        model: RecBole's name of the model.
        trials: config keys, of which the best by validation NDCG@10 count.
        checkpoint: where the checkpoint of the best trial is moved.
    """
    best_score, seconds = -np.inf, []
    with tempfile.TemporaryDirectory() as folder:
        for k, trial in enumerate(trials):
            start = time.perf_counter()
            trial_folder = Path(folder) / str(k)
            keys = {**split.keys, "checkpoint_dir": str(trial_folder), "valid_metric": "NDCG@10"}
            outcome = run_recbole(model, split.name, config_dict={**keys, "eval_batch_size": 2**19, **trial})
            seconds.append(time.perf_counter() - start)
            if outcome["best_valid_score"] > best_score:
                best_score = outcome["best_valid_score"]
                (file,) = trial_folder.glob("*.pth")
                metrics = split.evaluate(checkpoint_scores(file)["test"], "test")
                shown = {key: value for key, value in trial.items() if key != "pretrained"}  # a path of this machine
                best = {**metrics, "hyperparameters": shown, "seconds": seconds[-1]}
        if checkpoint:  # after all trials, so that each checkpoint has a result
            checkpoint.parent.mkdir(parents=True, exist_ok=True)
            shutil.move(file, checkpoint)
    return {**best, "seconds_search": sum(seconds)}


def checkpoint_scores(file: Path) -> dict[str, Scores]:
    """Scores of a checkpoint of RecBole, by part ("valid", "test")."""
    _, model, _, _, valid, test = load_data_and_model(str(file))
    model.eval()
    if model.type != ModelType.SEQUENTIAL:
        return dict.fromkeys(("valid", "test"), _general_scores(model))
    return {"valid": _sequential_scores(model, valid), "test": _sequential_scores(model, test)}


@torch.no_grad()
def _sequential_scores(model, loader) -> Scores:
    """Scores from the users' interactions before the part of the loader."""
    rows = {}
    for batch, *_ in loader:
        for user, scores in zip(batch[loader.uid_field], model.full_sort_predict(batch).cpu().numpy(), strict=True):
            rows[int(user)] = scores
    return lambda users: np.stack([rows[int(user)] for user in users])


def _general_scores(model) -> Scores:
    """Scores of a model that needs no history; of one that scores pairs alone, the logits of its sigmoids."""

    @torch.no_grad()
    def scores(users: np.ndarray) -> np.ndarray:
        batch = Interaction({model.USER_ID: torch.from_numpy(users)}).to(model.device)
        try:
            return model.full_sort_predict(batch).view(len(users), -1).cpu().numpy()
        except NotImplementedError:
            items = torch.arange(model.n_items)
            pairs = {model.USER_ID: batch[model.USER_ID].repeat_interleave(len(items))}
            pairs[model.ITEM_ID] = items.repeat(len(users))
            return model.predict(Interaction(pairs)).logit(eps=1e-7).view(len(users), -1).numpy()

    return scores
