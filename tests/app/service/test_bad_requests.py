"""Each bad request gets a clear 4xx, and never a 500."""

from __future__ import annotations

import json

import pytest
from starlette.testclient import TestClient

from recbole_universal.app.item_rules import MOST_CHARACTERS
from recbole_universal.app.service.app import create_app
from recbole_universal.app.service.bodies import (
    MOST_BYTES,
    MOST_CANDIDATES,
    MOST_HISTORY,
    MOST_K,
    MOST_LISTS,
    MOST_ROWS,
)
from recbole_universal.app.service.settings import ServiceSettings

BAD_BODIES = [
    ("/interactions", {"interactions": [{"user": "a", "item": "b", "time": True}]}, 422, "0.time: a time is a number"),
    # sizes
    ("/recommend", {"users": ["u1"] * (MOST_LISTS + 1)}, 422, "at most 1000 items"),
    ("/recommend", {"histories": [[]] * (MOST_LISTS + 1)}, 422, "at most 1000 items"),
    ("/recommend", {"histories": [["a"] * (MOST_HISTORY + 1)]}, 422, "at most 10000 items"),
    ("/recommend", {"users": ["u1"], "candidates": [1] * (MOST_CANDIDATES + 1)}, 422, "candidates"),
    ("/recommend", {"users": ["u1"], "exclude": [1] * (MOST_CANDIDATES + 1)}, 422, "exclude"),
    ("/recommend", {"users": ["u1"], "k": MOST_K + 1}, 422, "k: Input should be less than or equal to 1000"),
    ("/recommend", {"users": ["u1"], "k": 0}, 422, "k: Input should be greater than or equal to 1"),
    ("/recommend", {"users": ["u1"], "k": -3}, 422, "k"),
    ("/recommend", {"users": ["u1"], "k": 10**400}, 422, "k"),
    ("/recommend", {"users": ["x" * 1001]}, 422, "users"),
    ("/similar", {"items": ["i1"] * (MOST_LISTS + 1)}, 422, "items"),
    ("/similar", {"items": ["i1"], "k": MOST_K + 1}, 422, "k"),
    ("/explain", {"history": ["i1"] * (MOST_HISTORY + 1), "item": "i2"}, 422, "history"),
    ("/interactions", {"interactions": [{"user": 1, "item": 1}] * (MOST_ROWS + 1)}, 422, "at most 10000"),
    ("/interactions", {"interactions": []}, 422, "at least 1"),
    # types
    ("/recommend", {"users": "u1"}, 422, "users: Input should be a valid list"),
    ("/recommend", {"users": 7}, 422, "users"),
    ("/recommend", {"users": {"u1": 1}}, 422, "users"),
    ("/recommend", {"users": [None]}, 422, "users"),
    ("/recommend", {"users": [True]}, 422, "users"),
    ("/recommend", {"users": [1.5]}, 422, "users"),
    ("/recommend", {"users": [["u1"]]}, 422, "users"),
    ("/recommend", {"users": [{"id": "u1"}]}, 422, "users"),
    ("/recommend", {"users": [2**63]}, 422, "users"),
    ("/recommend", {"users": [-(2**63) - 1]}, 422, "users"),
    ("/recommend", {"users": [""]}, 422, "not only blanks"),
    ("/recommend", {"users": [" \t"]}, 422, "not only blanks"),
    ("/recommend", {"users": ["\ud800"]}, 422, "users"),
    ("/recommend", {"users": ["u1"], "k": "10"}, 422, "k"),
    ("/recommend", {"users": ["u1"], "k": 2.5}, 422, "k"),
    ("/recommend", {"users": ["u1"], "k": True}, 422, "k"),
    ("/recommend", {"users": ["u1"], "k": None}, 422, "k"),
    ("/recommend", {"users": ["u1"], "filter_seen": "yes"}, 422, "filter_seen"),
    ("/recommend", {"users": ["u1"], "filter_seen": 1}, 422, "filter_seen"),
    ("/recommend", {"users": ["u1"], "fast": "x"}, 422, "fast"),
    ("/recommend", {"users": ["u1"], "candidates": "i1"}, 422, "candidates"),
    ("/recommend", {"users": ["u1"], "exclude": [[1]]}, 422, "exclude"),
    ("/recommend", {"users": ["u1"], "where": 3}, 422, "where"),
    ("/recommend", {"users": ["u1"], "model": 3}, 422, "model"),
    ("/recommend", {"histories": ["i1"]}, 422, "histories"),
    ("/recommend", {"histories": [[1, [2]]]}, 422, "histories"),
    ("/recommend", {"histories": {"a": ["i1"]}}, 422, "histories"),
    # combinations, unknown names
    ("/recommend", {}, 422, "give users or histories, and not both"),
    ("/recommend", {"users": ["u1"], "histories": [["i1"]]}, 422, "give users or histories, and not both"),
    ("/recommend", {"users": ["u1"], "top_k": 3}, 422, "top_k: Extra inputs are not permitted"),
    ("/recommend", {"users": ["u1"], "model": "other"}, 404, "there is no model [other]; there are shop, ordered"),
    ("/recommend", {"users": ["u1"], "model": "../shop"}, 404, "there is no model"),
    ("/recommend", {"users": ["u1"], "where": "category == 'x'"}, 422, "no column [category]"),
    ("/recommend", {"users": ["u1"], "fast": True, "model": "ordered"}, 422, "has no item-item matrix"),
    ("/similar", {}, 422, "items: Field required"),
    ("/similar", {"items": "i1"}, 422, "items"),
    ("/similar", {"items": [None]}, 422, "items"),
    ("/similar", {"items": ["i1"], "model": "gone"}, 404, "there is no model [gone]"),
    ("/explain", {"user": "u1"}, 422, "item: Field required"),
    ("/explain", {"item": "i1"}, 422, "give user or history, and not both"),
    ("/explain", {"user": "u1", "history": [], "item": "i1"}, 422, "give user or history, and not both"),
    ("/explain", {"user": ["u1"], "item": "i1"}, 422, "user"),
    ("/explain", {"history": "i1", "item": "i1"}, 422, "history"),
    ("/interactions", {}, 422, "interactions: Field required"),
    ("/interactions", {"interactions": {"user": 1, "item": 2}}, 422, "interactions"),
    ("/interactions", {"interactions": [{"user": 1}]}, 422, "interactions.0.item: Field required"),
    ("/interactions", {"interactions": [{"user": 1, "item": None}]}, 422, "interactions.0.item"),
    ("/interactions", {"interactions": [{"user": 1, "item": 2, "rating": 3}]}, 422, "interactions.0.rating"),
    ("/interactions", {"interactions": [{"user": " ", "item": 2}]}, 422, "an id is a text"),
    ("/interactions", {"interactions": [{"user": 1, "item": 2, "time": "soon"}]}, 422, "interactions.0.time: must be"),
    ("/interactions", {"interactions": [{"user": 1, "item": 2, "time": ""}]}, 422, "interactions.0.time"),
    ("/interactions", {"interactions": [{"user": 1, "item": 2, "time": True}]}, 422, "interactions.0.time"),
    ("/interactions", {"interactions": [{"user": 1, "item": 2, "time": "03/04/2024"}]}, 422, "yyyy-mm-dd"),
    ("/interactions", {"interactions": [{"user": 1, "item": 2, "time": 10**400}]}, 422, "interactions.0.time"),
    (
        "/interactions",
        {"interactions": [{"user": 1, "item": 2, "time": 5}, {"user": 1, "item": 2, "time": "2024-05-06"}]},
        422,
        "in one form in the whole request",
    ),
]


@pytest.mark.parametrize(("path", "body", "status", "words"), BAD_BODIES, ids=lambda value: str(value)[:40])
def test_bodies(client, path, body, status, words):
    answer = client.post(path, content=json.dumps(body), headers={"content-type": "application/json"})
    assert answer.status_code == status, answer.text
    assert words in answer.json()["detail"] and len(answer.json()["detail"]) < 1000
    assert client.app._app.state.service.appended.rows(0)[0] == []


@pytest.mark.parametrize(
    ("content", "status", "words"),
    [
        (b"", 422, "Field required"),
        (b"{", 400, "The body is no JSON."),
        (b"users=u1", 400, "The body is no JSON."),
        (b'{"users": ["u1"], "k": NaN}', 422, "k"),
        (b'{"users": [NaN]}', 422, "users"),
        (b'{"users": ["u1"], "k": Infinity}', 422, "k"),
        (b"null", 422, "must be a JSON object"),
        (b"[]", 422, "must be a JSON object"),
        (b'"u1"', 422, "must be a JSON object"),
        (b"7", 422, "must be a JSON object"),
        (b"\xff\xfe", 400, "body"),
        (b"[" * 100_000, 400, "body"),
        (b'{"users": ["\xff"]}', 400, "body"),
        (b'{"k": ' + b"9" * 5000 + b"}", 400, "body"),
        (b'{"users": ["u1"]}' + b" " * MOST_BYTES, 413, f"at most {MOST_BYTES} bytes"),
    ],
    ids=lambda value: str(value)[:20],
)
def test_contents(client, content, status, words):
    answer = client.post("/recommend", content=content, headers={"content-type": "application/json"})
    assert answer.status_code == status, answer.text
    assert words in answer.json()["detail"]


def test_a_body_of_unknown_length_is_read_up_to_the_limit(client):
    read = []

    def blocks():
        for _ in range(100):
            read.append(1)
            yield b" " * (MOST_BYTES // 10)

    answer = client.post("/recommend", content=blocks(), headers={"content-type": "application/json"})
    assert answer.status_code == 413 and "at most" in answer.json()["detail"]


def test_times_that_are_no_numbers(client):
    for time in ("NaN", "Infinity", "-Infinity", "1e999"):
        body = f'{{"interactions": [{{"user": 1, "item": 2, "time": {time}}}]}}'
        answer = client.post("/interactions", content=body, headers={"content-type": "application/json"})
        assert answer.status_code == 422 and "interactions.0.time" in answer.json()["detail"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/recommend", 405),
        ("PUT", "/recommend", 405),
        ("DELETE", "/interactions", 405),
        ("GET", "/interactions", 405),
        ("POST", "/items", 405),
        ("POST", "/health", 405),
        ("POST", "/", 405),
        ("TRACE", "/models", 405),
        ("GET", "/recommend/", 404),
        ("GET", "/nowhere", 404),
        ("GET", "/static/gone.js", 404),
        ("GET", "/static/../app.py", 404),
        ("GET", "/static/%2e%2e/app.py", 404),
        ("GET", "/static/..%2fapp.py", 404),
        ("GET", "/%00", 404),
        ("GET", "/items?limit=0", 422),
        ("GET", "/items?limit=1001", 422),
        ("GET", "/items?limit=x", 422),
        ("GET", "/items?limit=NaN", 422),
        ("GET", f"/items?query={'x' * 201}", 422),
        ("GET", "/items?model=gone", 404),
        ("GET", "/users?limit=-1", 422),
        ("GET", f"/users?query={'x' * 201}", 422),
        ("GET", "/users?model=gone", 404),
    ],
)
def test_methods_paths_and_queries(client, method, path, status):
    answer = client.request(method, path, follow_redirects=True)
    assert answer.status_code == status, answer.text
    assert answer.json()["detail"]


INJECTIONS = [
    "'; DROP TABLE interactions; --",
    '" OR 1=1 --',
    "<script>alert(1)</script>",
    "{{7*7}}",
    "${jndi:ldap://x}",
    "../../etc/passwd",
    "u1\r\nset-cookie: a=b",
    "\x00",
    "\u202e\U0001f600",
    "%s%n",
    "__proto__",
    "NULL",
]


@pytest.mark.parametrize("text", INJECTIONS)
def test_texts_that_attack_other_programs_are_ids_like_others(client, text):
    """They reach no log, no statement and no header, and come back as JSON in ASCII."""
    rows = [{"user": text, "item": text}]
    assert client.post("/interactions", json={"interactions": rows}).json() == {"appended": 1}
    stored, _ = client.app._app.state.service.appended.rows(0)
    assert [(row.user, row.item) for row in stored] == [(text, text)]
    answer = client.post("/recommend", json={"users": [text, "u1"], "exclude": [text], "k": 2})
    assert answer.status_code == 200 and answer.json()["lists"][0]["user"] == text
    assert answer.headers["content-type"] == "application/json" and answer.content.isascii()
    assert "set-cookie" not in answer.headers
    for path, body in (("/similar", {"items": [text]}), ("/explain", {"user": text, "item": text})):
        assert client.post(path, json=body).status_code == 200
    assert client.get("/items", params={"query": text}).json() == {"items": []}
    assert client.post("/recommend", json={"users": ["u1"], "model": text}).status_code == 404
    assert client.post("/recommend", json={"users": ["u1"], "where": text}).status_code == 422


def test_a_title_with_markup_comes_back_as_it_is(folders):
    (folders / "items.csv").write_text('item_id,title\ni1,"<img src=x onerror=alert(1)>"\n', encoding="utf-8")
    with TestClient(create_app(ServiceSettings((str(folders / "shop"),), str(folders / "items.csv")))) as other:
        found = other.get("/items", params={"query": "onerror"})
        assert found.json() == {"items": [{"item": "i1", "title": "<img src=x onerror=alert(1)>"}]}
        assert found.headers["content-type"] == "application/json"


@pytest.mark.parametrize("host", ["shop.example", "shop.example:8000", "127.0.0.1.nip.io", "localhost.example."])
def test_a_domain_that_points_here_gets_no_answer_without_a_token(client, host, monkeypatch, settings):
    for path in ("/", "/models", "/openapi.json"):
        answer = client.get(path, headers={"host": host})
        assert answer.status_code == 403 and "no token" in answer.json()["detail"]
    monkeypatch.setenv("RECBOLE_UNIVERSAL_TOKEN", "secret")
    with TestClient(create_app(settings)) as guarded:
        headers = {"host": host, "authorization": "Bearer secret"}
        assert guarded.get("/models", headers=headers).status_code == 200


@pytest.mark.parametrize("host", ["localhost:8000", "127.0.0.1", "10.0.0.7:80", "[::1]:8000", "shop", "a.localhost"])
def test_this_machine_gets_answers_without_a_token(client, host):
    assert client.get("/models", headers={"host": host}).status_code == 200


def test_a_rule_may_be_as_long_as_in_the_class(client):
    rule = "price >= 0".ljust(MOST_CHARACTERS)
    for one, status in ((rule, 200), (rule + " ", 422)):
        answer = client.post("/recommend", json={"users": ["u1"], "where": one})
        assert answer.status_code == status, answer.json()
