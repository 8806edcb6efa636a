"""The sequence family: how near an item is to the end of a history, relative to the other candidates.

The columns are those of :mod:`recbole_universal.features.proximity`, with the scorers of
:class:`~recbole_universal.graph.sequence_scorers.SequenceScorers` in place of the scorers without order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from recbole_universal import arguments
from recbole_universal.features.candidate_columns import n_columns
from recbole_universal.features.family import FamilyFeatures, FeatureFamily
from recbole_universal.features.self_check import CheckedScorers, MeasuredScorers, measured_scorers
from recbole_universal.features.sequence_pairs import SequencePairs
from recbole_universal.graph.held_out import next_item_splits
from recbole_universal.graph.histories import Histories
from recbole_universal.graph.sequence_scorers import SEQUENCE_SCORERS, SequenceScorers

if TYPE_CHECKING:
    from recbole_universal.graph.interaction_graph import InteractionGraph


class SequenceFeatures(FeatureFamily):
    """Scale-free scores of a history and a candidate by scorers that know the order, and the activity of both.

    The columns are those of the family ``proximity``. A scorer's weight is its NDCG@10 on held-out next items of some
    users (:func:`~recbole_universal.graph.held_out.next_item_splits`), relative to the best scorer's. Where the
    training histories repeat items, the items of a history are candidates.

    Args:
        top_k: number of best items of a scorer that count, >= 1. A source draws half as many again as candidates.
        n_neighbors: neighbours of an item in the nearest-neighbour scorers, >= 1.
        max_rank: largest number of singular vectors of the low-pass filters, >= 4.
        max_regression_size: largest number of items in the regressions, >= 1; their cost is cubic in it.
        n_check_users: largest number of users of whom the self-check holds out an item, >= 1. It is a quarter of the
            users, or half of them up to 500 if that is more.

    Raises:
        ValueError: with the argument and its valid values.
    """

    name = "sequence"
    version = 4
    needs_histories = True
    pair_class = SequencePairs
    reads_content = True
    seeded = True
    large = True

    def __init__(
        self,
        top_k: int = 40,
        n_neighbors: int = 200,
        max_rank: int = 256,
        max_regression_size: int = 6000,
        n_check_users: int = 2000,
    ) -> None:
        owner = self.owner()
        self.top_k = arguments.integer(owner, "top_k", top_k, 1)
        self.n_neighbors = arguments.integer(owner, "n_neighbors", n_neighbors, 1)
        self.max_rank = arguments.integer(owner, "max_rank", max_rank, 4)
        self.max_regression_size = arguments.integer(owner, "max_regression_size", max_regression_size, 1)
        self.n_check_users = arguments.integer(owner, "n_check_users", n_check_users, 1, below=2**31)
        names = ("top_k", "n_neighbors", "max_rank", "max_regression_size", "n_check_users")
        self.args = {name: getattr(self, name) for name in names}
        self.user_dim = self.item_dim = 0
        self.pair_dim = n_columns(tuple(SEQUENCE_SCORERS))

    def compute(
        self,
        graph: InteractionGraph,
        embedding: NDArray[np.float32] | None = None,
        *,
        seed: int = 0,
        device: str | torch.device = "cpu",
        show_progress: bool = False,
    ) -> FamilyFeatures:
        """Build the scorers and check them; see :meth:`FeatureFamily.compute`.

        Raises:
            ValueError: if the graph does not tell the order of the interactions.
        """
        histories = graph.histories
        if histories is None:
            raise ValueError(
                f"{self.owner()}: needs the order of the interactions, and only a matrix is given; give the histories "
                "too (in RecBole: a sequential model)."
            )

        kind = histories.has_clock, histories.repeats(graph.user_item)

        def scorers_of(some: Histories) -> SequenceScorers:
            return SequenceScorers(
                some,
                graph.n_items,
                n_neighbors=self.n_neighbors,
                max_rank=self.max_rank,
                max_regression_size=self.max_regression_size,
                kind=kind,
                show_progress=show_progress,
            )

        n_users = graph.n_users
        n_checked = min(self.n_check_users, max(n_users // 4, min(n_users // 2, 500), 20))
        splits = next_item_splits(histories, graph.n_items, n_checked, np.random.default_rng(seed))
        measured = MeasuredScorers(np.ones(len(SEQUENCE_SCORERS), dtype=np.float32))

        def pairs_of(scorers: SequenceScorers, scorer_weights: NDArray[np.float32]) -> SequencePairs:
            pairs = SequencePairs(scorers, scorer_weights, self.top_k)
            if graph.content is not None:
                pairs.add_content(graph.content)
            return pairs

        if splits[0].query.nnz:
            checked = [CheckedScorers(scorers_of(support), query, cut) for support, query, cut in splits]
            measured = measured_scorers(checked, pairs_of)
        pairs = SequencePairs(scorers_of(histories), measured.weights, self.top_k, check=measured.check)
        if graph.content is not None:
            pairs.add_content(graph.content, measured.content_check)
        return pairs.alone()

    def with_interactions(self, features: FamilyFeatures, graph: InteractionGraph) -> FamilyFeatures | None:
        """Refuse: new interactions come without their place in the histories.

        Raises:
            ValueError: always.
        """
        raise ValueError(f"{self.owner()}: cannot be updated; make a new ranker with all histories")
