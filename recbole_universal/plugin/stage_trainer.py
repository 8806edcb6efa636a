"""The training of the universal models by their stage, and the folder that it leaves for the key ``pretrained``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import recbole
import torch
from recbole.trainer import Trainer

from recbole_universal.checkpoint import Pretrained, save_pretrained
from recbole_universal.ranking.list_loss import refuse_divergence


class StageTrainer(Trainer):
    """RecBole's Trainer with zero-shot runs, and with a pre-trained model as a second output.

    With ``train_stage: zero_shot``, ``fit`` evaluates the model on validation and saves it. After any other stage, a
    subclass exports the best epoch.
    """

    def fit(
        self,
        train_data: Any,
        valid_data: Any = None,
        verbose: bool = True,
        saved: bool = True,
        show_progress: bool = False,
        callback_fn: Any = None,
    ) -> tuple[float, dict[str, float] | None]:
        """See RecBole's ``Trainer.fit``.

        Raises:
            ValueError: if the training diverges.
        """
        self._before_fit(train_data, verbose)
        if self.config["train_stage"] == "zero_shot":
            return self._validate_only(train_data, valid_data, verbose, saved, show_progress)
        result = super().fit(train_data, valid_data, verbose, saved, show_progress, callback_fn)
        if saved and self.config["local_rank"] == 0:
            self._export(verbose)
        return result

    def _before_fit(self, train_data: Any, verbose: bool) -> None:
        """What precedes the training or, in a zero-shot run, the evaluation."""

    def _export(self, verbose: bool) -> None:
        """Save the best epoch as a pre-trained model."""
        raise NotImplementedError

    def _check_nan(self, loss: torch.Tensor) -> None:
        refuse_divergence(loss.item(), self.config["learning_rate"])

    def _validate_only(
        self, train_data: Any, valid_data: Any, verbose: bool, saved: bool, show_progress: bool
    ) -> tuple[float, dict[str, float] | None]:
        """Evaluate on validation and save; score -1 and no result without validation data."""
        self.eval_collector.data_collect(train_data)
        score, result = -1, None
        if valid_data:
            score, result = self._valid_epoch(valid_data, show_progress=show_progress)
            self.best_valid_score, self.best_valid_result = score, result
        if saved:
            self._save_checkpoint(-1, verbose=verbose)
        return score, result

    def _best_weights(self) -> dict[str, torch.Tensor]:
        """The weights of the best epoch, out of the checkpoint that this training wrote."""
        return torch.load(self.saved_model_file, map_location="cpu", weights_only=False)["state_dict"]

    def _save_pretrained(
        self,
        weights: dict[str, torch.Tensor],
        schema: dict[str, Any],
        description: str,
        origin: Pretrained | None,
        verbose: bool,
    ) -> None:
        """Write the folder that the key ``pretrained`` takes, next to RecBole's checkpoint.

        Args:
            weights: weights by name.
            schema: description of them, as of :func:`save_pretrained`.
            description: sentence of the model card.
            origin: the model that was fine-tuned, whose sources are this model's, too; ``None``: none.
            verbose: whether to log the folder.
        """
        folder = Path(self.saved_model_file).with_suffix("")
        card = {
            "name": folder.name,
            "description": description,
            "sources": [self.config["dataset"], *(origin.card.get("sources", []) if origin else [])],
            "metrics": {f"{name}, validation": float(value) for name, value in (self.best_valid_result or {}).items()},
            "versions": {"torch": torch.__version__, "recbole": recbole.__version__},
            "seed": self.config["seed"],
            "command": f"train_stage: {self.config['train_stage']}",
        }
        save_pretrained(folder, weights, schema, card)
        if verbose:
            self.logger.info("Saving as a pre-trained model: %s", folder)
