"""How much each interaction counts, by the arguments of a caller."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import Any

from recbole_universal import arguments
from recbole_universal.io.weights import LARGEST, kind_name

# Days. An age counts nothing beyond the longest half-life; a shorter one than the shortest would divide by zero.
_SHORTEST, _LONGEST = 1e-12, 1e12


@dataclass(frozen=True)
class Weighting:
    """How much each interaction counts; the default is the same for all.

    Attributes:
        weight_column: name of a column of numbers, at least 0; ``None``: each row weighs 1.
        event_column: name of a column of kinds of events; ``None``: found by a usual name if ``event_weights`` are
            given.
        event_weights: weight of each kind, at least 0; ``None``: all kinds count the same.
        half_life: age in days at which an interaction weighs half; ``None``: age does not count.
    """

    weight_column: Hashable | None = None
    event_column: Hashable | None = None
    event_weights: Mapping[str, float] | None = None
    half_life: float | None = None

    @classmethod
    def checked(
        cls,
        weight_column: Hashable | None = None,
        event_column: Hashable | None = None,
        event_weights: Any = None,
        half_life: Any = None,
    ) -> Weighting:
        """The weighting of arguments of a caller.

        Raises:
            ValueError: naming the argument and its valid values.
        """
        arguments.column_name("weight", weight_column)
        arguments.column_name("event", event_column)
        if event_column is not None and event_weights is None:
            raise ValueError(
                "event_column (--event-column): needs event_weights (--event-weights), such as "
                '{"view": 1, "purchase": 10} (view=1,purchase=10).'
            )
        if half_life is not None:
            if not arguments.is_real(half_life) or not half_life > 0:
                raise ValueError(
                    f"half_life (--half-life): must be a number of days, more than 0, got {arguments.shown(half_life)}."
                )
            half_life = None if half_life > _LONGEST else max(float(half_life), _SHORTEST)
        kinds = None if event_weights is None else _checked_kinds(event_weights)
        return cls(weight_column, event_column, kinds, half_life)

    def given(self) -> dict[str, Any]:
        """The arguments by the names that messages call them."""
        return {f"{name} (--{name.replace('_', '-')})": value for name, value in vars(self).items()}

    def described(self) -> dict[str, Any]:
        """The weighting as JSON; names of columns that JSON lacks become texts."""
        names = {"weight_column": self.weight_column, "event_column": self.event_column}
        names = {key: name if isinstance(name, (str, int, type(None))) else str(name) for key, name in names.items()}
        kinds = None if self.event_weights is None else dict(self.event_weights)
        return {**names, "event_weights": kinds, "half_life": self.half_life}

    def columns(self) -> dict[str, Any]:
        """The arguments of :func:`~recbole_universal.io.interactions.read_interactions`."""
        names = ("weight_column", "event_column", "event_weights")
        return {name: getattr(self, name) for name in names}


def _checked_kinds(given: Any) -> dict[str, float]:
    if not isinstance(given, Mapping) or not given:
        raise ValueError(
            'event_weights (--event-weights): must be a mapping such as {"view": 1, "cart": 3, "purchase": 10}, got '
            f"{arguments.shown(given)}."
        )
    checked: dict[str, float] = {}
    for kind, weight in given.items():
        if not arguments.is_real(weight) or not 0 <= weight <= LARGEST:
            raise ValueError(
                f"event_weights (--event-weights): the weight of [{kind}] must be a number of at least 0, got "
                f"{arguments.shown(weight)}; at most {LARGEST:g} is read."
            )
        name = kind_name(kind)
        if checked.setdefault(name, float(weight)) != weight:
            raise ValueError(f"event_weights (--event-weights): [{name}] has two weights.")
    return checked
