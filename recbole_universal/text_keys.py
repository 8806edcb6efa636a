"""Config keys of this package that hold text, which must not be evaluated as Python; imports no RecBole."""

from __future__ import annotations

import ast

TEXT_KEYS = frozenset(
    {
        "base_checkpoint",
        "base_model",
        "eval_items",
        "eval_users",
        "feature_combination",
        "finetune_parameters",
        "interpolation_space",
        "list_loss",
        "pretrain_command",
        "pretrain_dir",
        "pretrain_lists",
        "pretrain_name",
        "pretrained",
        "train_stage",
        "universal_cache_dir",
        "universal_weight_field",
    }
)


def text_value(value: str) -> str | None:
    """What a text of the command line or of ``config_dict`` means: ``None``, the text in quotes, or itself."""
    try:
        literal = ast.literal_eval(value)
    except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
        return value
    return literal if literal is None or isinstance(literal, str) else value
