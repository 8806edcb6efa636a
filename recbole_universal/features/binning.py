"""Bins of heavy-tailed statistics: percentile bins, soft or hard, and logarithmic bins.

All functions are pure. An entity without data has an all-zero row, which differs from the row of the lowest bin.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recbole_universal import arguments

BINNINGS = ("soft", "hard", "log")
# Each bin is a column of every user and every item.
_LARGEST_N_BINS = 2**10


def _as_values(values: Any, mask: Any) -> tuple[NDArray[np.float64], NDArray[np.bool_]]:
    values = np.asarray(values, dtype=np.float64)
    present = np.ones(len(values), dtype=bool) if mask is None else np.asarray(mask, dtype=bool)
    if values.ndim != 1 or present.shape != values.shape:
        raise ValueError(f"values and mask must be vectors of one length, not {values.shape} and {present.shape}")
    if np.isnan(values[present]).any():
        raise ValueError("values must not be NaN where mask is True")
    return values, present


def percentile(values: Any, mask: Any = None) -> NDArray[np.float64]:
    """Mid-rank percentile of each value among the entities that have data.

    It is the share of smaller values plus half the share of equal values. It is one division of two integers, so it is
    exactly unchanged when the data are duplicated as disjoint copies.

    Args:
        values: statistic of each entity, [n].
        mask: True where an entity has data, [n]; None: everywhere.

    Returns:
        Percentiles in (0, 1), [n]; NaN for entities without data.

    Raises:
        ValueError: if a value with data is NaN, or the shapes differ.
    """
    values, present = _as_values(values, mask)
    result = np.full(len(values), np.nan)
    ordered = np.sort(values[present])
    if len(ordered):
        result[present] = percentile_among(ordered, values[present])
    return result


def percentile_among(ordered: NDArray, values: NDArray) -> NDArray[np.float64]:
    """Mid-rank percentile of values among those of other entities.

    Args:
        ordered: the values of the entities in ascending order, [n], n > 0.
        values: [m].

    Returns:
        Percentiles in [0, 1], [m].
    """
    n_smaller = np.searchsorted(ordered, values, side="left")
    n_not_larger = np.searchsorted(ordered, values, side="right")
    return (n_smaller + n_not_larger) / (2 * len(ordered))


def soft_two_hot(fractions: Any, n_bins: int) -> NDArray[np.float32]:
    """Linear membership in the two nearest of ``n_bins`` knots spread evenly over [0, 1].

    Args:
        fractions: position of each entity in [0, 1], [n]; NaN: no data.
        n_bins: number of knots, >= 2.

    Returns:
        Rows that sum to 1 with at most two neighbouring entries, [n, n_bins]; all-zero rows where NaN.

    Raises:
        ValueError: if ``n_bins`` < 2 or a fraction is outside [0, 1].
    """
    rows, present, fractions = _empty_rows(fractions, n_bins)
    position = fractions[present] * (n_bins - 1)
    lower = np.minimum(position.astype(np.int64), n_bins - 2)
    upper_share = position - lower
    index = np.flatnonzero(present)
    rows[index, lower] = 1.0 - upper_share
    rows[index, lower + 1] = upper_share
    return rows


def hard_one_hot(fractions: Any, n_bins: int) -> NDArray[np.float32]:
    """Membership in one of ``n_bins`` intervals of equal width over [0, 1], the last one closed.

    Args:
        fractions: position of each entity in [0, 1], [n]; NaN: no data.
        n_bins: number of intervals, >= 2.

    Returns:
        One-hot rows, [n, n_bins]; all-zero rows where NaN.

    Raises:
        ValueError: if ``n_bins`` < 2 or a fraction is outside [0, 1].
    """
    rows, present, fractions = _empty_rows(fractions, n_bins)
    bins = np.minimum((fractions[present] * n_bins).astype(np.int64), n_bins - 1)
    rows[np.flatnonzero(present), bins] = 1.0
    return rows


def log_one_hot(values: Any, n_bins: int, *, base: float = 2.0, first: float = 1.0, mask: Any = None) -> NDArray:
    """Membership in bins whose edges are fixed powers, hence comparable between datasets.

    Bin k holds ``first * base**k <= value < first * base**(k+1)``; the first bin also holds all smaller values, and the
    last bin is open above. With the defaults: 1 | 2-3 | 4-7 | 8-15 | ...

    Args:
        values: statistic of each entity, [n].
        n_bins: number of bins, >= 2.
        base: ratio of neighbouring edges, > 1.
        first: lower edge of the first bin, > 0.
        mask: True where an entity has data, [n]; None: everywhere.

    Returns:
        One-hot rows, float32 [n, n_bins]; all-zero rows without data.

    Raises:
        ValueError: if ``n_bins`` < 2, ``base`` <= 1, ``first`` <= 0 or a value with data is NaN.
    """
    arguments.integer("log bins", "n_bins", n_bins, 2, _LARGEST_N_BINS)
    base = arguments.real("log bins", "base", base, 1.0)
    first = arguments.real("log bins", "first", first, 0.0)
    values, present = _as_values(values, mask)
    edges = first * np.power(base, np.arange(1, n_bins))
    rows = np.zeros((len(values), n_bins), dtype=np.float32)
    rows[np.flatnonzero(present), np.searchsorted(edges, values[present], side="right")] = 1.0
    return rows


def _empty_rows(fractions: Any, n_bins: int) -> tuple[NDArray[np.float32], NDArray[np.bool_], NDArray[np.float64]]:
    arguments.integer("bins", "n_bins", n_bins, 2, _LARGEST_N_BINS)
    fractions = np.asarray(fractions, dtype=np.float64)
    present = ~np.isnan(fractions)
    if ((fractions[present] < 0) | (fractions[present] > 1)).any():
        raise ValueError("fractions must lie in [0, 1]")
    return np.zeros((len(fractions), n_bins), dtype=np.float32), present, fractions


@dataclass(frozen=True)
class Binning:
    """How the statistics of a family become rows of bins.

    Attributes:
        kind: "soft" (percentile, two-hot), "hard" (percentile, one-hot) or "log" (fixed powers, one-hot).
        n_bins: number of bins, >= 2.
        log_base: ratio of neighbouring edges of the log bins, > 1; "soft" and "hard" do not use it.
    """

    kind: str
    n_bins: int
    log_base: float

    @classmethod
    def checked(cls, owner: str, binning: Any, n_bins: Any, log_base: Any) -> Binning:
        """Build one from user-given values.

        Raises:
            ValueError: with ``owner``, the argument and its valid values.
        """
        return cls(
            arguments.choice(owner, "binning", binning, BINNINGS),
            arguments.integer(owner, "n_bins", n_bins, 2, _LARGEST_N_BINS),
            arguments.real(owner, "log_base", log_base, 1.0),
        )

    @property
    def args(self) -> dict[str, Any]:
        """The values as the arguments of a family."""
        return {"n_bins": self.n_bins, "binning": self.kind, "log_base": self.log_base}

    def counts(self, values: Any, mask: Any = None) -> NDArray[np.float32]:
        """Bins of counts or sums of weights (>= 0), [n, n_bins]; log edges start at 1."""
        return self._rows(values, mask, first=1.0)

    def densities(self, values: Any, mask: Any = None) -> NDArray[np.float32]:
        """Bins of densities in [0, 1], [n, n_bins]; the last log bin is [1/log_base, 1]."""
        return self._rows(values, mask, first=float(self.log_base**-self.n_bins))

    def _rows(self, values: Any, mask: Any, first: float) -> NDArray[np.float32]:
        if self.kind == "log":
            return log_one_hot(values, self.n_bins, base=self.log_base, first=first, mask=mask)
        fractions = percentile(values, mask)
        return (soft_two_hot if self.kind == "soft" else hard_one_hot)(fractions, self.n_bins)
