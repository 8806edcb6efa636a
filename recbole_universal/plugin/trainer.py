"""What RecBole's Trainer lacks: runs that train nothing, the choice of a weight, pre-training on many data sets."""

from __future__ import annotations

import copy
import hashlib
import json
import logging
import math
import os
import random
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import recbole
import torch
from recbole.data import create_dataset
from recbole.data.dataloader import FullSortEvalDataLoader
from recbole.data.interaction import Interaction
from recbole.evaluator import Collector, Evaluator
from recbole.trainer import Trainer
from recbole.utils import calculate_valid_score, get_trainer, init_seed
from tqdm import tqdm

from recbole_universal.checkpoint import save_pretrained
from recbole_universal.features.cache import ArrayCache, array_digest, canonical_json, read_arrays, write_arrays
from recbole_universal.features.fields import LIST_LABEL, LIST_MASK
from recbole_universal.plugin.dataset import training_matrix
from recbole_universal.plugin.pretrained_model import pretrained_model
from recbole_universal.plugin.support_query import ListBatches, SupportQueryDataLoader
from recbole_universal.plugin.universal_interpolation import base_class, read_base_checkpoint
from recbole_universal.plugin.universal_mlp import list_loss, list_scores
from recbole_universal.ranking.scorer import UniversalScorer

logger = logging.getLogger(__name__)

#: Weights of the universal model that are tried on validation.
WEIGHTS = tuple(k / 20 for k in range(21))
# Groups of validation users that show how sure the choice of a weight is.
_N_GROUPS = 20


class UniversalMLPTrainer(Trainer):
    """RecBole's Trainer; with ``train_stage: zero_shot`` ``fit`` only validates and saves."""

    def _build_optimizer(self, **kwargs):
        trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        return super()._build_optimizer(**{"params": trained, **kwargs})

    def fit(self, train_data, valid_data=None, verbose=True, saved=True, show_progress=False, callback_fn=None):
        """See RecBole; before training from zero the pair columns are standardised."""
        if self.config["train_stage"] == "zero_shot":
            return self._validate_only(train_data, valid_data, verbose, saved, show_progress)
        if isinstance(train_data, SupportQueryDataLoader) and self.config["train_stage"] == "in_domain":
            sample = train_data.lists.sample(seed=self.config["seed"])
            self.model.scorer.standardise({family: rows.to(self.device) for family, rows in sample.items()})
        result = super().fit(train_data, valid_data, verbose, saved, show_progress, callback_fn)
        if saved and self.config["local_rank"] == 0:
            self._export(verbose)
        return result

    def _check_nan(self, loss) -> None:
        _refuse_divergence(loss.item(), self.config["learning_rate"])

    def _export(self, verbose) -> None:
        """Write the best epoch beside RecBole's checkpoint as a folder that the key ``pretrained`` takes."""
        checkpoint = torch.load(self.saved_model_file, map_location="cpu", weights_only=False)
        prefix = "scorer."
        weights = {k.removeprefix(prefix): v for k, v in checkpoint["state_dict"].items() if k.startswith(prefix)}
        folder = Path(self.saved_model_file).with_suffix("")
        card: dict = {
            "name": folder.name,
            "description": "A universal recommender trained on one data set.",
            "sources": [self.config["dataset"]],
            "metrics": {f"{name}, validation": float(value) for name, value in (self.best_valid_result or {}).items()},
            "versions": {"torch": torch.__version__, "recbole": recbole.__version__},
            "seed": self.config["seed"],
            "command": f"train_stage: {self.config['train_stage']}",
        }
        if self.config["train_stage"] == "finetune":
            card["sources"] += pretrained_model(self.config["pretrained"]).card.get("sources", [])
            card["description"] = f"[{self.config['pretrained']}], fine-tuned on one data set."
        save_pretrained(folder, weights, {"features": self.model.schema, "network": self.model.scorer.network}, card)
        if verbose:
            logger.info("Saving as a pre-trained model: %s", folder)

    def _validate_only(self, train_data, valid_data, verbose, saved, show_progress):
        self.eval_collector.data_collect(train_data)
        if not valid_data:  # none, or empty
            if saved:
                self._save_checkpoint(-1, verbose=verbose)
            return -1, None
        self.best_valid_score, self.best_valid_result = self._valid_epoch(valid_data, show_progress=show_progress)
        if saved:
            self._save_checkpoint(-1, verbose=verbose)
        return self.best_valid_score, self.best_valid_result


def interpolation_trainer(config, model):
    """The trainer of :class:`~recbole_universal.plugin.universal_interpolation.UniversalInterpolation`.

    Returns:
        An object of a subclass of the base model's own trainer class, so that the base is trained as it would be alone.
    """
    base = get_trainer(config["MODEL_TYPE"], base_class(config["base_model"]).__name__)
    return type("UniversalInterpolationTrainer", (InterpolationTrainer, base), {"__module__": __name__})(config, model)


class InterpolationTrainer(Trainer):
    """Goes before a base model's own trainer class: trains the base, or loads it, and then chooses the weight."""

    def fit(self, train_data, valid_data=None, verbose=True, saved=True, show_progress=False, callback_fn=None):
        """See RecBole; the result is that of the interpolated model on the validation part.

        Raises:
            ValueError: If the weight is to be chosen and there is no validation part, or ``base_checkpoint`` does not
                fit the data.
        """
        chosen = not isinstance(self.config["interpolation_weight"], (int, float))
        if chosen and not valid_data:
            raise ValueError(
                f"interpolation_weight: [{self.config['interpolation_weight']}] is chosen on validation, and there is "
                "no validation part; give a number from 0 to 1."
            )
        if self.config["base_checkpoint"]:
            load_base(self.config, self.model, train_data.dataset)
            self.eval_collector.data_collect(train_data)
        else:
            super().fit(train_data, valid_data, verbose, saved, show_progress, callback_fn)
            if not self.config["single_spec"]:
                torch.distributed.barrier()  # the first rank may still be writing
            if saved and os.path.isfile(
                self.saved_model_file
            ):  # the best epoch, which RecBole loads only when it tests
                best = torch.load(self.saved_model_file, map_location=self.device, weights_only=False)
                self.model.load_state_dict(best["state_dict"])
                self.model.load_other_parameter(best.get("other_parameter"))
        self.model.universal_mixing = True
        if chosen:
            self._choose_weights(train_data, valid_data, verbose, show_progress)
        self.cur_step = 0
        self.best_valid_score, self.best_valid_result = -1, None
        if valid_data:
            self.best_valid_score, self.best_valid_result = self._valid_epoch(valid_data, show_progress=show_progress)
        if saved:
            self._save_checkpoint(-1, verbose=verbose)
        return self.best_valid_score, self.best_valid_result

    @torch.no_grad()
    def _choose_weights(self, train_data, valid_data, verbose, show_progress) -> None:
        """Try all weights on the validation part, which the universal model scores once."""
        by_activity = self.config["interpolation_weight"] == "by_activity"
        config = copy.copy(self.config)
        config.final_config_dict = {**self.config.final_config_dict, "metrics": [self.valid_metric.partition("@")[0]]}
        config.final_config_dict["metric_decimal_place"] = 12  # not rounded before they are compared
        collectors = [Collector(config) for _ in WEIGHTS]
        for collector in collectors:
            collector.data_collect(train_data)
        self.model.eval()
        full = isinstance(valid_data, FullSortEvalDataLoader)
        score = self._full_sort_batch_eval if full else self._neg_sample_batch_eval
        if full and getattr(self, "item_tensor", None) is None:
            self.item_tensor = valid_data._dataset.get_item_feature().to(self.device)
        self.tot_item_num = valid_data._dataset.item_num
        users = []
        before = self.model.universal_weights
        for batch in tqdm(valid_data, desc="interpolation", unit="batch", disable=not show_progress):
            with self.model.universal_scores_held():
                for weight, collector in zip(WEIGHTS, collectors, strict=True):
                    self.model.universal_weights = torch.full_like(before, weight)
                    interaction, scores, *positive = score(batch)
                    collector.eval_batch_collect(scores, interaction, *positive)
            users.append(interaction[self.config["USER_ID_FIELD"]].cpu())
        self.model.universal_weights = before
        structs = [collector.get_data_struct() for collector in collectors]
        evaluator = Evaluator(config)
        rows = _one_a_row(torch.cat(users), structs[0])
        groups, n_groups = rows % _N_GROUPS, _N_GROUPS
        if by_activity:
            groups, n_groups = self.model.universal_bins(rows), len(before)
        values = torch.zeros(n_groups, len(WEIGHTS), dtype=torch.float64)
        counts = torch.zeros(n_groups, dtype=torch.float64)
        for k in range(n_groups):
            members = groups == k
            counts[k] = members.sum()
            if counts[k]:
                results = [evaluator.evaluate(_rows_of(struct, members)) for struct in structs]
                values[k] = torch.tensor([calculate_valid_score(result, self.valid_metric) for result in results])
        gains = values * counts[:, None]
        if not self.config["single_spec"]:
            gains, counts = gains.to(self.device), counts.to(self.device)  # nccl takes no CPU tensors
            for tensor in (gains, counts):
                torch.distributed.all_reduce(tensor)
            gains, counts = gains.cpu(), counts.cpu()
        gains = gains if self.valid_metric_bigger else -gains
        found = gains.numpy(), counts.numpy()
        best = monotone_choice(found[0]) if by_activity else [one_standard_error(*found)]
        self.model.universal_weights = torch.tensor([WEIGHTS[k] for k in best], dtype=torch.float32)
        if verbose:
            total = gains.abs().sum(dim=0) / counts.sum()
            shown = ", ".join(f"{weight:g}: {value:.4f}" for weight, value in zip(WEIGHTS, total, strict=True))
            logger.info("%s on validation by weight of the universal model: %s", self.config["valid_metric"], shown)
            logger.info("interpolation_weight: %s", [WEIGHTS[k] for k in best])


def one_standard_error(gains: np.ndarray, counts: np.ndarray) -> int:
    """The choice nearest to the better end whose loss against the best is within its standard error.

    The rule of Breiman et al. (Classification and Regression Trees, 1984, section 3.4.3): on little validation data
    the best of many choices is best by luck, and the simplest that is as good for all one can tell, here one model
    alone or nearly so, is the safer one.

    Args:
        gains: sums over the users of a group, real [n_groups, n_choices]; the first and the last choice are the ends.
        counts: users of each group, [n_groups]; the fewer groups have any, the wider the error.

    Returns:
        Number of the choice.
    """
    mean = gains.sum(axis=0) / counts.sum()
    best, end = int(np.argmax(mean)), 0 if mean[0] > mean[-1] else len(mean) - 1
    present = counts > 0
    if present.sum() < 2:
        return best
    loss = (gains[:, [best]] - gains)[present] / counts[present, None]
    error = loss.std(axis=0, ddof=1) / np.sqrt(present.sum())
    able = np.flatnonzero(mean[best] - mean <= error)
    return int(able[np.argmin(np.abs(able - end))])


def monotone_choice(gains: np.ndarray) -> list[int]:
    """The best choice of one column a row that never turns back.

    Args:
        gains: real [n_rows, n_columns].

    Returns:
        Column of each row, all non-decreasing or all non-increasing, with the largest sum of gains.
    """
    found = []
    for sign in (1, -1):
        table = gains[:, ::sign]
        total, back = table[0].copy(), []
        for row in table[1:]:
            before = np.maximum.accumulate(total)
            # The first column that reaches the maximum so far.
            back.append(np.array([int(np.argmax(total[: k + 1])) for k in range(len(total))]))
            total = row + before
        path = [int(np.argmax(total))]
        for step in reversed(back):
            path.append(int(step[path[-1]]))
        columns = path[::-1]
        found.append((float(total.max()), [k if sign == 1 else gains.shape[1] - 1 - k for k in columns]))
    return max(found, key=lambda one: one[0])[1]


def _one_a_row(users: torch.Tensor, struct) -> torch.Tensor:
    """The user of each row of ``rec.topk``; sampled evaluation gives a user several rows in a batch, side by side."""
    for name in ("rec.topk", "rec.meanrank", "rec.items"):
        if name in struct and len(struct.get(name)) != len(users):
            return users.unique_consecutive()
    return users


def _rows_of(struct, rows: torch.Tensor):
    """The part of what a RecBole collector holds that belongs to some rows."""
    part = copy.copy(struct)
    part._data_dict = {
        name: value[rows] if name.startswith("rec.") else value for name, value in struct._data_dict.items()
    }
    return part


def load_base(config, model, dataset) -> None:
    """Load ``base_checkpoint`` into a model, after a check that it was trained on the same training part.

    The data set of the checkpoint is built again from its config and compared by content: the ids of users and items
    and every training interaction.

    Args:
        config: RecBole ``Config`` of this run.
        model: The model that takes the weights.
        dataset: The training part of this run.

    Raises:
        ValueError: If data, split or architecture differ.
    """
    checkpoint = read_base_checkpoint(config["base_checkpoint"], map_location=config["device"])
    where = f"base_checkpoint: [{config['base_checkpoint']}]"
    theirs = copy.copy(checkpoint["config"])
    # Device and folders are this run's, and the data if they have moved since.
    moved = () if os.path.isdir(theirs["data_path"]) else ("data_path",)
    theirs.final_config_dict = {**theirs.final_config_dict}
    for key in ("device", "checkpoint_dir", "single_spec", "local_rank", *moved):
        theirs.final_config_dict[key] = config[key]
    with torch.random.fork_rng(devices=[]):
        states = np.random.get_state(), random.getstate()
        init_seed(theirs["seed"], theirs["reproducibility"])
        part = create_dataset(theirs).build()[0]
        np.random.set_state(states[0])
        random.setstate(states[1])
    for field in (dataset.uid_field, dataset.iid_field):
        if not np.array_equal(part.field2id_token[field], dataset.field2id_token[field]):
            raise ValueError(
                f"{where} was trained on other data: its {field} column has {part.num(field) - 1} ids, that of this "
                f"run {dataset.num(field) - 1}, and they are not the same. Use the data set and filters "
                f"(load_col, *_inter_num_interval, val_interval) of that model."
            )
    if (training_matrix(part) != training_matrix(dataset)).nnz:
        raise ValueError(
            f"{where} was trained on another split of the data, so its training part holds interactions that this run "
            "validates or tests on. Use its seed, eval_args and filters: leave those keys out, and they are taken from "
            "the checkpoint."
        )
    try:
        model.load_state_dict(checkpoint["state_dict"])
        other = checkpoint.get("other_parameter") or {}
        model.load_other_parameter({key: value for key, value in other.items() if key != "universal_interpolation"})
    except RuntimeError as error:
        raise ValueError(
            f"{where} has weights of another architecture than this config describes: {error}\nLeave the keys of the "
            "base model out, and they are taken from the checkpoint."
        ) from error


class Pretrainer:
    """Trains a scorer on the candidate lists of many source data sets.

    Adam with a learning rate that rises over the first tenth of all steps and falls along a cosine. After each epoch
    the state is replaced in one step, so that a killed run resumes to the same weights: everything random in an epoch
    comes from ``seed`` and the number of the epoch. A state is resumed only by a run of the same settings, untrained
    network, lists and ``described``; any other, and a damaged one, is replaced. The best epoch is the one with the
    highest mean NDCG@10 over the lists of held-out sources; training stops when ``stopping_step`` epochs brought none.

    Args:
        scorer: The network, untrained.
        folder: Where the state is kept.
        seed: Seed of shuffling and dropout.
        learning_rate: The highest.
        epochs: Number of epochs.
        stopping_step: Epochs without improvement after which training stops.
        batch_size: Lists in a batch.
        loss: ``softmax`` or ``BPR``.
        device: Where to train.
        show_progress: Whether to draw progress bars.
        tensorboard: A ``SummaryWriter``, or ``None``.
        described: What else the run is made of, as JSON, such as the names of the sources.
    """

    def __init__(
        self,
        scorer: UniversalScorer,
        folder: str | os.PathLike[str],
        *,
        seed: int,
        learning_rate: float,
        epochs: int,
        stopping_step: int,
        batch_size: int,
        loss: str = "softmax",
        device: str | torch.device = "cpu",
        show_progress: bool = False,
        tensorboard=None,
        described: Any = None,
    ) -> None:
        self.device = torch.device(device)
        self.scorer = scorer.to(self.device)
        self.file = Path(folder) / "pretrain-state.npz"
        self.seed, self.learning_rate, self.epochs = seed, learning_rate, epochs
        self.stopping_step, self.batch_size, self.loss = stopping_step, batch_size, loss
        self.show_progress, self.tensorboard, self.described = show_progress, tensorboard, described

    def fit(self, train: ListBatches, held_out: dict[str, ListBatches]) -> dict[str, float]:
        """Train, or go on where a killed run stopped, and leave the best weights in the scorer.

        Args:
            train: Lists of the sources.
            held_out: Lists by name of held-out sources; without any the last epoch is taken.

        Returns:
            NDCG@10 of the best epoch by held-out source.

        Raises:
            ValueError: If the training diverges, so that the loss or weights become NaN or infinite.
        """
        n_batches = math.ceil(len(train) / self.batch_size)
        optimizer = torch.optim.Adam(self.scorer.parameters(), lr=self.learning_rate)
        run = self._key(train, held_out)
        state = self._resume(optimizer, run)
        if state is None:
            sample = train.sample(seed=self.seed)
            self.scorer.standardise({family: rows.to(self.device) for family, rows in sample.items()})
            state = {"run": run, "epoch": 0, "best_score": -math.inf, "best_epoch": 0, "best": {}, "metrics": {}}
        while state["epoch"] < self.epochs and state["epoch"] - state["best_epoch"] < self.stopping_step:
            epoch = state["epoch"]
            mean_loss = self._epoch(train, optimizer, epoch, n_batches)
            metrics = {name: self.evaluate(lists) for name, lists in held_out.items()}
            score = float(np.mean(list(metrics.values()))) if metrics else float(epoch)
            if score > state["best_score"]:
                best = {name: value.clone() for name, value in self.scorer.state_dict().items()}
                state.update(best_score=score, best_epoch=epoch + 1, best=best, metrics=metrics)
            state["epoch"] = epoch + 1
            self._save(state, optimizer)
            logger.info("epoch %d: loss %.4f, held-out NDCG@10 %s", epoch, mean_loss, metrics)
            if self.tensorboard is not None:
                self.tensorboard.add_scalar("Loss/pretrain", mean_loss, epoch)
                for name, value in metrics.items():
                    self.tensorboard.add_scalar(f"NDCG@10/{name}", value, epoch)
        self.scorer.load_state_dict(state["best"])
        return state["metrics"]

    def _epoch(self, train: ListBatches, optimizer, epoch: int, n_batches: int) -> float:
        order = np.random.default_rng([self.seed, epoch]).permutation(len(train))
        self.scorer.train()
        total = 0.0
        steps = tqdm(range(n_batches), desc=f"Pretrain {epoch:>5}", ncols=100, disable=not self.show_progress)
        with torch.random.fork_rng():
            torch.manual_seed(self.seed + epoch)
            for step in steps:
                rate = self._rate((epoch * n_batches + step) / (self.epochs * n_batches))
                for group in optimizer.param_groups:
                    group["lr"] = rate
                batch = train.batch(order[step * self.batch_size : (step + 1) * self.batch_size]).to(self.device)
                loss = list_loss(self.scorer, batch, self.loss)
                total += loss.item()
                _refuse_divergence(total, self.learning_rate)  # before PyTorch's own check, which some models turn on
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        _refuse_divergence(total, self.learning_rate, self.scorer.parameters())
        self.scorer.eval()
        return total / n_batches

    def _rate(self, done: float) -> float:
        warm = 0.1
        if done < warm:
            return self.learning_rate * (0.04 + 0.96 * done / warm)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * (done - warm) / (1 - warm)))

    @torch.no_grad()
    def evaluate(self, lists: ListBatches) -> float:
        """Mean NDCG@10 of hidden interactions among the candidates of their list."""
        gains = []
        for start in range(0, len(lists), 256):
            batch = lists.batch(range(start, min(start + 256, len(lists)))).to(self.device)
            values = list_scores(self.scorer, batch).masked_fill(~batch[LIST_MASK], -torch.inf)
            top = values.topk(min(10, values.shape[1]), dim=1).indices
            discount = 1 / torch.log2(torch.arange(2, top.shape[1] + 2, device=self.device))
            found = (batch[LIST_LABEL].gather(1, top) * discount).sum(dim=1)
            number = batch[LIST_LABEL].sum(dim=1).clamp(max=top.shape[1])
            gains.append(found / discount.cumsum(0)[number - 1])
        return float(torch.cat(gains).mean())

    def _key(self, train: ListBatches, held_out: dict[str, ListBatches]) -> str:
        """What a state must agree with to be resumed."""
        settings = [self.seed, self.learning_rate, self.epochs, self.stopping_step, self.batch_size, self.loss]
        lists = [train.digest(), [[name, lists.digest()] for name, lists in held_out.items()]]
        weights = array_digest({name: value.cpu().numpy() for name, value in self.scorer.state_dict().items()})
        content = [settings, lists, self.scorer.families, self.scorer.network, weights, self.described]
        return hashlib.sha256(canonical_json(content).encode()).hexdigest()

    def _save(self, state: dict, optimizer) -> None:
        tensors = {f"best/{name}": value for name, value in state["best"].items()}
        tensors |= {f"scorer/{name}": value for name, value in self.scorer.state_dict().items()}
        for number, moments in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{number}/{name}": value for name, value in moments.items()}
        arrays = {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}
        text = canonical_json({name: value for name, value in state.items() if name != "best"})
        arrays["state"] = np.frombuffer(text.encode(), dtype=np.uint8)
        write_arrays(self.file, {"run": state["run"]}, arrays)

    def _resume(self, optimizer, run: str) -> dict | None:
        if not self.file.is_file():
            return None
        try:
            arrays = read_arrays(self.file, {"run": run})
        except Exception as error:  # the bytes of a damaged file may raise anything on their way through NumPy
            logger.warning("[%s] cannot be used (%s); pre-training begins anew.", self.file, error)
            return None
        state = json.loads(arrays.pop("state").tobytes())
        parts: dict[str, dict[str, torch.Tensor]] = {"best": {}, "scorer": {}, "optimizer": {}}
        for name, array in arrays.items():
            part, _, name = name.partition("/")
            parts[part][name] = torch.from_numpy(array).to(self.device)
        self.scorer.load_state_dict(parts["scorer"])
        moments: dict[int, dict[str, torch.Tensor]] = {}
        for name, value in parts["optimizer"].items():
            number, _, name = name.partition("/")
            moments.setdefault(int(number), {})[name] = value
        optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
        logger.info("Pre-training goes on after epoch %d of [%s].", state["epoch"], self.file)
        return {**state, "best": parts["best"]}


def _refuse_divergence(loss: float, learning_rate: float, parameters: Iterable[torch.Tensor] = ()) -> None:
    """Raise ValueError if the loss or a weight is NaN or infinite."""
    if not math.isfinite(loss) or not all(bool(weights.isfinite().all()) for weights in parameters):
        raise ValueError(
            f"learning_rate: the training diverged with {learning_rate}, its loss or weights are NaN or infinite; try "
            "a smaller one."
        )


class ListStore:
    """Candidate lists of source data sets on disk, so that a killed run, or another one, need not make them again.

    Every list is needed again in each pre-training, so nothing is removed.

    Args:
        folder: Made if missing, when the first lists are stored.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._cache = ArrayCache(folder, "pretrain_lists", limit_gb=None, suffix=".npz")

    def get(self, name: str, key: dict, make) -> list[Interaction]:
        """The blocks stored under a name and key, made and stored if there are none.

        Args:
            name: Name of the source, part of the file's name.
            key: All that the lists depend on, as JSON.
            make: Function without arguments that returns the blocks.
        """
        readable = re.sub(r"[^\w.-]", "_", name)
        arrays = self._cache.load(readable, key)
        if arrays is not None:
            return self._blocks(arrays)
        blocks: Sequence[Interaction] = make()
        arrays = {
            f"{number}/{column}": values.cpu().numpy()
            for number, block in enumerate(blocks)
            for column, values in block.interaction.items()
        }
        self._cache.store(readable, key, arrays)
        return list(blocks)

    @staticmethod
    def _blocks(arrays: dict[str, np.ndarray]) -> list[Interaction]:
        blocks: dict[int, dict[str, torch.Tensor]] = {}
        for name, values in arrays.items():
            number, column = name.split("/", 1)
            blocks.setdefault(int(number), {})[column] = torch.from_numpy(values)
        return [Interaction(blocks[number]) for number in sorted(blocks)]
