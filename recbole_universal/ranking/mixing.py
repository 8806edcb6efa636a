"""Interpolation of the scores of two models (arXiv 2309.01188, Section 4.3)."""

from __future__ import annotations

import torch

from recbole_universal.arguments import shown

#: Scales on which the scores of two models are mixed, see :func:`to_space`.
SCORE_SPACES = ("raw", "min-max", "z-score", "rank")


def interpolate(
    base: torch.Tensor, universal: torch.Tensor, weight: float | torch.Tensor, space: str = "z-score"
) -> torch.Tensor:
    r"""Mix the scores of two models on one scale: :math:`(1 - w) \, b + w \, u`.

    Args:
        base: scores of the base model, real [n_users, n_items]; higher is better.
        universal: scores of the universal model, same shape.
        weight: w in [0, 1], a single number or one for each user, [n_users]. A row of weight 0 is the base's scores as
            given, a row of weight 1 the universal model's.
        space: one of :data:`SCORE_SPACES`; see :func:`to_space`.

    Returns:
        float32 [n_users, n_items].

    Raises:
        ValueError: if a score is not finite, the shapes differ, or an argument is out of range.
    """
    base, universal = _checked_scores(base, universal)
    weights = _checked_weights(weight, base)
    mixed = mix(to_space(base, space), to_space(universal, space), weights)
    mixed = torch.where(weights == 0, base, mixed)
    return torch.where(weights == 1, universal, mixed)


def mix(base: torch.Tensor, universal: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """The weighted sum of scores on one scale; ``weights`` are [n_users, 1]."""
    return (1 - weights) * base + weights * universal


def to_space(scores: torch.Tensor, space: str) -> torch.Tensor:
    """Each user's scores on a common scale.

    ``raw``: as they are. ``min-max``: 0 for the user's lowest, 1 for the highest. ``z-score``: mean 0 and standard
    deviation 1. ``rank``: share of the other items with a lower score. If all scores of a user are equal, the result is
    zeros, except in ``raw``.

    Args:
        scores: real [n_users, n_items].
        space: one of :data:`SCORE_SPACES`.

    Returns:
        float32 [n_users, n_items], in the same order within each row; equals stay equal.

    Raises:
        ValueError: if the space is unknown.
    """
    if not isinstance(space, str) or space not in SCORE_SPACES:
        raise ValueError(f"interpolation_space: must be one of {list(SCORE_SPACES)}, got {shown(space)}.")
    scores = scores.float()
    if space == "raw":
        return scores
    if space == "rank":
        ordered = scores.sort(dim=1).values
        return torch.searchsorted(ordered, scores.contiguous()).float() / max(1, scores.shape[1] - 1)
    # Neither a difference nor a square may overflow.
    scores = scores / scores.abs().amax(dim=1, keepdim=True).clamp(min=1.0)
    if space == "min-max":
        low, high = scores.aminmax(dim=1, keepdim=True)
        return (scores - low) / torch.where(high > low, high - low, 1.0)
    centred = scores - scores.mean(dim=1, keepdim=True)
    spread = centred.square().mean(dim=1, keepdim=True).sqrt()
    # Rounding gives equal scores a small spread.
    equal = spread <= 1e-6 * scores.abs().amax(dim=1, keepdim=True)
    return torch.where(equal, 0.0, centred / torch.where(equal, 1.0, spread))


def _checked_scores(base: torch.Tensor, universal: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """The scores as float32."""
    for name, scores in (("base", base), ("universal", universal)):
        if not isinstance(scores, torch.Tensor) or scores.is_complex() or scores.layout is not torch.strided:
            raise ValueError(f"{name}: must be a dense tensor of real scores [n_users, n_items], got {shown(scores)}.")
    if base.dim() != 2 or base.shape != universal.shape or base.device != universal.device:
        raise ValueError(
            "base, universal: two matrices [n_users, n_items] of one shape on one device are needed, got "
            f"{[*base.shape]} on {base.device}, {[*universal.shape]} on {universal.device}."
        )
    base, universal = base.float(), universal.float()
    for name, scores in (("base", base), ("universal", universal)):
        if not scores.isfinite().all():
            user = int((~scores.isfinite()).any(dim=1).nonzero()[0])
            raise ValueError(
                f"The {name} scores of row {user} are NaN or infinite (as float32); every score must be a number."
            )
    return base, universal


def _checked_weights(weight: float | torch.Tensor, base: torch.Tensor) -> torch.Tensor:
    """The weight of each user, float32 [n_users, 1]."""
    try:
        weights = torch.as_tensor(weight, device=base.device)
    except (TypeError, ValueError, RuntimeError) as error:
        raise ValueError(f"The weight must be one number or one per user, got {shown(weight)}.") from error
    if weights.is_complex() or weights.layout is not torch.strided or not ((weights >= 0) & (weights <= 1)).all():
        raise ValueError(f"The weight must lie in [0, 1], got {shown(weight)}.")
    weights = weights.float()
    if weights.dim() > 1 or (weights.dim() == 1 and len(weights) != len(base)):
        raise ValueError(f"The weight must be one number or one per user, got shape {[*weights.shape]}.")
    return weights.expand(len(base))[:, None]
