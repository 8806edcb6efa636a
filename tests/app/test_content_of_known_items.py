"""Content in the lists of known items: the function, the class, folders, updates and the commands."""

from __future__ import annotations

import re

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp
from content_calls import run, told, written_shop

from recbole_universal import Recommender, UniversalRanker, recommend

N_USERS, N_KNOWN, N_ITEMS, N_TOPICS = 250, 300, 312, 60
TOPIC = np.concatenate([np.random.default_rng(2).permutation(N_KNOWN), np.arange(12)]) % N_TOPICS
QUIET = {"show_progress": False}
CONTENT = {"content_fields": "auto", "content_encoders": ["tfidf"]}
BASE = {"model": "universal-base", **QUIET}


def made_orders() -> pd.DataFrame:
    """Half of what users buy is of one topic of their own; nobody has had the last 12 items."""
    rng = np.random.default_rng(0)
    rows = []
    for user in range(N_USERS):
        items = [
            *rng.choice(np.flatnonzero(TOPIC[:N_KNOWN] == user % N_TOPICS), 3, replace=False),
            *rng.choice(N_KNOWN, 3),
        ]
        rows += [(f"u{user:03}", f"i{item:03}") for item in items]
    frame = pd.DataFrame(rows, columns=["user", "item"]).drop_duplicates()
    return frame.sample(frac=1, random_state=0, ignore_index=True)


ORDERS = made_orders()
TITLES = [f"word{topic} word{topic + N_TOPICS}" for topic in TOPIC]
ITEMS = pd.DataFrame({"item": [f"i{item:03}" for item in range(N_ITEMS)], "title": TITLES})
WRONG = ITEMS.assign(title=np.random.default_rng(2).permutation(TITLES))


def fitted(orders=ORDERS, **settings):
    return told(lambda: Recommender.fit(orders, **{"items": ITEMS, **BASE, **CONTENT, **settings}))


@pytest.fixture(scope="module")
def rec():
    return fitted()[0]


@pytest.fixture(scope="module")
def plain():
    return told(lambda: Recommender.fit(ORDERS, items=ITEMS, **BASE))[0]


def test_content_ranks_where_the_self_check_finds_it_better(plain):
    rec, text = fitted()
    gain = rec.ranker.network.content_gain
    measured = re.search(r"Content also ranks known items: NDCG@10 is (\S+) with content and (\S+) without it", text)
    assert measured.groups() == (f"{gain.with_content:.4f}", f"{gain.without:.4f}") and gain.helps
    assert f"({gain.z_score:+.1f} standard errors)" in text

    def own_topic(recommender):
        found = recommender.recommend(k=2)
        return np.mean(TOPIC[found["item"].str[1:].astype(int)] == found["user"].str[1:].astype(int) % N_TOPICS)

    assert own_topic(rec) > own_topic(plain) + 0.3


def test_content_without_a_gain_changes_no_list(plain):
    rec, text = fitted(items=WRONG, content_join_z=None)
    assert re.search(r"Content ranks no known items, since .*: NDCG@10 is \S+ with content and \S+ without", text)
    assert rec.recommend(k=5).equals(plain.recommend(k=5))


def test_without_content_nothing_is_read(plain, monkeypatch):
    monkeypatch.setattr("recbole_universal.app.new_catalogue.text_encoder", lambda name: 1 / 0)
    assert plain.ranker.network.content_gain is None and plain._state.catalogue is None
    found, text = told(
        lambda: recommend(ORDERS, items=ITEMS, where="title != ''", pretrained="universal-base", **QUIET)
    )
    assert "ontent" not in text and found["item"].tolist() == plain.recommend(ORDERS["user"].unique())["item"].tolist()


def test_the_function_ranks_as_the_class_and_shows_no_new_items(rec):
    found, text = told(lambda: recommend(ORDERS, items=ITEMS, pretrained="universal-base", **CONTENT, **QUIET))
    assert "Content also ranks known items" in text and "items are new" not in text and "new" not in found
    expected = rec.recommend(ORDERS["user"].unique())
    assert found["item"].tolist() == expected["item"].tolist() and found["score"].equals(expected["score"])
    shown, text = told(
        lambda: recommend(ORDERS, items=ITEMS, new_items=2, pretrained="universal-base", top_k=12, **CONTENT, **QUIET)
    )
    assert "Content also ranks known items" in text and shown["new"].sum() == 2 * N_USERS
    assert shown[~shown["new"]]["item"].tolist() == found["item"].tolist()


def test_a_fit_with_content_and_one_with_new_items_are_the_same(rec):
    other = fitted(content_fields=None, new_items=True)[0]
    assert other.recommend(k=6).equals(rec.recommend(k=6))
    shown = [told(lambda each=each: each.recommend("u003", new_items=1))[0] for each in (rec, other)]
    assert shown[0]["new"].sum() == 1 and shown[0].equals(shown[1])


def test_fast_lists_read_no_content(plain):
    common = {"items": ITEMS, "pretrained": "universal-base", "fast": True, **QUIET}
    plain_lists = told(lambda: recommend(ORDERS, **{**common, "items": None}))[0]
    found, text = told(lambda: recommend(ORDERS, **common, **CONTENT))
    assert "fast (--fast) ranks known items without content" in text and found.equals(plain_lists)
    shown, text = told(lambda: recommend(ORDERS, new_items=2, **common, **CONTENT))
    assert "without content" in text and "Content also" not in text and shown["new"].sum() == 2 * N_USERS


def test_the_model_that_reads_the_order(plain):
    rows = {"order": "rows", "model": "universal-sequential"}
    rec, text = fitted(**rows)
    assert rec.ranker.network.content_gain.helps and "Content also ranks known items" in text
    chosen, text = fitted(order="rows", model="auto")
    alone, message = told(lambda: Recommender.fit(ORDERS, order="rows", **QUIET))
    assert chosen.ranker.pretrained.card["name"] == alone.ranker.pretrained.card["name"] and message in text


def test_a_chosen_model_that_reads_the_order_has_content():
    """Each user goes through all topics in one order, and titles say which."""
    rng = np.random.default_rng(1)
    rows = [(f"u{u:03}", f"i{(t + u) % 30 + 30 * rng.integers(10):03}") for u in range(N_USERS) for t in range(7)]
    orders = pd.DataFrame(rows, columns=["user", "item"])
    items = pd.DataFrame({"item": ITEMS["item"][:300], "title": [f"word{k % 30} w{k % 30}" for k in range(300)]})
    settings = {"order": "rows", "content_join_z": None, **CONTENT, **QUIET}
    rec, text = told(lambda: Recommender.fit(orders, items=items, **settings))
    assert "[universal-sequential], which reads order and repeats, ranks" in text
    assert rec.ranker.network.content_gain is not None and "Content " in text


def test_a_model_of_other_families_reads_none():
    rec, text = fitted(model="universal-paper")
    assert "Content ranks no known items: the model reads other families" in text
    assert len(told(lambda: rec.recommend("u001", new_items=1))[0]) == 10


def test_a_saved_folder(rec, tmp_path, monkeypatch):
    rec.save(tmp_path / "shop")
    monkeypatch.setattr("recbole_universal.ranking.ranker.content_relation", lambda *_: 1 / 0)
    loaded = Recommender.load(tmp_path / "shop")
    assert loaded.recommend(k=5).equals(rec.recommend(k=5))
    assert loaded.ranker.network.content_gain == rec.ranker.network.content_gain
    found, _ = told(lambda: recommend(tmp_path / "shop", **QUIET))
    assert found.equals(rec.recommend(k=10))


def test_updates_equal_a_fit_of_all(rec, tmp_path):
    """No item comes or goes, so the content is that of a new fit, to the last bit."""
    rec.save(tmp_path / "shop")
    again = Recommender.load(tmp_path / "shop")
    users_of = ORDERS["item"].map(ORDERS["item"].value_counts())
    leaving = users_of.groupby(ORDERS["user"]).min().idxmax()  # each of this user's items has other users
    more = pd.DataFrame({"user": ["u001", "u002", "stranger"], "item": ORDERS["item"].value_counts().index[:3]})
    _, text = told(lambda: again.partial_fit(more, **QUIET))
    assert "Content also ranks known items" in text
    both = fitted(pd.concat([ORDERS, more]))[0]
    assert again.recommend(k=6).equals(both.recommend(k=6))
    told(lambda: again.remove(users=["stranger", leaving], **QUIET))
    kept = pd.concat([ORDERS, more]).query("user not in ['stranger', @leaving]")
    assert again.items.equals(both.items) and again.recommend(k=6).equals(fitted(kept)[0].recommend(k=6))


def test_an_erased_item_is_no_neighbour_of_others(rec, tmp_path):
    """The content of the fit stays, so the ranker is that of the same vectors without those of the item."""
    rec.save(tmp_path / "shop")
    again = Recommender.load(tmp_path / "shop")
    told(lambda: again.remove(items=["i000"], **QUIET))
    before = rec._state.catalogue.lists.content
    kept = rec.items.get_indexer(again.items)
    matrix = sp.csr_matrix(again.ranker.matrix)
    ranker = UniversalRanker(matrix, "universal-base", content=before.of_items(kept).spaces)
    assert again.ranker.network.content_gain == ranker.network.content_gain and ranker.network.content_gain.helps
    np.testing.assert_array_equal(again.ranker.top_k(np.arange(9), 5)[0], ranker.top_k(np.arange(9), 5)[0])


def test_reasons_name_content(rec):
    best = rec.recommend("u003", k=1)["item"][0]
    assert "content" in rec.explain("u003", best)


@pytest.fixture
def shop(tmp_path):
    return written_shop(tmp_path, ORDERS, ITEMS)


def test_the_commands(shop, rec, capsys):
    of_file = [shop / "orders.csv", "--items", shop / "items.csv", "--model", "universal-base", "--quiet"]
    content = ["--content-fields", "auto", "--content-encoders", "tfidf"]
    assert run("recommend", *of_file, *content, "--output", shop / "recs.csv") == 0
    assert "recommend: Content also ranks known items" in capsys.readouterr().err
    frame = pd.read_csv(shop / "recs.csv")
    assert frame["item"].tolist() == rec.recommend(ORDERS["user"].unique())["item"].tolist()
    assert run("fit", *of_file, *content, "--output", shop / "folder") == 0
    assert "fit: Content also ranks known items" in capsys.readouterr().err
    assert run("recommend", shop / "folder", "--output", shop / "again.csv", "--quiet") == 0
    again = pd.read_csv(shop / "again.csv")
    assert again["item"].tolist() == rec.recommend(k=10)["item"].tolist()


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"content_fields": "auto"}, r"content_fields \(--content-fields\): needs an item table"),
        ({"content_fields": ["plot"], "items": ITEMS}, r"content_fields: .* no column \[?'?plot"),
        ({"content_fields": [], "items": ITEMS}, r"content_fields .*must be a list of names"),
        (
            {"content_fields": "auto", "items": WRONG},
            r"content_join_z.*Check the ids",
        ),
        ({"content_fields": "auto", "items": ITEMS[["item"]].assign(price=1)}, r"no column holds text"),
    ],
)
@pytest.mark.parametrize("call", [recommend, Recommender.fit])
def test_what_is_wrong_is_named(call, settings, message):
    with pytest.raises(ValueError, match=message):
        told(lambda: call(ORDERS, **settings, **QUIET))


def test_a_checkpoint_and_a_folder_take_no_content(rec, tmp_path):
    rec.save(tmp_path / "shop")
    for words in ({"checkpoint": "x.pth"}, {"interactions": tmp_path / "shop"}):
        with pytest.raises(ValueError, match=r"leave out .*content_fields \(--content-fields\)"):
            told(lambda words=words: recommend(**words, content_fields="auto", **QUIET))
