"""The warning that popularity ranks on a dataset."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from recbole_universal.features.proximity_pairs import ProximityPairs

logger = logging.getLogger(__name__)


class Fallback:
    """Warns once that popularity ranks instead of a network.

    Attributes:
        on_fallback: callback that takes the message of the warning.
    """

    def __init__(self) -> None:
        self.on_fallback: Callable[[str], Any] = logger.warning
        # The dataset and reason of the last warning about each kind of list (fast or not).
        self._warned: dict[bool, tuple[object, str]] = {}

    def warn(self, pairs: ProximityPairs, reason: str, fast: bool = False, advice: str = "") -> None:
        """Warn about a fallback once for each dataset and reason. Where there is no reason, the next one warns again.

        Args:
            pairs: the pair features of the dataset.
            reason: why popularity ranks; empty if it does not.
            fast: whether it is about fast lists.
            advice: a sentence that the message ends with.
        """
        # An update of the features keeps the self-check and the origin, so each identifies the dataset.
        dataset = pairs.origin if pairs.check is None else pairs.check
        warned = any(last[0] is dataset and last[1] == reason for last in self._warned.values())
        # A new dictionary, because networks of other datasets may share the present one.
        self._warned = {kind: last for kind, last in self._warned.items() if kind != fast}
        if reason:
            self._warned[fast] = dataset, reason
            if not warned:
                self.on_fallback(f"All users get the same popular items: {reason}." + (f" {advice}" if advice else ""))
