"""Users and items with none, one or many interactions, in each call: the cells of the table in docs/everyday.md."""

from __future__ import annotations

import warnings

import pandas as pd
import pytest

from recbole_universal import Recommender
from recbole_universal.ranking.ranking_network import RankingNetwork

# Two tastes. User one and item single have one interaction each; user only and item lonely have one another.
PAIRS = [
    (f"u{user}", f"i{item}") for user in range(20) for item in range(12) if user % 2 == item % 2 and (user + item) % 6
]
PAIRS += [("one", "i3"), ("u4", "single"), ("only", "lonely")]
TABLE = pd.DataFrame({"item": ["i1", "i2", "single", "new"], "kind": ["a", "b", "a", "a"]})


def fitted(pairs=PAIRS, **settings) -> Recommender:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Recommender.fit(pd.DataFrame(pairs, columns=["user", "item"]), show_progress=False, **settings)


@pytest.fixture(scope="module", params=["universal-base", "universal-sequential"])
def rec(request) -> Recommender:
    settings = {"order": "rows"} if request.param == "universal-sequential" else {}
    return fitted(model=request.param, items=TABLE, **settings)


@pytest.fixture(autouse=True)
def personal(monkeypatch):
    monkeypatch.setattr(RankingNetwork, "fallback_reason", lambda self: "")


def odd(found: pd.DataFrame, n: int = 3) -> bool:
    """Whether the first items are of the odd taste."""
    return all(item[0] == "i" and int(item[1:]) % 2 for item in found["item"][:n])


def test_recommend(rec):
    with pytest.warns(
        UserWarning, match=r"1 of 3 users have no interactions and get the most popular items: \[nobody\]"
    ):
        found = rec.recommend(["nobody", "one", "u5"], k=3)
    lists = {user: group for user, group in found.groupby("user")}
    assert odd(lists["one"]) and odd(lists["u5"], 1) and not odd(lists["nobody"])
    with pytest.warns(UserWarning, match="1 of 3 histories have no known item"):
        found = rec.recommend(histories=[["gone"], ["i3"], ["i1", "i3", "i5"]], k=3)
    lists = {history: group for history, group in found.groupby("history")}
    assert odd(lists[1]) and odd(lists[2]) and not odd(lists[0])
    every = rec.recommend(k=40, filter_seen=False)
    assert set(every["item"]) == set(rec.items) and "new" not in set(every["item"])


def test_similar_items(rec):
    with pytest.warns(UserWarning, match=r"1 item id .*: \[gone\]"):
        found = rec.similar_items(["gone", "lonely", "single", "i3"], k=3)
    near = found.groupby("similar_to")["item"].agg(list)
    assert "gone" not in near and "lonely" not in near
    assert all(item in {pair[1] for pair in PAIRS if pair[0] == "u4"} for item in near["single"])
    assert odd(found[found["similar_to"] == "i3"])


def test_explain(rec):
    assert rec.explain("nobody", "i1") == "[nobody] has no interactions, so the most popular items are recommended."
    assert rec.explain("u5", "new") == "[new] is no item of the interactions, so it is never recommended."
    assert "Among the items of [one], these speak for it most: [i3] (100 %)." in rec.explain("one", "i1")
    assert rec.explain("only", "i1").startswith(("No scorer proposes [i1] to [only].", "[i1] is number"))
    assert "Among the items of [u5], these speak for it most: " in rec.explain(
        "u5", rec.recommend("u5", k=1)["item"][0]
    )


def test_filters(rec):
    with pytest.warns(UserWarning, match=r"1 item id .*: \[gone\]"):
        found = rec.recommend(["one", "only"], k=9, candidates=["gone", "single", "i2"], exclude=["i2"])
    assert found["item"].tolist() == ["single", "single"]
    with pytest.warns(UserWarning, match="2 of 2 lists have fewer than 9"):
        found = rec.recommend(["one", "only"], k=9, where="kind == 'a'", filter_seen=False)
    assert found.groupby("user")["item"].agg(set).tolist() == [{"i1", "single"}] * 2


def test_updates():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        rec = fitted(PAIRS[:-3], model="universal-base")
        rec.partial_fit(pd.DataFrame(PAIRS[-3:], columns=["user", "item"]), show_progress=False)
        assert rec.recommend(k=3).equals(fitted(model="universal-base").recommend(k=3))
    with pytest.warns(UserWarning, match=r"1 user id .*: \[nobody\]"):
        rec.remove(users=["nobody", "only", "one"], items="single", show_progress=False)
    assert not {"only", "one"} & set(rec.users) and not {"lonely", "single"} & set(rec.items)
    assert rec.recommend(k=3).equals(fitted(PAIRS[:-3], model="universal-base").recommend(k=3))


@pytest.mark.parametrize(
    ("pairs", "n_new", "n_all"),
    [
        ([("u", "i")], 0, 1),
        ([("u", "i"), ("u", "i")], 0, 1),
        ([("u", "i"), ("u", "j"), ("u", "k")], 0, 3),
        ([("u", "i"), ("v", "i"), ("w", "i")], 0, 1),
        ([("u", "i"), ("v", "j")], 1, 2),
    ],
)
def test_the_smallest_datasets(pairs, n_new, n_all, tmp_path):
    pytest.importorskip("pyarrow")
    rec = fitted(pairs)
    rec.save(tmp_path)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for each in (rec, Recommender.load(tmp_path)):
            users = len(each.users)
            assert len(each.recommend(k=5, filter_seen=True)) == n_new * users
            assert len(each.recommend(k=5, filter_seen=False)) == n_all * users
            assert len(each.recommend(["x"], k=5)) == n_all
            assert len(each.recommend(histories=[[], ["i"]], k=5, filter_seen=False)) == 2 * n_all
            assert each.similar_items("i").columns.tolist() == ["similar_to", "item", "score", "rank"]
            assert each.explain("u", "i") and each.to_arrow().num_columns == 3
            each.partial_fit(pd.DataFrame([("n", "m")], columns=["user", "item"]), show_progress=False)
            each.remove(users="u", show_progress=False)
            assert "n" in each.users and "u" not in each.users
