"""The service gives the lists and reasons of the class; new interactions count at once; a new save is loaded."""

from __future__ import annotations

import io
import json
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest
from starlette.testclient import TestClient

from recbole_universal import Recommender
from recbole_universal.app import cli
from recbole_universal.app.service import app as service_app
from recbole_universal.app.service import guard, models
from recbole_universal.app.service.app import PAGE, create_app
from recbole_universal.app.service.appended import AppendedInteractions
from recbole_universal.app.service.settings import TOKEN, ServiceSettings


def rec_of(folders: Path, name: str = "shop") -> Recommender:
    rec = Recommender.load(folders / name)
    rec.ranker.on_fallback = None
    return rec


def posted(client, path: str, expected: int = 200, **body) -> dict:
    answer = client.post(path, json=body)
    assert answer.status_code == expected, answer.text
    return answer.json()


def frame_of(answer: dict, key: str = "user") -> pd.DataFrame:
    rows = [(one[key], item["item"], item["score"], item["rank"]) for one in answer["lists"] for item in one["items"]]
    return pd.DataFrame(rows, columns=[key, "item", "score", "rank"])


def same(ours: pd.DataFrame, theirs: pd.DataFrame) -> None:
    pd.testing.assert_frame_equal(ours, theirs, check_dtype=False, check_exact=True)


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


@pytest.mark.parametrize("name", ["shop", "ordered"])
@pytest.mark.parametrize(
    "request_of",
    [
        {"users": ["u7"], "k": 5},
        {"users": ["u7", "new", "u3", "u7"], "k": 5},
        {"users": ["u3"], "filter_seen": False, "k": 30},
        {"users": ["u3", "u4"], "candidates": ["i1", "i2", "i3"], "exclude": ["i2", "gone"]},
        {"histories": [["i3", "i4"], ["gone"], []], "k": 4},
        {"histories": [["i3", "i4"]], "exclude": ["i5"]},
        {"users": [f"u{user}" for user in range(50)], "k": 3},
    ],
    ids=str,
)
def test_lists_are_those_of_the_class_to_the_last_bit(client, folders, name, request_of):
    answer = posted(client, "/recommend", model=name, **request_of)
    assert answer["model"] == name
    key = "history" if "histories" in request_of else "user"
    same(frame_of(answer, key), rec_of(folders, name).recommend(**request_of))


def test_lists_are_those_of_the_command(client, folders, capsys, tmp_path):
    words = ["recommend", str(folders / "shop"), "--users", "u7,u3", "--top-k", "4", "--quiet"]
    assert cli.main([*words, "--output", str(tmp_path / "recs.csv")]) == 0
    capsys.readouterr()
    ours = frame_of(posted(client, "/recommend", users=["u7", "u3"], k=4))
    theirs = pd.read_csv(io.StringIO((tmp_path / "recs.csv").read_text()))
    pd.testing.assert_frame_equal(ours, theirs, check_dtype=False, rtol=1e-6)


def test_rules_on_the_item_table(client, folders):
    rec = Recommender.load(folders / "shop")
    rec.set_items(folders / "items.csv")
    assert client.get("/models").json()["models"][0]["columns"] == ["item_id", "title", "price"]
    for rule in ("price < 7", "title == 'Title 3' or price >= 20"):
        found = client.post("/recommend", json={"users": ["u1"], "where": rule}).json()["lists"][0]["items"]
        expected = rec.recommend("u1", where=rule)
        assert [one["item"] for one in found] == expected["item"].tolist() and found
        assert [one["score"] for one in found] == expected["score"].tolist()


def test_titles_ranks_and_notes(client):
    answer = posted(client, "/recommend", users=["u1", "gone"], k=24, filter_seen=False)
    for one in answer["lists"]:
        assert [item["rank"] for item in one["items"]] == list(range(1, 25))
        for item in one["items"]:
            assert item["title"] == (None if item["item"] == "i23" else f"Title {item['item'][1:]}")
    assert "1 of 2 users have no interactions and get the most popular items: [gone]." in answer["notes"]
    assert not any("fewer than" in note for note in answer["notes"])


def test_short_lists_are_noted_as_in_the_class(client, folders):
    with pytest.warns(UserWarning, match="fewer than 100 items") as caught:
        rec_of(folders).recommend(["u1"], k=100)
    assert posted(client, "/recommend", users=["u1"], k=100)["notes"] == [str(caught[0].message)]


@pytest.mark.parametrize("fast", [True, False])
def test_fast_lists(settings, folders, fast):
    with TestClient(create_app(ServiceSettings(settings.folders, fast=fast))) as client:
        rec = rec_of(folders)
        for given in ({}, {"fast": True}, {"fast": False}):
            expected = rec.recommend(["u7", "u3"], k=5, fast=given.get("fast", fast))
            same(frame_of(posted(client, "/recommend", users=["u7", "u3"], k=5, **given)), expected)
        history = rec.recommend(histories=[["i3", "i4"]], k=5, fast=True)
        same(frame_of(posted(client, "/recommend", histories=[["i3", "i4"]], k=5, fast=True), "history"), history)
        same(
            frame_of(posted(client, "/recommend", users=["u7"], k=5, model="ordered")),
            rec_of(folders, "ordered").recommend("u7", k=5),
        )


def test_fast_lists_of_a_history_are_those_of_the_user(folders):
    rec = rec_of(folders)
    own = rec.ranker.matrix[[7]].indices
    by_user, by_history = rec.ranker.top_k([7], 9, fast=True), rec.ranker.top_k_of([own], 9, fast=True)
    assert (by_user[0] == by_history[0]).all() and (by_user[1] == by_history[1]).all()


def test_similar_items(client, folders):
    answer = posted(client, "/similar", items=["i4", "gone", "i9"], k=3)
    expected = rec_of(folders).similar_items(["i4", "gone", "i9"], 3)
    same(frame_of(answer, "similar_to"), expected)
    assert answer["lists"][0]["title"] == "Title 4" and "[gone]" in answer["notes"][0]


@pytest.mark.parametrize("name", ["shop", "ordered"])
@pytest.mark.parametrize("asked", [{"user": "u7"}, {"history": ["i3", "i4", "i3"]}, {"user": "gone"}, {"history": []}])
def test_explanations_are_those_of_the_class(client, folders, name, asked):
    rec = rec_of(folders, name)
    for item in ("i5", "i6", "gone"):
        answer = posted(client, "/explain", model=name, item=item, **asked)
        assert answer["text"] == rec.explain(item=item, **asked)
        if "is number" in answer["text"]:
            shares = [one["share"] for one in answer["items"]]
            assert shares == sorted(shares, reverse=True) and sum(shares) == pytest.approx(1.0)
            assert sum(abs(one["share"]) for one in answer["scorers"]) == pytest.approx(1.0, abs=1e-3)
            own = set(asked.get("history") or rec.items[rec.ranker.matrix[[rec.users.get_loc("u7")]].indices])
            assert {one["item"] for one in answer["items"]} <= own
            assert f"[{answer['items'][0]['item']}]" in answer["text"]


def test_search(client):
    found = client.get("/items", params={"query": "TITLE 1", "limit": 3}).json()["items"]
    assert found[0] == {"item": "i1", "title": "Title 1"} and len(found) == 3
    assert client.get("/items", params={"query": "i23"}).json()["items"] == [{"item": "i23", "title": None}]
    assert client.get("/users", params={"query": "u4", "limit": 2}).json() == {"users": ["u4", "u40"]}
    assert len(client.get("/items", params={"limit": 1000}).json()["items"]) == 24


def test_models_health_metrics_page(client):
    described = client.get("/models").json()
    assert [one["name"] for one in described["models"]] == ["shop", "ordered"] and described["token"] is False
    assert described["models"][0]["users"] == 50 and described["models"][0]["items"] == 24
    assert client.get("/health").json()["status"] == "ok"
    posted(client, "/interactions", 201, interactions=[{"user": "u1", "item": "i1"}])
    client.get("/nowhere")
    text = client.get("/metrics").text
    assert 'requests_total{path="/models",status="200"} 1' in text and 'path="other",status="404"} 1' in text
    assert "recbole_universal_appended_interactions_total 1\n" in text
    page = client.get("/")
    assert page.content == (PAGE / "index.html").read_bytes() == client.get("/static/index.html").content
    for answer in (page, client.get("/models"), client.get("/nowhere"), client.post("/recommend", content="x")):
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in answer.headers["content-security-policy"]
    paths = set(client.get("/openapi.json").json()["paths"])
    assert paths >= {"/recommend", "/similar", "/explain", "/interactions", "/items", "/users", "/models", "/metrics"}
    assert client.get("/docs").status_code == 404


# -- Appended interactions -------------------------------------------------------------------------------------------


def test_appended_interactions_count_at_once(client, folders):
    added = [{"user": "u7", "item": "i2"}, {"user": "new", "item": "i5"}, {"user": "new", "item": "unheard"}]
    assert posted(client, "/interactions", 201, interactions=added) == {"appended": 3}
    rec = rec_of(folders, "ordered")
    own = rec._state.histories[[rec.users.get_loc("u7")]].items
    history = [*rec.items[own], "i2"]
    for name, model in (("ordered", rec), ("shop", rec_of(folders))):
        answer = frame_of(posted(client, "/recommend", users=["u7"], k=24, model=name))
        expected = model.recommend(histories=[history], k=24)
        assert answer[["item", "score"]].equals(expected[["item", "score"]].astype(answer.dtypes[["item", "score"]]))
        assert "i2" not in set(answer["item"])
        new = posted(client, "/recommend", users=["new"], k=5, model=name)
        assert frame_of(new)["item"].tolist() == model.recommend(histories=[["i5"]], k=5)["item"].tolist()
        assert new["notes"] == []
    assert "is no candidate" in posted(client, "/explain", user="u7", item="i2")["text"]


def test_appended_interactions_are_in_the_order_of_time(client, folders):
    times = {"i1": "2019-01-01", "i2": 1_900_000_000, "i3": 1_700_003_500_000}
    for item, time in times.items():
        posted(client, "/interactions", 201, interactions=[{"user": "u7", "item": item, "time": time}])
    loaded = client.app._app.state.service.models["ordered"].current
    row = loaded.state.users.get_loc("u7")
    items = loaded.state.items[loaded.history("u7", row).items].tolist()
    fitted = loaded.state.items[loaded.state.histories[[row]].items].tolist()
    assert items == ["i1", *fitted[:4], "i3", *fitted[4:], "i2"]


def test_a_repeated_request_counts_once(client):
    row = {"user": "u1", "item": "i1", "time": 1_700_000_000}
    assert posted(client, "/interactions", 201, interactions=[row, row]) == {"appended": 1}
    assert posted(client, "/interactions", 201, interactions=[row]) == {"appended": 0}


def test_interactions_that_cannot_be_stored(client, monkeypatch):
    def full(*_):
        raise OSError("disk full")

    monkeypatch.setattr(AppendedInteractions, "append", full)
    answer = posted(client, "/interactions", 503, interactions=[{"user": "u1", "item": "i1"}])
    assert answer == {"detail": "The interactions cannot be stored now, and none of them is; try again."}


def test_a_database_that_cannot_be_read(client, folders):
    posted(client, "/interactions", 201, interactions=[{"user": "u1", "item": "i1", "time": 1_700_000_000}])
    for each in (folders / "shop" / "appended").iterdir():
        each.write_bytes(b"no database" * 1000)
    for path, body in (("/recommend", {"users": ["u1"]}), ("/explain", {"user": "u1", "item": "i9"})):
        answer = posted(client, path, 503, **body)
        assert answer == {"detail": "The appended interactions cannot be read now; try again."}
    posted(client, "/interactions", 503, interactions=[{"user": "u1", "item": "i1"}])
    assert posted(client, "/recommend", 200, histories=[["i1"]])["lists"]


# -- A new save, threads, limits -------------------------------------------------------------------------------------


def test_a_folder_that_is_saved_again_is_loaded(client, folders, monkeypatch):
    monkeypatch.setattr(models, "_PERIOD", 0.0)
    before = posted(client, "/recommend", users=["carol"], k=3)
    rec = rec_of(folders)
    rec.partial_fit(pd.DataFrame({"user": ["carol"] * 2, "item": ["i3", "i4"]}), show_progress=False)
    rec.save(folders / "shop")
    expected = rec.recommend("carol", k=3)
    for _ in range(500):
        answer = posted(client, "/recommend", users=["carol"], k=3)
        if not answer["notes"]:
            break
        assert answer == before
    same(frame_of(answer), expected)
    (folders / "shop" / "recommender.json").write_text("{}")
    assert posted(client, "/recommend", users=["carol"], k=3) == answer  # a folder that cannot be loaded
    assert posted(client, "/recommend", users=["carol"], k=3) == answer


def test_requests_in_threads(client, folders):
    """Requests that wait are ranked together: the items are those of one request, the scores up to rounding."""
    rec = rec_of(folders)
    users = [f"u{user % 50}" for user in range(200)]
    expected = {user: rec.recommend(user, k=5) for user in set(users)}
    with ThreadPoolExecutor(16) as pool:
        answers = list(pool.map(lambda user: frame_of(posted(client, "/recommend", users=[user], k=5)), users))
    for user, answer in zip(users, answers, strict=True):
        pd.testing.assert_frame_equal(answer, expected[user], check_dtype=False, rtol=1e-5)


def test_too_many_requests(client, monkeypatch):
    monkeypatch.setattr(client.app._app.state.service._lists, "_most_waiting", 0)
    answer = client.post("/recommend", json={"users": ["u1"]})
    assert answer.status_code == 503 and answer.headers["retry-after"] == "1"
    assert posted(client, "/similar", items=["i1"])["lists"]


def test_an_error_of_the_service_is_one_sentence(settings, monkeypatch, caplog):
    def broken(*_):
        raise RuntimeError("secret")

    monkeypatch.setattr(service_app.answers, "recommended", broken)
    with TestClient(create_app(settings), raise_server_exceptions=True) as client:
        answer = client.post("/recommend", json={"users": ["u1"]})
        assert answer.status_code == 500 and answer.json() == {"detail": "The service failed; its log says why."}
        assert "x-content-type-options" in answer.headers
        assert client.get("/health").status_code == 200
    assert "secret" in caplog.text


def test_token(settings, monkeypatch):
    monkeypatch.setenv(TOKEN, "s3cret")
    compared = []
    monkeypatch.setattr(guard.hmac, "compare_digest", lambda a, b: compared.append(1) or a == b)
    with TestClient(create_app(settings)) as client:
        for path in ("/", "/health", "/static/index.html"):
            assert client.get(path).status_code == 200
        for given in (
            {},
            {"authorization": "Bearer wrong"},
            {"authorization": "s3cret"},
            {"authorization": "bearer s3cret"},
        ):
            for path in ("/models", "/users", "/metrics", "/openapi.json", "/nowhere", "/static"):
                answer = client.get(path, headers=given)
                assert answer.status_code == 401 and "token" in answer.json()["detail"], path
                assert answer.headers["www-authenticate"] == "Bearer"
            assert client.post("/recommend", json={"users": ["u1"]}, headers=given).status_code == 401
        good = {"authorization": "Bearer s3cret"}
        assert client.get("/models", headers=good).json()["token"] is True
        assert client.post("/recommend", json={"users": ["u1"]}, headers=good).status_code == 200
    assert compared


# -- The command -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["{shop}", "--host", "0.0.0.0"], "set a token in the environment variable RECBOLE_UNIVERSAL_TOKEN"),
        (["{shop}", "--host", "example.org"], "set a token"),
        (["{shop}", "{shop}"], "must differ"),
        (["nowhere"], "holds no recommender"),
        (["{shop}", "--workers", "0"], "--workers: must be from 1 to 256"),
        (["{shop}", "--port", "70000"], "--port: must be from 1 to 65535"),
        (["{shop}", "--items", "none.csv"], "none.csv"),
        (["{shop}", "--items", "{shop}/recommender.json"], "is no JSON list of objects"),
    ],
)
def test_the_command_says_what_is_wrong(words, problem, folders, monkeypatch, capsys):
    monkeypatch.delenv(TOKEN, raising=False)
    assert cli.main(["serve", *(word.format(shop=folders / "shop") for word in words)]) == 1
    error = capsys.readouterr().err
    assert problem in error and "Traceback" not in error


def test_the_command_starts_the_service(folders, monkeypatch, capsys):
    started = {}
    monkeypatch.setattr("uvicorn.run", lambda *args, **given: started.update(given, app=args[0]))
    monkeypatch.setenv(TOKEN, "s3cret")
    monkeypatch.setenv("RECBOLE_UNIVERSAL_SERVICE", "")
    assert cli.main(["serve", str(folders / "shop"), "--host", "0.0.0.0", "--workers", "2", "--fast"]) == 0
    assert started["host"] == "0.0.0.0" and started["workers"] == 2 and started["factory"]
    settings = ServiceSettings.from_environment()
    assert settings.folders == (str(folders / "shop"),) and settings.fast and settings.workers == 2
    assert json.dumps(settings.counters)
    assert capsys.readouterr().out == "Serving shop at http://0.0.0.0:8000 (stop with Ctrl-C).\n"
