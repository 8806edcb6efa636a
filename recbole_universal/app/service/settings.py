"""Settings of a service. They travel to the worker processes in an environment variable."""

from __future__ import annotations

import json
import os
from dataclasses import asdict, dataclass

#: The variable that holds the token, and the one that holds the other settings.
TOKEN, SETTINGS = "RECBOLE_UNIVERSAL_TOKEN", "RECBOLE_UNIVERSAL_SERVICE"


@dataclass(frozen=True)
class ServiceSettings:
    """Settings of a service.

    Attributes:
        folders: folders of recommenders; the first is the default, and its database takes new interactions.
        items: table of the items' titles; ``None``: there are no titles.
        fast: whether lists are ranked by the item-item matrix, where a model has one and a request does not say.
        counters: file of the counters that the workers share; ``None``: one process counts alone.
        workers: number of worker processes.
    """

    folders: tuple[str, ...]
    items: str | None = None
    fast: bool = False
    counters: str | None = None
    workers: int = 1

    def to_environment(self) -> None:
        """Store the settings for processes that this one starts."""
        os.environ[SETTINGS] = json.dumps(asdict(self))

    @classmethod
    def from_environment(cls) -> ServiceSettings:
        """The settings that :meth:`to_environment` stored."""
        stored = json.loads(os.environ[SETTINGS])
        return cls(**{**stored, "folders": tuple(stored["folders"])})


def token() -> str:
    """The token that requests need; empty: none.

    Raises:
        ValueError: if no header can hold it.
    """
    value = os.environ.get(TOKEN, "").strip()
    if not value.isascii() or not value.isprintable() or " " in value:
        raise ValueError(f"{TOKEN}: must be printable ASCII characters without blanks.")
    return value
