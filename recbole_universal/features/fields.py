"""Names of the universal columns in RecBole's datasets and batches."""

from __future__ import annotations

SIDES = ("user", "item", "pair")


def column(side: str, family: str) -> str:
    """Name of the universal column of one family on one side, e.g. ``item_activity``.

    Args:
        side: ``user``, ``item`` (columns of ``user_feat`` and ``item_feat``) or ``pair`` (a column of the batch).
        family: Name of a feature family, as in the config key ``universal_features``.
    """
    if side not in SIDES:
        raise ValueError(f"side must be one of {SIDES}, got {side!r}")
    return f"{side}_{family}"


# Columns of a batch of candidate lists, in addition to the universal columns [n_users, n_candidates, dim].
LIST_LABEL = "universal_list_label"
LIST_MASK = "universal_list_mask"
