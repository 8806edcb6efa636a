"""Updates of a recommender: more interactions, erasure. Each equals a fit of the interactions of then."""

from __future__ import annotations

import threading
import warnings
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest

from recbole_universal import Recommender
from recbole_universal.app.recommender_state import RecommenderState

N_ITEMS = 24
WAYS = {
    "no order": {},
    "rows": {"model": "universal-sequential", "order": "rows"},
    "times": {"model": "universal-sequential", "time_column": "position"},
    "later": {"model": "universal-sequential", "time_column": "position", "later": True},
}


def events() -> pd.DataFrame:
    """People walk along a ring of items, in turns; they come back to items, and some steps have the same time."""
    rng = np.random.default_rng(0)
    place = rng.integers(N_ITEMS, size=40)
    rows = []
    for step in range(9):
        for user in range(40):
            rows.append((f"u{user}", f"i{place[user]}", 1_700_000_000 + step // 2))
            place[user] = (place[user] + rng.integers(0, 3)) % N_ITEMS
    return pd.DataFrame(rows, columns=["user", "item", "position"])


def fitted(frame: pd.DataFrame, way: str) -> Recommender:
    columns = ["user", "item", "position"] if "time_column" in WAYS[way] else ["user", "item"]
    return Recommender.fit(frame[columns], show_progress=False, **WAYS[way])


def same(one: Recommender, other: Recommender) -> bool:
    """Whether two recommenders are equal to the last bit."""
    pd.testing.assert_index_equal(one.users, other.users, exact=True)
    pd.testing.assert_index_equal(one.items, other.items, exact=True)
    ours, theirs = one.ranker.arrays(), other.ranker.arrays()
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():
        np.testing.assert_array_equal(array, theirs[name], err_msg=name)
    pd.testing.assert_frame_equal(one.recommend(k=5), other.recommend(k=5), check_exact=True)
    return True


@pytest.fixture(autouse=True)
def _quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("saved", [False, True])
def test_more_interactions_equal_a_fit_of_all(way, saved, tmp_path):
    frame = events()
    parts = frame[frame["user"] != "u3"].iloc[:250], frame[frame["user"] == "u3"], frame[frame["user"] != "u3"][250:]
    rec = fitted(parts[0][parts[0]["item"] != "i7"], way)
    if saved:
        pytest.importorskip("pyarrow")
        rec.save(tmp_path)
        rec = Recommender.load(tmp_path)
    late = parts[0][parts[0]["item"] == "i7"]  # an older time than others, a new item
    rest = pd.concat([parts[1], parts[2], late])
    for part in (rest[:60], rest[60:]):
        assert rec.partial_fit(part, show_progress=False) is None
    assert same(rec, fitted(pd.concat([parts[0][parts[0]["item"] != "i7"], rest]), way))
    assert "u3" in rec.users and "i7" in rec.items


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("saved", [False, True])
def test_an_erasure_equals_a_fit_without(way, saved, tmp_path):
    frame = pd.concat([events(), pd.DataFrame([("u5", "only", 1_700_000_009)], columns=["user", "item", "position"])])
    rec = fitted(frame, way)
    if saved:
        pytest.importorskip("pyarrow")
        rec.save(tmp_path)
        rec = Recommender.load(tmp_path)
    rec.remove(users=["u5", "u17"], items="i3", show_progress=False)
    assert same(rec, fitted(frame[~frame["user"].isin(["u5", "u17"]) & (frame["item"] != "i3")], way))
    assert "only" not in rec.items and "u5" not in rec.users
    if saved:
        rec.save(tmp_path)
        assert len(list(tmp_path.rglob("users.parquet"))) == 1 and same(Recommender.load(tmp_path), rec)


def test_added_and_erased_interactions_leave_the_first_ones():
    frame = events()
    rec = fitted(frame, "times")
    rec.partial_fit(pd.DataFrame([("new", "i1", 1_700_000_001), ("new", "x", 1_700_000_002)], columns=list(frame)))
    rec.remove(users="new")
    assert same(rec, fitted(frame, "times"))


@pytest.mark.parametrize("start", ["numbers", "floats", "texts"])
def test_ids_are_those_of_a_fit_of_all(start):
    kind = {"numbers": int, "floats": float, "texts": str}[start]
    first = pd.DataFrame({"user": map(kind, [1, 1, 2, 2, 3]), "item": map(kind, [10, 11, 10, 12, 10])})
    more = pd.DataFrame({"user": ["1", "4", "5"], "item": ["12", "10", "13"]})
    rec = Recommender.fit(first, show_progress=False)
    rec.partial_fit(more, show_progress=False)
    every = pd.concat([first.astype(object), more], ignore_index=True)
    assert same(rec, Recommender.fit(every, show_progress=False))
    rec.remove(users=[4, "5"])
    assert same(rec, Recommender.fit(every[:6], show_progress=False))


def test_auto_chooses_the_model_again():
    columns = ["user", "item", "position"]
    rec = Recommender.fit(events()[:200][columns], time_column="position", show_progress=False)
    with pytest.warns(UserWarning, match=r"which reads .* ranks") as said:
        rec.partial_fit(events()[200:], show_progress=False)
    assert {each.filename for each in said} == {__file__}
    assert same(rec, Recommender.fit(events(), time_column="position", show_progress=False))


def test_other_names_of_columns():
    frame = events().rename(columns={"user": "who", "item": "what"})
    names = {"user_column": "who", "item_column": "what"}
    rec = Recommender.fit(frame[:200], model="universal-base", show_progress=False, **names)
    rec.partial_fit(frame[200:300], show_progress=False)
    last = frame[300:].rename(columns={"who": "by"})
    with pytest.raises(ValueError, match="who"):
        rec.partial_fit(last, show_progress=False)
    rec.partial_fit(last, user_column="by", show_progress=False)
    assert same(rec, Recommender.fit(frame, model="universal-base", show_progress=False, **names))
    assert list(rec.recommend("u1")) == ["who", "what", "score", "rank"]


def test_unknown_ids_are_named_in_one_warning():
    rec = fitted(events(), "no order")
    before = rec.ranker
    with pytest.warns(UserWarning) as said:
        rec.remove(users=["x", "y"], items=["z"], show_progress=False)
    (message,) = [str(each.message) for each in said]
    assert message == (
        "2 user ids have no interactions and do not count: [x], [y]. "
        "1 item id has no interactions and does not count: [z]."
    )
    assert said[0].filename == __file__ and rec.ranker is before
    rec.remove()
    assert rec.ranker is before


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda rec: rec.remove(users=list(rec.users)), "no interaction is left without these, so nothing is removed"),
        (lambda rec: rec.remove(users=[["u1"]]), r"users: must be ids, \[n\]"),
        (lambda rec: rec.remove(items=pd.DataFrame({"item": ["i1"]})), "items: must be ids, got a frame"),
        (lambda rec: rec.remove(users="u1", show_progress="no"), "show_progress"),
        (lambda rec: rec.partial_fit(events(), show_progress="no"), "show_progress"),
        (lambda rec: rec.partial_fit(7), "must be a data frame, an Arrow table or the path of a file"),
        (lambda rec: rec.partial_fit(events(), user_column=[1]), "user_column .* must be the name of a column"),
        (lambda rec: rec.partial_fit(events()[["user", "item"]]), "position"),
        (lambda rec: rec.partial_fit(events().head(0)), "There is no usable row"),
    ],
)
def test_an_error_changes_nothing(change, message):
    rec = fitted(events(), "times")
    before = rec._state
    with pytest.raises(ValueError, match=message):
        change(rec)
    assert rec._state is before


def test_times_are_needed_where_the_fit_had_them():
    frame = events().rename(columns={"position": "timestamp"})
    rec = Recommender.fit(frame, model="universal-sequential", show_progress=False)
    with pytest.raises(ValueError, match="new: needs times, since the interactions of the fit have them"):
        rec.partial_fit(frame[["user", "item"]], show_progress=False)


def test_a_recommender_of_a_ranker_cannot_be_updated(tmp_path):
    pytest.importorskip("pyarrow")
    rec = fitted(events(), "no order")
    made = Recommender(rec.ranker, rec.users, rec.items)
    made.save(tmp_path)
    for one in (made, Recommender.load(tmp_path)):
        for change in (lambda: one.partial_fit(events()), lambda: one.remove(users="u1")):  # noqa: B023
            with pytest.raises(ValueError, match="cannot be updated, since it was made of a ranker or saved"):
                change()


def test_readers_see_one_state_or_the_next():
    rec = fitted(events(), "no order")
    removals = ["u1", "u2", "u3"]
    found: list[tuple] = []
    ended = threading.Event()

    def lists() -> tuple:
        return tuple(rec.recommend(["u9", "u8"], k=4).itertuples(index=False, name=None))

    def read() -> None:
        while not ended.is_set():
            found.append(lists())

    states = [lists()]
    reader = threading.Thread(target=read)
    reader.start()
    try:
        for user in removals:
            rec.remove(users=user, show_progress=False)
            states.append(lists())
    finally:
        ended.set()
        reader.join()
    order = [states.index(one) for one in found]  # fails for a mixture
    assert all(one <= next_one for one, next_one in pairwise(order)) and len(set(states)) == 4


def test_two_updates_at_once_both_take_effect(monkeypatch):
    rec = fitted(events(), "no order")
    other: list[str] = []
    refitted = RecommenderState.refitted

    def slow(self, *args):
        if not other:
            other.append("u1")
            rec.remove(users="u1", show_progress=False)
        return refitted(self, *args)

    monkeypatch.setattr(RecommenderState, "refitted", slow)
    rec.remove(users="u2", show_progress=False)
    frame = events()
    assert same(rec, fitted(frame[~frame["user"].isin(["u1", "u2"])], "no order"))
