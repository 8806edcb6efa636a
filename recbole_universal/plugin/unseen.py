"""Unseen users and items of one dataset, which training leaves out and the test can evaluate as separate groups."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from recbole_universal.plugin import key_forms as forms

#: Forms of ``unseen_users`` and ``unseen_items``, and of ``eval_users`` and ``eval_items``. The table of keys checks
#: these keys for UniversalMLP, and this module for other models.
SHARE = forms.or_special(forms.real("a share in [0, 1)", lambda x: 0 <= x < 1), {None: 0.0}, "empty")
GROUP = forms.or_special(forms.choice(("all", "seen", "unseen")), {None: "all"}, "empty")


def unseen_groups(config: Any, dataset: Any) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """The users and items that training does not see, drawn by ``seed`` (arXiv 2309.01188: unseen users and items).

    Args:
        config: RecBole ``Config`` with ``unseen_users`` and ``unseen_items``, shares in [0, 1).
        dataset: a built RecBole dataset.

    Returns:
        bool [user_num] and bool [item_num]; false for padding.

    Raises:
        ValueError: if a share is out of range.
    """
    groups = []
    for salt, (key, n_ids) in enumerate((("unseen_users", dataset.user_num), ("unseen_items", dataset.item_num))):
        share = forms.checked(key, SHARE, config[key])
        drawn = np.random.default_rng([config["seed"], salt]).permutation(n_ids - 1)[: round(share * (n_ids - 1))]
        group = np.zeros(n_ids, dtype=bool)
        group[drawn + 1] = True
        groups.append(group)
    return groups[0], groups[1]


def without_unseen(
    matrix: sp.csr_matrix, unseen_users: NDArray[np.bool_], unseen_items: NDArray[np.bool_]
) -> sp.csr_matrix:
    """The interactions of seen users with seen items, float32 csr of the shape of ``matrix``.

    Args:
        matrix: interactions, csr [user_num, item_num].
        unseen_users: bool [user_num].
        unseen_items: bool [item_num].
    """
    users, items = (sp.diags((~group).astype(np.float32)) for group in (unseen_users, unseen_items))
    seen = (users @ matrix @ items).tocsr().astype(np.float32)
    seen.eliminate_zeros()
    return seen


def rows_to_test(config: Any, test: Any) -> NDArray[np.bool_]:
    """Test interactions of the groups that ``eval_users`` and ``eval_items`` name, bool [n_interactions].

    Args:
        config: RecBole ``Config``.
        test: the test dataset of a split.

    Raises:
        ValueError: if a key is out of range or no interaction is left.
    """
    chosen = np.ones(len(test.inter_feat), dtype=bool)
    groups = unseen_groups(config, test)
    for key, field, group in zip(("eval_users", "eval_items"), (test.uid_field, test.iid_field), groups, strict=True):
        wanted = forms.checked(key, GROUP, config[key])
        if wanted != "all":
            chosen &= group[test.inter_feat[field].numpy()] == (wanted == "unseen")
    if len(chosen) and not chosen.any():
        raise ValueError(
            f"eval_users, eval_items: the test split of [{test.dataset_name}] has no interaction of that group; set "
            "unseen_users and unseen_items to shares above 0."
        )
    return chosen
