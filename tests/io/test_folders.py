"""Folders and patterns of parts: which files are read, and which one is named if it is damaged."""

from __future__ import annotations

import duckdb
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from interactions_data import ROWS, lines, read, write

from recbole_universal.files import would_replace
from recbole_universal.io import duck
from recbole_universal.io.users import read_users

FRAME = pd.DataFrame(ROWS, columns=["user", "item"])


def parquet_parts(folder, n=4):
    folder.mkdir()
    for number in range(n):
        FRAME[number::n].to_parquet(folder / f"{number}.parquet", index=False)
    return folder


@pytest.mark.parametrize("pattern", ["*.csv", "[0-2].csv", "?.csv", "../parts/*.csv", "**/*.csv", "**", "../pa*"])
def test_a_pattern_reads_what_the_folder_reads(tmp_path, pattern):
    folder = tmp_path / "parts"
    folder.mkdir()
    for number in range(3):
        write(folder / f"{number}.csv", lines(ROWS[number::3]))
    write(folder / "_SUCCESS", "user,item\nx,y\n")
    write(folder / ".3.csv", "user,item\nx,y\n")
    assert read(f"{folder}/{pattern}")[0] == read(folder)[0] == ROWS


def test_a_pattern_leaves_other_files_out(tmp_path):
    parts = parquet_parts(tmp_path / "parts")
    assert read(parts / "[12].parquet")[0] == sorted([*ROWS[1::4], *ROWS[2::4]])


def test_folders_of_a_pattern_make_columns(tmp_path):
    for user in "ab":
        (tmp_path / "log" / f"user_id={user}").mkdir(parents=True)
        pd.DataFrame({"item": ["x", user]}).to_parquet(tmp_path / "log" / f"user_id={user}" / "0.parquet", index=False)
    expected = [("a", "a"), ("a", "x"), ("b", "b"), ("b", "x")]
    for source in (tmp_path / "log", tmp_path / "log" / "*" / "*.parquet", tmp_path / "l*" / "user_id=*"):
        assert read(source, "user_id")[0] == expected


def test_a_file_whose_name_is_a_pattern_is_a_file(tmp_path):
    write(tmp_path / "a1.csv", "user,item\nx,y\n")
    assert read(write(tmp_path / "a[1].csv", lines()))[0] == ROWS


def test_a_pattern_without_files_is_an_error_that_names_it(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file \[.*\*\.csv\]"):
        read(tmp_path / "*.csv")
    (tmp_path / "_SUCCESS").touch()
    with pytest.raises(ValueError, match=r"\*\] is a folder without files"):
        read(tmp_path / "*")


def test_an_output_that_matches_an_input_pattern_would_replace_it(tmp_path):
    folder = parquet_parts(tmp_path / "parts")
    assert would_replace(folder / "1.parquet", folder / "*.parquet")
    assert would_replace(folder / "1.parquet", folder / "[12]*")
    assert not would_replace(folder / "3.parquet", folder / "[12]*")
    assert would_replace(folder / "new.parquet", folder / "*.parquet")  # a second run would read it
    assert would_replace(tmp_path / "x" / "y" / "new.parquet", tmp_path / "**" / "*.parquet")
    assert would_replace(folder / "new" / "recs.csv", folder / "*")
    assert not would_replace(folder / "new.csv", folder / "*.parquet")
    assert not would_replace(folder / "x" / "new.parquet", folder / "*.parquet")
    assert not would_replace(tmp_path / "new.parquet", folder / "**" / "*.parquet")


@pytest.mark.parametrize("damage", ["the footer", "the data"])
def test_a_damaged_part_is_named(tmp_path, damage):
    folder = parquet_parts(tmp_path / "parts")
    FRAME.loc[[0, 1] * 5000].to_parquet(folder / "2.parquet", index=False)
    content = bytearray((folder / "2.parquet").read_bytes())
    if damage == "the footer":
        content[-20:] = b""
    else:
        content[4:60] = b"\xff" * 56
    (folder / "2.parquet").write_bytes(content)
    with pytest.raises(ValueError, match=r"2\.parquet.? cannot be read|cannot be read.*2\.parquet"):
        read(folder)


def test_a_bad_row_of_a_part_is_named_by_file_and_line(tmp_path):
    folder = tmp_path / "parts"
    folder.mkdir()
    for number in range(12):
        write(folder / f"{number:02}.csv", lines())
    write(folder / "07.csv", "user,item\nu1,a\nu1\nu2,c\n")
    assert ": 07.csv, line 3 (1 column instead of 2)." in " ".join(read(folder)[1])
    assert ": parts/07.csv, line 3 (1 column instead of 2)." in " ".join(read(tmp_path / "*" / "0*.csv")[1])


def test_a_bad_row_of_parquet_parts_is_named_by_file_and_row(tmp_path):
    for number, users in enumerate((["u1", "u2"], [], ["u3", None, "u4"], ["", "u5"])):
        part = tmp_path / "parts" / f"day=[{number}]"
        part.mkdir(parents=True)
        frame = pd.DataFrame({"user": users, "item": ["a", "b", "c"][: len(users)]})
        schema = pa.schema({"user": pa.string(), "item": pa.string()})  # also of the empty part
        pq.write_table(pa.Table.from_pandas(frame, schema, preserve_index=False), part / "x.parquet")
    said = " ".join(read(tmp_path / "parts")[1])
    assert ": day=[2]/x.parquet, row 2 (no user id), day=[3]/x.parquet, row 1 (no user id)." in said


def test_a_time_that_cannot_be_read_is_named_by_file_and_row(tmp_path):
    folder = tmp_path / "parts"
    folder.mkdir()
    for number, last in enumerate(("2024-01-01", "soon")):
        rows = {"user": [f"u{row % 5}" for row in range(30)], "item": [f"i{row % 7}" for row in range(30)]}
        pd.DataFrame(rows | {"time": ["2024-01-02"] * 29 + [last]}).to_parquet(folder / f"{number}.parquet")
    assert "1.parquet, row 30 (a time that cannot be read: 'soon')" in " ".join(read(folder)[1])


@pytest.mark.parametrize("factors, n_other", [((1, 1), 0), ((1, 1000), 10), ((1000, 1), 10), ((10**6, 10**3), 10)])
def test_parts_with_times_in_two_units_are_reported(tmp_path, factors, n_other):
    for number, (factor, n_rows) in enumerate(zip(factors, (30, 10), strict=True)):
        rows = {"user": [f"u{row % 5}" for row in range(n_rows)], "item": [f"i{row % 7}" for row in range(n_rows)]}
        times = [(1_700_000_000 + row) * factor for row in range(n_rows - 1)] + [0]  # 0 is no time in any unit
        pd.DataFrame(rows | {"time": times}).to_parquet(tmp_path / f"{number}.parquet", index=False)
    said = " ".join(read(tmp_path)[1])
    assert ("may have another one" in said) is bool(n_other)
    assert not n_other or f"{n_other - 1} of 40 times are before March 1970 or after 2100 in this unit" in said


def test_folders_that_could_make_a_column_are_named_where_it_is_missing(tmp_path):
    (tmp_path / "user_id=u1").mkdir()
    pd.DataFrame({"item": ["a", "b"]}).to_parquet(tmp_path / "user_id=u1" / "x.parquet", index=False)
    with pytest.raises(ValueError, match=r"Columns: \[item\]\. Folders make further columns: \[user_id\]\."):
        read(tmp_path)


def test_parts_of_users_are_named(tmp_path):
    pd.DataFrame({"user_id": ["u1"]}).to_parquet(tmp_path / "0.parquet")
    pd.DataFrame({"user_id": ["u2", None]}).to_parquet(tmp_path / "1.parquet")
    said: list[str] = []
    assert read_users(tmp_path, None, said.append) == ["u1", "u2"]
    assert "1 of 3 rows is unreadable" in said[0] and "1.parquet, row 2 (no user id)" in said[0]
    pd.DataFrame({"x": [1], "y": [2]}).to_parquet(tmp_path / "2.parquet")
    with pytest.raises(ValueError, match=r"2\.parquet: no column is known to hold the users"):
        read_users(tmp_path, None, said.append)


def test_ids_of_parts_of_two_types_are_joined(tmp_path):
    folder = tmp_path / "parts"
    folder.mkdir()
    pd.DataFrame({"user": [1, 2], "item": ["a", "b"]}).to_parquet(folder / "0.parquet", index=False)
    pd.DataFrame({"user": ["1", "x"], "item": ["a", "c"]}).to_parquet(folder / "1.parquet", index=False)
    pairs, said = read(folder)
    assert set(pairs) == {(1, "a"), (2, "b"), ("x", "c")} and "1 user ids have several types" in " ".join(said)


def test_too_little_memory_is_an_error_that_says_what_to_do(tmp_path):
    with (
        pytest.raises(ValueError, match=r"x cannot be read in 1500MB of memory.*smaller row groups"),
        duck.connection([], "x cannot be read"),
    ):
        raise duckdb.OutOfMemoryException("could not allocate block")
