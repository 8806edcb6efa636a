"""The choice of an interpolation weight from validation results; imports no RecBole."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

#: Weights of the universal model that are tried on validation.
WEIGHTS = tuple(k / 20 for k in range(21))


def one_standard_error(gains: NDArray[np.floating], counts: NDArray[np.floating]) -> int:
    """Choose a weight by the one-standard-error rule (Breiman et al., 1984, section 3.4.3).

    Some choices lose at most one standard error against the best choice. Of these, the rule takes the choice that is
    nearest to the better of the two ends. With little validation data, the best of many choices is best by chance, so
    a simpler choice without a measurable difference is safer. The simplest choices are the two ends, which use one
    model alone. The book is Classification and Regression Trees.

    Args:
        gains: sums of a metric over the users of a group, [n_groups, n_choices].
        counts: users of each group, [n_groups]; with few non-empty groups, the standard error is large.

    Returns:
        Index of the choice.
    """
    mean = gains.sum(axis=0) / counts.sum()
    best, end = int(np.argmax(mean)), 0 if mean[0] > mean[-1] else len(mean) - 1
    present = counts > 0
    if present.sum() < 2:
        return best
    loss = (gains[:, [best]] - gains)[present] / counts[present, None]
    error = loss.std(axis=0, ddof=1) / np.sqrt(present.sum())
    as_good = np.flatnonzero(mean[best] - mean <= error)
    return int(as_good[np.argmin(np.abs(as_good - end))])


def monotone_choice(gains: NDArray[np.floating]) -> list[int]:
    """The best column of each row if the columns must rise or fall monotonically, by dynamic programming.

    Args:
        gains: sums of a metric, [n_rows, n_columns].

    Returns:
        Column index of each row, all non-decreasing or all non-increasing, with the largest sum of gains.
    """
    n_columns = gains.shape[1]
    rising, columns = _rising_choice(gains)
    falling, mirrored = _rising_choice(gains[:, ::-1])
    return columns if rising >= falling else [n_columns - 1 - column for column in mirrored]


def _rising_choice(gains: NDArray[np.floating]) -> tuple[float, list[int]]:
    """Largest sum of gains over non-decreasing columns, and these columns."""
    total, steps = gains[0].copy(), []
    for row in gains[1:]:
        # The first column that reaches the maximum so far.
        steps.append([int(np.argmax(total[: column + 1])) for column in range(len(total))])
        total = row + np.maximum.accumulate(total)
    path = [int(np.argmax(total))]
    for step in reversed(steps):
        path.append(step[path[-1]])
    return float(total.max()), path[::-1]
