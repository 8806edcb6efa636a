"""Histories of RecBole's datasets and batches."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from recbole.utils import FeatureType

from recbole_universal.graph.histories import Histories

logger = logging.getLogger(__name__)


def training_histories(dataset: Any) -> Histories:
    """The interactions of a built dataset in the order of time; events of one time are in the order of the rows.

    A row of a sequential dataset is a prefix and its next item. So the history of a user is the prefix of the first row
    and the next item of each row.

    Args:
        dataset: a built RecBole dataset, one split of the data.

    Raises:
        ValueError: if the dataset has no time.
    """
    feat = dataset.inter_feat
    users, items = (feat[field].numpy().astype(np.int64) for field in (dataset.uid_field, dataset.iid_field))
    if dataset.time_field not in feat:
        raise ValueError(
            f"Dataset [{dataset.dataset_name}] has no loaded field [{dataset.time_field}] (key TIME_FIELD), so the "
            "order of its interactions is unknown; add the field with load_col, or use a family without order."
        )
    if dataset.field2type[dataset.time_field] != FeatureType.FLOAT:
        raise ValueError(
            f"TIME_FIELD: field [{dataset.time_field}] of dataset [{dataset.dataset_name}] is of type "
            f"{dataset.field2type[dataset.time_field].value}; times must be of type float."
        )
    if (dataset.config["eval_args"] or {}).get("order") != "TO":
        logger.warning(
            "eval_args: order is not TO, so RecBole shuffles the rows of dataset [%s]. Its times are 32-bit floats, so "
            "events within two minutes may change places; set order: TO.",
            dataset.dataset_name,
        )
    times = feat[dataset.time_field].numpy().astype(np.float64)
    suffix = dataset.config["LIST_SUFFIX"] or ""
    lists = dataset.iid_field + suffix
    if suffix and lists in feat:
        order = np.lexsort((times, users))
        users, items, times = users[order], items[order], times[order]
        first = np.flatnonzero(np.diff(users, prepend=-1))
        rows = order[first]
        lengths = feat[dataset.item_list_length_field].numpy()[rows]
        inside = np.arange(feat[lists].shape[1]) < lengths[:, None]
        earlier = feat[lists].numpy()[rows][inside]
        time_lists = dataset.time_field + suffix
        earlier_times = feat[time_lists].numpy()[rows][inside] if time_lists in feat else None
        users = np.concatenate([np.repeat(users[first], lengths), users])
        items = np.concatenate([earlier, items])
        # The events are in order already, whatever their rounded times say.
        histories = Histories.of_events(users, items, dataset.user_num)
        if earlier_times is not None:
            histories.times = np.concatenate([earlier_times, times])[np.argsort(users, kind="stable")]
    else:
        known = (users != 0) & (items != 0)
        histories = Histories.of_events(users[known], items[known], dataset.user_num, times[known])
    return histories


class BatchHistories:
    """The histories of batches of a sequential model: padded lists of item ids and their lengths.

    RecBole cuts long lists (``MAX_ITEM_LIST_LENGTH``). The training items of the user complete a list of that length.

    Args:
        config: RecBole ``Config``.
        dataset: the training dataset.
    """

    def __init__(self, config: Any, dataset: Any) -> None:
        self._lists = config["ITEM_ID_FIELD"] + config["LIST_SUFFIX"]
        self._length, self._user = config["ITEM_LIST_LENGTH_FIELD"], config["USER_ID_FIELD"]
        self._time, self._longest = config["TIME_FIELD"], config["MAX_ITEM_LIST_LENGTH"]
        self._n_items, self._training = dataset.item_num, training_histories(dataset)

    def __call__(self, interaction: Any, repeats: bool) -> Histories:
        """The histories of a batch. Its user ids and its times, those of the items to predict, may be missing.

        Args:
            interaction: the batch.
            repeats: whether items repeat; long lists are then not completed.

        Raises:
            ValueError: if a list or its length is missing, or an id or a length is out of range.
        """
        for field in (self._lists, self._length):
            if field not in interaction:
                raise ValueError(f"The interaction lacks the field [{field}], which a sequential model reads.")
        lists = interaction[self._lists].cpu().numpy()
        lengths = interaction[self._length].cpu().numpy().astype(np.int64)
        if ((lengths < 0) | (lengths > lists.shape[1])).any():
            raise ValueError(f"{self._length}: must lie between 0 and the width of the lists, {lists.shape[1]}.")
        inside = np.arange(lists.shape[1]) < lengths[:, None]
        check_ids(torch.from_numpy(lists[inside]), self._n_items, self._lists)
        users = now = None
        if self._user in interaction:
            check_ids(interaction[self._user], len(self._training), self._user)
            users = interaction[self._user].cpu().numpy().astype(np.int64)
        if self._time in interaction:
            now = interaction[self._time].cpu().numpy().astype(np.float64)
        indptr = np.concatenate([[0], np.cumsum(lengths)])
        histories = Histories(lists[inside], indptr, users, now=now)
        return histories if repeats or users is None else self._completed(histories)

    def _completed(self, histories: Histories) -> Histories:
        rows = []
        for row, user in enumerate(histories.users):
            items = histories.items[histories.indptr[row] : histories.indptr[row + 1]]
            if len(items) >= self._longest:
                earlier = self._training.items[self._training.indptr[user] : self._training.indptr[user + 1]]
                items = np.concatenate([earlier[~np.isin(earlier, items)], items])
            rows.append(items)
        longer = Histories.of_lists(rows)
        return Histories(longer.items, longer.indptr, histories.users, now=histories.now)


def distinct_rows(interaction: Any, fields: Sequence[str]) -> tuple[torch.Tensor, torch.Tensor]:
    """The first row of each combination of values in a batch, and the combination of each row.

    Args:
        interaction: the batch.
        fields: fields that the values are of.

    Returns:
        int64 [n_distinct] and int64 [batch_size].
    """
    keys = [interaction[field].reshape(len(interaction), -1).double() for field in fields]
    _, row = torch.cat(keys, dim=1).unique(dim=0, return_inverse=True)
    first = torch.full((int(row.max()) + 1,), len(row), device=row.device)
    return first.scatter_reduce(0, row, torch.arange(len(row), device=row.device), "amin"), row


def check_ids(ids: torch.Tensor, n_ids: int, field: str) -> None:
    """Check the range of internal ids; an id of -1 would get the scores of the last id.

    Args:
        ids: int64 of any shape.
        n_ids: number of internal ids, with padding.
        field: field of the ids, for the message.

    Raises:
        ValueError: if an id is out of range.
    """
    if ids.numel() and (int(ids.min()) < 0 or int(ids.max()) >= n_ids):
        wrong = ids[(ids < 0) | (ids >= n_ids)][0]
        raise ValueError(f"{field}: internal ids go from 0 (padding) to {n_ids - 1}, got {int(wrong)}.")
