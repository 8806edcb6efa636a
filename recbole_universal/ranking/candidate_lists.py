"""Candidate lists with held-out interactions, to train and evaluate a network; imports no RecBole.

Some interactions of some users are held out. Features are computed from the other interactions (the support set), so
no interaction takes part in the features that it is scored with. A list belongs to one user: candidates, their
features, and which of them are held out. In-domain training, fine-tuning and pre-training use the same lists.

A *block* holds lists of equal length as tensors by column name:

===================  =========================================  =======================================
column               shape                                      values
===================  =========================================  =======================================
``user_<family>``    float16 [n_lists, dim]                     features of the user
``item_<family>``    float16 [n_lists, n_candidates, dim]       features of each candidate
``pair_<family>``    float16 [n_lists, n_candidates, dim]       features of the user and each candidate
``LIST_LABEL``       bool [n_lists, n_candidates]               whether a candidate is held out
``LIST_MASK``        bool [n_lists, n_candidates]               false at padding
===================  =========================================  =======================================
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping, Sequence
from typing import cast

import numpy as np
import scipy.sparse as sp
import torch
from numpy.typing import NDArray

from recbole_universal.array_store import ArrayStore, array_digest
from recbole_universal.features import FeaturePipeline, UniversalFeatures
from recbole_universal.features.candidate_pairs import CandidatePairs
from recbole_universal.features.fields import LIST_LABEL, LIST_MASK, column
from recbole_universal.graph.held_out import last_event_split, support_query_split
from recbole_universal.graph.histories import Histories
from recbole_universal.graph.interaction_graph import InteractionGraph

Block = dict[str, torch.Tensor]

# Without proximity every item is a candidate. A list then holds the held-out items and this many random items.
_N_RANDOM = 200
# Largest share of the users that one draw holds out from: a larger one would make the support set another dataset.
_LARGEST_SHARE = 0.25
_LEAST_USERS = 20
_BLOCK_USERS = 200


def make_candidate_lists(
    matrix: sp.csr_matrix,
    pipeline: FeaturePipeline,
    n_users: int,
    held_out_share: float,
    seed: int,
    max_draws: int = 4,
    histories: Histories | None = None,
) -> list[Block]:
    """Hold out interactions and make a candidate list of each drawn user.

    A draw holds out interactions of at most a quarter of the users. Further draws follow until ``n_users`` users have
    been drawn. A drawn user gives no list if none of the held-out items is a candidate, so there can be fewer lists
    than users. If a family reads the order of the interactions, the last event of each drawn user is held out.

    Args:
        matrix: training interactions, csr [n_users, n_items].
        pipeline: computes the features of each support set.
        n_users: users to draw, over all draws.
        held_out_share: share of a drawn user's interactions that is held out, in (0, 1), where the order is not read.
        seed: seed of the draws.
        max_draws: largest number of draws; each computes the features of a support set.
        histories: the same interactions in the order of time.

    Returns:
        Blocks of at most 200 lists, on the CPU; see the module's table.
    """
    matrix, histories = _without_padding(matrix, histories)
    blocks: list[Block] = []
    n_missing = n_users
    for draw in range(max_draws):
        generator = np.random.default_rng([seed, draw])
        n_drawn = min(n_missing, max(_LEAST_USERS, int(matrix.shape[0] * _LARGEST_SHARE)))
        if pipeline.needs_histories and histories is not None:
            earlier, held_out = last_event_split(histories, matrix.shape[1], n_drawn, generator)
            support = InteractionGraph(earlier.matrix(matrix.shape[1]), earlier)
        else:
            interactions, held_out = support_query_split(matrix, n_drawn, held_out_share, generator)
            support = InteractionGraph(interactions)
        users = np.flatnonzero(np.diff(held_out.indptr))
        if not len(users):
            break
        features = pipeline(support, support=True)
        for start in range(0, len(users), _BLOCK_USERS):
            drawn = users[start : start + _BLOCK_USERS]
            block = _make_block(features, drawn, support.user_item, held_out, generator)
            if block is not None:
                blocks.append(block)
        n_missing -= len(users)
        if n_missing <= 0:
            break
    return blocks


def _without_padding(matrix: sp.csr_matrix, histories: Histories | None) -> tuple[sp.csr_matrix, Histories | None]:
    """The interactions without users and items that have none."""
    users = np.flatnonzero(np.diff(matrix.indptr))
    degree = np.bincount(matrix.indices, minlength=matrix.shape[1])
    if histories is not None:
        index = np.where(degree > 0, np.cumsum(degree > 0) - 1, -1)
        histories = histories[users].relabelled(np.arange(len(users)), index)
    return matrix[users].tocsr()[:, degree > 0].tocsr(), histories


def _make_block(
    features: UniversalFeatures,
    users: NDArray[np.int64],
    support: sp.csr_matrix,
    held_out: sp.csr_matrix,
    generator: np.random.Generator,
) -> Block | None:
    """The lists of some users with a held-out candidate; ``None`` if no user has one."""
    index = torch.from_numpy(users)
    pairs = {family: values.pair for family, values in features.items() if values.pair is not None}
    columns: Block = {}
    described = next((family for family, pair in pairs.items() if isinstance(pair, CandidatePairs)), None)
    if described is not None:
        candidates = cast(CandidatePairs, pairs[described]).candidates(index)
        items, mask = candidates.items.cpu(), candidates.mask.cpu()
        columns[column("pair", described)] = candidates.features.cpu()
    else:
        items, mask = _random_candidates(support[users], held_out[users], generator)
    items = items.clamp(min=0)  # padding is -1
    label = torch.from_numpy(held_out[users].toarray() > 0).gather(1, items) & mask
    usable = label.any(dim=1)
    if not usable.any():
        return None
    for family, values in features.items():
        if values.user.shape[1]:
            columns[column("user", family)] = torch.from_numpy(values.user[users])
            columns[column("item", family)] = torch.from_numpy(values.item)[items]
        if family in pairs and family != described:
            repeated = index[:, None].expand_as(items).flatten()
            rows = pairs[family](repeated, items.flatten()).cpu()
            columns[column("pair", family)] = rows.view(*items.shape, -1)
    block = {name: values[usable].half() for name, values in columns.items()}
    return {**block, LIST_LABEL: label[usable], LIST_MASK: mask[usable]}


def _random_candidates(
    support: sp.csr_matrix, held_out: sp.csr_matrix, generator: np.random.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Held-out items and random items that the user has not interacted with; int64 and bool [n_users, n_candidates]."""
    rows = []
    for user in range(support.shape[0]):
        positive = held_out.indices[held_out.indptr[user] : held_out.indptr[user + 1]]
        history = support.indices[support.indptr[user] : support.indptr[user + 1]]
        drawn = generator.integers(0, support.shape[1], _N_RANDOM)
        negative = np.setdiff1d(drawn, np.concatenate([history, positive]))
        rows.append(torch.from_numpy(np.concatenate([positive, negative])).long())
    items = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True, padding_value=-1)
    return items, items >= 0


def list_store(folder: str | os.PathLike[str]) -> ArrayStore:
    """A store of blocks; no limit removes any, since each pre-training needs all of them."""
    return ArrayStore(folder, "pretrain_lists", limit_gb=None, namespace="lists")


def blocks_to_arrays(blocks: Sequence[Block]) -> dict[str, NDArray]:
    """All columns of blocks by ``<index of the block>/<column>``, for an ``ArrayStore``."""
    return {f"{k}/{name}": values.cpu().numpy() for k, block in enumerate(blocks) for name, values in block.items()}


def blocks_from_arrays(arrays: Mapping[str, NDArray]) -> list[Block]:
    """The blocks that :func:`blocks_to_arrays` was called with."""
    blocks: dict[int, Block] = {}
    for full_name, values in arrays.items():
        index, _, name = full_name.partition("/")
        blocks.setdefault(int(index), {})[name] = torch.from_numpy(values)
    return [blocks[index] for index in sorted(blocks)]


def check_blocks(blocks: Sequence[Block], dims: Mapping[str, Mapping[str, int]]) -> None:
    """Check that blocks can train a network.

    Args:
        blocks: blocks, such as stored ones.
        dims: ``FeaturePipeline.dims`` of the lists.

    Raises:
        ValueError: if a block has other columns, a number that is not finite, or a list without a held-out item.
        KeyError: if a block has no mask.
    """
    for block in blocks:
        n_lists, n_candidates = block[LIST_MASK].shape
        expected: dict[str, tuple] = {name: ((n_lists, n_candidates), torch.bool) for name in (LIST_LABEL, LIST_MASK)}
        for family, dim in dims.items():
            if dim["user"]:
                expected[column("user", family)] = (n_lists, dim["user"]), torch.float16
                expected[column("item", family)] = (n_lists, n_candidates, dim["item"]), torch.float16
            if dim["pair"]:
                expected[column("pair", family)] = (n_lists, n_candidates, dim["pair"]), torch.float16
        if {name: (tuple(values.shape), values.dtype) for name, values in block.items()} != expected:
            raise ValueError("the lists have other columns than those of these features")
        if not all(bool(values.isfinite().all()) for values in block.values()):
            raise ValueError("the lists hold numbers that are not finite")
        if not bool((block[LIST_LABEL] & block[LIST_MASK]).any(dim=1).all()):
            raise ValueError("one of the lists has no held-out item")


class CandidateLists:
    """The lists of several blocks as one sequence.

    Args:
        blocks: blocks of the same columns.
    """

    def __init__(self, blocks: Sequence[Block]) -> None:
        self.blocks = list(blocks)
        self._rows = [(block, row) for block in self.blocks for row in range(len(block[LIST_MASK]))]

    def __len__(self) -> int:
        """Number of lists."""
        return len(self._rows)

    def digest(self) -> str:
        """SHA-256 of the content of all lists in their order, in hexadecimal."""
        digests = [
            array_digest({name: values.cpu().numpy() for name, values in block.items()}) for block in self.blocks
        ]
        return hashlib.sha256("\n".join(digests).encode()).hexdigest()

    def batch(self, indices: Sequence[int] | NDArray, device: str | torch.device = "cpu") -> Block:
        """Some lists, padded to the longest of them.

        Args:
            indices: indices of the lists, [n_lists].
            device: device of the result.

        Returns:
            One block, see the module's table.
        """
        lists = [
            {name: values[row] for name, values in block.items()}
            for block, row in (self._rows[int(index)] for index in indices)
        ]
        length = max(int(one[LIST_MASK].sum()) for one in lists)
        batch = {}
        for name in lists[0]:
            values = [one[name] for one in lists]
            if name.startswith("user_"):
                batch[name] = torch.stack(values)
            else:
                batch[name] = torch.nn.utils.rnn.pad_sequence([value[:length] for value in values], batch_first=True)
        return {name: values.to(device) for name, values in batch.items()}

    def sample_pairs(self, n_rows: int = 20000, seed: int = 0) -> dict[str, torch.Tensor]:
        """Pair features of random lists, which a network is standardised with.

        Args:
            n_rows: largest number of candidates; a hundredth of it is the number of lists.
            seed: seed of the choice of lists.

        Returns:
            float32 [n, dim] by family, n <= n_rows.
        """
        lists = np.random.default_rng(seed).permutation(len(self))[: max(1, n_rows // 100)]
        batch = self.batch(lists)
        names = [name for name in batch if name.startswith("pair_")]
        return {name.removeprefix("pair_"): batch[name][batch[LIST_MASK]].float()[:n_rows] for name in names}
