"""New interactions of a request as rows of the database."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from recbole_universal.app.service.answers import Refused
from recbole_universal.app.service.appended import Row, now
from recbole_universal.app.service.bodies import Interaction
from recbole_universal.app.service.loaded import Loaded
from recbole_universal.io.time_column import column_times
from recbole_universal.io.times import read_times


def new_rows(loaded: Loaded, interactions: Sequence[Interaction]) -> list[Row]:
    """Rows with the ids in the type of the fit, times in seconds, and weights by the columns of the fit.

    Args:
        loaded: the first model.
        interactions: interactions; those without a time get the present time.

    Raises:
        Refused: naming the interaction and what is valid.
    """
    times = np.full(len(interactions), now())
    given = [index for index, one in enumerate(interactions) if one.time is not None]
    if given:
        values = np.empty(len(given), dtype=object)
        values[:] = [_number(interactions[index].time) for index in given]
        read = column_times(read_times(values))
        if read.ambiguous:
            raise Refused(422, f"interactions: {read.ambiguous}; write dates as yyyy-mm-dd.")
        for index, seconds in zip(given, read.seconds.tolist(), strict=True):
            if not np.isfinite(seconds):
                raise Refused(
                    422,
                    f"interactions.{index}.time: must be a Unix time or ISO 8601, in one form in the whole request.",
                )
        times[given] = read.seconds
    rows = []
    for index, (one, seconds) in enumerate(zip(interactions, times.tolist(), strict=True)):
        try:
            ids = loaded.stored_ids(one.user, one.item)
            rows.append(Row(*ids, seconds, loaded.weight(one.event, one.weight)))
        except ValueError as error:
            raise Refused(422, f"interactions.{index}: {error}.") from error
    return rows


def _number(value: object) -> object:
    """A time; an integer that no float holds becomes a text, which is unreadable."""
    try:
        return float(value) if isinstance(value, int) else value
    except OverflowError:
        return "too large"
