"""The validation metric of RecBole by groups of users, for several models at once."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from typing import Any

import torch
from recbole.evaluator import Evaluator
from recbole.evaluator.collector import DataStruct
from recbole.utils import calculate_valid_score


def metric_config(config: Any, valid_metric: str) -> Any:
    """A copy of a RecBole ``Config`` that evaluates the validation metric alone, without rounding.

    Args:
        config: RecBole ``Config``; unchanged.
        valid_metric: metric with its cut-off, such as ``ndcg@10``.
    """
    config = copy.copy(config)
    config.final_config_dict = {
        **config.final_config_dict,
        "metrics": [valid_metric.partition("@")[0]],
        "metric_decimal_place": 12,
    }
    return config


def users_of_rows(users: torch.Tensor, struct: DataStruct) -> torch.Tensor:
    """User id of each row of a collector's data.

    Sampled evaluation has consecutive rows of the same user in a batch, of which the collector makes one.

    Args:
        users: user id of each row of the evaluated batches, int64 [n_rows].
        struct: the collected data.

    Returns:
        int64 [n_collected_rows].
    """
    for name in ("rec.topk", "rec.meanrank", "rec.items"):
        if name in struct and len(struct.get(name)) != len(users):
            return users.unique_consecutive()
    return users


def metric_sums(
    evaluator: Evaluator, structs: Sequence[DataStruct], groups: torch.Tensor, n_groups: int, valid_metric: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sum of a metric over the users of each group, for the collected data of several models.

    Args:
        evaluator: RecBole's evaluator of the metric.
        structs: the collected data of each model, all with the same rows.
        groups: group of each row, int64 [n_rows], in [0, n_groups).
        n_groups: number of groups.
        valid_metric: metric with its cut-off, such as ``ndcg@10``.

    Returns:
        Sums, float64 [n_groups, n_models], and the rows of each group, float64 [n_groups].
    """
    sums = torch.zeros(n_groups, len(structs), dtype=torch.float64)
    counts = torch.zeros(n_groups, dtype=torch.float64)
    for group in range(n_groups):
        rows = groups == group
        counts[group] = rows.sum()
        if counts[group]:
            results = [evaluator.evaluate(_select_rows(struct, rows)) for struct in structs]
            values = [calculate_valid_score(result, valid_metric) for result in results]
            sums[group] = torch.tensor(values, dtype=torch.float64) * counts[group]
    return sums, counts


def _select_rows(struct: DataStruct, rows: torch.Tensor) -> DataStruct:
    selected = copy.copy(struct)
    selected._data_dict = {
        name: value[rows] if name.startswith("rec.") else value for name, value in struct._data_dict.items()
    }
    return selected
