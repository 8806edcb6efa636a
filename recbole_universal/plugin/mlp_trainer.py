"""The trainer of UniversalMLP."""

from __future__ import annotations

from typing import Any

import torch

from recbole_universal.plugin.candidate_evaluation import CandidateEvaluation
from recbole_universal.plugin.loader import CandidateListDataLoader
from recbole_universal.plugin.pretrained_model import pretrained_model
from recbole_universal.plugin.stage_trainer import StageTrainer

_PREFIX = "scorer."


class UniversalMLPTrainer(StageTrainer, CandidateEvaluation):
    """RecBole's Trainer with zero-shot runs, and with a pre-trained model as a second output.

    After any other stage than ``zero_shot``, the best epoch is also saved as a folder that the key ``pretrained``
    takes. In-domain training standardises the pair columns first.
    """

    def _build_optimizer(self, **kwargs: Any) -> torch.optim.Optimizer:
        trained = [parameter for parameter in self.model.parameters() if parameter.requires_grad]
        return super()._build_optimizer(**{"params": trained, **kwargs})

    def _before_fit(self, train_data: Any, verbose: bool) -> None:
        if isinstance(train_data, CandidateListDataLoader) and self.config["train_stage"] == "in_domain":
            sample = train_data.lists.sample_pairs(seed=self.config["seed"])
            self.model.network.standardise({family: rows.to(self.device) for family, rows in sample.items()})

    def _export(self, verbose: bool) -> None:
        weights = {k.removeprefix(_PREFIX): v for k, v in self._best_weights().items() if k.startswith(_PREFIX)}
        origin, description = None, "A universal recommender trained on one dataset."
        if self.config["train_stage"] == "finetune":
            origin = pretrained_model(self.config["pretrained"])
            description = f"[{self.config['pretrained']}], fine-tuned on one dataset."
        schema = {"features": self.model.schema, "network": self.model.network.arguments}
        self._save_pretrained(weights, schema, description, origin, verbose)
