"""The activity family: how much a user or an item interacts, relative to the others."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from recbole_universal.features.binning import Binning
from recbole_universal.features.family import FamilyFeatures, FeatureFamily

if TYPE_CHECKING:
    from recbole_universal.graph.interaction_graph import InteractionGraph


class ActivityFeatures(FeatureFamily):
    """Bins of the marginals of the interaction matrix (arXiv 2309.01188, "activity").

    The marginal of a user is the sum of the weights of its interactions (their number without weights), that of an
    item likewise. Users are ranked among users, items among items.

    Args:
        n_bins: number of bins, >= 2.
        binning: "soft", "hard" (both of percentiles) or "log" (of the marginal itself).
        log_base: ratio of neighbouring edges of the log bins, > 1.

    Raises:
        ValueError: with the argument and its valid values.
    """

    name = "activity"
    version = 1

    def __init__(self, n_bins: int = 10, binning: str = "soft", log_base: float = 2.0) -> None:
        self.binning = Binning.checked(self.owner(), binning, n_bins, log_base)
        self.args = self.binning.args
        self.user_dim = self.item_dim = self.binning.n_bins

    def compute(
        self,
        graph: InteractionGraph,
        embedding: NDArray[np.float32] | None = None,
        *,
        seed: int = 0,
        device: str | torch.device = "cpu",
        show_progress: bool = False,
    ) -> FamilyFeatures:
        """Bins of the marginals; see :meth:`FeatureFamily.compute`. Nothing here is random."""
        return FamilyFeatures(
            user=self.binning.counts(graph.user_marginal, graph.user_degree > 0),
            item=self.binning.counts(graph.item_marginal, graph.item_degree > 0),
        )

    def with_interactions(self, features: FamilyFeatures, graph: InteractionGraph) -> FamilyFeatures:
        """See :meth:`FeatureFamily.with_interactions`. Only counts change, so this equals computing anew."""
        return self.compute(graph)
