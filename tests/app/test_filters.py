"""Filters of a recommender: items, items by user, rules, items left out of all calls. Each equals a filter by hand."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from hypothesis import given, settings
from hypothesis import strategies as st
from test_recommender import N_ITEMS, events, fitted

from recbole_universal import Recommender
from recbole_universal.app.list_filters import ListFilters
from recbole_universal.ranking.ranking_network import RankingNetwork

ITEMS = [f"i{index}" for index in range(N_ITEMS)]
TABLE = pd.DataFrame(
    {
        "item": [*ITEMS[:20], "unsold"],
        "genre": [None if index == 7 else ("red", "green", "blue")[index % 3] for index in range(20)] + ["red"],
        "price": [np.nan if index == 4 else index * 2.5 for index in range(20)] + [1.0],
    }
)
RULES = {
    "genre == 'red'": lambda genre, price: genre == "red",
    "genre != 'red' and price < 30": lambda genre, price: None not in (genre, price) and genre != "red" and price < 30,
    "not (genre in ['red', 'blue'])": lambda genre, price: genre == "green",
    "10 <= price < 25 or genre == 'blue'": lambda genre, price: (
        (price is not None and 10 <= price < 25) or genre == "blue"
    ),
}
MATCHING = {
    rule: {
        item
        for item, genre, price in TABLE.astype(object).where(TABLE.notna(), None).itertuples(index=False)
        if item != "unsold" and fits(genre, price)
    }
    for rule, fits in RULES.items()
}
PEOPLE = ["u1", "nobody", "u7", "u30"]


@pytest.fixture(scope="module", params=["rec", "ordered"])
def rec(request) -> Recommender:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        settings = {} if request.param == "rec" else {"model": "universal-sequential", "order": "rows"}
        return fitted(**settings, items=TABLE)


@pytest.fixture(autouse=True)
def _quiet(monkeypatch):
    monkeypatch.setattr(RankingNetwork, "fallback_reason", lambda self: "")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def by_hand(rec: Recommender, user: str, possible: set[str], k: int, filter_seen: bool | None) -> list[tuple]:
    """One list of one user by the ranker, or the most popular items."""
    allowed = np.array([item in possible for item in rec.items])
    if user not in rec.users:
        degree = events().drop_duplicates(["user", "item"])["item"].value_counts()
        ranked = sorted(possible, key=lambda item: (-degree[item], rec.items.get_loc(item)))[:k]
        return [(item, pytest.approx(degree[item] / degree.max())) for item in ranked]
    items, scores = rec.ranker.top_k([rec.users.get_loc(user)], k, filter_seen, allowed=allowed)
    found = [(rec.items[item], score) for item, score in zip(items[0], scores[0], strict=True) if item >= 0]
    return [(item, pytest.approx(score, abs=1e-5)) for item, score in found]


some = st.none() | st.sets(st.sampled_from(ITEMS))
by_user = some | st.dictionaries(st.sampled_from([*PEOPLE, "other"]), st.lists(st.sampled_from([*ITEMS, "gone"])))


@settings(max_examples=60)
@given(
    candidates=by_user,
    exclude=by_user,
    where=st.none() | st.sampled_from(list(RULES)),
    sold_out=st.sets(st.sampled_from(ITEMS), max_size=9),
    k=st.integers(1, N_ITEMS + 2),
    filter_seen=st.none() | st.booleans(),
    as_table=st.booleans(),
)
def test_filters_equal_the_plain_filter_of_what_is_left(
    rec, candidates, exclude, where, sold_out, k, filter_seen, as_table
):
    def given_by_user(values):
        if not as_table or not isinstance(values, dict):
            return values
        pairs = [(user, item) for user, items in values.items() for item in items]
        return pd.DataFrame(pairs, columns=["user", "item"], dtype=object)

    rec.set_excluded(sold_out)
    try:
        found = rec.recommend(
            PEOPLE,
            k=k,
            candidates=given_by_user(candidates),
            exclude=given_by_user(exclude),
            where=where,
            filter_seen=filter_seen,
        )
    finally:
        rec.set_excluded(None)
    for user in PEOPLE:
        possible = set(ITEMS) - sold_out
        if candidates is not None:
            possible &= set(candidates.get(user, ()) if isinstance(candidates, dict) else candidates)
        if exclude is not None:
            possible -= set(exclude.get(user, ()) if isinstance(exclude, dict) else exclude)
        if where is not None:
            possible &= MATCHING[where]
        mine = found[found["user"] == user]
        assert list(zip(mine["item"], mine["score"], strict=True)) == by_hand(rec, user, possible, k, filter_seen)
        seen = set(events()["item"][events()["user"] == user]) if filter_seen else set()
        if filter_seen is not None:
            assert len(mine) == min(k, len(possible - seen))


def test_filters_of_histories_by_position(rec):
    found = rec.recommend(
        histories=[["i1"], [], ["i2", "i3"]], k=30, candidates={0: ["i4", "i9"], 1: ["i5", "i6"]}, exclude={1: "i5"}
    )
    lists = found.groupby("history")["item"].agg(set).to_dict()
    assert lists == {0: {"i4", "i9"}, 1: {"i6"}}


def test_blocks_of_lists_change_nothing(rec, monkeypatch):
    exclude = {user: [ITEMS[index % N_ITEMS]] for index, user in enumerate(rec.users)}
    whole = rec.recommend(k=6, exclude=exclude)
    monkeypatch.setattr("recbole_universal.app.list_filters._BLOCK_VALUES", 3 * N_ITEMS)
    in_blocks = rec.recommend(k=6, exclude=exclude)
    pd.testing.assert_frame_equal(whole, in_blocks, rtol=1e-5)


def test_a_whitelist_of_all_of_many_items():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"user": rng.integers(0, 400, 4000), "item": rng.integers(0, 100_000, 4000)})
    rec = Recommender.fit(frame, model="universal-base", show_progress=False)
    plain = rec.recommend([1, 2, 3], k=20)
    everything = [*rec.items.tolist(), *range(10**6, 10**6 + 100_000)]
    pd.testing.assert_frame_equal(rec.recommend([1, 2, 3], k=20, candidates=everything), plain)
    few = rec.items[::400].tolist()[:10]
    assert (
        rec.recommend([1, 2, 3], k=10, candidates=few, filter_seen=False).groupby("user")["item"].nunique().eq(10).all()
    )


@pytest.mark.parametrize("library", ["polars", "pyarrow"])
def test_a_table_of_another_library(rec, library):
    module = pytest.importorskip(library)
    pairs = {"customer_id": ["u1", "u1", "u7"], "item_id": ["i3", "i4", "gone"], "score": [1.0, 2.0, 3.0]}
    table = module.DataFrame(pairs) if library == "polars" else module.table(pairs)
    with pytest.warns(UserWarning, match=r"\[gone\]"):
        found = rec.recommend(["u1", "u7"], k=3, candidates=table, filter_seen=False)
    assert set(found["item"]) == {"i3", "i4"} and set(found["user"]) == {"u1"}


@pytest.mark.parametrize("argument", ["candidates", "exclude"])
@pytest.mark.parametrize("value", [{"u1": [["i1"]]}, pd.DataFrame({"a": [1], "b": [2]})])
def test_other_forms_are_refused(rec, argument, value):
    with pytest.raises(ValueError, match=f"^{argument}: must be ids"):
        rec.recommend(["u1"], **{argument: value})


def test_short_lists_are_counted(rec):
    with pytest.warns(UserWarning) as said:
        rec.recommend(["u1", "u7", "u9"], k=3, candidates={"u1": ["i1", "i2"], "u7": ITEMS}, filter_seen=False)
    assert [str(each.message) for each in said] == [
        "2 of 3 lists have fewer than 3 items, since no other item is left that the filters allow and the person has "
        "not had. 1 of them is empty."
    ]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        rec.recommend(["u1", "u7", "u9"], k=3, candidates=ITEMS, filter_seen=False)
    with pytest.warns(UserWarning, match="1 of 1 lists has fewer than 1048575 items"):
        assert len(rec.recommend("u1", k=2**20 - 1, filter_seen=False)) == N_ITEMS


def test_excluded_items_stay_out_everywhere(rec, tmp_path):
    rec.set_excluded(["i2", "i5", "later", 7])
    try:
        for found in (
            rec.recommend(k=N_ITEMS, filter_seen=False),
            rec.recommend(histories=[["i1"], []], k=N_ITEMS, filter_seen=False),
            rec.similar_items(["i1", "i3"], k=N_ITEMS),
        ):
            assert not set(found["item"]) & {"i2", "i5"} and len(found)
        assert rec.explain("u1", "i2") == "[i2] is left out of all lists (set_excluded)."
        pytest.importorskip("pyarrow")
        rec.save(tmp_path)
        again = Recommender.load(tmp_path)
        columns = ["user", "item"]
        again.partial_fit(pd.DataFrame([("u1", "later"), ("u2", "7")], columns=columns), show_progress=False)
        assert not set(again.recommend(k=40, filter_seen=False)["item"]) & {"i2", "i5", "later", "7"}
    finally:
        rec.set_excluded(None)
    assert "i2" in set(rec.recommend(k=N_ITEMS, filter_seen=False)["item"])
    with pytest.raises(ValueError, match="items: must be ids, not truth values"):
        rec.set_excluded([True, False])


def test_filters_can_lack_further_items():
    one, other = (
        sp.csr_matrix(np.array(rows, dtype=bool)) for rows in ([[1, 0, 0], [0, 0, 0]], [[0, 1, 0], [0, 0, 1]])
    )
    lists = np.arange(2)
    assert ListFilters(None, None, one).lacking(other).of(lists).tolist() == [[False, False, True], [True, True, False]]
    common = np.array([True, True, False])
    assert ListFilters(common, None, None).lacking(one).of(lists).tolist() == [
        [False, True, False],
        [True, True, False],
    ]
