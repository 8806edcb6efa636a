"""The self-check: held-out interactions of a dataset measure its scorers, and rankings against popularity.

Which scorers are good differs between datasets. The self-check holds out interactions of some users, builds the scorers
from the rest, and weighs each scorer by its NDCG@10. The same held-out interactions then show whether a ranking beats
the most popular items. Where it does not, a model falls back to popularity. The correction of a network's scores is
fitted to the same held-out interactions (:mod:`recbole_universal.ranking.correction`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from recbole_universal.features.candidates import Candidates, ScoredCandidates, Scorers, best_unseen
from recbole_universal.graph.held_out import held_out_hits, support_query_split
from recbole_universal.graph.interaction_graph import binary_matrix
from recbole_universal.graph.popularity import fill_with_popular, popularity_order
from recbole_universal.graph.regression import mean_degree, ridge_regressions
from recbole_universal.graph.scorer_definitions import SCORERS
from recbole_universal.graph.scorers import PENALTY, GraphScorers
from recbole_universal.graph.sparse_sums import UserItems
from recbole_universal.metrics import ndcg, paired_z_score

# Cutoff of the NDCG that the self-check measures, and number of ranks whose hits it counts.
_CUTOFF, _RATED_RANKS = 10, 100
#: Penalties of the regression of which the self-check chooses one, as multiples of the mean item degree.
PENALTIES = (1.0, PENALTY, 10.0)
# The penalty is chosen by regressions of at most this number of items or users. Each has the lambda that the whole
# regression would have with that penalty. docs/ablation.md measures what the choice loses against the best penalty.
_CHOICE_SIZE = 1000
# Largest number of users that the choice evaluates. Twice as many would take a tenth of the time of a build.
_CHOICE_USERS = 500
# Largest number of users, and of users times items, that are scored at once.
_BLOCK_USERS, _BLOCK_FLOATS = 100, 2**23


class CheckResult(NamedTuple):
    """What the self-check measures about a ranking.

    Attributes:
        ndcg: mean NDCG@10 over the users.
        z_score: paired z-score of the ranking's NDCG@10 minus that of popularity.
        by_user: NDCG@10 of each user, float64 [n_users].
        next_rate: share of a user's held-out interactions that are with the candidate at each rank, mean over the
            users, float64 [n_ranks].
    """

    ndcg: float
    z_score: float
    by_user: torch.Tensor | None = None
    next_rate: torch.Tensor | None = None


@dataclass(frozen=True)
class SelfCheck:
    """Candidate lists of users with held-out interactions, which evaluate a ranking on the dataset.

    Scorer weights, the NDCG@10 of each scorer relative to the best scorer's, are cross-fitted: each half of the users
    has the weights that are measured on the other half. The
    rows of the first half come first; it has one user more if their number is odd. The penalty of the regression is one
    of three and is chosen on at most 500 of these users. If a network was trained on this dataset, it may have seen the
    held-out interactions, and its result is too good.

    Attributes:
        features: columns of the candidates, float16 [n_users, n_candidates, dim].
        mask: whether a position holds a candidate, bool [n_users, n_candidates].
        label: whether the candidate is held out, bool [n_users, n_candidates].
        n_held_out: number of held-out interactions of each user, at least 1, int64 [n_users].
        tail_ndcg: what popular items add to the NDCG@10 of a user with fewer than ten candidates, whose list they fill
            up, float64 [n_users].
        popularity_ndcg: NDCG@10 of the most popular unseen items, float64 [n_users].
        linear_scores: scores of the candidates by the weighted average of the linear scorers
            (``linear`` of the scorers), which rank fast lists, float16 [n_users, n_candidates].
        users: index of each user in the scorers, int64 [n_users].
        cut: time at which the statistics of each row end, float64 [n_users]; ``None`` if they have no end.
    """

    features: torch.Tensor
    mask: torch.Tensor
    label: torch.Tensor
    n_held_out: torch.Tensor
    tail_ndcg: torch.Tensor
    popularity_ndcg: torch.Tensor
    linear_scores: torch.Tensor
    users: torch.Tensor
    cut: torch.Tensor | None = None

    def ndcg(self, scores: torch.Tensor) -> torch.Tensor:
        """NDCG@10 of the candidates ordered by ``scores``, [n_users, n_candidates]; float64 [n_users]."""
        return torch.from_numpy(ndcg(self._hits(scores, _CUTOFF).numpy(), self.n_held_out.numpy())) + self.tail_ndcg

    def _hits(self, scores: torch.Tensor, k: int) -> torch.Tensor:
        """Whether the candidate at each of the first k ranks is held out, bool [n_users, k]."""
        scores = scores.float().cpu().masked_fill(~self.mask, -torch.inf)
        scores = torch.nn.functional.pad(scores, (0, k), value=-torch.inf)
        label = torch.nn.functional.pad(self.label, (0, k))
        return label.gather(1, scores.topk(k, dim=1).indices)

    def result(self, scores: torch.Tensor) -> CheckResult:
        """Evaluate the candidates ordered by ``scores``, [n_users, n_candidates]."""
        by_user = self.ndcg(scores)
        z_score = paired_z_score((by_user - self.popularity_ndcg).numpy())
        next_rate = (self._hits(scores, _RATED_RANKS).double() / self.n_held_out[:, None]).mean(dim=0)
        return CheckResult(float(by_user.mean()), z_score, by_user, next_rate)


def falls_back(z_score: float, mostly_one_interaction: bool) -> bool:
    """Whether popularity should rank instead of a ranking with this :attr:`CheckResult.z_score`.

    If at most half of the users have a single interaction, popularity ranks if it is better by more than one standard
    error. If most users have one, the checked users are not representative, and a ranking can be several times worse
    than popularity. Then popularity ranks unless the ranking is better by more than half a standard error.

    Args:
        z_score: paired z-score of the ranking's NDCG@10 minus that of popularity.
        mostly_one_interaction: whether most users have a single interaction.
    """
    return z_score <= 0.5 if mostly_one_interaction else z_score < -1


def fallback_reason(
    check: SelfCheck | None, mostly_one_interaction: bool, name: str, result: CheckResult | None
) -> str:
    """Why popularity ranks instead of a ranking, a phrase for messages; empty if it does not.

    Args:
        check: the self-check of the dataset; ``None`` if no interaction could be held out.
        mostly_one_interaction: whether most users have a single interaction.
        name: what the message calls the ranking.
        result: the ranking's result in the self-check; not read without self-check.
    """
    if check is None or result is None:
        return "no user has two interactions, so no interaction can be held out"
    if not falls_back(result.z_score, mostly_one_interaction):
        return ""
    n_users = len(check.n_held_out)
    reason = (
        f"on held-out interactions of {n_users} user{'s' * (n_users != 1)}, popularity has NDCG@10 "
        f"{float(check.popularity_ndcg.mean()):.4f} and {name} {result.ndcg:.4f}"
    )
    if result.z_score < -1:
        return reason
    return reason + "; most users have one interaction, so the model must be clearly better"


class _PairSource(Protocol):
    """What the self-check needs of :class:`~recbole_universal.features.candidate_pairs.CandidatePairs`."""

    @property
    def scorers(self) -> Scorers: ...

    def scored(self, users: torch.Tensor) -> list[ScoredCandidates]:
        """Candidates of some users with their scores."""

    def described(self, blocks: list[ScoredCandidates]) -> Candidates:
        """Candidates with their columns."""

    def linear_scores(self, features: torch.Tensor) -> torch.Tensor: ...

    with_content: Any  # a source of the same users with content, or None

    def candidates(self, users: torch.Tensor) -> Candidates:
        """Candidates of some users with their columns."""


def check_scorers(
    matrix: sp.csr_matrix,
    n_users: int,
    share: float,
    seed: int,
    max_regression_size: int,
    build_scorers: Callable[[sp.csr_matrix, float], GraphScorers],
    build_pairs: Callable[[GraphScorers, NDArray[np.float32]], _PairSource],
    weighted: bool = False,
) -> tuple[float, MeasuredScorers]:
    """Hold out interactions of a dataset, choose the penalty of the regression by them, and measure the scorers.

    Args:
        matrix: interactions, csr [n_users, n_items].
        n_users: number of users of whom interactions are held out.
        share: share of such a user's interactions to hold out.
        seed: seed of the choice.
        max_regression_size: see :class:`~recbole_universal.graph.scorers.GraphScorers`.
        build_scorers: builds the scorers of a matrix with a penalty of the regression.
        build_pairs: builds pair features from scorers and scorer weights.
        weighted: whether the values of the matrix weigh the interactions in the scorers. All held-out interactions
            count the same.

    Returns:
        The penalty of :data:`PENALTIES` with the highest NDCG@10, and what is measured with it. If no user has two
        interactions, the penalty is :data:`~recbole_universal.graph.scorers.PENALTY`, and there is no self-check.
    """
    support, query = support_query_split(matrix, n_users, share, np.random.default_rng(seed))
    users = np.flatnonzero(np.diff(query.indptr))
    if not len(users):
        return PENALTY, MeasuredScorers(relative_to_best(np.zeros(len(SCORERS))))
    penalty = _best_penalty(users, support, query, max_regression_size, weighted)
    scorers = build_scorers(support, penalty)
    return penalty, measured_scorers([CheckedScorers(scorers, query)], build_pairs)


class CheckedScorers(NamedTuple):
    """Scorers of a support set, and the interactions that are held out of it.

    Attributes:
        scorers: scorers of the support set.
        query: held-out interactions, csr [n_users, n_items].
        cut: time at which the support set ends; ``None`` if it has no end.
    """

    scorers: Any
    query: sp.csr_matrix
    cut: float | None = None


class MeasuredScorers(NamedTuple):
    """What the self-check measures about the scorers of a dataset.

    Attributes:
        weights: scorer weights, the NDCG@10 of each scorer relative to the best scorer's, float32 [n_scorers].
        check: the self-check; ``None`` if no interaction could be held out.
        content_check: the self-check of the same users and held-out interactions whose lists have content; ``None``
            without content.
    """

    weights: NDArray[np.float32]
    check: SelfCheck | None = None
    content_check: SelfCheck | None = None


def measured_scorers(
    checked: Sequence[CheckedScorers], build_pairs: Callable[[Any, NDArray[np.float32]], _PairSource]
) -> MeasuredScorers:
    """Measure scorers on held-out interactions.

    Args:
        checked: scorers of one or more support sets; at least one user has held-out interactions, and no user has them
            in two.
        build_pairs: builds pair features from scorers and scorer weights.
    """
    offset, halves = 0, []
    for _, query, _ in checked:
        users = np.flatnonzero(np.diff(query.indptr))
        halves.append((users[offset % 2 :: 2], users[1 - offset % 2 :: 2]))
        offset += len(users)
    # Scorer weights change the columns and not the candidates. So the candidates are made once, with any weights.
    scored = []
    for (scorers, _, _), users_of in zip(checked, halves, strict=True):
        unweighted = build_pairs(scorers, np.ones(len(scorers.names), dtype=np.float32))
        scored.append([unweighted.scored(torch.from_numpy(half)) if len(half) else [] for half in users_of])
    totals = np.zeros((2, len(checked[0].scorers.names)))
    for (_, query, _), blocks_of in zip(checked, scored, strict=True):
        for half, blocks in enumerate(blocks_of):
            totals[half] += sum(_scorer_ndcg(block, query) for block in blocks)
    checks, content_checks = [], []
    for half in (0, 1):
        weights = relative_to_best(totals[1 - half])
        for (scorers, query, cut), blocks_of, users_of in zip(checked, scored, halves, strict=True):
            if len(users_of[half]):
                pairs = build_pairs(scorers, weights)
                checks.append(self_check_of(pairs, pairs.described(blocks_of[half]), users_of[half], query, cut))
                if pairs.with_content is not None:
                    lists = pairs.with_content.candidates(torch.from_numpy(users_of[half]))
                    content_checks.append(self_check_of(pairs.with_content, lists, users_of[half], query, cut))
    content_check = _joined(content_checks) if content_checks else None
    return MeasuredScorers(relative_to_best(totals.sum(axis=0)), _joined(checks), content_check)


def relative_to_best(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """Values divided by the largest; ones if all are 0."""
    return (values / values.max()).astype(np.float32) if values.max() > 0 else np.ones(len(values), dtype=np.float32)


def self_check_of(
    pairs: _PairSource, lists: Candidates, users: NDArray[np.int64], query: sp.csr_matrix, cut: float | None = None
) -> SelfCheck:
    """The self-check of some users.

    Args:
        pairs: pair features of the support part.
        lists: the users' candidate lists.
        users: user indices, int64 [n].
        query: held-out interactions, csr [n_users, n_items].
        cut: see :class:`CheckedScorers`.
    """
    items = lists.items.cpu().numpy()
    n_held_out = np.diff(query.indptr)[users]
    tail, popularity = _popularity_ndcg(items, pairs.scorers, users, query)
    return SelfCheck(
        features=lists.features.half().cpu(),
        mask=lists.mask.cpu(),
        label=torch.from_numpy(held_out_hits(items, query[users])),
        n_held_out=torch.from_numpy(n_held_out.astype(np.int64)),
        tail_ndcg=torch.from_numpy(tail),
        popularity_ndcg=torch.from_numpy(popularity),
        linear_scores=pairs.linear_scores(lists.features).half().cpu(),
        users=torch.from_numpy(users),
        cut=None if cut is None else torch.full((len(users),), cut, dtype=torch.float64),
    )


def _scorer_ndcg(block: ScoredCandidates, query: sp.csr_matrix) -> NDArray[np.float64]:
    """Sum over the users of a block of the NDCG@10 of each scorer's candidates, [n_scorers]."""
    held_out = query[block.histories.users]
    hits = np.stack([held_out_hits(top, held_out) for top in block.top_items[:, :, :_CUTOFF].cpu().numpy()])
    return ndcg(hits, np.diff(held_out.indptr)).sum(axis=1)


def _best_penalty(
    users: NDArray[np.int64],
    support: sp.csr_matrix,
    query: sp.csr_matrix,
    max_regression_size: int,
    weighted: bool = False,
) -> float:
    """The penalty of :data:`PENALTIES` with which a small regression has the highest NDCG@10 on some of these users.

    If the usual one, :data:`~recbole_universal.graph.scorers.PENALTY`, is as good as the best, it is taken.
    """
    cpu, support = torch.device("cpu"), support if weighted else binary_matrix(support)
    mean = mean_degree(support, max_regression_size)
    ridges = [penalty * mean for penalty in PENALTIES]
    size = min(_CHOICE_SIZE, max_regression_size)
    users = users_for_penalty(users)
    n_block = max(1, min(_BLOCK_USERS, _BLOCK_FLOATS // support.shape[1]))
    total = {}
    for penalty, regression in zip(PENALTIES, ridge_regressions(support, ridges, size, cpu), strict=True):
        gain = 0.0
        for block in np.array_split(users, np.arange(n_block, len(users), n_block)):
            scores = torch.empty(1, len(block), support.shape[1])
            regression.put_scores(scores[0], torch.from_numpy(block), UserItems.of(support[block], cpu, weighted))
            top_items = best_unseen(scores, support[block], _CUTOFF)[1][0].numpy()
            gain += ndcg(held_out_hits(top_items, query[block]), np.diff(query[block].indptr)).sum()
        total[penalty] = gain
    return max(PENALTIES, key=lambda penalty: (total[penalty], penalty == PENALTY))


def users_for_penalty(users: NDArray[np.int64]) -> NDArray[np.int64]:
    """At most 500 of the users of the self-check, drawn from both of its halves, int64 [n]."""
    return np.sort(np.random.default_rng(0).permutation(users)[:_CHOICE_USERS])


def _popularity_ndcg(
    items: NDArray[np.int64], scorers: Scorers, users: NDArray[np.int64], query: sp.csr_matrix
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """:attr:`SelfCheck.tail_ndcg` and :attr:`SelfCheck.popularity_ndcg` of users with these candidates."""
    order = popularity_order(scorers.item_degree)
    excluded = scorers.matrix[users]
    if scorers.repeats:
        excluded = sp.csr_matrix(excluded.shape, dtype=excluded.dtype)
    lists = np.full((2, len(users), _CUTOFF), -1)
    best = items[:, :_CUTOFF]
    lists[0, :, : best.shape[1]] = best
    for rows in lists:
        fill_with_popular(rows, order, excluded)
    lists[0, :, : best.shape[1]][best >= 0] = -1  # what popular items add below the candidates
    n_held_out = np.diff(query.indptr)[users]
    tail, popularity = (ndcg(held_out_hits(rows, query[users]), n_held_out) for rows in lists)
    return tail, popularity


def _joined(checks: list[SelfCheck]) -> SelfCheck:
    width = max(check.mask.shape[1] for check in checks)
    joined = {}
    for name in vars(checks[0]):
        values = [getattr(check, name) for check in checks]
        if values[0] is not None:
            joined[name] = torch.cat([_padded(value, width) if value.ndim > 1 else value for value in values])
    return SelfCheck(**joined)


def _padded(values: torch.Tensor, width: int) -> torch.Tensor:
    """Lists [n, n_candidates, ...] with zeros up to ``width`` positions."""
    return torch.cat([values, values.new_zeros(len(values), width - values.shape[1], *values.shape[2:])], dim=1)
