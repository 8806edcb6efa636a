"""Pre-training of a network on the candidate lists of many datasets, with exact resume; imports no RecBole."""

from __future__ import annotations

import hashlib
import logging
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from recbole_universal.array_store import array_digest, canonical_json, read_arrays, write_arrays
from recbole_universal.features.fields import LIST_LABEL, LIST_MASK
from recbole_universal.metrics import ndcg
from recbole_universal.ranking.candidate_lists import CandidateLists
from recbole_universal.ranking.list_loss import list_loss, list_scores, refuse_divergence
from recbole_universal.ranking.network import UniversalNetwork

logger = logging.getLogger(__name__)

#: Name of the file that holds the state of a pre-training.
STATE_FILE = "pretrain-state.safetensors"
# Share of all steps in which the learning rate rises, and its first value as a share of the highest.
_WARM_UP, _FIRST_RATE = 0.1, 0.04
_EVALUATED_LISTS = 256


class Pretrainer:
    """Trains a network on the candidate lists of many source datasets.

    The optimizer is Adam. The learning rate rises over the first tenth of all steps and falls along a cosine
    afterwards. The best epoch has the highest mean NDCG@10 over the held-out sources. Training stops after
    ``stopping_step`` epochs without improvement.

    The state is saved after each epoch, and a killed run resumes to the same weights: all random numbers of an epoch
    follow from ``seed`` and the index of the epoch. A run resumes a state only if settings, untrained network, lists
    and ``described`` are the same. Another state and a damaged one are replaced.

    Args:
        network: the network, untrained.
        folder: folder of the state.
        seed: seed of shuffling and dropout.
        learning_rate: the highest learning rate.
        epochs: largest number of epochs.
        stopping_step: number of epochs without improvement after which training stops.
        batch_size: number of lists in a batch.
        loss: ``softmax`` or ``BPR``.
        device: device of the training.
        show_progress: whether to draw progress bars.
        tensorboard: a ``SummaryWriter``, or ``None``.
        described: everything else that the run depends on, as JSON, such as the names of the sources.
    """

    def __init__(
        self,
        network: UniversalNetwork,
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
        tensorboard: Any = None,
        described: Any = None,
    ) -> None:
        self.device = torch.device(device)
        self.network = network.to(self.device)
        self.file = Path(folder) / STATE_FILE
        self.seed, self.learning_rate, self.epochs = seed, learning_rate, epochs
        self.stopping_step, self.batch_size, self.loss = stopping_step, batch_size, loss
        self.show_progress, self.tensorboard, self.described = show_progress, tensorboard, described

    def fit(self, train: CandidateLists, held_out: dict[str, CandidateLists]) -> dict[str, float]:
        """Train, or resume a killed run, and leave the best weights in the network.

        Args:
            train: lists of the training sources.
            held_out: lists of each held-out source by its name; if empty, the last epoch is the best.

        Returns:
            NDCG@10 of the best epoch by held-out source.

        Raises:
            ValueError: if the training diverges, so that the loss or weights become NaN or infinite.
        """
        optimizer = torch.optim.Adam(self.network.parameters(), lr=self.learning_rate)
        run = self._key(train, held_out)
        state = self._resume(optimizer, run, list(held_out))
        if state is None:
            sample = train.sample_pairs(seed=self.seed)
            self.network.standardise({family: rows.to(self.device) for family, rows in sample.items()})
            state = {"run": run, "epoch": 0, "best_score": -math.inf, "best_epoch": 0, "best": {}, "metrics": {}}
        while state["epoch"] < self.epochs and state["epoch"] - state["best_epoch"] < self.stopping_step:
            epoch = state["epoch"]
            mean_loss = self._epoch(train, optimizer, epoch)
            metrics = {name: self.evaluate(lists) for name, lists in held_out.items()}
            score = float(np.mean(list(metrics.values()))) if metrics else float(epoch)
            if score > state["best_score"]:
                best = {name: value.clone() for name, value in self.network.state_dict().items()}
                state.update(best_score=score, best_epoch=epoch + 1, best=best, metrics=metrics)
            state["epoch"] = epoch + 1
            self._save(state, optimizer)
            self._log(epoch, mean_loss, metrics)
        self.network.load_state_dict(state["best"])
        return state["metrics"]

    def _epoch(self, train: CandidateLists, optimizer: torch.optim.Optimizer, epoch: int) -> float:
        """Train one epoch; the mean loss of its batches."""
        order = np.random.default_rng([self.seed, epoch]).permutation(len(train))
        n_batches = math.ceil(len(train) / self.batch_size)
        self.network.train()
        total = 0.0
        steps = tqdm(range(n_batches), desc=f"Pretrain {epoch:>5}", ncols=100, disable=not self.show_progress)
        with torch.random.fork_rng():
            torch.manual_seed(self.seed + epoch)
            for step in steps:
                rate = self._rate((epoch * n_batches + step) / (self.epochs * n_batches))
                for group in optimizer.param_groups:
                    group["lr"] = rate
                batch = train.batch(order[step * self.batch_size : (step + 1) * self.batch_size], self.device)
                loss = list_loss(self.network, batch, self.loss)
                total += loss.item()
                refuse_divergence(total, self.learning_rate)  # before PyTorch's own check, which some models turn on
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
        refuse_divergence(total, self.learning_rate, self.network.parameters())
        self.network.eval()
        return total / n_batches

    def _rate(self, progress: float) -> float:
        """Learning rate after a share of all steps, ``progress`` in [0, 1]."""
        if progress < _WARM_UP:
            return self.learning_rate * (_FIRST_RATE + (1 - _FIRST_RATE) * progress / _WARM_UP)
        return self.learning_rate * 0.5 * (1 + math.cos(math.pi * (progress - _WARM_UP) / (1 - _WARM_UP)))

    @torch.no_grad()
    def evaluate(self, lists: CandidateLists) -> float:
        """Mean NDCG@10 of the held-out items among the candidates of their list."""
        values = []
        for start in range(0, len(lists), _EVALUATED_LISTS):
            batch = lists.batch(range(start, min(start + _EVALUATED_LISTS, len(lists))), self.device)
            scores = list_scores(self.network, batch).masked_fill(~batch[LIST_MASK], -torch.inf)
            top = scores.topk(min(10, scores.shape[1]), dim=1).indices
            hits, n_relevant = batch[LIST_LABEL].gather(1, top), batch[LIST_LABEL].sum(dim=1)
            values.append(ndcg(hits.cpu().numpy(), n_relevant.cpu().numpy()))
        return float(np.concatenate(values).mean())

    def _log(self, epoch: int, mean_loss: float, metrics: dict[str, float]) -> None:
        logger.info("epoch %d: loss %.4f, held-out NDCG@10 %s", epoch, mean_loss, metrics)
        if self.tensorboard is not None:
            self.tensorboard.add_scalar("Loss/pretrain", mean_loss, epoch)
            for name, value in metrics.items():
                self.tensorboard.add_scalar(f"NDCG@10/{name}", value, epoch)

    def _key(self, train: CandidateLists, held_out: dict[str, CandidateLists]) -> str:
        """Hash of everything that must be the same for a state to be resumed."""
        settings = [self.seed, self.learning_rate, self.epochs, self.stopping_step, self.batch_size, self.loss]
        lists = [train.digest(), [[name, lists.digest()] for name, lists in held_out.items()]]
        weights = array_digest({name: value.cpu().numpy() for name, value in self.network.state_dict().items()})
        content = [settings, lists, self.network.families, self.network.arguments, weights, self.described]
        return hashlib.sha256(canonical_json(content).encode()).hexdigest()

    def _save(self, state: dict[str, Any], optimizer: torch.optim.Optimizer) -> None:
        """Write weights and moments as arrays, and everything else as the description of the file."""
        tensors = {f"best/{name}": value for name, value in state["best"].items()}
        # The file calls the network "scorer".
        tensors |= {f"scorer/{name}": value for name, value in self.network.state_dict().items()}
        for index, moments in optimizer.state_dict()["state"].items():
            tensors |= {f"optimizer/{index}/{name}": value for name, value in moments.items()}
        arrays = {name: tensor.detach().cpu().numpy() for name, tensor in tensors.items()}
        description = {name: value for name, value in state.items() if name != "best"}
        write_arrays(self.file, {"run": state["run"]}, arrays, description)

    def _resume(self, optimizer: torch.optim.Optimizer, run: str, held_out: list[str]) -> dict[str, Any] | None:
        """Load the state of a run into network and optimizer; ``None`` for a missing state and for a damaged one."""
        try:
            arrays, state = read_arrays(self.file, {"run": run})
            self._check_state(arrays, state, held_out)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            logger.warning("[%s] cannot be used (%s); pre-training begins anew.", self.file, error)
            return None
        groups: dict[str, dict[str, torch.Tensor]] = {"best": {}, "scorer": {}, "optimizer": {}}
        for full_name, array in arrays.items():
            group, _, name = full_name.partition("/")
            groups[group][name] = torch.from_numpy(array).to(self.device)
        self.network.load_state_dict(groups["scorer"])
        moments: dict[int, dict[str, torch.Tensor]] = {}
        for full_name, value in groups["optimizer"].items():
            index, _, name = full_name.partition("/")
            moments.setdefault(int(index), {})[name] = value
        optimizer.load_state_dict({**optimizer.state_dict(), "state": moments})
        logger.info("Pre-training resumes after epoch %d of [%s].", state["epoch"], self.file)
        return {**state, "best": groups["best"]}

    def _check_state(self, arrays: dict[str, NDArray], state: Any, held_out: list[str]) -> None:
        """Check what :meth:`_save` wrote. The checksum of the file shows damage, and no wrong content.

        Raises:
            ValueError: if an array or a number is missing or not valid.
        """
        shapes = {
            f"{group}/{name}": tuple(value.shape)
            for group in ("best", "scorer")
            for name, value in self.network.state_dict().items()
        }
        for index, parameter in enumerate(self.network.parameters()):
            moments = {"exp_avg": tuple(parameter.shape), "exp_avg_sq": tuple(parameter.shape), "step": ()}
            shapes |= {f"optimizer/{index}/{name}": shape for name, shape in moments.items()}
        for name in sorted(shapes.keys() | arrays.keys()):
            array = arrays.get(name)
            if array is None or array.dtype != np.float32 or array.shape != shapes.get(name):
                raise ValueError(f"its array {name!r} is missing or of another form")
            if not np.isfinite(array).all():
                raise ValueError(f"its array {name!r} holds NaN or infinite numbers")
        try:
            epochs, best_score, metrics = (state["best_epoch"], state["epoch"]), state["best_score"], state["metrics"]
            valid = all(type(epoch) is int for epoch in epochs) and 1 <= epochs[0] <= epochs[1] <= self.epochs
            valid &= metrics.keys() == set(held_out) and all(map(math.isfinite, [best_score, *metrics.values()]))
        except (LookupError, TypeError, AttributeError, OverflowError):
            valid = False
        if not valid:
            raise ValueError("its epochs or metrics are missing or not valid")
