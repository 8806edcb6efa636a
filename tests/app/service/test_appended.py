"""Appended interactions: durable, in order, fitted in once wherever a refresh stops, and erased."""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pandas as pd
import pytest
from service_data import events
from starlette.testclient import TestClient

from recbole_universal import Recommender
from recbole_universal.app import cli, refresh
from recbole_universal.app.service.app import create_app
from recbole_universal.app.service.appended import AppendedInteractions, Row
from recbole_universal.app.service.settings import ServiceSettings

NEW = [Row("u7", "i2", 1_800_000_000.0), Row("carol", "i3", 1_800_000_001.0), Row("carol", "new", 1_800_000_002.0)]


@pytest.fixture(autouse=True)
def quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def everything() -> pd.DataFrame:
    return pd.concat([events(), pd.DataFrame(NEW)], ignore_index=True)


def same(one: Recommender, other: Recommender) -> None:
    pd.testing.assert_frame_equal(one.recommend(k=8), other.recommend(k=8), check_exact=True)


def test_rows_are_kept_in_the_order_of_time(tmp_path):
    appended = AppendedInteractions(tmp_path)
    assert appended.rows(0) == ([], 0)
    rows = [Row("a", 1, 5.0), Row("a", "1", 3.0), Row(1, "x", 4.0)]
    assert appended.append(rows[:2], rows) == [2, 1]
    assert appended.append([]) == [0]
    found, last = AppendedInteractions(tmp_path).rows(0)
    assert found == [rows[1], rows[2], rows[0]] and [type(row.item) for row in found] == [str, str, int]
    assert appended.of_user("a", 0) == [("1", 3.0, 1.0), (1, 5.0, 1.0)] and appended.of_user("1", 0) == []
    assert appended.rows(last) == ([], last)
    assert appended.erase(["a", "gone"]) == 2 and appended.rows(0) == ([rows[2]], last)
    assert b"seldom" not in (tmp_path / "appended" / "interactions.sqlite").read_bytes()
    appended.append([Row("seldom", "x", 1.0)])
    assert appended.rows(last)[0] == [Row("seldom", "x", 1.0)]  # an id is never given again
    appended.erase(["seldom"])
    files = (tmp_path / "appended").iterdir()
    assert not any(b"seldom" in file.read_bytes() for file in files)


def test_threads_append_at_the_same_time(tmp_path):
    appended = AppendedInteractions(tmp_path)
    with ThreadPoolExecutor(8) as pool:
        counts = pool.map(lambda user: appended.append([Row(user, item, 0.0) for item in range(5)]), range(100))
        assert list(counts) == [[5]] * 100
    assert len(appended.rows(0)[0]) == 500


def test_a_request_that_fails_stores_nothing(tmp_path):
    appended = AppendedInteractions(tmp_path)
    with pytest.raises(OSError, match=r"interactions\.sqlite"):
        appended.append([Row("a", "x", 1.0), Row("a", None, 1.0)], [Row("a", [1], 2.0)])
    with pytest.raises(OverflowError):  # no error of the database
        appended.append([Row("a", "x", 1.0), Row(2**64, "x", 1.0)])
    assert appended.rows(0)[0] == [] and appended.append([Row("a", "x", 1.0)]) == [1]


def test_an_erasure_that_leaves_remains_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr("recbole_universal.app.service.appended._WAIT", 0.1)
    appended = AppendedInteractions(tmp_path)
    appended.append([Row("a", "x", 1.0)])
    reader = sqlite3.connect(tmp_path / "appended" / "interactions.sqlite", isolation_level=None)
    reader.execute("BEGIN")
    reader.execute("SELECT * FROM interactions").fetchall()
    with pytest.raises(OSError, match="erase again"):
        appended.erase(["a"])
    reader.close()
    assert appended.erase(["a"]) == 0


@pytest.mark.parametrize("name", ["shop", "ordered"])
def test_a_refreshed_recommender_is_that_of_a_fit_of_all(folders, name):
    AppendedInteractions(folders / name).append(NEW)
    assert refresh.refresh([folders / name]) == [(str(folders / name), 3)]
    given = everything() if name == "ordered" else everything()[["user", "item"]]
    model = "universal-sequential" if name == "ordered" else "auto"
    loaded = Recommender.load(folders / name)
    same(loaded, Recommender.fit(given, model=model, show_progress=False))
    assert refresh.refresh([folders / name]) == [(str(folders / name), 0)]
    loaded.remove(users="carol", show_progress=False)
    loaded.save(folders / name)  # keeps up to which row the database is in it
    assert refresh.refresh([folders / name]) == [(str(folders / name), 0)]


def test_a_place_that_holds_no_database_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"There is no folder \[.*none\]\."):
        AppendedInteractions(tmp_path / "none")
    (tmp_path / "appended").touch()
    with pytest.raises(FileExistsError, match=r"appended\] is a file"):
        AppendedInteractions(tmp_path)
    (tmp_path / "appended").unlink()
    (tmp_path / "appended").mkdir()
    with sqlite3.connect(tmp_path / "appended" / "interactions.sqlite") as connection:
        connection.execute("CREATE TABLE interactions (x)")
    with pytest.raises(OSError, match=r"interactions\.sqlite\]: no such column"):
        AppendedInteractions(tmp_path)
    with pytest.raises(ValueError, match="at least one folder"):
        refresh.refresh([])


def test_positions_go_on(folders):
    table = events()
    table["time"] = table.groupby("user").cumcount()
    rec = Recommender.fit(table, model="universal-sequential", show_progress=False)
    rec.save(folders / "shop")
    AppendedInteractions(folders / "shop").append(NEW)
    refresh.refresh([folders / "shop"])
    histories = Recommender.load(folders / "shop")._state.histories
    assert not histories.has_clock and histories.times.max() == 10


def test_several_folders_have_one_database(folders):
    both = [folders / "shop", folders / "ordered"]
    AppendedInteractions(both[0]).append(NEW)
    assert [n for _, n in refresh.refresh(both[:1])] == [3]
    assert [n for _, n in refresh.refresh(both)] == [0, 3]
    assert "carol" in Recommender.load(both[1]).users and not (both[1] / "appended").exists()


@pytest.mark.parametrize("stop", ["save_recommender", "_table"])
def test_a_refresh_that_fails_changes_nothing(folders, monkeypatch, stop):
    AppendedInteractions(folders / "shop").append(NEW)
    with monkeypatch.context() as patch:
        patch.setattr(refresh, stop, lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            refresh.refresh([folders / "shop"])
    assert "carol" not in Recommender.load(folders / "shop").users
    assert refresh.refresh([folders / "shop"]) == [(str(folders / "shop"), 3)]


KILLED = """
import os, signal, sys
from recbole_universal.app import recommender_files, refresh
name, folder = sys.argv[1:]
def killed(*arguments, **settings):
    os.kill(os.getpid(), signal.SIGKILL)
setattr(recommender_files, name, killed)
refresh.refresh([folder])
"""


@pytest.mark.parametrize("step", ["write_arrays", "atomic_write", "write_text"])
def test_a_refresh_that_is_killed_loses_and_doubles_nothing(folders, step):
    folder = folders / "shop"
    AppendedInteractions(folder).append(NEW)
    done = subprocess.run([sys.executable, "-c", KILLED, step, str(folder)], capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert "carol" not in Recommender.load(folder).users
    assert refresh.refresh([folder]) == [(str(folder), 3)]
    given = everything()[["user", "item"]]
    same(Recommender.load(folder), Recommender.fit(given, show_progress=False))
    assert len(list(folder.glob("state-*"))) == 1


def test_after_the_new_file_is_in_place_a_kill_changes_nothing(folders, monkeypatch):
    folder = folders / "shop"
    AppendedInteractions(folder).append(NEW)
    save = refresh.save_recommender

    def killed(*arguments):
        save(*arguments)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(refresh, "save_recommender", killed)
        refresh.refresh([folder])
    assert "carol" in Recommender.load(folder).users
    assert refresh.refresh([folder]) == [(str(folder), 0)]


def test_refreshed_interactions_do_not_count_twice(client, folders):
    """The service that loads the new folder ranks the user by the fit alone."""
    service = client.app._app.state.service
    client.post("/interactions", json={"interactions": [{"user": "u7", "item": "i2"}]})
    model = service.models["shop"]
    assert model.current.history("u7", model.current.state.users.get_loc("u7")) is not None
    refresh.refresh([folders / "shop"])
    model.reload()
    row = model.current.state.users.get_loc("u7")
    assert model.current.history("u7", row) is None and model.current.state.appended == 1
    assert "i2" in set(model.current.state.items[model.current.state.ranker.matrix[[row]].indices])


def test_erase(folders, capsys):
    both = [str(folders / "shop"), str(folders / "ordered")]
    appended = AppendedInteractions(both[0])
    appended.append(NEW)
    assert cli.main(["refresh", both[0], "--quiet"]) == 0
    appended.append([Row("carol", "i9", 1.9e9), Row("u9", "i9", 1.9e9)])
    assert cli.main(["refresh", *both, "--erase", "carol", "u7", "gone"]) == 0
    assert "Erased 2 users of 2 folders, and 4 appended interactions." in capsys.readouterr().out
    for folder in both:
        assert not {"carol", "u7"} & set(Recommender.load(folder).users)
    assert appended.rows(0)[0] == [Row("u9", "i9", 1.9e9)]
    assert cli.main(["refresh", *both, "--quiet"]) == 0
    assert f"{both[0]}: 1 new interactions." in capsys.readouterr().out


@pytest.mark.parametrize("folder", ["nowhere", "."])
def test_refresh_says_what_is_wrong(folder, capsys):
    assert cli.main(["refresh", folder]) == 1
    assert "holds no recommender" in capsys.readouterr().err
    assert not Path("appended").exists()


def test_ids_are_stored_in_the_type_of_the_fit(tmp_path):
    table = events()[["user", "item"]].apply(lambda column: column.str[1:].astype(int))
    Recommender.fit(table, show_progress=False).save(tmp_path / "numbers")
    with TestClient(create_app(ServiceSettings((str(tmp_path / "numbers"),)))) as client:
        rows = [{"user": "77", "item": 3}, {"user": 77, "item": "4"}]
        assert client.post("/interactions", json={"interactions": rows}).json() == {"appended": 2}
        for user in ("77", 77):
            assert client.post("/recommend", json={"users": [user]}).json()["notes"] == []
        for wrong in ("x", "7.0", "07", " 7", str(2**63)):
            answer = client.post("/interactions", json={"interactions": [{"user": wrong, "item": 3}]})
            assert answer.status_code == 422 and "user ids of this shop are whole numbers" in answer.json()["detail"]
    refresh.refresh([tmp_path / "numbers"])
    assert 77 in Recommender.load(tmp_path / "numbers").users
