"""The decision of a network to fall back to popularity on a dataset, and the warning about it."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable
from typing import Any

import torch

from recbole_universal.features.proximity_pairs import ProximityPairs
from recbole_universal.features.self_check import CheckResult, SelfCheck

logger = logging.getLogger(__name__)

# ``callback`` is true in a thread while a callback runs in it.
_running = threading.local()


class Fallback:
    """Decides whether popularity ranks instead of a network, and warns about it once.

    Attributes:
        on_fallback: callback that takes the message of the warning; ``None``: no message.
    """

    def __init__(self) -> None:
        self.on_fallback: Callable[[str], Any] | None = logger.warning
        # The self-check and the network's result in it. It holds for the network's present weights.
        self._cached: tuple[SelfCheck, CheckResult] | None = None
        # The dataset and reason of the last warning about each kind of list (fast or not).
        self._warned: dict[bool, tuple[object, str]] = {}

    def clear(self) -> None:
        """Drop the cached result, because the network has other weights now."""
        self._cached = None

    def reason(self, pairs: ProximityPairs, scores: Callable[[SelfCheck], torch.Tensor]) -> str:
        """Why popularity ranks on a dataset; empty if the network does.

        Args:
            pairs: the pair features of the dataset.
            scores: computes the network's scores of a self-check's candidates, called if no result is cached.
        """
        check = pairs.check
        if check is None:
            return pairs.fallback_reason("", None)
        if self._cached is None or self._cached[0] is not check:
            self._cached = check, check.result(scores(check))
        return pairs.fallback_reason("the model", self._cached[1])

    def warn(self, pairs: ProximityPairs, reason: str, fast: bool = False, advice: str = "") -> None:
        """Warn about a fallback once for each dataset and reason. Where there is no reason, the next one warns again.

        A callback may rank itself. Nothing warns while it runs; the next list after it does.

        Args:
            pairs: the pair features of the dataset.
            reason: what :meth:`reason` returned; empty if popularity does not rank.
            fast: whether it is the reason of fast lists.
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
