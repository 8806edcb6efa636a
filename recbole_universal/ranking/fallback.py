"""The warning that popularity ranks on a dataset."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

from recbole_universal.features.candidate_pairs import CandidatePairs

logger = logging.getLogger(__name__)

# ``callback`` is true in a thread while a callback runs in it.
_running = threading.local()


class Fallback:
    """Warns once that popularity ranks instead of a network.

    Attributes:
        on_fallback: callback that takes the message of the warning; ``None``: no message.
    """

    def __init__(self) -> None:
        self.on_fallback: Callable[[str], Any] | None = logger.warning
        # The dataset and reason of the last warning about each kind of list (fast or not).
        self._warned: dict[bool, tuple[object, str]] = {}

    def warn(self, pairs: CandidatePairs, reason: str, fast: bool = False, advice: str = "") -> None:
        """Warn about a fallback once for each dataset and reason. Where there is no reason, the next one warns again.

        A callback may rank itself. Nothing warns while it runs; the next list after it does.

        Args:
            pairs: the pair features of the dataset.
            reason: why popularity ranks; empty if it does not.
            fast: whether it is about fast lists.
            advice: a sentence that the message ends with.
        """
        if getattr(_running, "callback", False):
            return
        # An update of the features keeps the self-check and the origin, so each identifies the dataset.
        dataset = pairs.origin if pairs.check is None else pairs.check
        warned = any(last[0] is dataset and last[1] == reason for last in self._warned.values())
        # A new dictionary, because networks of other datasets may share the present one.
        self._warned = {kind: last for kind, last in self._warned.items() if kind != fast}
        if reason:
            self._warned[fast] = dataset, reason
            if not warned and self.on_fallback is not None:
                message = f"All users get the same popular items: {reason}." + (f" {advice}" if advice else "")
                _running.callback = True
                try:
                    self.on_fallback(message)
                finally:
                    _running.callback = False
