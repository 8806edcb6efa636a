"""Ranking of items that nobody has had, and the self-check on held-out items that decides how to rank them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recbole_universal.content.held_out_items import (
    HeldOutItems,
    is_beyond_chance,
    ndcg_by_chance,
    ndcg_by_item,
    ndcg_by_user,
)
from recbole_universal.content.relations import RELATIONS, ContentRelations, NearItems
from recbole_universal.content.spaces import Space
from recbole_universal.content.weights import fitted_weights, standardised
from recbole_universal.metrics import paired_z_score

_SHARE, _MOST_HELD_OUT = 0.2, 1000
# Weight of each relation without any evidence. Popularity alone is no reason to show a new item.
_FIRST_WEIGHT = 0.1


@dataclass(frozen=True)
class NewItemCheck:
    """Result of the self-check on held-out items.

    Attributes:
        weights: weight of each column of :class:`ContentRelations`, float64 [n_columns].
        names: space and relation of each column.
        choice: ``fitted``, ``equal``, or the column that ranks alone.
        ndcg: NDCG@10 among the held-out items, of the choice.
        ndcg_of_columns: the same of each column alone.
        chance: expectation of the same for a random order.
        next_rate: share of the next interactions of a user that are with the held-out item at each rank, mean over all
            users with two items, float64 [n_ranks]. A user without a held-out item counts with 0.
        trust: 1 - chance / ndcg, at least 0. It says how far content is from chance. It is 0 if the fitted weights are
            less than two standard deviations better than the same scores shuffled among the items, or nobody could be
            tested.
        n_items: number of held-out items of both draws.
        n_users: number of users of both draws.
    """

    weights: NDArray[np.float64]
    names: list[tuple[str, str]]
    choice: str
    ndcg: float
    ndcg_of_columns: NDArray[np.float64]
    chance: float
    next_rate: NDArray[np.float64]
    trust: float
    n_items: int
    n_users: int


class NewItems:
    """Ranks items without interactions for users.

    Args:
        matrix: interactions, csr [n_users, n_items].
        spaces: spaces of item vectors, at least one.
        seed: seed of the self-check.
        max_regression_size: see :class:`ContentRelations`.
    """

    def __init__(
        self, matrix: sp.csr_matrix, spaces: Sequence[Space], seed: int = 0, max_regression_size: int = 3000
    ) -> None:
        self.check = check_new_items(matrix, spaces, seed, max_regression_size)
        self.relations = ContentRelations(matrix, spaces, max_regression_size)

    @classmethod
    def of_parts(cls, check: NewItemCheck, relations: ContentRelations) -> NewItems:
        """The model of a self-check and relations that were made before."""
        made = cls.__new__(cls)
        made.check, made.relations = check, relations
        return made

    def scores(self, user_items: sp.csr_matrix, targets: NDArray[np.int64]) -> NDArray[np.float32]:
        """Scores of new items for some users, comparable within a user; an item without content has NaN.

        Args:
            user_items: the items of these users, csr [n_users, n_items].
            targets: the new items, by index, int64 [n_targets].

        Returns:
            float32 [n_users, n_targets].
        """
        scores = np.full((user_items.shape[0], len(targets)), np.nan, dtype=np.float32)
        has_content = np.any([space.has_vector[targets] for space in self.relations.spaces], axis=0)
        if has_content.any():
            targets = targets[has_content]
            for block, values in self.score_blocks(user_items, targets, self.relations.near(targets)):
                scores[block, has_content] = values
        return scores

    def score_blocks(
        self, user_items: sp.csr_matrix, targets: NDArray[np.int64], near: Sequence[NearItems]
    ) -> Iterator[tuple[slice, NDArray[np.float32]]]:
        """Scores of new items with content, a block of users at a time, so that many users take little memory.

        Args:
            user_items: as of :meth:`scores`.
            targets: new items with content, by index, int64 [n_targets], at least one.
            near: their :meth:`ContentRelations.near`.

        Yields:
            The rows of the block, and float32 [n_block, n_targets].
        """
        weights = self.check.weights.astype(np.float32)
        for block in self.relations.user_blocks(user_items.shape[0], len(targets)):
            scores = np.zeros((block.stop - block.start, len(targets)), dtype=np.float32)
            for column, values in self.relations.each_column(user_items[block], targets, near, weights != 0):
                scores += weights[column] * standardised(values)
            yield block, scores


def first_weights(names: Sequence[tuple[str, str]]) -> NDArray[np.float64]:
    """Equal weights of all columns but those of popularity, float64 [n_columns]."""
    return np.array([0.0 if relation == "popularity" else _FIRST_WEIGHT for _, relation in names])


def check_new_items(
    matrix: sp.csr_matrix, spaces: Sequence[Space], seed: int = 0, max_regression_size: int = 3000
) -> NewItemCheck:
    """Hold out items with all their interactions, and see which columns find them.

    Two draws hold out a fifth each of the items that have content and interactions, 1,000 at most. Relations are built
    of the others. The columns' weights are fitted to the held-out interactions of up to 500 users of each draw. Each
    draw is ranked with the weights of the other one, since new items are other items than those of the fit. One column
    alone, or equal weights, rank instead of the fitted ones only if their NDCG@10 is higher by more than one standard
    error over the items. The same items then measure that column, so its figures are a little too good.

    Args:
        matrix: interactions, csr [n_users, n_items].
        spaces: spaces of item vectors, at least one.
        seed: seed of the draws.
        max_regression_size: see :class:`ContentRelations`.
    """
    draws, names = held_out_draws(matrix, spaces, seed), _names(spaces)
    if min(len(draw.users) for draw in draws) < 2:
        n_held_out, equal = len(draws[0].items), first_weights(names)
        nothing, rate = np.zeros(len(names)), np.zeros(n_held_out)
        return NewItemCheck(equal, names, "equal", 0.0, nothing, 0.0, rate, 0.0, len(draws) * n_held_out, 0)
    columns = np.concatenate([draw.columns(spaces, max_regression_size) for draw in draws])
    return _decided(columns, draws, names, matrix)


def held_out_draws(matrix: sp.csr_matrix, spaces: Sequence[Space], seed: int) -> list[HeldOutItems]:
    """The two draws of :func:`check_new_items`, which has the same arguments. No item is in both."""
    generator = np.random.default_rng(seed)
    degree = np.bincount(matrix.indices, minlength=matrix.shape[1])
    eligible = np.flatnonzero((degree > 0) & np.any([space.has_vector for space in spaces], axis=0))
    n_held_out = min(_MOST_HELD_OUT, int(_SHARE * len(eligible)))
    held_out = np.sort(generator.permutation(eligible)[: 2 * n_held_out].reshape(2, n_held_out), axis=1)
    return [HeldOutItems.drawn(matrix, items, generator) for items in held_out]


def _names(spaces: Sequence[Space]) -> list[tuple[str, str]]:
    """Space and relation of each column, as of :class:`ContentRelations`."""
    of_spaces = [space.name for space in spaces] + (["combined"] if len(spaces) > 1 else [])
    return [(space, relation) for space in of_spaces for relation in RELATIONS]


def _decided(
    columns: NDArray[np.float32], draws: Sequence[HeldOutItems], names: list[tuple[str, str]], matrix: sp.csr_matrix
) -> NewItemCheck:
    """The weights, chosen among fitted, equal and single ones.

    Args:
        columns: standardised scores of the held-out items of the users of all draws, float32 [n_rows, n_held_out,
            n_columns].
        draws: the draws.
        names: space and relation of each column.
        matrix: interactions, csr [n_users, n_items].
    """
    users, hits = (np.concatenate(parts) for parts in zip(*((draw.users, draw.hits()) for draw in draws), strict=True))
    draw_of_row = np.repeat(np.arange(len(draws)), [len(draw.users) for draw in draws])
    n_relevant, user_weights = hits.sum(axis=1), 1 / np.diff(matrix.indptr)[users]
    first = first_weights(names)
    scores = np.empty(hits.shape, dtype=np.float32)
    for draw in range(len(draws)):
        own = draw_of_row == draw
        weights = fitted_weights(columns[~own], hits[~own], first)
        scores[own] = columns[own] @ weights.astype(np.float32)
    is_trusted = is_beyond_chance(scores, hits, n_relevant)
    chosen, choice = fitted_weights(columns, hits, first), "fitted"
    single = [ndcg_by_user(columns[..., index], hits, n_relevant).mean() for index in range(len(names))]
    equal = ndcg_by_user(columns @ first.astype(np.float32), hits, n_relevant).mean()
    others = [("equal", first, equal)]
    others += [(" ".join(name), *rest) for name, *rest in zip(names, np.eye(len(names)), single, strict=True)]
    name, weights, _ = max(others, key=lambda other: other[2])
    scores_of_other, first_item = columns @ weights.astype(np.float32), draw_of_row * hits.shape[1]
    gains = [ndcg_by_item(some, hits, n_relevant, first_item) for some in (scores_of_other, scores)]
    if paired_z_score(gains[0] - gains[1]) > 1:
        chosen, choice, scores = weights, name, scores_of_other
    by_user = ndcg_by_user(scores, hits, n_relevant)
    chance, mean = float(ndcg_by_chance(n_relevant, hits.shape[1]).mean()), float(by_user.mean())
    by_rank = np.take_along_axis(hits, np.argsort(-scores, axis=1, kind="stable"), axis=1)
    share_tested = np.mean([draw.share_tested for draw in draws])
    return NewItemCheck(
        chosen,
        names,
        choice,
        mean,
        np.array(single),
        chance,
        share_tested * (user_weights @ by_rank) / len(users),
        max(0.0, 1 - chance / mean) if is_trusted and mean > 0 else 0.0,
        sum(len(draw.items) for draw in draws),
        len(np.unique(users)),
    )
