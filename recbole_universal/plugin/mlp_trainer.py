"""The trainer of UniversalMLP."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import recbole
import torch

from recbole_universal.checkpoint import save_pretrained
from recbole_universal.plugin.candidate_evaluation import CandidateEvaluation
from recbole_universal.plugin.loader import CandidateListDataLoader
from recbole_universal.plugin.pretrained_model import pretrained_model
from recbole_universal.ranking.list_loss import refuse_divergence


class UniversalMLPTrainer(CandidateEvaluation):
    """RecBole's Trainer with zero-shot runs, and with a pre-trained model as a second output.

    With ``train_stage: zero_shot``, ``fit`` evaluates the model on validation and saves it. After any other stage, the
    best epoch is also saved as a folder that the key ``pretrained`` takes, next to RecBole's checkpoint.
    """

    def _build_optimizer(self, **kwargs: Any) -> torch.optim.Optimizer:
        trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        return super()._build_optimizer(**{"params": trained, **kwargs})

    def fit(
        self,
        train_data: Any,
        valid_data: Any = None,
        verbose: bool = True,
        saved: bool = True,
        show_progress: bool = False,
        callback_fn: Any = None,
    ) -> tuple[float, dict[str, float] | None]:
        """See RecBole's ``Trainer.fit``; in-domain training standardises the pair columns first.

        Raises:
            ValueError: if the training diverges.
        """
        if self.config["train_stage"] == "zero_shot":
            return self._validate_only(train_data, valid_data, verbose, saved, show_progress)
        if isinstance(train_data, CandidateListDataLoader) and self.config["train_stage"] == "in_domain":
            sample = train_data.lists.sample_pairs(seed=self.config["seed"])
            self.model.network.standardise({family: rows.to(self.device) for family, rows in sample.items()})
        result = super().fit(train_data, valid_data, verbose, saved, show_progress, callback_fn)
        if saved and self.config["local_rank"] == 0:
            self._export(verbose)
        return result

    def _check_nan(self, loss: torch.Tensor) -> None:
        refuse_divergence(loss.item(), self.config["learning_rate"])

    def _export(self, verbose: bool) -> None:
        """Save the best epoch as a pre-trained model."""
        checkpoint = torch.load(self.saved_model_file, map_location="cpu", weights_only=False)
        prefix = "scorer."
        weights = {k.removeprefix(prefix): v for k, v in checkpoint["state_dict"].items() if k.startswith(prefix)}
        folder = Path(self.saved_model_file).with_suffix("")
        card: dict[str, Any] = {
            "name": folder.name,
            "description": "A universal recommender trained on one dataset.",
            "sources": [self.config["dataset"]],
            "metrics": {f"{name}, validation": float(value) for name, value in (self.best_valid_result or {}).items()},
            "versions": {"torch": torch.__version__, "recbole": recbole.__version__},
            "seed": self.config["seed"],
            "command": f"train_stage: {self.config['train_stage']}",
        }
        if self.config["train_stage"] == "finetune":
            card["sources"] += pretrained_model(self.config["pretrained"]).card.get("sources", [])
            card["description"] = f"[{self.config['pretrained']}], fine-tuned on one dataset."
        save_pretrained(folder, weights, {"features": self.model.schema, "network": self.model.network.arguments}, card)
        if verbose:
            self.logger.info("Saving as a pre-trained model: %s", folder)

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
