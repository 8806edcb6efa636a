"""The trainer of UniversalInterpolation: it trains or loads the base model, then chooses the interpolation weight."""

from __future__ import annotations

import logging
import os
from typing import Any

import torch
from recbole.data.dataloader import FullSortEvalDataLoader
from recbole.evaluator import Collector, Evaluator
from recbole.trainer import Trainer
from recbole.utils import get_trainer
from tqdm import tqdm

from recbole_universal.plugin.base_model import base_class, load_base_checkpoint
from recbole_universal.plugin.validation_metric import metric_config, metric_sums, users_of_rows
from recbole_universal.ranking.weight_choice import WEIGHTS, monotone_choice, one_standard_error

logger = logging.getLogger(__name__)

# Number of groups of validation users, whose variation gives the standard error of a metric.
_N_GROUPS = 20


def make_interpolation_trainer(config: Any, model: Any) -> InterpolationTrainer:
    """The trainer of :class:`~recbole_universal.plugin.universal_interpolation.UniversalInterpolation`.

    Args:
        config: RecBole ``Config``.
        model: the interpolated model.

    Returns:
        An object of a subclass of the base model's own trainer class, so the training of the base does not change.
    """
    base = get_trainer(config["MODEL_TYPE"], base_class(config["base_model"]).__name__)
    return type("UniversalInterpolationTrainer", (InterpolationTrainer, base), {"__module__": __name__})(config, model)


class InterpolationTrainer(Trainer):
    """Mixin for the trainer class of a base model: trains or loads the base, then chooses the weight."""

    def fit(
        self,
        train_data: Any,
        valid_data: Any = None,
        verbose: bool = True,
        saved: bool = True,
        show_progress: bool = False,
        callback_fn: Any = None,
    ) -> tuple[float, dict[str, float] | None]:
        """See RecBole's ``Trainer.fit``; the result is that of the interpolated model on validation.

        Raises:
            ValueError: if the weight must be chosen and there is no validation data, or ``base_checkpoint`` does not
                fit the data.
        """
        weight = self.config["interpolation_weight"]
        chosen = not isinstance(weight, (int, float))
        if chosen and not valid_data:
            raise ValueError(
                f"interpolation_weight: [{weight}] is chosen on validation, and there is no validation data; give a "
                "number from 0 to 1."
            )
        if self.config["base_checkpoint"]:
            load_base_checkpoint(self.config, self.model, train_data.dataset)
            self.eval_collector.data_collect(train_data)
        else:
            super().fit(train_data, valid_data, verbose, saved, show_progress, callback_fn)
            self._load_best_epoch(saved)
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

    def _load_best_epoch(self, saved: bool) -> None:
        """Load the best epoch of the base, which RecBole loads only before the test."""
        if not self.config["single_spec"]:
            torch.distributed.barrier()  # the first rank may still be writing
        if saved and os.path.isfile(self.saved_model_file):
            best = torch.load(self.saved_model_file, map_location=self.device, weights_only=False)
            self.model.load_state_dict(best["state_dict"])
            self.model.load_other_parameter(best.get("other_parameter"))

    @torch.no_grad()
    def _choose_weights(self, train_data: Any, valid_data: Any, verbose: bool, show_progress: bool) -> None:
        """Evaluate all weights on validation, and set the best weight of the model or of each bin of user activity."""
        config = metric_config(self.config, self.valid_metric)
        collectors = [Collector(config) for _ in WEIGHTS]
        for collector in collectors:
            collector.data_collect(train_data)
        users = self._collect_scores(valid_data, collectors, show_progress)
        structs = [collector.get_data_struct() for collector in collectors]
        users = users_of_rows(users, structs[0])
        by_activity = self.config["interpolation_weight"] == "by_activity"
        n_groups = len(self.model.universal_weights) if by_activity else _N_GROUPS
        groups = self.model.universal_bins(users) if by_activity else users % _N_GROUPS
        gains, counts = metric_sums(Evaluator(config), structs, groups, n_groups, self.valid_metric)
        if not self.config["single_spec"]:
            gains, counts = self._sum_over_processes(gains), self._sum_over_processes(counts)
        gains = gains if self.valid_metric_bigger else -gains
        chosen = monotone_choice(gains.numpy()) if by_activity else [one_standard_error(gains.numpy(), counts.numpy())]
        weights = [WEIGHTS[index] for index in chosen]
        self.model.universal_weights = torch.tensor(weights, dtype=torch.float32)
        if verbose:
            means = (gains.abs().sum(dim=0) / counts.sum()).tolist()
            shown = ", ".join(f"{weight:g}: {value:.4f}" for weight, value in zip(WEIGHTS, means, strict=True))
            logger.info("%s on validation by weight of the universal model: %s", self.config["valid_metric"], shown)
            logger.info("interpolation_weight: %s", weights)

    def _collect_scores(self, valid_data: Any, collectors: list[Collector], show_progress: bool) -> torch.Tensor:
        """Evaluate each batch with each weight; base and universal model score it once.

        Returns:
            User id of each row that the collectors got, int64 [n_rows].
        """
        self.model.eval()
        full = isinstance(valid_data, FullSortEvalDataLoader)
        score = self._full_sort_batch_eval if full else self._neg_sample_batch_eval
        if full and getattr(self, "item_tensor", None) is None:
            self.item_tensor = valid_data._dataset.get_item_feature().to(self.device)
        self.tot_item_num = valid_data._dataset.item_num
        users = []
        before = self.model.universal_weights
        for batch in tqdm(valid_data, desc="interpolation", unit="batch", disable=not show_progress):
            with self.model.universal_score_cache():
                for weight, collector in zip(WEIGHTS, collectors, strict=True):
                    self.model.universal_weights = torch.full_like(before, weight)
                    interaction, scores, *positive = score(batch)
                    collector.eval_batch_collect(scores, interaction, *positive)
            users.append(interaction[self.config["USER_ID_FIELD"]].cpu())
        self.model.universal_weights = before
        return torch.cat(users)

    def _sum_over_processes(self, values: torch.Tensor) -> torch.Tensor:
        values = values.to(self.device)  # nccl takes no CPU tensors
        torch.distributed.all_reduce(values)
        return values.cpu()
