"""The linear scorers as one item-item matrix, whose cost an item is bounded.

Two items are related if they share a user. The sums over their users and the nearest neighbours cost little a pair. A
product of factors and a weight of the regression cost much. So all pairs get the sums. The products and weights are
computed for pairs whose second item is popular, and for a pool of other pairs with the largest sums.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from recbole_universal.graph.item_pairs import SparseTerms, strongest_of
from recbole_universal.graph.scorer_definitions import FILTERS, LINEAR, POWERS
from recbole_universal.graph.sums import band_products
from recbole_universal.graph.threads import in_torch_threads

if TYPE_CHECKING:
    from recbole_universal.graph.scorers import GraphScorers

# Number of most popular items to which every relation is computed in full, so smaller catalogues have no pool.
_N_POPULAR = 2**14
# Size of the pool of an item, as a multiple of the number of relations that it keeps.
_POOL = 2


def item_item(
    scorers: GraphScorers,
    matrix: sp.csr_matrix,
    weights: Mapping[str, float],
    n_relations: int,
    show_progress: bool = False,
) -> sp.csr_matrix:
    """See :meth:`recbole_universal.graph.scorers.GraphScorers.item_item`.

    Args:
        scorers: the scorers.
        matrix: interactions that relate the items, csr float32 [n_users, n_items].
        weights: weight of each scorer of ``LINEAR``; 0 for a missing one.
        n_relations: number of relations to keep for each item.
        show_progress: whether to draw a progress bar.
    """
    weight = {name: float(weights.get(name, 0.0)) for name in LINEAR}
    arrays, n_items = scorers._arrays, scorers.n_items
    vectors = arrays["vectors"]
    shares = np.zeros(vectors.shape[1], dtype=np.float32)
    for name, cut in zip(FILTERS, arrays["cuts"], strict=True):
        shares[:cut] += weight[name]
    # Arrays of NumPy: rows in large pages are faster to read in any order, see `in_large_pages`.
    sources = vectors * scorers._half[:, None] * shares
    targets = vectors * scorers._root[:, None]
    terms = _sparse_terms(scorers, matrix, weight)

    popular = scorers._popular[:_N_POPULAR]
    columns = np.full(n_items, -1, dtype=np.int32)
    columns[popular] = np.arange(len(popular))
    popular_targets = torch.from_numpy(targets[popular].T)
    regression = scorers._regression
    scored = regression.items.cpu().numpy()
    is_scored = np.zeros(n_items, dtype=bool)
    is_scored[scored] = weight["regression"] != 0
    regressed = scored[columns[scored] >= 0]
    k, n_pool = min(n_relations, n_items), min(_POOL * n_relations, n_items - len(popular))
    rank = np.array([vectors.shape[1]])

    def dense_terms(block: NDArray[np.int64]) -> NDArray[np.float32]:
        """Terms of the relations to popular items that have no zeros, float32 [n, n_popular]."""
        dense = (torch.from_numpy(sources[block]) @ popular_targets).numpy()
        rows = np.flatnonzero(is_scored[block])
        if len(rows):
            added = weight["regression"] * regression.relations(block[rows], regressed)
            dense[np.ix_(rows, columns[regressed])] += added
        return dense

    def relations(block: NDArray[np.int64]) -> sp.csr_matrix:
        best, pool = terms.strongest(block, dense_terms(block), columns, k, n_pool)
        if n_pool:
            asked = pool.items, pool.lengths
            values = pool.values + band_products(sources[block], targets, rank, *asked)[0]
            if is_scored[block].any() and len(regressed) < len(scored):
                ones = np.ones(len(block), dtype=np.float32), block, np.arange(len(block) + 1)
                alone = sp.csr_matrix(ones, shape=(len(block), n_items))
                values += np.float32(weight["regression"]) * regression.at(alone, *asked)
            best = strongest_of(best, pool._replace(values=values), k)
        bar.update(len(block))
        inside = best.inside()
        indptr = np.concatenate([[0], np.cumsum(best.lengths)])
        return sp.csr_matrix((best.values[inside], best.items[inside], indptr), shape=(len(block), n_items))

    with tqdm(total=n_items, desc="item-item", unit="item", disable=not show_progress) as bar:
        related = sp.vstack(in_torch_threads(relations, terms.blocks(len(popular))), format="csr")
    related.eliminate_zeros()
    related.sort_indices()
    return related


def _sparse_terms(scorers: GraphScorers, matrix: sp.csr_matrix, weight: Mapping[str, float]) -> SparseTerms:
    """The sparse terms with these weights of the scorers."""
    item_half, item_one = scorers._half, scorers._item_powers[:, POWERS.index(1.0)]
    indptr, indices, data = (scorers._arrays[f"neighbors.{array}"] for array in ("indptr", "indices", "data"))
    near = (data * np.float32(weight["neighbors"])).astype(np.float32)
    return SparseTerms(
        by_item=matrix.T.tocsr(),
        matrix=matrix,
        neighbors=sp.csr_matrix((near, indices, indptr), shape=(scorers.n_items, scorers.n_items)),
        half=scorers._user_inverse_power[0.5],
        one=scorers._user_inverse_power[1.0],
        cosine=np.float32(weight["user_cosine"]),
        walks=(weight["rp3"] * item_one + weight["linear_filter"] * item_half).astype(np.float32),
        item_half=item_half,
    )
