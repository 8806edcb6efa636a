"""Recent popularity: how popular each item was at a point in time, by events before it.

Two horizons, as in PrepRec (Wang et al., RecSys 2024): a short one shows what is popular now, a long one what has been.
Time passes with the number of events of the whole log, so a horizon is a share of all events.
"""

from __future__ import annotations

import numpy as np

from recbole_universal.graph.histories import Histories

#: Horizons, as shares of the events of the log. The weight of an event falls by the factor e in each.
HORIZONS = (0.02, 0.1)
_N_STEPS = 100
# A large catalogue has fewer points in time, so that their counts fit into memory (64 MB).
_MOST_COUNTS, _LEAST_STEPS = 2**24, 4


def recent_popularity(histories: Histories, n_items: int) -> dict[str, np.ndarray]:
    """Decayed counts of each item at up to 100 points in time.

    Args:
        histories: histories with times.
        n_items: number of items.

    Returns:
        ``recent.starts``: the points, from the first event to after the last one, ascending, float64 [n].
        ``recent.counts_<horizon>``: counts of the events before each point, float32 [n, n_items].
    """
    assert histories.times is not None
    ordered = np.sort(histories.times)
    n_steps = max(_LEAST_STEPS, min(_N_STEPS, _MOST_COUNTS // n_items))
    cuts = np.unique(ordered[np.linspace(0, len(ordered) - 1, n_steps + 1).astype(np.int64)])
    # Events at a cut come after it.
    step = np.searchsorted(cuts, histories.times, side="right") - 1
    counts = np.zeros((len(cuts), n_items), dtype=np.float32)
    np.add.at(counts, (step, histories.items), 1.0)
    shares = counts.sum(axis=1) / len(ordered)
    # The last point is after the last event, so a history that is asked about later sees all of them.
    starts = np.append(cuts, np.nextafter(cuts[-1], np.inf))
    result: dict[str, np.ndarray] = {"recent.starts": starts}
    for horizon in HORIZONS:
        decayed = np.zeros((len(starts), n_items), dtype=np.float32)
        for index in range(len(cuts)):
            decayed[index + 1] = decayed[index] * np.exp(-shares[index] / horizon) + counts[index]
        result[f"recent.counts_{horizon}"] = decayed
    return result
