"""The sequence family: its self-check on last items, its candidates of any history, its laws."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp
import torch
from histories_data import clocked, histories_of, lists_of, random_lists, ring

from recbole_universal.features import FeaturePipeline
from recbole_universal.features.candidate_columns import column_groups, n_columns
from recbole_universal.features.self_check import SelfCheck
from recbole_universal.features.sequence import SequenceFeatures
from recbole_universal.features.sequence_pairs import SequencePairs
from recbole_universal.graph import sequence_scorers
from recbole_universal.graph.histories import Histories
from recbole_universal.graph.interaction_graph import InteractionGraph
from recbole_universal.graph.sequence_scorers import SEQUENCE_SCORERS, SequenceScorers

NAMES = list(SEQUENCE_SCORERS)
N_SCORED = 3 * len(NAMES)
WITHOUT_ORDER = [name for name in NAMES if SEQUENCE_SCORERS[name].decay == 1 and "repeats" not in name]


def graph_of(histories: Histories, n_items: int) -> InteractionGraph:
    return InteractionGraph(histories.matrix(n_items), histories)


def pairs_of(histories: Histories, n_items: int, **args) -> SequencePairs:
    """With the ids of the histories."""
    return FeaturePipeline(["sequence"], {"sequence": args}, seed=0)(graph_of(histories, n_items))["sequence"].pair


def computed(histories: Histories, n_items: int, seed: int = 0, **args) -> SequencePairs:
    """Without the canonical order of users and items."""
    return SequenceFeatures(**args).compute(graph_of(histories, n_items), seed=seed).pair


def checked(pairs: SequencePairs) -> SelfCheck:
    assert pairs.check is not None
    return pairs.check


@pytest.fixture(scope="module")
def plain():
    """Sixty histories without repeated items, and their features."""
    histories = clocked(random_lists(60, repeats=False, seed=3))
    return histories, pairs_of(histories, 17, top_k=4)  # no event of item 16


@pytest.fixture(scope="module")
def repeating():
    histories = clocked([[item % 7, item % 5, item % 7, item % 7, item % 5, item % 7] for item in range(60)])
    return histories, pairs_of(histories, 7)


def test_a_matrix_alone_has_no_order():
    matrix = histories_of(random_lists()).matrix(16)
    with pytest.raises(ValueError, match="'sequence': needs the order of the interactions, and only a matrix is given"):
        FeaturePipeline(["sequence"])(matrix)


@pytest.mark.parametrize(
    "lists", [[[0, 1]], [[0, 1], [3]], [[0], [1, 2]], [[0, 1], [2], [2]], [[0, 1], []], [[0, 1], [0, 2]]]
)
def test_histories_are_those_of_the_matrix(lists):
    matrix = sp.csr_matrix(np.array([[1, 1, 0], [0, 0, 1]]))
    with pytest.raises(ValueError, match="histories: must hold the interactions of the matrix, one history a row"):
        InteractionGraph(matrix, histories_of(lists))


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ({"top_k": 0}, "top_k must be an integer >= 1"),
        ({"max_rank": 2}, "max_rank must be an integer >= 4"),
        ({"n_check_users": 0}, "n_check_users must be an integer >= 1"),
        ({"check_share": 0.5}, "unknown argument check_share; valid arguments: top_k"),
    ],
)
def test_errors(args, message):
    with pytest.raises(ValueError, match=f"sequence.*{message}"):
        SequenceFeatures.from_args(args)


@pytest.mark.parametrize(("n_users", "n_check_users", "n_checked"), [(60, 2000, 30), (60, 7, 7), (24, 2000, 20)])
def test_the_self_check_holds_out_last_items_of_some_users(n_users, n_check_users, n_checked):
    histories = histories_of(random_lists(n_users, repeats=False))
    check = checked(computed(histories, 16, n_check_users=n_check_users))
    assert len(check.n_held_out) == n_checked and (check.n_held_out == 1).all()
    # The last column is the log of the user's degree, here without the held-out item.
    degree = np.expm1(5 * check.features[..., -1].float().amax(dim=1).numpy()).round()
    assert np.isin(degree, histories.lengths[histories.lengths >= 2] - 1).all()
    assert check.label.sum() > 0 and (check.label.sum(dim=1) <= 1).all()


def test_scorer_weights_are_relative_to_the_best_scorer(plain):
    _, pairs = plain
    weights = pairs.scorer_weights
    assert weights.shape == (len(NAMES),) and weights.max() == 1 and weights.min() >= 0 and len(np.unique(weights)) > 9
    alone = pairs_of(histories_of([[0], [1], [1]]), 2)  # nothing can be held out
    np.testing.assert_array_equal(alone.scorer_weights, 1)
    assert alone.check is None and SequencePairs.from_arrays(alone.arrays()).check is None


def test_a_held_out_item_takes_part_in_nothing_but_its_label(monkeypatch):
    """Another item in the place of the held-out ones changes no candidate and no score of the self-check."""
    monkeypatch.setattr(Histories, "repeats", lambda *_: False)  # what the log is like may follow from all events
    histories = clocked(random_lists(60, repeats=False, seed=1))
    drawn = np.random.default_rng(0).permutation(np.flatnonzero(histories.lengths >= 2))[:30]
    last = np.isin(histories.rows, drawn) & (histories.ages == 0)
    items = np.where(last, (histories.items + 5) % 16, histories.items)
    changed = Histories(items, histories.indptr, histories.users, histories.times)
    one, other = (checked(computed(some, 16)) for some in (histories, changed))
    assert one.cut is None
    assert torch.equal(one.mask, other.mask) and not torch.equal(one.label, other.label)
    assert torch.equal(one.features[..., :N_SCORED], other.features[..., :N_SCORED])
    assert torch.equal(one.features[..., -6:], other.features[..., -6:])


def test_what_comes_after_the_cut_takes_part_in_nothing_but_the_labels(monkeypatch):
    """Other items after the cut change no candidate and no score of the self-check."""
    monkeypatch.setattr(Histories, "repeats", lambda *_: False)
    histories = clocked(random_lists(400, repeats=False, seed=1)).asked_later()
    one = checked(computed(histories, 16, n_check_users=60))
    assert one.cut is not None and len(one.cut.unique()) == 1
    later = histories.times >= float(one.cut[0])
    items = np.where(later, (histories.items + 5) % 16, histories.items)
    changed = Histories(items, histories.indptr, histories.users, histories.times).asked_later()
    other = checked(computed(changed, 16, n_check_users=60))
    assert torch.equal(one.mask, other.mask) and not torch.equal(one.label, other.label)
    assert torch.equal(one.features[..., :N_SCORED], other.features[..., :N_SCORED])
    assert torch.equal(one.features[..., -6:], other.features[..., -6:])


def test_the_periods_of_a_self_check_are_one_check():
    """Few users come back in each period, so the check joins periods, of each the halves; it survives storing."""
    pairs = computed(clocked(random_lists(60, repeats=False, seed=7)).asked_later(), 16)
    check = checked(pairs)
    assert len(check.users.unique()) == len(check.users) == 30
    _, counts = check.cut.unique_consecutive(return_counts=True)
    assert counts.tolist() == [6, 9, 5, 10]  # of 11 and 19 users: both halves have 15
    restored = checked(SequencePairs.from_arrays(pairs.arrays()))
    assert torch.equal(restored.cut, check.cut) and torch.equal(restored.users, check.users)


def test_supports_are_of_the_kind_of_the_whole_log(monkeypatch):
    """Only late events repeat items. A support without them is scored as what it is a part of."""
    histories = clocked(random_lists(400, repeats=False, seed=1)).asked_later()
    late = (histories.ages == 0) & (histories.times >= np.quantile(histories.times, 0.95))
    items = np.where(late, np.roll(histories.items, 1), histories.items)
    repeating = Histories(items, histories.indptr, histories.users, histories.times).asked_later()
    kinds = []

    class Spied(SequenceScorers):
        def __init__(self, some, *args, **settings):
            super().__init__(some, *args, **settings)
            kinds.append((some.repeats(some.matrix(16)), self.repeats, "recent.starts" in self.arrays()))

    monkeypatch.setattr("recbole_universal.features.sequence.SequenceScorers", Spied)
    computed(repeating, 16, n_check_users=60)
    assert kinds == [(False, True, True), (True, True, True)]


def test_on_a_ring_the_scorers_that_know_the_order_are_best():
    pairs = computed(ring(), 24)
    check, groups = checked(pairs), column_groups(NAMES)
    gain = {name: float(check.ndcg(check.features[..., groups[name][2]]).mean()) for name in NAMES}
    assert gain["next_item"] > 0.99 and gain["transitions"] > 0.95
    assert max(gain[name] for name in WITHOUT_ORDER) < 0.9
    weights = dict(zip(NAMES, pairs.scorer_weights, strict=True))
    assert weights["next_item"] == 1 and max(weights[name] for name in WITHOUT_ORDER) < 0.9


def test_the_next_item_of_a_new_walk_on_the_ring_is_first():
    pairs = pairs_of(ring(), 24)
    lists = pairs.candidates_of(Histories.of_lists([[3, 4, 5], [22, 23], [9], [9, 10, 5, 6]]))
    first = lists.features[..., column_groups(NAMES)["transitions_short"][2]].masked_fill(~lists.mask, -1).argmax(dim=1)
    assert lists.items[torch.arange(4), first].tolist() == [6, 0, 10, 7]


def test_shuffled_histories_break_nothing():
    rng = np.random.default_rng(0)
    shuffled = histories_of([rng.permutation(row).tolist() for row in lists_of(ring())])
    pairs = pairs_of(shuffled, 24)
    lists = pairs.candidates(torch.arange(pairs.n_users))
    assert torch.isfinite(lists.features).all() and pairs.scorer_weights.max() == 1


def test_seen_items_are_no_candidates_unless_the_data_repeat_items(plain, repeating):
    for (histories, pairs), repeats in ((plain, False), (repeating, True)):
        assert pairs.repeats == repeats
        users = torch.arange(len(histories))
        seen = histories.matrix(pairs.n_items).toarray() > 0
        lists, unseen, whole = (pairs.candidates(users, exclude) for exclude in (None, True, False))
        for user in range(len(histories)):
            own, items = (
                set(np.flatnonzero(seen[user])),
                [set(some.items[user].tolist()) for some in (lists, unseen, whole)],
            )
            assert not items[1] & own and own <= items[2]
            assert items[0] == (items[2] if repeats else items[1])
            assert len(lists.items[user][lists.mask[user]].unique()) == lists.mask[user].sum()


def test_where_items_repeat_the_history_is_a_scorer(repeating, plain):
    weights = dict(zip(NAMES, repeating[1].scorer_weights, strict=True))
    assert weights["repeats"] > 0.3 and weights["recent_repeats"] > 0.3
    assert dict(zip(NAMES, plain[1].scorer_weights, strict=True))["repeats"] == 0
    # The held-out items, which repeat earlier ones, are candidates and among the popular items of the self-check.
    check = checked(repeating[1])
    assert (check.label.sum(dim=1) == 1).all() and (check.popularity_ndcg > 0).all()
    assert repeating[1].scorer_weights.min() < 0.9


@pytest.mark.parametrize("exclude_seen", [None, False, True])
def test_a_history_of_a_user_has_the_candidates_of_the_user(plain, repeating, exclude_seen):
    for histories, pairs in (plain, repeating):
        one = pairs.candidates(torch.arange(len(histories)), exclude_seen)
        other = pairs.candidates_of(Histories(histories.items, histories.indptr, histories.users), exclude_seen)
        assert torch.equal(one.items, other.items)
        torch.testing.assert_close(one.features, other.features, rtol=0, atol=0)


def test_strangers_unknown_items_and_empty_histories(plain):
    """Items without training interactions do not count. A stranger is near to the user with the same history."""
    histories, pairs = plain
    rows = lists_of(histories)
    asked = Histories.of_lists([rows[5], [*rows[5], 16], [16, *rows[5]], [16], [], [3]])
    lists = pairs.candidates_of(asked)
    assert lists.mask.any(dim=1).tolist() == [True, True, True, False, False, True]
    assert torch.isfinite(lists.features).all() and not lists.features[3:5].any()
    for row in (1, 2):
        assert torch.equal(lists.items[0], lists.items[row])
        assert torch.equal(lists.features[0], lists.features[row])
    assert not (lists.items == 16).any()
    nothing = pairs.candidates_of(asked[:0])
    assert nothing.items.shape[0] == 0 and nothing.features.shape[::2] == (0, n_columns(NAMES))
    assert not pairs.candidates(torch.tensor([0])).mask.any()  # the first history is empty


def test_the_order_of_a_history_counts(plain):
    _, pairs = plain
    lists = pairs.candidates_of(Histories.of_lists([[1, 2, 3, 4], [4, 3, 2, 1]]))
    same = np.intersect1d(*(items.numpy() for items in lists.items))
    same = same[same >= 0]
    rows = [lists.features[row][[lists.items[row].tolist().index(item) for item in same]] for row in (0, 1)]
    share = [column_groups(NAMES)[name][0] for name in ("next_item", "transitions_short", "prefix_neighbors")]
    assert len(same) > 5 and not torch.allclose(rows[0][:, share], rows[1][:, share], atol=0.05)


def test_columns_are_finite_and_of_one_scale(plain, repeating):
    for histories, pairs in (plain, repeating):
        features = pairs.candidates(torch.arange(len(histories))).features
        assert features.shape[2] == pairs.dim == SequenceFeatures().pair_dim == n_columns(NAMES)
        assert torch.isfinite(features).all() and features.abs().max() < 10


@pytest.mark.parametrize(
    "lists", [[[0]], [[0] * 5], [[0, 1, 2]], [[0], [0]], [[0, 1], [1, 0], [2]], [[2, 1], [], [2, 1]]]
)
def test_data_at_the_edge(lists):
    pairs = pairs_of(histories_of(lists), 3)
    features = pairs.full(torch.arange(len(lists)))
    assert features.shape == (len(lists), 3, n_columns(NAMES)) and torch.isfinite(features).all()
    assert torch.isfinite(pairs.candidates_of(Histories.of_lists([[0, 1, 2], [], [1]])).features).all()


def test_relabelling_items_permutes_the_features(plain):
    histories, pairs = plain
    items = np.random.default_rng(1).permutation(17)
    renamed = pairs_of(histories.relabelled(histories.users, items), 17, top_k=4)
    one, other = (some.full(torch.arange(60)) for some in (pairs, renamed))
    # Ranks may jump where two values agree to the last digits; nothing else may.
    assert torch.isclose(one, other[:, items], rtol=1e-3, atol=1e-3).float().mean() > 0.995


@pytest.mark.parametrize("threads", [1, 3])
def test_blocks_of_users_and_threads_change_nothing(plain, monkeypatch, threads):
    histories, pairs = plain
    users, n_threads = torch.arange(60), torch.get_num_threads()
    expected = pairs.candidates(users)
    again = SequencePairs.from_arrays(pairs.arrays())
    monkeypatch.setattr(sequence_scorers, "_BLOCK_FLOATS", 3 * 17)
    assert again.scorers.block_users < 4
    try:
        torch.set_num_threads(threads)
        for lists in (again.candidates(users), again.candidates_of(histories)):
            assert torch.equal(lists.items, expected.items)
            torch.testing.assert_close(lists.features, expected.features, rtol=1e-4, atol=1e-4)
    finally:
        torch.set_num_threads(n_threads)


def test_stored_features_are_the_computed_ones(plain, tmp_path):
    histories, pairs = plain
    again = SequencePairs.from_arrays(pairs.arrays())
    users = torch.arange(60)
    expected = pairs.candidates(users)
    stored = [again]
    for _ in range(2):
        pipeline = FeaturePipeline(["sequence"], {"sequence": {"top_k": 4}}, seed=0, cache_dir=tmp_path)
        features = pipeline(graph_of(histories, 17))
        stored.append(features["sequence"].pair)
    assert features.seconds == {} and len(list(tmp_path.glob("sequence-*.safetensors"))) == 1
    for other in stored:
        assert torch.equal(other.candidates(users).features, expected.features)
        for name, values in vars(checked(pairs)).items():
            torch.testing.assert_close(getattr(other.check, name), values, rtol=0, atol=0)


@pytest.mark.parametrize("change", ["order", "times", "now"])
def test_other_histories_of_the_same_matrix_are_other_data(tmp_path, change):
    histories = clocked(random_lists(30, repeats=False))
    other = histories[:]
    if change == "order":
        other.items = np.concatenate([row[::-1] for row in np.split(histories.items, histories.indptr[1:-1])])
    elif change == "times":
        other.times = histories.times * np.linspace(1, 1.5, len(histories.times))
    else:
        other.now = np.full(30, np.median(histories.times))
    pipeline = FeaturePipeline(["sequence"], cache_dir=tmp_path)
    one, two = (
        pipeline(graph_of(some, 16))["sequence"].pair.candidates(torch.arange(30)) for some in (histories, other)
    )
    different = one.features.shape != two.features.shape or not torch.equal(one.features, two.features)
    assert different and len(list(tmp_path.glob("sequence-*.safetensors"))) == 2
