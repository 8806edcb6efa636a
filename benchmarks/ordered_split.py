"""Splits of datasets in order: the last item of each user, or everything after one point in time."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import torch
from harness import FIVE_CORE, IN_TIME_ORDER, N_VALID_USERS
from recbole.config import Config
from recbole.data import create_dataset

from recbole_universal.graph.held_out import split_in_time
from recbole_universal.graph.histories import Histories

#: A function from histories to float32 scores [n, n_items].
HistoryScores = Callable[[Histories], np.ndarray]


class Part(NamedTuple):
    """What is fitted, and what is asked.

    Attributes:
        train: histories of all users that a method is fitted to.
        queries: histories that are asked about, a row each, with their users.
        targets: the next item of each query, int64 [n].
    """

    train: Histories
    queries: Histories
    targets: np.ndarray


def read_ordered(name: str, data_path: str) -> tuple[Histories, int]:
    """The histories of a dataset's 5-core, and its number of items with padding."""
    keys = {"data_path": data_path, "show_progress": False, "state": "ERROR", **IN_TIME_ORDER, **FIVE_CORE}
    dataset = create_dataset(Config("BPR", name, config_dict=keys))
    users, items, times = (
        np.asarray(dataset.inter_feat[field]) for field in (dataset.uid_field, dataset.iid_field, dataset.time_field)
    )
    return Histories.of_events(users, items, dataset.user_num, times), dataset.item_num


class OrderedSplit:
    """One dataset with a validation part and a test part.

    Leave-one-out: the statistics see all but the last two items of each user. The query of the test part has the second
    last item too. In time: the test part begins with the last tenth of the time, and the validation part with the tenth
    before it. The statistics see what is before, and the target of a user is the first item afterwards.

    Args:
        name: the dataset.
        data_path: RecBole's ``data_path``.
        max_users: number of test users; 0: all.
        in_time: whether the split is one point in time.
        seed: seed of the draw of users.

    Attributes:
        valid, test: the parts.
        n_items: number of items with padding.
        repeats: whether the training histories repeat items.
    """

    def __init__(self, name: str, data_path: str, max_users: int, in_time: bool = False, seed: int = 2020):
        self.name = name
        histories, self.n_items = read_ordered(name, data_path)
        generator = np.random.default_rng(seed)
        if in_time:
            if not histories.has_clock:
                raise ValueError(f"{name}: its times are positions, so it cannot be split in time.")
            first, last = histories.times.min(), histories.times.max()
            cuts = [first + share * (last - first) for share in (0.8, 0.9)]
            self.valid, self.test = (_part_in_time(histories, cut) for cut in cuts)
        else:
            train = histories.where(histories.ages >= 2)
            self.valid, self.test = (_last_item(train, histories.where(histories.ages >= age)) for age in (1, 0))
        train = self.test.train
        self.repeats = train.repeats(train.matrix(self.n_items))
        self.valid = _drawn(self.valid, N_VALID_USERS, generator)
        self.test = _drawn(self.test, max_users, generator)

    def evaluate(self, scores: HistoryScores, part: str) -> np.ndarray:
        """Rank of the target of each query, from 0, among the items that are not in its history, int64 [n].

        Items of equal score share the worst rank of them. In data that repeats items, nothing is masked.
        """
        _, queries, targets = self.valid if part == "valid" else self.test
        ranks = []
        block = max(1, 2**23 // self.n_items)
        for start in range(0, len(queries), block):
            some = queries[start : start + block]
            values = torch.from_numpy(np.array(scores(some), dtype=np.float32))
            if not self.repeats:
                values[torch.from_numpy(some.rows), torch.from_numpy(some.items)] = -torch.inf
            values[:, 0] = -torch.inf
            own = values.gather(1, torch.from_numpy(targets[start : start + block])[:, None])
            ranks.append((values >= own).sum(dim=1).numpy() - 1)
        return np.concatenate(ranks)


def ndcg_of_ranks(ranks: np.ndarray, cutoff: int = 10) -> np.ndarray:
    """NDCG of one target of each rank, float64 [n]."""
    return np.where(ranks < cutoff, 1 / np.log2(ranks + 2.0), 0.0)


def _last_item(train: Histories, histories: Histories) -> Part:
    """The last item of each user with at least three, after all before it."""
    users = np.flatnonzero(train.lengths)
    return Part(train, histories.without_last(users)[users], histories.last_items()[users])


def _part_in_time(histories: Histories, cut: float) -> Part:
    train, query, _ = split_in_time(histories, int(histories.items.max()) + 1, cut)
    users = np.flatnonzero(np.diff(query.indptr))
    return Part(train.asked_later(), train[users], query[users].indices.astype(np.int64))


def _drawn(part: Part, n_users: int, generator: np.random.Generator) -> Part:
    rows = np.sort(generator.permutation(len(part.queries))[: n_users or None])
    return Part(part.train, part.queries[rows], part.targets[rows])
