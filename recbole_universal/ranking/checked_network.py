"""A network with the pair features of one dataset, and what the self-check of the dataset says about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple, cast

import numpy as np
import torch
from numpy.typing import NDArray

from recbole_universal.features.candidate_pairs import CandidatePairs
from recbole_universal.features.family import PairFeatures
from recbole_universal.features.self_check import CheckResult, SelfCheck
from recbole_universal.graph.sparse_sums import check_finite
from recbole_universal.graph.threads import one_thread
from recbole_universal.ranking.correction import ContentGain, choose_correction, content_gain
from recbole_universal.ranking.fallback import Fallback
from recbole_universal.ranking.network import UniversalNetwork

# Number of users of the self-check that are scored at once.
_CHECK_USERS = 50


class _Checked(NamedTuple):
    """What the self-check says about a network.

    Attributes:
        check: the self-check without content.
        weights: the network's weights at that time.
        correction: weights of the candidates' columns.
        result: result of the corrected scores.
        content: what content adds; ``None`` without content.
    """

    check: SelfCheck
    weights: torch.Tensor
    correction: torch.Tensor
    result: CheckResult
    content: ContentGain | None


class CheckedNetwork(UniversalNetwork):
    """A :class:`UniversalNetwork` that holds the pair features of one dataset.

    The self-check of the dataset corrects its scores, decides whether content ranks and whether popularity does, and
    measures the result. All of this is computed when it is first asked for. It is computed again when the weights or
    the self-check have changed.

    Arguments are those of :class:`UniversalNetwork`.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._pairs: dict[str, PairFeatures] = {}
        self.fallback = Fallback()
        self._checked: _Checked | None = None

    def pairs(self, family: str) -> PairFeatures:
        """The pair features of a family, on this network's device."""
        self._pairs[family] = self._pairs[family].to(self.device)
        return self._pairs[family]

    @property
    def candidate_pairs(self) -> CandidatePairs:
        """The pair features of the family that makes candidates; with content if that ranks here."""
        pairs = self._pairs_without_content
        if pairs.with_content is None:  # most rankers; the gain compares all weights of the network
            return pairs
        gain = self.content_gain
        return pairs.with_content if gain is not None and gain.helps else pairs

    @property
    def _pairs_without_content(self) -> CandidatePairs:
        return cast(CandidatePairs, self.pairs(self._candidate_family))

    @property
    def _candidate_family(self) -> str:
        assert self.candidate_family is not None
        return self.candidate_family

    def falls_back(self) -> bool:
        """Whether popularity ranks on this dataset instead of the network; warns about it once.

        Popularity ranks if it has the better NDCG@10 on the held-out interactions of the self-check
        (:func:`recbole_universal.features.self_check.falls_back`), or if no user has two interactions. The network
        always ranks in training mode. It also always ranks if it reads further families, since the self-check has no
        columns of them.

        The result is cached until the weights or the self-check change.
        """
        reason = self.fallback_reason()
        if self.ranks_candidates:
            self.fallback.warn(self.candidate_pairs, reason)
        return bool(reason)

    def fallback_reason(self) -> str:
        """The reason of :meth:`falls_back`, a phrase for messages; empty if the network ranks."""
        if not self._is_checked:
            return ""
        return self.candidate_pairs.fallback_reason("the model", self.check_result())

    @property
    def content_gain(self) -> ContentGain | None:
        """What content adds in the self-check; ``None`` without content or self-check."""
        checked = self._self_checked() if self._is_checked else None
        return None if checked is None else checked.content

    @property
    def correction(self) -> torch.Tensor | None:
        """Weights of the candidates' columns in the correction, float32 [dim]; ``None`` without self-check."""
        checked = self._self_checked() if self._is_checked else None
        return None if checked is None else checked.correction

    def check_result(self) -> CheckResult | None:
        """What the self-check measures about the corrected network; ``None`` without self-check."""
        checked = self._self_checked() if self._is_checked else None
        return None if checked is None else checked.result

    def check_arrays(self) -> dict[str, NDArray]:
        """The correction and the result of the self-check, for :meth:`restore_check`; empty without self-check."""
        checked = self._self_checked() if self._is_checked else None
        if checked is None:
            return {}
        arrays = {name: np.asarray(value) for name, value in checked.result._asdict().items() if value is not None}
        arrays["correction"] = checked.correction.numpy()
        return arrays if checked.content is None else arrays | {"content": np.array(checked.content)}

    def restore_check(self, arrays: Mapping[str, NDArray]) -> None:
        """Take the correction and the result of :meth:`check_arrays` for the present weights and features.

        Raises:
            KeyError, ValueError: if an array is missing, or belongs to other features.
        """
        check = self._pairs_without_content.check
        if check is None:
            raise ValueError("there is no self-check")
        by_user = torch.from_numpy(arrays["by_user"])
        next_rate = torch.from_numpy(arrays["next_rate"]) if "next_rate" in arrays else None  # not in old folders
        result = CheckResult(float(arrays["ndcg"]), float(arrays["z_score"]), by_user, next_rate)
        pairs, correction, content = self._pairs_without_content, arrays["correction"], arrays.get("content")
        is_of_another = content is not None and (content.shape != (3,) or not np.isfinite(content).all())
        if is_of_another or (content is None) != (pairs.with_content is None):
            raise ValueError("its array check.content does not belong to the content of its features")
        gain = None if content is None else ContentGain(*content.tolist())
        if gain is not None and gain.helps and pairs.with_content is not None:
            pairs = pairs.with_content
        if correction.shape != (pairs.dim,):
            raise ValueError(f"its array check.correction is {list(correction.shape)} for {pairs.dim} columns")
        check_finite({"check.correction": correction})
        self._checked = _Checked(check, self.weights(), torch.from_numpy(correction), result, gain)

    def weights(self) -> torch.Tensor:
        """All weights and buffers of the networks, float32 [n]."""
        tensors = (*self.parameters(), *self.scorers.buffers())  # `scorers` are the single networks
        return torch.cat([tensor.detach().reshape(-1) for tensor in tensors])

    @property
    def _is_checked(self) -> bool:
        """Whether the self-check judges the network; it has no columns of further families."""
        return not self.training and self.families == [self.candidate_family]

    def _self_checked(self) -> _Checked | None:
        """The correction and its result for the present weights; ``None`` without self-check."""
        pairs = self._pairs_without_content
        check = pairs.check
        if check is None:
            return None
        weights = self.weights()  # compared, since PyTorch counts no version for some changes in place
        checked = self._checked  # other threads may replace it
        if checked is None or checked.check is not check or not torch.equal(checked.weights, weights):
            # Calls outside of inference mode use the cached tensors. The operations are small. While other processes
            # are busy, two threads take many times as long, because each operation waits for both.
            with torch.inference_mode(False), one_thread():
                checked = self._measured(check, None if pairs.with_content is None else pairs.with_content.check)
            self._checked = checked
        return checked

    def _measured(self, check: SelfCheck, with_content: SelfCheck | None) -> _Checked:
        weights = self.weights()
        correction, result = choose_correction(check, self._check_scores(check))
        if with_content is None:
            return _Checked(check, weights, correction, result, None)
        other = choose_correction(with_content, self._check_scores(with_content))
        gain = content_gain(result, other[1])
        return _Checked(check, weights, *(other if gain.helps else (correction, result)), gain)

    @torch.no_grad()
    def _check_scores(self, check: SelfCheck) -> torch.Tensor:
        family, n_read = self._candidate_family, self._pairs_without_content.dim
        no_columns = {family: torch.zeros(1, 1, 0, device=self.device)}
        blocks = (block[..., :n_read].to(self.device).float() for block in check.features.split(_CHECK_USERS))
        return torch.cat([self(no_columns, no_columns, {family: block}) for block in blocks])
