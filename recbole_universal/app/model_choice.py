"""The pre-trained model that ranks: a given one, or a shipped one that the data choose."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from recbole_universal.app.recommendation_blocks import REPEATS
from recbole_universal.io.source import Report

if TYPE_CHECKING:
    from collections.abc import Sequence

    import scipy.sparse as sp

    from recbole_universal.checkpoint import Pretrained
    from recbole_universal.content.spaces import Space
    from recbole_universal.graph.histories import Histories
    from recbole_universal.ranking.ranker import UniversalRanker

#: Value of ``pretrained`` that lets the data choose a shipped model.
AUTO = "auto"
#: What is reported if weights are given and the model that ranks does not read them.
NO_WEIGHTS = (
    "The model that ranks reads the order of the interactions, and no weights. Interactions of weight 0 are no "
    "evidence of taste, and all others count the same."
)
#: What is reported if content is given to a model that cannot read it.
NO_CONTENT = "Content ranks no known items: the model reads other families than proximity or sequence alone."


def given_model(pretrained: Any) -> Pretrained | None:
    """The model that the argument ``pretrained`` names; ``None``: the data choose a shipped one."""
    from recbole_universal.checkpoint import Pretrained, load_pretrained  # PyTorch takes seconds to import

    if isinstance(pretrained, str) and pretrained == AUTO:
        return None
    return pretrained if isinstance(pretrained, Pretrained) else load_pretrained(pretrained)


def ranker_of(
    matrix: sp.csr_matrix,
    histories: Histories | None,
    model: Pretrained | None,
    report: Report,
    *,
    later: bool = False,
    weights: sp.csr_matrix | None = None,
    content: Sequence[Space] | None = None,
    **settings,
) -> UniversalRanker:
    """The ranker of the given model, or of the shipped one that suits the interactions.

    Args:
        matrix: the interactions, csr [n_users, n_items].
        histories: the same in the order of time; ``None``: the order is not known.
        model: what :func:`given_model` returns.
        report: receives the reason for the choice of a shipped model, and whether content ranks.
        later: whether the users get the lists some time after the last interaction of all.
        weights: weight of each interaction, csr [n_users, n_items]; ``None``: all count the same.
        content: spaces of the items, one row a column of the matrix; ``None``: content is not known.
        **settings: arguments of :class:`UniversalRanker`.

    Raises:
        ValueError: if the model reads an order that is not known, or there are no times for ``later``.
    """
    from recbole_universal.ranking.network import CANDIDATE_FAMILIES
    from recbole_universal.ranking.order_check import WITHOUT_ORDER, chosen_ranker
    from recbole_universal.ranking.ranker import UniversalRanker

    if later:
        if histories is None or histories.times is None:
            raise ValueError(
                "later (--later): needs the times of the interactions. Name their column with time_column "
                "(--time-column)."
            )
        if not histories.has_clock:
            raise ValueError(
                "later (--later): needs times of a clock. The times of these interactions are small whole numbers, "
                "which may be positions; give dates or seconds."
            )
        histories = histories.asked_later()
    if model is not None and "sequence" in model.families and histories is None:
        raise ValueError(
            "pretrained (--model): this model reads the order of the interactions. Name their time column with "
            "time_column (--time-column), or set order (--order) to rows if the rows are in the order of time."
        )
    if content and model is not None and model.families not in ([family] for family in CANDIDATE_FAMILIES):
        report(NO_CONTENT)
        content = None
    settings |= {"weights": weights, "content": content}
    if model is not None:
        ranker = UniversalRanker(matrix, model, histories=histories, **settings)
    elif histories is None:
        ranker = UniversalRanker(matrix, WITHOUT_ORDER, **settings)
    else:
        ranker, message = chosen_ranker(matrix, histories, **settings)
        report(message)
    if content:
        report(_about_content(ranker))
    if weights is not None and "sequence" in ranker.pretrained.families and not ranker.fallback_reason():
        report(NO_WEIGHTS)
    if histories is not None:
        network = ranker.network
        if network.ranks_candidates and network.candidate_pairs.repeats and not ranker.fallback_reason():
            report(REPEATS)
    return ranker


def _about_content(ranker: UniversalRanker) -> str:
    """Whether content ranks known items, and what the self-check measures."""
    gain = ranker.network.content_gain
    if ranker.fallback_reason():
        return "Content ranks no known items, since popularity ranks for all users."
    if gain is None:
        return "Content ranks no known items, since too few interactions can be held out to measure it."
    measured = (
        f"NDCG@10 is {gain.with_content:.4f} with content and {gain.without:.4f} without it, on held-out interactions "
        f"({gain.z_score:+.1f} standard errors)"
    )
    if gain.helps:
        return f"Content also ranks known items: {measured}."
    return f"Content ranks no known items, since the lists are not better with it: {measured}."
