"""The test whether content belongs to the items: whether two items of one user are more alike than any two.

Ids that all match prove nothing, since 1, 2, 3 are ids of any catalogue.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recbole_universal.content.defaults import LEAST_JOIN_Z
from recbole_universal.content.spaces import Space
from recbole_universal.metrics import paired_z_score

_MOST_USERS, _PAIRS_OF_A_USER, _N_SHUFFLES = 5000, 4, 200
# A table that is read one row too early gives each item the content of its neighbour, which may be alike.
_SHIFTS = (-3, -2, -1, 1, 2, 3)
# Fewer different pairs than this cannot tell, however many users have them.
_LEAST_PAIRS = 30


class JoinTest(NamedTuple):
    """Result of the test for one space.

    Attributes:
        space: name of the space.
        z: the z-score; NaN if there are too few pairs to tell.
        same_user: mean cosine of two items of one user.
        shuffled: the same after the vectors were shuffled among the items.
        n_pairs: number of different pairs.
        share: share of the interactions whose item has a vector.
        shift: the shift by up to three items under which two items of one user are most alike; 0 is the join as it is.
        shift_z: z-score over the pairs of the difference between that shift and the join as it is; 0 for the shift 0.
    """

    space: str
    z: float
    same_user: float
    shuffled: float
    n_pairs: int
    share: float
    shift: int = 0
    shift_z: float = 0.0

    def __str__(self) -> str:
        if math.isnan(self.z):
            return (
                f"{self.space}: too few different pairs of items with content are of one user ({self.n_pairs}) to test "
                "the join"
            )
        text = (
            f"{self.space}: z {self.z:.1f}, cosine of two items of one user {self.same_user:.3f}, shuffled "
            f"{self.shuffled:.3f}; {self.share:.0%} of the interactions have content"
        )
        if self.shift:
            text += f"; with the content of the item {self.shift:+d} they are more alike (z {self.shift_z:.1f})"
        return text

    def refused(self, least: float = LEAST_JOIN_Z) -> bool:
        """Whether this space alone speaks against the join; false if there are too few pairs to tell."""
        return self.z < least or self.is_shifted

    @property
    def is_shifted(self) -> bool:
        """Whether the content of other rows fits better. A caller's limit of z says nothing about this."""
        return self.shift_z > LEAST_JOIN_Z


def content_join_z(
    matrix: sp.csr_matrix, space: Space, order: NDArray[np.int64] | None = None, seed: int = 0
) -> JoinTest:
    """Test whether the vectors of a space belong to the items.

    Two items are drawn of each of up to 5,000 users, four times. The mean cosine of these pairs is compared with that
    after the vectors are shuffled among the items that have one, 200 times: z is the difference in units of the
    standard deviation over the shuffles. Users and their items stay, so popular items explain nothing.

    Neighbours in the order of ids are often alike, such as films of one year. Content that is off by one item then
    still has a high z. So the join is also compared with that of the content one, two and three items before and after.

    Args:
        matrix: interactions, csr [n_users, n_items].
        space: vectors of the items.
        order: different items in the order of their ids, int64 [n]. All others follow by index. ``None``: all by index.
        seed: seed of the pairs and of the shuffles.
    """
    generator = np.random.default_rng(seed)
    first, second = _pairs(matrix, space.has_vector, generator)
    share = float(space.has_vector[matrix.indices].mean()) if matrix.nnz else 0.0
    n_pairs = len(np.unique(np.sort([first, second], axis=0), axis=1).T)
    if n_pairs < _LEAST_PAIRS:
        return JoinTest(space.name, math.nan, math.nan, math.nan, n_pairs, share)
    everything = np.arange(matrix.shape[1])
    order = everything if order is None else np.concatenate([order, np.setdiff1d(everything, order)])
    order = order[space.has_vector[order]]
    place = np.full(len(everything), -1)
    place[order] = np.arange(len(order))
    left, right, vectors = place[first], place[second], space.vectors[order]

    def cosines(rows: NDArray[np.int64]) -> NDArray[np.float32]:
        return np.einsum("pd,pd->p", vectors[rows[left]], vectors[rows[right]])

    actual = cosines(np.arange(len(order)))
    mean = float(actual.mean())
    shuffles = np.array([cosines(generator.permutation(len(order))).mean() for _ in range(_N_SHUFFLES)])
    spread = float(shuffles.std(ddof=1))
    z = (mean - float(shuffles.mean())) / spread if spread > 1e-9 else 0.0
    shifted = {shift: cosines(np.roll(np.arange(len(order)), -shift)) for shift in _SHIFTS}
    best = max(shifted, key=lambda shift: shifted[shift].mean())
    shift_z = paired_z_score((shifted[best] - actual).astype(np.float64))
    shift, shift_z = (best, shift_z) if shift_z > 0 else (0, 0.0)
    return JoinTest(space.name, z, mean, float(shuffles.mean()), n_pairs, share, shift, shift_z)


def _pairs(
    matrix: sp.csr_matrix, has_vector: NDArray[np.bool_], generator: np.random.Generator
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Pairs of different items of one user, both with a vector, int64 [n_pairs] each."""
    users, items = matrix.nonzero()
    stays = has_vector[items]
    users, items = users[stays], items[stays]
    lengths = np.bincount(users, minlength=matrix.shape[0])
    starts = np.concatenate([[0], np.cumsum(lengths)])
    drawn = generator.permutation(np.flatnonzero(lengths >= 2))[:_MOST_USERS]
    drawn = np.repeat(drawn, np.minimum(_PAIRS_OF_A_USER, lengths[drawn] * (lengths[drawn] - 1) // 2))
    first = (generator.random(len(drawn)) * lengths[drawn]).astype(np.int64)
    second = (generator.random(len(drawn)) * (lengths[drawn] - 1)).astype(np.int64)
    second += second >= first
    return items[starts[drawn] + first].astype(np.int64), items[starts[drawn] + second].astype(np.int64)


def wrong_joins(tests: Sequence[JoinTest], least: float = LEAST_JOIN_Z) -> list[JoinTest]:
    """The results that show that the content belongs to other items.

    One encoder may see little in content that is right: names of artists share few words. So a low z-score counts only
    if no space of the content reaches the least one. A shift counts in any space, whatever the least z-score is.

    Args:
        tests: results of :func:`content_join_z` for the spaces of one table or one array.
        least: smallest accepted z-score.
    """
    shifted = [test for test in tests if test.is_shifted]
    if shifted or any(test.z >= least for test in tests):
        return shifted
    return [test for test in tests if test.refused(least)]


def refuse_wrong_join(tests: Sequence[JoinTest], least: float | None = LEAST_JOIN_Z, where: str = "") -> None:
    """Refuse content that does not belong to the items.

    Args:
        tests: as in :func:`wrong_joins`. Those with too few pairs cannot tell and are not refused.
        least: smallest accepted z-score, the argument ``content_join_z``; ``None``: any.
        where: what the content is of, for the message.

    Raises:
        ValueError: naming the spaces below it, and what to do.
    """
    wrong = [] if least is None else wrong_joins(tests, least)
    if least is not None and wrong:
        reason = (
            "the content of other rows fits the items better, so the table may be off by some rows"
            if wrong[0].z >= least
            else f"two items of one user are not more alike than any two by a z of {least:g}, so the content may "
            "belong to other items"
        )
        raise ValueError(
            f"content_join_z: {where}{reason}: {'; '.join(map(str, wrong))}. Check the ids of the items. With "
            "content_join_z none (--content-join-z none) the content is used all the same."
        )
