"""Histories in order and candidates on one dataset: candidate pairs by the sequence scorers."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from numpy.typing import NDArray

from recbole_universal.features.candidate_pairs import CandidatePairs
from recbole_universal.graph.sequence_scorers import SequenceScorers


class SequencePairs(CandidatePairs[SequenceScorers]):
    """Histories in order and candidates, see :class:`CandidatePairs`; they are on the CPU."""

    content_decay = 0.8

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, NDArray]) -> SequencePairs:
        """See :meth:`PairFeatures.from_arrays`."""
        return cls._of_arrays(arrays, SequenceScorers.from_arrays)

    def to(self, device: str | torch.device) -> SequencePairs:
        """The same object: the scorers compute on the CPU, and a network takes their columns to its device."""
        return self
