"""The trainer of UniversalSASRec."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import recbole
import torch
from recbole.trainer import Trainer

from recbole_universal.checkpoint import save_pretrained
from recbole_universal.plugin.pretrained_model import pretrained_model
from recbole_universal.ranking.list_loss import refuse_divergence


class UniversalSASRecTrainer(Trainer):
    """RecBole's Trainer with zero-shot runs, and with a folder for the key ``pretrained`` as a second output.

    The folder is written after ``in_domain`` and after ``finetune`` of whole layers, of a model that reads content.
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
        if verbose:
            self.logger.info("Trained weights: %d of %d", self.model.n_trained, self.model.n_weights)
        if self.config["train_stage"] == "zero_shot":
            return self._validate_only(train_data, valid_data, verbose, saved, show_progress)
        result = super().fit(train_data, valid_data, verbose, saved, show_progress, callback_fn)
        if saved and self.config["local_rank"] == 0:
            self._export(verbose)
        return result

    def _check_nan(self, loss: torch.Tensor) -> None:
        refuse_divergence(loss.item(), self.config["learning_rate"])

    def _validate_only(
        self, train_data: Any, valid_data: Any, verbose: bool, saved: bool, show_progress: bool
    ) -> tuple[float, dict[str, float] | None]:
        self.eval_collector.data_collect(train_data)
        score, result = -1, None
        if valid_data:
            score, result = self._valid_epoch(valid_data, show_progress=show_progress)
            self.best_valid_score, self.best_valid_result = score, result
        if saved:
            self._save_checkpoint(-1, verbose=verbose)
        return score, result

    def _export(self, verbose: bool) -> None:
        """Save the best epoch as a pre-trained model."""
        few = self.config["train_stage"] == "finetune" and self.config["finetune_parameters"] in ("adapters", "lora")
        if few or self.config["item_encoder"] == "id" or "tfidf" in self.config["content_encoders"]:
            return
        checkpoint = torch.load(self.saved_model_file, map_location="cpu", weights_only=False)
        names = self.model.schema["sequence_model"]["shapes"]
        folder = Path(self.saved_model_file).with_suffix("")
        card = {
            "name": folder.name,
            "description": "A sequence model over item content, trained on one dataset.",
            "sources": [self.config["dataset"]],
            "metrics": {f"{name}, validation": float(value) for name, value in (self.best_valid_result or {}).items()},
            "versions": {"torch": torch.__version__, "recbole": recbole.__version__},
            "seed": self.config["seed"],
            "command": f"train_stage: {self.config['train_stage']}",
        }
        if self.config["train_stage"] == "finetune":
            card["sources"] += pretrained_model(self.config["pretrained"], True).card.get("sources", [])
        save_pretrained(folder, {name: checkpoint["state_dict"][name] for name in names}, self.model.schema, card)
        if verbose:
            self.logger.info("Saving as a pre-trained model: %s", folder)
