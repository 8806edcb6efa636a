"""Appended interactions of recommenders whose interactions have weights."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd
import pytest
from service_data import events
from starlette.testclient import TestClient

from recbole_universal import Recommender
from recbole_universal.app import refresh
from recbole_universal.app.service.app import create_app
from recbole_universal.app.service.settings import ServiceSettings

KINDS = {"look": 0, "view": 1, "purchase": 10}
NEW = [
    ("u7", "i2", "purchase", 1_700_020_000),
    ("u7", "i5", "look", 1_700_030_000),
    ("u8", "i2", "view", 1_700_040_000),
]


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def log(with_times: bool = True) -> pd.DataFrame:
    table = events()
    table["event"] = np.array(list(KINDS))[np.random.default_rng(1).choice(3, len(table), p=[0.2, 0.5, 0.3])]
    return table if with_times else table.drop(columns="time")


def everything(with_times: bool) -> pd.DataFrame:
    new = pd.DataFrame(NEW, columns=["user", "item", "event", "time"])
    return pd.concat([log(with_times), new if with_times else new.drop(columns="time")], ignore_index=True)


def service(folder, **settings) -> TestClient:
    return TestClient(create_app(ServiceSettings((str(folder),), **settings)))


def append(client) -> None:
    rows = [dict(zip(("user", "item", "event", "time"), row, strict=True)) for row in NEW]
    assert client.post("/interactions", json={"interactions": rows}).json() == {"appended": len(NEW)}


@pytest.mark.parametrize(("with_times", "half_life"), [(True, None), (True, 0.1), (False, None)])
def test_appended_interactions_weigh_as_in_a_fit_of_all(tmp_path, with_times, half_life):
    settings = {"model": "universal-base", "event_weights": KINDS, "half_life": half_life, "show_progress": False}
    Recommender.fit(log(with_times), **settings).save(tmp_path / "shop")
    with service(tmp_path / "shop") as client:
        append(client)
        loaded = client.app._app.state.service.models["shop"].current
        histories = {user: loaded.history(user, loaded.state.users.get_loc(user)) for user in ("u7", "u8")}
    expected = Recommender.fit(everything(with_times), **settings)
    for user, history in histories.items():
        row = expected.ranker.evidence[[expected.users.get_loc(user)]].toarray()[0]
        assert history.weighted(24, 1.0).toarray()[0] == pytest.approx(row, rel=1e-6)
    assert refresh.refresh([tmp_path / "shop"]) == [(str(tmp_path / "shop"), len(NEW))]
    refreshed = Recommender.load(tmp_path / "shop")
    pd.testing.assert_frame_equal(refreshed.recommend(k=8), expected.recommend(k=8), check_exact=True)


@pytest.mark.parametrize(
    ("model", "fast"), [("universal-base", False), ("universal-base", True), ("universal-sequential", False)]
)
def test_an_item_that_was_only_looked_at_is_left_out_and_says_nothing(tmp_path, model, fast):
    """Two people without a row, who have bought the same, and of whom one has looked at a further item."""
    rec = Recommender.fit(log(), model=model, event_weights=KINDS, show_progress=False)
    rec.save(tmp_path / "shop")
    rows = [("one", "i3", "purchase", 1), ("two", "i3", "purchase", 1), ("two", "i5", "look", 2)]
    rows = [dict(zip(("user", "item", "event", "time"), row, strict=True)) for row in rows]
    with service(tmp_path / "shop", fast=fast) as client:
        client.post("/interactions", json={"interactions": rows})

        def items(user: str, **settings) -> list[tuple]:
            body = {"users": [user], "k": 24, **settings}
            (made,) = client.post("/recommend", json=body).json()["lists"]
            return [(one["item"], one["score"]) for one in made["items"]]

        one, two = items("one", filter_seen=True), items("two", filter_seen=True)
        assert "i5" in dict(one) and "i5" not in dict(two) and "i3" not in dict(two)
        assert two == items("one", filter_seen=True, exclude=["i5"])
        assert items("one", filter_seen=False) == items("two", filter_seen=False)
        text = client.post("/explain", json={"user": "two", "item": "i4"}).json()
        assert "i5" not in [own["item"] for own in text["items"]]


def test_weights_are_those_of_the_columns_of_the_fit(tmp_path):
    table = log()
    table["count"] = 2
    Recommender.fit(table, weight_column="count", show_progress=False).save(tmp_path / "counts")
    Recommender.fit(table, event_weights=KINDS, show_progress=False).save(tmp_path / "events")
    Recommender.fit(events(), show_progress=False).save(tmp_path / "plain")
    table["stars"] = 5
    stars = {"event_column": "stars", "event_weights": {4: 1, 5: 3}}
    Recommender.fit(table, show_progress=False, **stars).save(tmp_path / "stars")
    row = {"user": "u1", "item": "i1", "time": 5}
    cases = {
        "counts": [{"weight": 3}, {"event": "view"}, {"weight": -1}, {"weight": 1e31}, {"weight": True}, {}],
        "events": [{"event": "view"}, {"event": "gift"}, {"weight": 3}, {"event": "view", "weight": 3}, {}],
        "plain": [{}, {"event": "view"}, {"weight": 3}, {"event": ["view"]}, {"weight": 10**400}],
        "stars": [{"event": 5}, {"event": 2}, {"event": True}, {}],
    }
    for name, (good, *wrong) in cases.items():
        with service(tmp_path / name) as client:
            for given in wrong:
                answer = client.post("/interactions", json={"interactions": [row | given]})
                assert answer.status_code == 422, (name, given)
                assert "event" in answer.json()["detail"] or "weight" in answer.json()["detail"]
            assert client.post("/interactions", json={"interactions": [row | good]}).status_code == 201
            (stored,) = client.app._app.state.service.appended.rows(0)[0]
            assert stored.weight == {"counts": 3, "events": 1, "plain": 1, "stars": 3}[name]
