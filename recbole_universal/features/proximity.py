"""The proximity family: how near an item is to a user, relative to the other candidates of the user.

The family is not in the paper, whose features describe single users and items. Users in the same bins of those features
get the same list. Here a pair of user and item is described by the scores of
:class:`~recbole_universal.graph.scorers.GraphScorers`, made free of scale within the user's own candidate list. Which
scorers are good differs between datasets; the self-check measures it (:mod:`recbole_universal.features.self_check`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from recbole_universal import arguments
from recbole_universal.features.candidate_columns import n_columns
from recbole_universal.features.family import FamilyFeatures, FeatureFamily
from recbole_universal.features.proximity_pairs import ProximityPairs
from recbole_universal.features.self_check import check_scorers
from recbole_universal.graph.scorers import GraphScorers

if TYPE_CHECKING:
    from recbole_universal.graph.interaction_graph import InteractionGraph


class ProximityFeatures(FeatureFamily):
    """Scale-free scores of a pair by training-free graph scorers, and the activity of user and item.

    The columns of a pair are, for each scorer, the score relative to the user's best item, the score relative to the
    user's 20th best item, and the log-rank in the list. The same three columns follow for two averages over the
    scorers: one by a softmax of the scorer weights, one of the best scorer alone. The last columns are activity
    percentiles and degrees of both sides. A scorer's weight is its NDCG@10 on held-out interactions relative to the
    best scorer's, so it has the scale 0 to 1 on every dataset.

    Args:
        top_k: number of candidates from each source of the scorers, >= 1.
        n_neighbors: neighbours of an item in the nearest-neighbour scorer, >= 1.
        max_rank: largest number of singular vectors of the low-pass filters, >= 4.
        max_regression_size: largest number of users or items in the regression, >= 1; its cost is cubic in it.
        n_check_users: largest number of users whose interactions the self-check holds out, >= 1. It is a quarter of the
            users, or 20 if that is more.
        check_share: share of the interactions of such a user that is held out, in (0, 1); at least one is.

    Raises:
        ValueError: with the argument and its valid values.
    """

    name = "proximity"
    version = 3
    pair_class = ProximityPairs
    reads_content = True
    seeded = True
    large = True

    def __init__(
        self,
        top_k: int = 50,
        n_neighbors: int = 100,
        max_rank: int = 256,
        max_regression_size: int = 6000,
        n_check_users: int = 1000,
        check_share: float = 0.2,
    ) -> None:
        owner = self.owner()
        self.top_k = arguments.integer(owner, "top_k", top_k, 1)
        self.n_neighbors = arguments.integer(owner, "n_neighbors", n_neighbors, 1)
        self.max_rank = arguments.integer(owner, "max_rank", max_rank, 4)
        self.max_regression_size = arguments.integer(owner, "max_regression_size", max_regression_size, 1)
        self.n_check_users = arguments.integer(owner, "n_check_users", n_check_users, 1, below=2**31)
        self.check_share = float(check_share) if arguments.is_real(check_share) else 0.0
        if not 0 < self.check_share < 1:
            raise ValueError(f"{owner}: argument check_share must be a number in (0, 1), not {check_share!r}")
        names = ("top_k", "n_neighbors", "max_rank", "max_regression_size", "n_check_users", "check_share")
        self.args = {name: getattr(self, name) for name in names}
        self.user_dim = self.item_dim = 0
        self.pair_dim = n_columns()

    def compute(
        self,
        graph: InteractionGraph,
        embedding: NDArray[np.float32] | None = None,
        *,
        seed: int = 0,
        device: str | torch.device = "cpu",
        show_progress: bool = False,
    ) -> FamilyFeatures:
        """Build the scorers and check them; see :meth:`FeatureFamily.compute`."""

        def scorers_of(matrix: sp.csr_matrix, penalty: float) -> GraphScorers:
            return GraphScorers(
                matrix,
                weighted=graph.weighted,
                n_neighbors=self.n_neighbors,
                max_rank=self.max_rank,
                max_regression_size=self.max_regression_size,
                penalty=penalty,
                device=device,
                show_progress=show_progress,
            )

        def pairs_of(scorers: GraphScorers, scorer_weights: NDArray[np.float32]) -> ProximityPairs:
            pairs = ProximityPairs(scorers, scorer_weights, self.top_k)
            if graph.content is not None:
                pairs.add_content(graph.content)
            return pairs

        matrix = graph.user_item
        n_users = self._n_checked(matrix.shape[0])
        penalty, measured = check_scorers(
            matrix, n_users, self.check_share, seed, self.max_regression_size, scorers_of, pairs_of, graph.weighted
        )
        pairs = ProximityPairs(scorers_of(matrix, penalty), measured.weights, self.top_k, check=measured.check)
        if graph.content is not None:
            pairs.add_content(graph.content, measured.content_check)
        return pairs.to("cpu").alone()

    def with_interactions(self, features: FamilyFeatures, graph: InteractionGraph) -> FamilyFeatures | None:
        """See :meth:`FeatureFamily.with_interactions` and :meth:`ProximityPairs.with_interactions`.

        ``None`` if the self-check could now have twice as many users: scorer weights and fallback rest on it.
        """
        assert isinstance(features.pair, ProximityPairs)
        check, degree = features.pair.check, np.diff(graph.user_item.indptr)
        n_checked = 0 if check is None else len(check.n_held_out)
        n_possible = min(int((degree >= 2).sum()), self._n_checked(int((degree > 0).sum())))
        if n_possible >= max(1, 2 * n_checked):
            return None
        return features.pair.with_interactions(graph.user_item).alone()

    def _n_checked(self, n_users: int) -> int:
        """Number of users whose interactions the self-check of a dataset holds out."""
        return min(self.n_check_users, max(20, n_users // 4))
