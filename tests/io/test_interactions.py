"""Interactions of files and frames: rows that are read, rows that are left out, and messages."""

from __future__ import annotations

import csv
import gzip

import numpy as np
import pandas as pd
import pytest
from interactions_data import ROWS, lines, read, write

from recbole_universal.io.column_names import find_columns

# -- Files -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        (lines(), (None, None)),
        (lines(separator="\t", header="user_id:token\titem_id:token"), (None, None)),
        (lines(separator=";", header="User-ID;ISBN"), (None, None)),
        (lines(separator="|", header="customer_id|sku"), (None, None)),
        (lines(separator="::", header="userId::movieId"), (None, None)),
        (lines(separator=" ", header="uid iid"), (None, None)),
        (lines(separator=", ", header="user, item"), (None, None)),
        (lines(header="Kunde,Artikel"), ("Kunde", "Artikel")),
        (lines(header="Kunde,item"), ("Kunde", None)),
        (lines(header=None), (1, 2)),
        (lines(header=None), ("1", "2")),
        (lines([row[::-1] for row in ROWS], header=None), ("2", "1")),
        (lines(), ("1", "2")),
        (lines([(1.5, *row, "x") for row in ROWS], header="rating,user,item,title"), (None, None)),
        (lines([(n, *row) for n, row in enumerate(ROWS)], header=",user,item"), (None, None)),
        ("\ufeff" + lines(), (None, None)),
        (lines().replace("\n", "\r\n"), (None, None)),
        ("\n" + lines().replace("\nu2", "\n\nu2") + "\n  \n", (None, None)),
        (lines([(f'"{user}"', f'"{item}"') for user, item in ROWS], header='"user","item"'), (None, None)),
        (lines([(*row, '"one, two\nlines ""here"""') for row in ROWS], header="user,item,review"), (None, None)),
    ],
)
@pytest.mark.parametrize("zipped", [False, True])
def test_forms_of_text_files(tmp_path, text, columns, zipped):
    path = tmp_path / ("x.csv.gz" if zipped else "x.csv")
    path.write_bytes(gzip.compress(text.encode()) if zipped else text.encode())
    pairs, said = read(path, *columns)
    assert pairs == ROWS and not [each for each in said if "ignored columns" not in each]


def test_a_file_without_header_is_recognised_and_reported(tmp_path):
    pairs, said = read(write(tmp_path / "u.data", "196\t242\t3\t881250949\n186\t302\t3\t891717742\n"))
    assert pairs == [("186", "302"), ("196", "242")] and "column 1 is taken for the users" in said[1]
    assert "ignored columns: column 3, column 4" in said[0] and "such as --user-column 4 --item-column 3" in said[1]
    assert read(write(tmp_path / "x", lines(header=None)))[0] == ROWS  # u1 comes again


def test_utf_16_as_spreadsheets_save_it(tmp_path):
    assert read(write(tmp_path / "x.txt", lines(separator="\t", header="user\titem"), "utf-16"))[0] == ROWS


def test_words_that_pandas_reads_as_missing_are_ids_and_reported(tmp_path):
    pairs, said = read(write(tmp_path / "x.csv", "user,item\nNA,nan\nb,null\n"))
    assert pairs == [("NA", "nan"), ("b", "null")]
    assert len(said) == 3 and "the user id [NA] is an id like any other" in said[0]


@pytest.mark.parametrize(("n", "more"), [(10, "."), (13, " and 3 more.")])
def test_ignored_columns_are_said_once_and_at_most_ten(tmp_path, n, more):
    names = [f"c{number}" for number in range(n)]
    header = ",".join(["user", "item", *names, "timestamp"])
    folder = tmp_path / "parts"
    folder.mkdir()
    for part in range(2):
        write(folder / f"{part}.csv", lines([(f"u{part}", f"i{row}", *names, row) for row in range(3)], header=header))
    _, said = read(folder)
    (ignored,) = [each for each in said if "ignored columns:" in each]
    assert ignored == f"{folder}: ignored columns: {', '.join(names[:10])}{more}"


def test_ignored_columns_of_all_parts(tmp_path):
    pytest.importorskip("pyarrow")
    for part, extra in enumerate(("price", "colour")):
        frame = pd.DataFrame({"user": ["a", "b"], "item": ["x", "y"], extra: [1, 2]})
        frame.to_parquet(tmp_path / f"{part}.parquet")
    _, said = read(tmp_path)
    assert said[0] == f"{tmp_path}: ignored columns: price, colour."


def test_unreadable_rows_are_counted_and_named(tmp_path):
    text = "user,item,rating\nu1,a,1\nu1\n,c,1\nu2, ,1\nu2,a,1,9\nuser,item,rating\nu2,b,1\n,,\n"
    path = write(tmp_path / "x.csv", text + "u3,a,1\nu3,b\n\nu3,c,1,,\n u4 , a ,1\n")
    pairs, said = read(path)
    assert pairs == [("u1", "a"), ("u2", "b"), ("u3", "a"), ("u3", "b"), ("u3", "c"), ("u4", "a")]
    assert said == [
        f"{path}: ignored columns: rating.",
        f"{path}: 6 of 12 rows are unreadable and left out: line 3 (1 column instead of 3), line 4 (no user id), "
        "line 5 (no item id), line 6 (4 columns instead of 3), line 7 (the header again), ....",
    ]


@pytest.mark.parametrize("zipped", [False, True])
def test_more_than_half_of_the_rows_left_out_is_an_error(tmp_path, zipped):
    text = ("user,item\n" + "u1,a\n" * 3 + "u1\n" * 4).encode()
    path = tmp_path / "x.csv"
    path.write_bytes(gzip.compress(text) if zipped else text)
    with pytest.raises(ValueError, match=r"4 of 7 rows are unreadable.*line 5 .1 column instead of 2.*more than half"):
        read(path)


def test_a_quote_that_is_never_closed_swallows_no_rows(tmp_path):
    rows = [(f"u{n}", f"i{n % 7}", '"Heroes' if n % 10 == 5 else "title") for n in range(2000)]
    pairs, said = read(write(tmp_path / "x.tsv", lines(rows, "\t", "user\titem\ttitle")))
    assert len(pairs) == 2000 and not [each for each in said if "unreadable" in each]
    text = 'user,item\nu1,a\n"u2,b\nu3,c\n'
    pairs, said = read(write(tmp_path / "y.csv", text))
    assert (
        pairs == [("u1", "a"), ("u3", "c")] and "1 of 3 rows is unreadable" in said[0] and "line 3 (quotes" in said[0]
    )


def test_ids_that_are_not_utf_8_are_named_and_other_columns_do_not_matter(tmp_path):
    pairs, said = read(write(tmp_path / "x.csv", "user,item,title\nu1,a,Am\xe9lie\nRen\xe9,b,x\n", "latin-1"))
    assert pairs == [("u1", "a")] and "line 3 (an id that is not UTF-8)" in said[1]


def test_repeated_pairs_count_once_and_are_reported(tmp_path):
    for source in (
        write(tmp_path / "x.csv", lines([*ROWS, *ROWS[:2]])),
        pd.DataFrame([*ROWS, *ROWS[:2]], columns=["u", "i"]),
    ):
        pairs, said = read(source)
        assert pairs == ROWS and len(said) == 1 and "2 of 9 rows repeat a pair" in said[0]


def test_rows_of_a_frame_without_id():
    frame = pd.DataFrame({"user": [1, None, 2, 2, 2, 3], "item": ["a", "b", None, " ", "c", "c"]})
    pairs, said = read(frame)
    assert pairs == [(1, "a"), (2, "c"), (3, "c")]
    assert "3 of 6 rows are unreadable" in said[0] and "row 2 (no user id), row 3 (no item id)" in said[0]
    assert read(pd.DataFrame([(5, 6, 0.5)]))[0] == [(5, 6)]  # without column names


def test_random_files_are_read_as_the_csv_module_reads_them(tmp_path):
    """With any mixture of separators, quotes, blanks and bad rows, every row is read or counted."""
    rng = np.random.default_rng(5)
    letters = list("ab01 ,;\t\"'|é\n")
    for case in range(60):
        separator = str(rng.choice(list(",;\t|")))
        ids = ["".join(rng.choice(letters, rng.integers(1, 6))) for _ in range(12)]
        ids = [name.strip() or "x" for name in ids]
        rows = [(ids[a], ids[b], "t" * c) for a, b, c in rng.integers(0, 12, (40, 3))]
        bad = sorted(rng.choice(40, 5, replace=False))
        path = tmp_path / f"{case}.csv"
        with open(path, "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, delimiter=separator)
            writer.writerow(("user_id", "item_id", "text"))
            for number, row in enumerate(rows):
                writer.writerow([(row[0],), ("", row[1], ""), (*row, "x")][number % 3] if number in bad else row)
        pairs, said = read(path)
        good = {row[:2] for number, row in enumerate(rows) if number not in bad}
        assert pairs == sorted(good, key=str), case
        assert "5 of 40 rows are unreadable" in said[1], case


def test_random_bytes_end_in_a_message():
    rng = np.random.default_rng(6)
    for case in range(100):
        content = (
            rng.choice(list(b'user,item\n\r\t";:|a1 \x00\xff\x1f\x8b'), rng.integers(0, 200)).astype(np.uint8).tobytes()
        )
        with open(f"{case}.csv", "wb") as file:
            file.write(content if case % 2 else b"user,item\n" + content)
        try:
            read(f"{case}.csv")
        except ValueError as error:
            assert f"{case}.csv" in str(error)


# -- Columns ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "places"),
    [
        (["user_id", "username", "item_id", "item"], (0, 2)),
        (["ReviewerID", "asin", "overall"], (0, 1)),
        (["movie", "movieId", "userId"], (2, 1)),
        (["session_id", "customer_id", "StockCode", "Country"], (1, 2)),
        (["user_id", "item_id", "product_id", "location"], (0, 1)),
        (["User", "Item"], (0, 1)),
    ],
)
def test_usual_names(names, places):
    assert find_columns(names, (None, None), "x") == places


def test_a_named_column_is_no_candidate_for_the_other_kind():
    assert find_columns(["artist_id", "track_id", "plays"], ("artist_id", None), "x") == (0, 1)
    assert find_columns(["item_id", "product_id"], ("item_id", None), "x") == (0, 1)
    assert find_columns(["user_id", "member"], (None, "user_id"), "x") == (1, 0)
    assert find_columns(["u", "i"], ("u", None), "x") == (0, 1)


def test_a_column_that_was_named_has_a_header(tmp_path):
    with pytest.raises(ValueError, match="did you mean") as error:
        read(write(tmp_path / "x.csv", lines()), "users", None)
    assert "without header" not in str(error.value)


@pytest.mark.parametrize(
    ("names", "given", "message"),
    [
        (
            ["a", "b"],
            (None, None),
            "no column has a usual name of users.*user_column.*--user-column.*Columns: \\[a\\], \\[b\\]",
        ),
        (
            ["user", "artist_id", "track_id"],
            (None, None),
            "more than one column may hold the items: \\[artist_id\\], \\[track_id\\]",
        ),
        (["user", "item"], ("usr", None), "there is no column \\[usr\\]"),
        (["user", "item", "item"], (None, "item"), "more than one column may hold the items"),
        (
            ["user_id", "item"],
            ("usr_id", None),
            r"x: user_column \(--user-column\): .*; did you mean \[user_id\]\? Col",
        ),
        (["user", "item"], (None, 4), r"item_column .*no column \[4\]; positions are for text files only"),
        (["user", "item"], ("item", None), "no column has a usual name of items"),
        (["user", "item"], ("item", "item"), "both \\[item\\]"),
    ],
)
def test_ambiguous_columns(names, given, message):
    with pytest.raises(ValueError, match=message):
        find_columns(names, given, "x")


@pytest.mark.parametrize(
    ("text", "columns", "message"),
    [
        ("", (None, None), "has no rows"),
        ("\n\n", (None, None), "has no rows"),
        ("user,item\n", (None, None), "no usable row"),
        ("user,item\n,\n", (None, None), "no usable row"),
        ("user\nu1\n", (None, None), "no tab, comma"),
        (lines(header="Kunde,Artikel"), (None, None), "Columns: \\[Kunde\\], \\[Artikel\\].*without header.*positions"),
        (lines(), ("Kunde", None), "no column \\[Kunde\\]"),
        (lines(), ("1", "5"), "no column 5; the lines have 2"),
        (lines(), ("1", None), "both by position"),
        (lines(), ("1", "1"), "both column 1"),
        ("PK\x03\x04", (None, None), "zip archive or an Excel"),
        ("user,item\nu\0,a\n", (None, None), "no text file"),
    ],
)
def test_files_that_are_no_table(tmp_path, text, columns, message):
    with pytest.raises(ValueError, match=message):
        read(write(tmp_path / "x.csv", text), *columns)


def test_damaged_and_missing_files(tmp_path):
    damaged = tmp_path / "x.csv.gz"
    damaged.write_bytes(gzip.compress(lines(ROWS * 2000).encode())[:-20])
    with pytest.raises(ValueError, match="damaged gzip"):
        read(damaged)
    with pytest.raises(FileNotFoundError, match="There is no file"):
        read(tmp_path / "none.csv")
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="folder without files"):
        read(tmp_path / "empty")
    with pytest.raises(ValueError, match="Arrow table or the path"):
        read([("u", "i")])
