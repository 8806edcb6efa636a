"""What RecBole's Trainer lacks: a run that trains nothing, and pre-training on many data sets."""

from __future__ import annotations

import hashlib
import json
import logging
import math
import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from recbole.data.interaction import Interaction
from recbole.trainer import Trainer
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from tqdm import tqdm

from recbole_universal.data.fields import LIST_LABEL, LIST_MASK
from recbole_universal.data.support_query import ListBatches
from recbole_universal.features.cache import canonical_json
from recbole_universal.model.scorer import UniversalScorer
from recbole_universal.model.universal_mlp import list_loss, list_scores

logger = logging.getLogger(__name__)


class UniversalMLPTrainer(Trainer):
    """RecBole's Trainer; with ``train_stage: zero_shot`` ``fit`` only validates and saves."""

    def _build_optimizer(self, **kwargs):
        trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        return super()._build_optimizer(**{"params": trained, **kwargs})

    def fit(self, train_data, valid_data=None, verbose=True, saved=True, show_progress=False, callback_fn=None):
        """See RecBole; before training from zero the pair columns are standardised."""
        if self.config["train_stage"] == "zero_shot":
            return self._validate_only(train_data, valid_data, verbose, saved, show_progress)
        lists = getattr(train_data, "lists", None)
        if lists is not None and self.config["train_stage"] == "in_domain":
            sample = lists.sample(seed=self.config["seed"])
            self.model.scorer.standardise({family: rows.to(self.device) for family, rows in sample.items()})
        return super().fit(train_data, valid_data, verbose, saved, show_progress, callback_fn)

    def _validate_only(self, train_data, valid_data, verbose, saved, show_progress):
        self.eval_collector.data_collect(train_data)
        if valid_data is None:
            if saved:
                self._save_checkpoint(-1, verbose=verbose)
            return -1, None
        self.best_valid_score, self.best_valid_result = self._valid_epoch(valid_data, show_progress=show_progress)
        if saved:
            self._save_checkpoint(-1, verbose=verbose)
        return self.best_valid_score, self.best_valid_result


class Pretrainer:
    """Trains a scorer on the candidate lists of many source data sets.

    Adam with a learning rate that rises over the first tenth of all steps and falls along a cosine. After each epoch
    the state is replaced in one step, so that a killed run resumes to the same weights: everything random in an epoch
    comes from ``seed`` and the number of the epoch. The best epoch is the one with the highest mean NDCG@10 over the
    lists of held-out sources; training stops when ``stopping_step`` epochs brought none.

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
    ) -> None:
        self.device = torch.device(device)
        self.scorer = scorer.to(self.device)
        self.file = Path(folder) / "pretrain-state.pt"
        self.seed, self.learning_rate, self.epochs = seed, learning_rate, epochs
        self.stopping_step, self.batch_size, self.loss = stopping_step, batch_size, loss
        self.show_progress, self.tensorboard = show_progress, tensorboard

    def fit(self, train: ListBatches, held_out: dict[str, ListBatches]) -> dict[str, float]:
        """Train, or go on where a killed run stopped, and leave the best weights in the scorer.

        Args:
            train: Lists of the sources.
            held_out: Lists by name of held-out sources; without any the last epoch is taken.

        Returns:
            NDCG@10 of the best epoch by held-out source.
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
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                total += loss.item()
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
        """What a state must agree with to be gone on from."""
        settings = [self.seed, self.learning_rate, self.epochs, self.stopping_step, self.batch_size, self.loss]
        sizes = {name: len(lists) for name, lists in held_out.items()}
        weights = {name: list(value.shape) for name, value in self.scorer.state_dict().items()}
        return hashlib.sha256(canonical_json([settings, len(train), sizes, weights]).encode()).hexdigest()

    def _save(self, state: dict, optimizer) -> None:
        beside = self.file.with_suffix(f".{os.getpid()}")
        torch.save({**state, "scorer": self.scorer.state_dict(), "optimizer": optimizer.state_dict()}, beside)
        os.replace(beside, self.file)

    def _resume(self, optimizer, run: str) -> dict | None:
        if not self.file.is_file():
            return None
        state = torch.load(self.file, map_location=self.device, weights_only=True)
        if state["run"] != run:
            logger.warning("[%s] is of another run; pre-training begins anew.", self.file)
            return None
        self.scorer.load_state_dict(state.pop("scorer"))
        optimizer.load_state_dict(state.pop("optimizer"))
        logger.info("Pre-training goes on after epoch %d of [%s].", state["epoch"], self.file)
        return state


class ListStore:
    """Candidate lists of source data sets on disk, so that a killed run, or another one, need not make them again.

    Args:
        folder: Made if missing.
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)

    def get(self, name: str, key: dict, make) -> list[Interaction]:
        """The blocks stored under a name and key, made and stored if there are none.

        Args:
            name: Name of the source, part of the file's name.
            key: All that the lists depend on, as JSON.
            make: Function without arguments that returns the blocks.
        """
        digest = hashlib.sha256(canonical_json(key).encode()).hexdigest()[:16]
        file = self.folder / f"{name}-{digest}.safetensors"
        if file.is_file():
            try:
                return self._blocks(load_file(file))
            except (SafetensorError, ValueError) as error:
                logger.warning("[%s] is damaged (%s); made anew.", file, error)
        blocks: Sequence[Interaction] = make()
        tensors = {
            f"{number}/{column}": values.contiguous()
            for number, block in enumerate(blocks)
            for column, values in block.interaction.items()
        }
        beside = file.with_suffix(f".{os.getpid()}")
        save_file(tensors, beside, metadata={"key": json.dumps(key, sort_keys=True)})
        os.replace(beside, file)
        return list(blocks)

    @staticmethod
    def _blocks(tensors: dict[str, torch.Tensor]) -> list[Interaction]:
        blocks: dict[int, dict[str, torch.Tensor]] = {}
        for name, values in tensors.items():
            number, column = name.split("/")
            blocks.setdefault(int(number), {})[column] = values
        return [Interaction(blocks[number]) for number in sorted(blocks)]
