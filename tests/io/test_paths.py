"""The files of an input path, and the paths that are refused."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest
from interactions_data import ROWS, lines, read, write

from recbole_universal.files import would_replace
from recbole_universal.io.users import read_users


def parquet(path, **columns):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pa.table(columns), path)
    return path


USERS, THINGS = (list(values) for values in zip(*ROWS, strict=True))


@pytest.mark.parametrize("absolute", [False, True])
def test_folders_above_the_input_make_no_column(tmp_path, monkeypatch, absolute):
    monkeypatch.chdir(tmp_path)
    folder = Path("exp", "user_id=9", "item_id=3")
    parquet(folder / "d" / "r.parquet", user_id=USERS, item_id=THINGS)
    folder = tmp_path / folder if absolute else folder
    for source in (folder, folder / "d", folder / "d" / "r.parquet"):
        assert read(source) == (ROWS, []), source
    assert read_users(folder / "d" / "r.parquet", None, print) == ["u1", "u2", "u3"]


def test_a_column_of_the_file_comes_before_one_of_the_folders(tmp_path):
    parquet(tmp_path / "x" / "USER_ID=9" / "r.parquet", user_id=USERS, item_id=THINGS)
    assert read(tmp_path / "x", "user_id", None)[0] == ROWS


def test_columns_of_folders(tmp_path):
    for value in ("a%20b", "c=d", "__HIVE_DEFAULT_PARTITION__", "it's"):
        parquet(tmp_path / "day.=7" / "x" / "year=1" / f"day.={value}" / "r.parquet", who=[1, 2])
    pairs, said = read(tmp_path / "day.=7" / "x", "who", "day.")
    assert set(pairs) == {(user, day) for user in (1, 2) for day in ("a b", "c=d", "it's")}
    assert "ignored columns: year" in said[0] and "2 of 8 rows are unreadable" in said[1]


@pytest.mark.parametrize("kind", ["pipe", "socket", "device"])
def test_a_pipe_is_refused_at_once(tmp_path, monkeypatch, kind):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "in").mkdir()
    path = tmp_path / "in" / "x.csv"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "socket":
        socket.socket(socket.AF_UNIX).bind("in/x.csv")
    else:
        path.symlink_to("/dev/null")
    message = "is no regular file" if kind == "device" else "is a pipe: write it to a file first"
    for source in (path, tmp_path / "in"):
        with pytest.raises(ValueError, match=message):
            read(source)
    with pytest.raises(ValueError, match=message):
        read_users(path, None, print)


def test_paths_that_name_no_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="interactions: the path is empty"):
        read("")
    with pytest.raises(ValueError, match=r"\[https://example.com/x.csv\] is a URL, and URLs are not read"):
        read("https://example.com/x.csv")
    write(tmp_path / "~nobody.csv", lines())
    assert read("~nobody.csv")[0] == ROWS


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    (tmp_path / "in" / "closed").mkdir(parents=True)
    write(tmp_path / "in" / "a.csv", lines())
    scandir = os.scandir

    def scan(folder):
        if str(folder).endswith("closed"):
            raise PermissionError(13, "Permission denied", str(folder))
        return scandir(folder)

    monkeypatch.setattr(os, "scandir", scan)
    for source in (tmp_path / "in", tmp_path / "in" / "closed"):
        with pytest.raises(PermissionError, match="closed"):
            read(source)
        with pytest.raises(PermissionError, match="closed"):
            would_replace(tmp_path / "out.csv", source)


def test_a_link_to_a_folder_is_followed_once(tmp_path):
    (tmp_path / "in" / "real").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    write(tmp_path / "in" / "real" / "a.csv", lines(ROWS[:4]))
    write(tmp_path / "elsewhere" / "b.csv", lines(ROWS[4:]))
    (tmp_path / "in" / "linked").symlink_to("../elsewhere")
    (tmp_path / "elsewhere" / "loop").symlink_to("../in")
    assert read(tmp_path / "in") == (ROWS, [])
    assert would_replace(tmp_path / "elsewhere" / "new.csv", tmp_path / "in")
    assert not would_replace(tmp_path / "new.csv", tmp_path / "in")
