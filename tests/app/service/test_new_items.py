"""New items in the lists of the service: those of the class, with filters and appended interactions."""

from __future__ import annotations

import json
import warnings

import numpy as np
import pandas as pd
import pytest
from content_calls import told

from recbole_universal import Recommender

pytest.importorskip("fastapi")
pytest.importorskip("httpx")
pytest.importorskip("pyarrow")
from starlette.testclient import TestClient

from recbole_universal.app.service import answers
from recbole_universal.app.service.app import Service, create_app
from recbole_universal.app.service.bodies import RecommendBody
from recbole_universal.app.service.settings import TOKEN, ServiceSettings

TOPICS = ("apple pear", "dog cat", "car truck", "guitar drum", "river sea")
N_KNOWN, N_ITEMS = 60, 80


@pytest.fixture(scope="module")
def rec() -> Recommender:
    """Users like one of five topics; nobody has had the last 20 items."""
    topic = np.arange(N_ITEMS) % 5
    chance = np.where(np.arange(100)[:, None] % 5 == topic, 0.4, 0.02)
    chance[:, N_KNOWN:] = 0
    rows, columns = np.nonzero(np.random.default_rng(0).random(chance.shape) < chance)
    orders = pd.DataFrame({"user": [f"u{row}" for row in rows], "item": [f"i{column:02}" for column in columns]})
    titles = [f"{TOPICS[one]} {item}" for item, one in enumerate(topic)]
    ids = [f"i{item:02}" for item in range(N_ITEMS)]
    items = pd.DataFrame({"item": ids, "title": titles, "price": range(N_ITEMS)})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Recommender.fit(orders, items=items, new_items=True, model="universal-base", show_progress=False)


@pytest.fixture
def client(rec, tmp_path, monkeypatch):
    monkeypatch.delenv(TOKEN, raising=False)
    rec.save(tmp_path / "shop")
    with TestClient(create_app(ServiceSettings((str(tmp_path / "shop"),)))) as client:
        yield client


def asked(client, **body) -> tuple[list[list[dict]], str]:
    answer = client.post("/recommend", json=body)
    assert answer.status_code == 200, answer.text
    found = answer.json()
    return [one["items"] for one in found["lists"]], " ".join(found["notes"])


@pytest.mark.parametrize("body", [{"k": 6, "new_items": 2}, {"k": 40, "new_items": True}, {"k": 75, "new_items": 1}])
def test_lists_are_those_of_the_class(client, rec, body):
    lists, notes = asked(client, users=["u3", "u7"], **body)
    frame, text = told(lambda: rec.recommend(["u3", "u7"], **body))
    assert [one["item"] for items in lists for one in items] == frame["item"].tolist()
    assert [one.get("new", False) for items in lists for one in items] == frame["new"].tolist()
    assert frame["new"].any() and [one["rank"] for items in lists for one in items] == frame["rank"].tolist()
    assert notes == text and "20 items are new" in notes


def test_new_items_have_titles_and_filters_hold_for_them(client):
    rule = {"where": f"price >= {N_KNOWN}", "k": 4, "new_items": 1}
    (items,), _ = asked(client, users=["u2"], **rule)
    assert len(items) == 4 and all(one["new"] and one["title"].startswith(TOPICS[2]) for one in items)
    best = items[0]["item"]
    (without,), notes = asked(client, users=["u2"], exclude=[best, "nope"], **rule)
    assert [one["item"] for one in without[:3]] == [one["item"] for one in items[1:]]
    assert "[nope]" in notes and best not in notes
    (only,), _ = asked(client, users=["u2"], candidates=[best], k=4, new_items=1)
    assert [one["item"] for one in only] == [best]


def test_new_items_that_the_person_has_had_are_left_out(client):
    body = {"where": f"price >= {N_KNOWN}", "k": 3, "new_items": 1}
    (before, other), _ = asked(client, users=["u2", "u7"], **body)
    best = before[0]["item"]
    assert best in {one["item"] for one in other}
    client.post("/interactions", json={"interactions": [{"user": "u2", "item": best}]})
    (after, again), _ = asked(client, users=["u2", "u7"], **body)
    assert [one["item"] for one in after[:2]] == [one["item"] for one in before[1:]]
    assert [one["item"] for one in again] == [one["item"] for one in other]
    (seen,), _ = asked(client, users=["u2"], filter_seen=False, **body)
    assert seen[0]["item"] == best
    (first,), _ = asked(client, histories=[["i02", "i07"]], **body)
    best = first[0]["item"]
    (second,), notes = asked(client, histories=[["i02", "i07", best]], **body)
    assert best not in {one["item"] for one in second}
    assert f"no interactions and does not count: [{best}]" in notes


def test_without_being_asked_no_list_has_new_items(client, rec):
    (items,), _ = asked(client, users=["u3"], k=70)
    assert not any("new" in one for one in items)
    assert [one["item"] for one in items] == rec.recommend("u3", k=70)["item"].tolist()


def test_requests_of_both_kinds_are_ranked_together(rec, tmp_path):
    rec.save(tmp_path / "shop")
    loaded = Service(ServiceSettings((str(tmp_path / "shop"),))).model(None).current
    new = RecommendBody(users=["u3"], k=6, new_items=2)
    bodies = [new, RecommendBody(users=["u3", "u4"], k=6), new.model_copy(update={"users": ["u7"]})]
    settings = answers.list_settings(loaded, new, False)
    together = answers.recommended(loaded, settings, bodies)
    for body, answer in zip(bodies, together, strict=True):
        (alone,) = answers.recommended(loaded, settings, [body])
        assert [_items(one) for one in (answer, alone)] == [_items(alone)] * 2
        assert (b'"new":true' in answer) is bool(body.new_items)


def _items(answer: bytes) -> list[list[str]]:
    return [[one["item"] for one in each["items"]] for each in json.loads(answer)["lists"]]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"new_items": 11}, "from 1 to k, 10"),
        ({"new_items": 0}, "greater than or equal to 1"),
        ({"new_items": "2"}, "new_items"),
        ({"new_items": 1.5}, "new_items"),
        ({"new_items": None}, "new_items"),
    ],
)
def test_bad_values(client, body, words):
    answer = client.post("/recommend", json={"users": ["u1"], **body})
    assert answer.status_code == 422 and words in answer.json()["detail"]


def test_a_folder_without_new_items_says_so(rec, tmp_path, monkeypatch):
    monkeypatch.delenv(TOKEN, raising=False)
    frame = rec.recommend(k=3)[["user", "item"]]
    Recommender.fit(frame, show_progress=False).save(tmp_path / "plain")
    with TestClient(create_app(ServiceSettings((str(tmp_path / "plain"),)))) as client:
        answer = client.post("/recommend", json={"users": ["u1"], "new_items": True})
    assert answer.status_code == 422 and "[plain] was fitted without new items" in answer.json()["detail"]


def test_items_like_a_new_item_are_those_of_the_class(client, rec):
    asked = ["i01", "i61", "nothing"]
    answer = client.post("/similar", json={"items": asked, "k": 3}).json()
    expected, _ = told(lambda: rec.similar_items(asked, k=3))
    found = [(each["similar_to"], item["item"]) for each in answer["lists"] for item in each["items"]]
    assert found == list(zip(expected["similar_to"], expected["item"], strict=True)) and len(found) == 6
    assert answer["lists"][1]["title"] == f"{TOPICS[1]} 61" and "[nothing]" in answer["notes"][0]
