"""Ranking of items that nobody has had, and the self-check on held-out items that decides how to rank them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recbole_universal.content.relations import RELATIONS, ContentRelations, NearItems
from recbole_universal.content.spaces import Space
from recbole_universal.content.weights import fitted_weights, standardised
from recbole_universal.metrics import ndcg, paired_z_score

_SHARE, _MOST_HELD_OUT, _MOST_USERS, _K = 0.2, 1000, 500, 10
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
        trust: 1 - chance / ndcg, at least 0; 0 too if the difference is below two standard errors or nobody could be
            tested. It says how far content is from chance.
        n_items: number of held-out items.
        n_users: number of users.
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

    A fifth of the items that have content and interactions is held out, 1,000 at most. Relations are built of the
    others. The columns' weights are fitted to the held-out interactions of up to 500 users. Each half of the users is
    ranked with the weights of the other half. One column alone, or equal weights, rank instead of the fitted ones only
    if their NDCG@10 is higher by more than one standard error. The same users then measure that column, so its figures
    are a little too good.

    Args:
        matrix: interactions, csr [n_users, n_items].
        spaces: spaces of item vectors, at least one.
        seed: seed of the draws.
        max_regression_size: see :class:`ContentRelations`.
    """
    held_out, users, share_tested = held_out_items(matrix, spaces, seed)
    support, query = split_items(matrix, held_out)
    names = _names(spaces)
    if len(users) < 2:
        nothing, equal, rate = np.zeros(len(names)), first_weights(names), np.zeros(len(held_out))
        return NewItemCheck(equal, names, "equal", 0.0, nothing, 0.0, rate, 0.0, len(held_out), len(users))
    relations = ContentRelations(support, spaces, max_regression_size)
    columns = standardised(relations.columns(support[users], held_out))
    hits = query[users][:, held_out].toarray() > 0
    return _decided(columns, hits, names, 1 / np.diff(matrix.indptr)[users], share_tested)


def held_out_items(
    matrix: sp.csr_matrix, spaces: Sequence[Space], seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], float]:
    """The items that :func:`check_new_items` holds out, and whom it tests.

    Args:
        matrix: as of :func:`check_new_items`.
        spaces: as of :func:`check_new_items`.
        seed: as of :func:`check_new_items`.

    Returns:
        The items, int64 [n_held_out], the tested users, int64 [n_tested], and the share of the users with two items and
        a list who have a held-out item.
    """
    generator = np.random.default_rng(seed)
    degree = np.bincount(matrix.indices, minlength=matrix.shape[1])
    eligible = np.flatnonzero((degree > 0) & np.any([space.has_vector for space in spaces], axis=0))
    n_held_out = min(_MOST_HELD_OUT, int(_SHARE * len(eligible)))
    held_out = np.sort(generator.permutation(eligible)[:n_held_out])
    support, query = split_items(matrix, held_out)
    has_list = (np.diff(support.indptr) > 0) & (np.diff(matrix.indptr) > 1)
    tested = has_list & (np.diff(query.indptr) > 0)
    users = np.sort(generator.permutation(np.flatnonzero(tested))[:_MOST_USERS])
    return held_out, users, float(tested.sum() / max(1, has_list.sum()))


def _names(spaces: Sequence[Space]) -> list[tuple[str, str]]:
    """Space and relation of each column, as of :class:`ContentRelations`."""
    of_spaces = [space.name for space in spaces] + (["combined"] if len(spaces) > 1 else [])
    return [(space, relation) for space in of_spaces for relation in RELATIONS]


def split_items(matrix: sp.csr_matrix, held_out: NDArray[np.int64]) -> tuple[sp.csr_matrix, sp.csr_matrix]:
    """The interactions with all other items, and those with the held-out items; csr of the same shape."""
    marked = np.zeros(matrix.shape[1], dtype=bool)
    marked[held_out] = True

    def part(chosen: NDArray[np.bool_]) -> sp.csr_matrix:
        indptr = np.concatenate([[0], np.cumsum(chosen)])[matrix.indptr]
        return sp.csr_matrix((matrix.data[chosen], matrix.indices[chosen], indptr), shape=matrix.shape)

    return part(~marked[matrix.indices]), part(marked[matrix.indices])


def _decided(
    columns: NDArray[np.float32],
    hits: NDArray[np.bool_],
    names: list[tuple[str, str]],
    user_weights: NDArray[np.float64],
    share_tested: float,
) -> NewItemCheck:
    """The weights, chosen among fitted, equal and single ones.

    Args:
        columns: standardised scores of the held-out items, float32 [n_users, n_items, n_columns].
        hits: the held-out interactions, bool [n_users, n_items].
        names: space and relation of each column.
        user_weights: 1 / number of items of each user, float64 [n_users].
        share_tested: share of the users with a list who have a held-out item.
    """
    n_users, n_items = hits.shape
    n_relevant = hits.sum(axis=1)
    first = first_weights(names)
    halves = np.arange(n_users) % 2 == 0
    scores = np.empty(hits.shape, dtype=np.float32)
    for half in (halves, ~halves):
        weights = fitted_weights(columns[~half], hits[~half], first)
        scores[half] = columns[half] @ weights.astype(np.float32)
    by_user = _by_user(scores, hits, n_relevant)
    chosen, choice = fitted_weights(columns, hits, first), "fitted"
    single = [_by_user(columns[..., index], hits, n_relevant) for index in range(len(names))]
    others = {"equal": (first, _by_user(columns @ first.astype(np.float32), hits, n_relevant))}
    others |= {
        f"{space} {relation}": (np.eye(len(names))[index], single[index])
        for index, (space, relation) in enumerate(names)
    }
    name, (weights, value) = max(others.items(), key=lambda entry: entry[1][1].mean())
    if paired_z_score(value - by_user) > 1:
        chosen, choice, by_user = weights, name, value
        scores = columns @ weights.astype(np.float32)
    chance = _chance(n_relevant, n_items)
    mean = float(by_user.mean())
    trusted = paired_z_score(by_user - chance) >= 2 and mean > 0
    by_rank = np.take_along_axis(hits, np.argsort(-scores, axis=1, kind="stable"), axis=1)
    return NewItemCheck(
        chosen,
        names,
        choice,
        mean,
        np.array([of_column.mean() for of_column in single]),
        float(chance.mean()),
        share_tested * (user_weights @ by_rank) / n_users,
        max(0.0, 1 - float(chance.mean()) / mean) if trusted else 0.0,
        n_items,
        n_users,
    )


def _by_user(
    scores: NDArray[np.float32], hits: NDArray[np.bool_], n_relevant: NDArray[np.int64]
) -> NDArray[np.float64]:
    """NDCG@10 of each user. Equal scores rank by index."""
    best = np.argsort(-scores, axis=1, kind="stable")[:, :_K]
    return ndcg(np.take_along_axis(hits, best, axis=1), n_relevant)


def _chance(n_relevant: NDArray[np.int64], n_items: int) -> NDArray[np.float64]:
    """Expected NDCG@10 of a random order for each user."""
    k = min(_K, n_items)
    everything = np.ones((len(n_relevant), k), dtype=bool)
    return ndcg(everything, n_relevant) * n_relevant / n_items
