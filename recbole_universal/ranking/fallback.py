"""The decision of a network to fall back to popularity on a dataset, and the warning about it."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

import torch

from recbole_universal.features.proximity_pairs import ProximityPairs
from recbole_universal.features.self_check import CheckResult, SelfCheck

logger = logging.getLogger(__name__)


class Fallback:
    """Decides whether popularity ranks instead of a network, and warns about it once.

    Attributes:
        on_fallback: callback that takes the message of the warning.
    """

    def __init__(self) -> None:
        self.on_fallback: Callable[[str], Any] = logger.warning
        # The self-check and the network's result in it. It holds for the network's present weights.
        self._cached: tuple[SelfCheck, CheckResult] | None = None
        # The dataset and reason of the last warning, so that it is issued only once.
        self._warned: tuple[SelfCheck | ProximityPairs, str] | None = None

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

    def warn(self, pairs: ProximityPairs, reason: str) -> None:
        """Warn about a fallback, unless the last warning was about the same dataset and reason.

        Args:
            pairs: the pair features of the dataset.
            reason: what :meth:`reason` returned.
        """
        # An update of the features keeps the self-check, so the check identifies the dataset.
        dataset = pairs if pairs.check is None else pairs.check
        if self._warned is None or self._warned[0] is not dataset or self._warned[1] != reason:
            self.on_fallback(f"All users get the same popular items: {reason}.")
            self._warned = dataset, reason

    def forget_warning(self) -> None:
        """Forget the last warning, because the network ranks. The next fallback is worth a warning again."""
        self._warned = None
