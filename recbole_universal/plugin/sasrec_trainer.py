"""The trainer of UniversalSASRec."""

from __future__ import annotations

from typing import Any

from recbole_universal.plugin.pretrained_model import pretrained_model
from recbole_universal.plugin.stage_trainer import StageTrainer


class UniversalSASRecTrainer(StageTrainer):
    """RecBole's Trainer with zero-shot runs, and with a folder for the key ``pretrained`` as a second output.

    The folder is written after ``in_domain`` and after ``finetune`` of whole layers, of a model that reads content.
    """

    def _before_fit(self, train_data: Any, verbose: bool) -> None:
        if verbose:
            self.logger.info("Trained weights: %d of %d", self.model.n_trained, self.model.n_weights)

    def _export(self, verbose: bool) -> None:
        is_tuned = self.config["train_stage"] == "finetune"
        few = is_tuned and self.config["finetune_parameters"] in ("adapters", "lora")
        if few or self.config["item_encoder"] == "id" or "tfidf" in self.config["content_encoders"]:
            return
        best, schema = self._best_weights(), self.model.schema
        weights = {name: best[name] for name in schema["sequence_model"]["shapes"]}
        origin = pretrained_model(self.config["pretrained"], True) if is_tuned else None
        description = "A sequence model over item content, trained on one dataset."
        self._save_pretrained(weights, schema, description, origin, verbose)
