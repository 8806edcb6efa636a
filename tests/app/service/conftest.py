"""Two small recommenders on disk, and a client of a service of them."""

from __future__ import annotations

import shutil
import warnings
from pathlib import Path

import pytest
from service_data import events

from recbole_universal import Recommender

pytest.importorskip("fastapi")
pytest.importorskip("httpx")
pytest.importorskip("pyarrow")
from starlette.testclient import TestClient

from recbole_universal.app.service.app import create_app
from recbole_universal.app.service.settings import TOKEN, ServiceSettings


@pytest.fixture(scope="session")
def saved(tmp_path_factory) -> Path:
    """A folder with the recommenders [shop], without an order, and [ordered], and the item table [items.csv]."""
    folder = tmp_path_factory.mktemp("saved")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        Recommender.fit(events()[["user", "item"]], show_progress=False).save(folder / "shop")
        ordered = Recommender.fit(events(), model="universal-sequential", show_progress=False)
        ordered.save(folder / "ordered")
    rows = [f"i{item},Title {item},{item}" for item in range(23)]
    (folder / "items.csv").write_text("\n".join(["item_id,title,price", *rows]) + "\n", encoding="utf-8")
    return folder


@pytest.fixture
def folders(saved, tmp_path) -> Path:
    """A copy of the folder for one test."""
    shutil.copytree(saved, tmp_path / "service")
    return tmp_path / "service"


@pytest.fixture
def settings(folders) -> ServiceSettings:
    return ServiceSettings((str(folders / "shop"), str(folders / "ordered")), str(folders / "items.csv"))


@pytest.fixture
def client(settings, monkeypatch):
    monkeypatch.delenv(TOKEN, raising=False)
    with TestClient(create_app(settings)) as client:
        yield client
