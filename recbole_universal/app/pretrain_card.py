"""The model card of a pre-training."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import recbole
import torch
from recbole.config import Config

import recbole_universal


def pretraining_card(
    config: Config, description: str, sources: list[str], metrics: Mapping[str, float]
) -> dict[str, Any]:
    """The card of :func:`~recbole_universal.checkpoint.save_pretrained`.

    Args:
        config: the ``Config`` of the pre-training.
        description: sentence on the model.
        sources: names of the datasets that it was trained on.
        metrics: values by name, which are rounded to four digits.
    """
    return {
        "name": config["pretrain_name"],
        "description": description,
        "sources": sources,
        "metrics": {name: round(value, 4) for name, value in metrics.items()},
        "versions": {
            "recbole_universal": recbole_universal.__version__,
            "torch": torch.__version__,
            "recbole": recbole.__version__,
        },
        "seed": config["seed"],
        "command": config["pretrain_command"] or "recbole_universal.pretrain",
    }
