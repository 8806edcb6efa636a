"""Candidate lists: no held-out interaction is in the features that score it; blocks, batches and stored lists."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
import torch

from recbole_universal.features import FeaturePipeline
from recbole_universal.features.fields import LIST_LABEL, LIST_MASK
from recbole_universal.graph.held_out import support_query_split
from recbole_universal.ranking.candidate_lists import (
    Block,
    CandidateLists,
    blocks_from_arrays,
    blocks_to_arrays,
    check_blocks,
    list_store,
    make_candidate_lists,
)


def random_block(seed: int, n_lists: int = 24) -> Block:
    generator = torch.Generator().manual_seed(seed)
    label = torch.rand(n_lists, 6, generator=generator) < 0.3
    columns = torch.randn(n_lists, 6, 2, generator=generator)
    return {"pair_proximity": columns.half(), LIST_LABEL: label, LIST_MASK: torch.ones(n_lists, 6).bool()}


def test_a_held_out_interaction_does_not_change_the_features_that_score_it():
    rng = np.random.default_rng(0)
    dense = rng.random((40, 25)) < 0.25
    matrix = sp.csr_matrix(dense.astype(np.float32))
    pipeline = FeaturePipeline(["activity", "proximity"], {"proximity": {"top_k": 5}}, seed=0)
    blocks = make_candidate_lists(matrix, pipeline, 10, 0.3, seed=4, max_draws=1)

    # The same draw, with features computed without the held-out interactions.
    support, query = support_query_split(matrix, 10, 0.3, np.random.default_rng([4, 0]))
    assert query.nnz
    features = pipeline(support)
    users = torch.from_numpy(np.flatnonzero(np.diff(query.indptr)))
    lists = features["proximity"].pair.candidates(users)
    label = torch.from_numpy(query[users.numpy()].toarray() > 0).gather(1, lists.items.clamp(min=0)) & lists.mask
    usable = label.any(dim=1)
    torch.testing.assert_close(blocks[0]["pair_proximity"].float(), lists.features[usable].half().float())
    torch.testing.assert_close(blocks[0][LIST_LABEL], label[usable])
    expected = torch.from_numpy(features["activity"].user[users.numpy()][usable.numpy()]).half()
    torch.testing.assert_close(blocks[0]["user_activity"], expected)


def test_lists_without_proximity_hold_held_out_and_random_items():
    matrix = sp.csr_matrix((np.random.default_rng(0).random((60, 30)) < 0.2).astype(np.float32))
    (block,) = make_candidate_lists(matrix, FeaturePipeline(["activity"], seed=0), 12, 0.3, seed=1, max_draws=1)
    assert (block[LIST_LABEL] <= block[LIST_MASK]).all()
    assert block["item_activity"].shape[:2] == block[LIST_MASK].shape
    assert block["user_activity"].shape[0] == len(block[LIST_MASK])


def test_batches_are_cut_to_their_longest_list():
    mask = torch.tensor([[1, 0, 0], [1, 1, 0]]).bool()
    block = {"pair_x": torch.ones(2, 3, 2), LIST_LABEL: mask.clone(), LIST_MASK: mask}
    batches = CandidateLists([block, block])
    assert len(batches) == 4
    assert batches.batch([0, 2])["pair_x"].shape == (2, 1, 2)
    assert batches.batch([1, 0])["pair_x"].shape == (2, 2, 2)


def test_stored_lists_are_the_lists(tmp_path):
    blocks = [random_block(1), random_block(2, 9)]
    made = []

    def make():
        made.append(1)
        return blocks_to_arrays(blocks)

    store = list_store(tmp_path)
    for _ in range(2):
        stored = blocks_from_arrays(store.get("red", {"seed": 1}, make))
        assert CandidateLists(stored).digest() == CandidateLists(blocks).digest()
    assert made == [1] and blocks_from_arrays(blocks_to_arrays([])) == []


def _with(name, change):
    """Change one column of a block."""
    return lambda block: {**block, name: change(block[name].clone())}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (_with("pair_proximity", lambda values: values[..., :-1]), "other columns"),
        (_with("pair_proximity", lambda values: values.float()), "other columns"),
        (_with(LIST_LABEL, lambda values: values[:, :-1]), "other columns"),
        (lambda block: {**block, "zzz": block[LIST_MASK]}, "other columns"),
        (lambda block: {name: block[name] for name in (LIST_LABEL, LIST_MASK)}, "other columns"),
        (_with("item_activity", lambda values: values.fill_(torch.nan)), "not finite"),
        (_with(LIST_LABEL, lambda values: values.fill_(False)), "no held-out item"),
    ],
)
def test_stored_lists_that_cannot_train_are_refused(change, message):
    matrix = sp.csr_matrix((np.random.default_rng(0).random((60, 30)) < 0.2).astype(np.float32))
    pipeline = FeaturePipeline(["activity", "proximity"], {"proximity": {"top_k": 5}}, seed=0)
    blocks = make_candidate_lists(matrix, pipeline, 12, 0.3, seed=1)
    check_blocks(blocks, pipeline.dims)
    with pytest.raises(ValueError, match=message):
        check_blocks([*blocks, change(blocks[0])], pipeline.dims)


def test_the_digest_of_lists_is_of_their_content_in_order():
    first, second = random_block(1), random_block(2)
    digests = [CandidateLists(blocks).digest() for blocks in ([first, second], [second, first], [first], [second])]
    assert len(set(digests)) == 4
    assert digests[0] == CandidateLists([random_block(1), random_block(2)]).digest()
