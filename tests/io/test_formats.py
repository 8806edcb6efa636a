"""Layouts of other programs: each is read correctly, or refused in one sentence that names it."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import uuid
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from interactions_data import ROWS, lines, read, write

from recbole_universal.io.users import read_users

PAIRS = [(str(user), str(item)) for user in range(12) for item in range(9) if (3 * user + item * item) % 4 == 0]


def test_backslash_quotes_and_texts_of_several_lines(tmp_path):
    texts = [r'"Not \"great\", alas' + "\nbut fine, cheap, quick\nin all" + '"', '"good"', r'"5\" wide, ""long"""']
    rows = [(user, item, texts[number % 3]) for number, (user, item) in enumerate(PAIRS)]
    pairs, said = read(write(tmp_path / "x.csv", lines(rows, header="user_id,item_id,review")))
    assert pairs == sorted(PAIRS, key=str) and "ignored columns: review" in said[0] and len(said) == 1


def test_a_backslash_at_the_end_of_a_quoted_text(tmp_path):
    text = 'user,item,path\nu1,a,"C:\\"\nu2,b,"D:\\"\nu3,\\N,x\n'
    assert read(write(tmp_path / "x.csv", text))[0] == [("u1", "a"), ("u2", "b"), ("u3", "\\N")]


def test_one_letter_columns_and_weak_names(tmp_path):
    text = lines([(n, *pair, 4) for n, pair in enumerate(PAIRS)], header="i,user_id,movie_id,rating")
    assert read(write(tmp_path / "x.csv", text))[0] == sorted(PAIRS, key=str)
    with pytest.raises(ValueError, match=r"more than one column may hold the items: \[location\], \[item_name\]"):
        read(write(tmp_path / "y.csv", lines([(u, "x", i) for u, i in PAIRS], header="user_id,location,item_name")))
    pairs, said = read(write(tmp_path / "z.csv", lines(PAIRS, header="user_id,location")))
    assert pairs == sorted(PAIRS, key=str)
    assert "[location] is taken for the items" in said[0] and "First rows: user [0], item [0]; user [0], " in said[0]


@pytest.mark.parametrize(
    ("start", "mark"),
    [("% bip unweighted\n% 42 12 9\n", "% bip"), ("# Nodes: 50\n# FromNodeId ToNodeId\n", "# Nodes"), ("#x\n\n", "#x")],
)
def test_comment_lines(tmp_path, start, mark):
    path = write(tmp_path / "x.txt", start + lines(PAIRS, " ", None))
    for columns in ((None, None), (1, 2)):
        pairs, said = read(path, *columns)
        assert pairs == sorted(PAIRS, key=str)
        assert "comment" in said[0] and mark in said[0] and ("column 1 is taken" in " ".join(said)) == (not columns[0])


def test_a_comment_that_names_the_columns_is_the_header(tmp_path):
    pairs, said = read(write(tmp_path / "x.txt", "# made today\n#item_id,user_id\na,u1\nb,u1\n"))
    assert pairs == [("u1", "a"), ("u1", "b")] and "is taken for the header" in said[0] and "comment" in said[1]
    assert read(write(tmp_path / "y.csv", "user,item\n#1,a\n#2,b\n"))[0] == [("#1", "a"), ("#2", "b")]


@pytest.mark.parametrize(
    ("row", "header", "message"),
    [
        (lambda n, u, i: f"{u}\t2024-01-01T00:{n:02}:00Z\t30.0\t{i}", "", r"\[column 2\], taken for the items, has 27"),
        (lambda n, u, i: f"{u},2024-01-01T00:{n:02}:00Z,{i},0", "", r"\[column 2\], taken for the items, has 27"),
        (lambda n, u, i: f"{n},{u},{i},4", ",0,1,2\n", r"\[column 1\], taken for the users, has 27"),
        (lambda n, u, i: f"{n}\t{u}\t11/11/2019 9:05 AM\tN1 N2", "", r"\[column 1\], taken for the users, has 27"),
    ],
)
def test_a_guessed_column_with_as_many_values_as_rows_is_refused(tmp_path, row, header, message):
    text = header + "\n".join(row(number, *pair) for number, pair in enumerate(PAIRS)) + "\n"
    path = write(tmp_path / "x.txt", text)
    message = rf"{message} different values in 27 rows, like a time or .*First rows: user \[.*"
    with pytest.raises(ValueError, match=message + "such as --user-column 4 --item-column 3"):
        read(path)
    few = "\n".join(text.split("\n")[:8])
    assert read(write(tmp_path / "few.txt", few))[0]  # too few rows for this check


def test_a_named_column_with_as_many_values_as_rows_gets_a_warning(tmp_path):
    path = write(tmp_path / "x.csv", lines([(u, n) for n, (u, _) in enumerate(PAIRS)], header="user_id,item_id"))
    assert "[item_id] has 27 different values in 27 rows, so most items have a single user" in read(path)[1][0]
    assert not read(path, "user_id", "item_id")[1]


def test_json(tmp_path):
    records = [{"reviewerID": f"A{u}", "asin": i, "overall": 5.0} for u, i in PAIRS]
    expected = sorted((f"A{u}", i) for u, i in PAIRS)
    by_line = "\n".join(map(json.dumps, records))
    for name, text in {
        "lines": by_line,
        "array": json.dumps(records),
        "pretty": json.dumps(records, indent=2),
        "objects": "\n".join(json.dumps(record, indent=1) for record in records),
    }.items():
        for path in (write(tmp_path / f"{name}.txt", text), tmp_path / f"{name}.gz"):
            if path.suffix == ".gz":
                path.write_bytes(gzip.compress(text.encode()))
            pairs, said = read(path)
            assert pairs == expected, name
            assert len(said) == 1 and "ignored columns: overall" in said[0]
    broken = by_line.split("\n")
    broken[2:4] = ['{"reviewerID": "A0", "as', '{"reviewerID": null, "asin": ["x"]}']
    pairs, said = read(write(tmp_path / "x.jsonl", "\n".join(broken)))
    assert len(pairs) == len(PAIRS) - 2
    assert "2 of 27 rows" in said[1] and "line 3 (no JSON object), line 4 (an item that is no text" in said[1]
    assert read(write(tmp_path / "n.json", '[{"user": 007.5, "item": 1}]'.replace("007", "7")))[0] == [("7.5", "1")]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('[{"user": 1, "item": 2}, {"user": 1, "it', "record 2 is no JSON, or the file ends within it"),
        ('[{"user": 1, "item": 2}, nonsense]', "record 2 is no JSON"),
        ('{"a": 1, "b": 2}', r"\(JSON\): no column has a usual name of users.*Columns: \[a\], \[b\]"),
        ('{"user": {"0": 1}, "item": {"0": 2}}', "1 of 1 row is unreadable.*a user that is no text or number"),
        ("[1, 2, 3]", "JSON without records"),
        ("[" * 100_000, "JSON"),
        ('[{"user": 1, "item": 2}, {"user": 1, "item": 3}', "record 3 is no JSON, or the file ends within it"),
        ('[{"user": 1, "item": 2}]]', "record 2 is no JSON"),
        ('{"user": 1, "item": 2} {"user": 1, "item": 3}]', "record 3 is no JSON"),
        ('[{"user": "' + "a" * 2**22 + '", "item": 2}]', "longer than 1 MiB"),
    ],
)
def test_json_that_is_no_table(tmp_path, text, message):
    with pytest.raises(ValueError, match=message):
        read(write(tmp_path / "x.json", text))


def test_a_user_and_all_items_in_a_line(tmp_path):
    items = {user: [item for other, item in PAIRS if other == user] for user, _ in PAIRS}
    text = "\n".join(" ".join([user, *found]) for user, found in items.items())
    pairs, said = read(write(tmp_path / "train.txt", text + "\n99\n"))
    assert pairs == sorted(PAIRS, key=str)
    assert "LightGCN's format" in said[0] and "1 of 7 rows is" in said[1] and "line 7 (no item id)" in said[1]
    with pytest.raises(ValueError, match=r"may be LightGCN's format.*or a table of 4 columns"):
        read(write(tmp_path / "equal.txt", "0 2 3 11\n1 0 1 5\n2 4 6 8\n"))
    assert len(read(tmp_path / "equal.txt", 1, 2)[0]) == 3


def test_a_row_of_many_ids_is_left_out_once(tmp_path):
    rows = [f"{user} 1 {'2 ' * (user % 2)}".encode() for user in range(1101)]
    rows[1049] = b"1049\xff " + b" ".join(b"%d" % item for item in range(3000))
    rows[1059] = b"1059 3 \xff"
    (tmp_path / "train.txt").write_bytes(b"\n".join(rows))
    pairs, said = read(tmp_path / "train.txt")
    assert len({user for user, _ in pairs}) == 1100 and ("1059", "3") in pairs
    assert "2 of 1101 rows" in said[1] and said[1].endswith(
        "line 1050 (an id that is not UTF-8), line 1060 (an id that is not UTF-8)."
    )
    text = "user_id:token\titem_id_list:token_seq\titem_id:token\nu0\ti2 i3\ti4\nRen\xe9\ti1 i2\ti3\n"
    pairs, said = read(write(tmp_path / "x.inter", text, "latin-1"))
    assert pairs == [("u0", "i2"), ("u0", "i3"), ("u0", "i4")] and "1 of 2 rows is unreadable" in said[1]


@pytest.mark.parametrize(
    "text",
    [
        "user_id,item_id,comment\n" + "".join(f"{u},{i}{',nice' if i == '0' else ''}\n" for u, i in PAIRS),
        "user_id;item_id;stars\n" + "".join(f"{u};{i};5;\n" for u, i in PAIRS),
        "user_id,item_id\n" + "".join(f"{u},{i},,,\n" for u, i in PAIRS),
        "a,user_id,item_id,b,c\n" + "".join(f",{u},{i}\n" for u, i in PAIRS),
    ],
)
def test_missing_and_trailing_fields(tmp_path, text):
    pairs, said = read(write(tmp_path / "x.csv", text))
    assert pairs == sorted(PAIRS, key=str) and not [each for each in said if "unreadable" in each]


def test_ids_of_several_types_are_one():
    frame = pd.DataFrame({"user": [27, "27", 27.0, "x"], "item": ["a", "b", "c", "a"]})
    pairs, said = read(frame)
    assert pairs == [("x", "a"), (27, "a"), (27, "b"), (27, "c")]
    assert any("1 user ids have several types, such as 27 and '27'" in each for each in said)
    assert not any("several types" in each for each in read(frame[frame["user"] != "27"])[1])


def test_true_is_not_1():
    for users in ([True, 1, 2, 2], [2, 1, True, True]):
        pairs, _ = read(pd.DataFrame({"user": users, "item": ["a", "b", "c", "d"]}, dtype=object))
        assert len(pairs) == 4 and {user for user, _ in pairs} == {"True", 1, 2}
    assert [type(user) for user in read_users([True, 1, 1.0], None, print)] == [bool, int]
    pairs, _ = read(pd.DataFrame({"user": [True, None, False], "item": ["a", "b", "c"]}))
    assert pairs == [(False, "c"), (True, "a")]


def test_dates_of_pandas_stay_dates():
    day = pd.Timestamp("2024-05-01")
    assert read(pd.DataFrame({"user": [day, day], "item": [1, 2]}))[0] == [(day, 1), (day, 2)]


def parquet(path, **columns):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pa.table(columns), path)
    return path


def test_missing_numbers_of_parquet(tmp_path):
    pa = pytest.importorskip("pyarrow")
    path = parquet(
        tmp_path / "x.parquet",
        user_id=pa.array([1.0, float("nan"), None, 2.0, 2.0, 3.0], from_pandas=False),
        item_id=pa.array([2**60, 5, 5, None, 2**60 + 1, 5]),
    )
    pairs, said = read(path)
    assert pairs == [(1, 2**60), (2, 2**60 + 1), (3, 5)]
    assert "3 of 6 rows" in said[0] and "row 2 (no user id), row 3 (no user id), row 4 (no item id)" in said[0]


def test_types_of_parquet(tmp_path):
    pa = pytest.importorskip("pyarrow")
    ids = [uuid.UUID(int=n) for n in (1, 2, 2)]
    columns = {
        "uuid": (pa.array([each.bytes for each in ids], pa.uuid()), [str(each) for each in ids]),
        "dictionary": (pa.array(["a", "b", "b"]).dictionary_encode(), ["a", "b", "b"]),
        "binary": (pa.array([b"a", b"b", b"b"]), ["a", "b", "b"]),
        "decimal": (pa.array([Decimal("7.00"), Decimal("8.00"), Decimal("8.00")]), [7, 8, 8]),
        "wide": (pa.array([Decimal(10**30), Decimal(2), Decimal(2)], pa.decimal128(38, 0)), [10**30, 2, 2]),
        "unsigned": (pa.array([2**64 - 1, 1, 1], pa.uint64()), [2**64 - 1, 1, 1]),
        "date": (pa.array([1, 2, 2], pa.date32()), ["1970-01-02", "1970-01-03", "1970-01-03"]),
        "text": (pa.array(["007", "NA", "NA"], pa.large_string()), ["007", "NA", "NA"]),
    }
    for name, (values, expected) in columns.items():
        pairs, _ = read(parquet(tmp_path / f"{name}.parquet", user_id=values, item_id=["x", "x", "y"]))
        assert pairs == sorted(zip(expected, ["x", "x", "y"], strict=True), key=str), name
        assert read_users(tmp_path / f"{name}.parquet", None, print) == list(dict.fromkeys(expected))
    nested = parquet(tmp_path / "nested.parquet", user_id=[1, 2], item_id=[[1], [2]])
    with pytest.raises(ValueError, match=r"column \[item_id\] holds values that are no ids"):
        read(nested)


def test_folders(tmp_path):
    for day, part in ((1, ROWS[:4]), (2, ROWS[4:])):
        columns = dict(zip(("user_id", "thing"), zip(*part, strict=True), strict=True))
        parquet(tmp_path / "events" / f"item={day}" / "part-0.parquet", **columns)
    write(tmp_path / "events" / "_SUCCESS", "")
    with pytest.raises(ValueError, match="no column has a usual name of items"):
        read(tmp_path / "events")  # not the days
    pairs, said = read(tmp_path / "events", None, "thing")
    assert pairs == ROWS and "ignored columns: item" in said[0]
    assert {item for _, item in read(tmp_path / "events", None, "item")[0]} == {"1", "2"}
    write(tmp_path / "events" / "notes.txt", "hello")
    with pytest.raises(ValueError, match=r"folder of different files, such as .*notes.txt"):
        read(tmp_path / "events", None, "thing")
    (tmp_path / "csv").mkdir()
    write(tmp_path / "csv" / "part-0.csv", lines(ROWS[:4]))
    write(tmp_path / "csv" / "part-1.csv", lines([*ROWS[4:], ("u3", "")]))
    pairs, said = read(tmp_path / "csv")
    assert pairs == ROWS and "1 of 8 rows is" in said[0] and "part-1.csv, line 5 (no item id)" in said[0]
    write(tmp_path / "csv" / "part-2.csv", lines(header="user_id,item_id"))
    with pytest.raises(ValueError, match="folder of different tables"):
        read(tmp_path / "csv")


def test_parquet_parts_of_other_types_and_names(tmp_path):
    users = [2**60 + number for number in range(50)]
    parquet(tmp_path / "x" / "a.parquet", user_id=users, item_id=[*range(50)])
    parquet(tmp_path / "x" / "b.parquet", user_id=[7.0, None, 1.0], item_id=[3, 4, 3], rating=["1", "2", "3"])
    parquet(tmp_path / "x" / "d.parquet", user_id=[True, False], item_id=[3, 3])
    parquet(tmp_path / "x" / "e.parquet", user_id=[7, 8], item_id=[3, 3], rating=[1, 2])
    pairs, said = read(tmp_path / "x")
    expected = [*zip(users, range(50), strict=True), (7, 3), (1, 3), (8, 3), ("true", 3), ("false", 3)]
    assert pairs == sorted(expected, key=str)
    assert said[0].endswith("x: ignored columns: rating.")
    assert "b.parquet, row 2 (no user id)" in said[1] and "1 of 57 rows repeats" in said[2]
    parquet(tmp_path / "x" / "f.parquet", user=[7, 8], item_id=[3, 3])
    with pytest.raises(ValueError, match=r"different tables: \[a.parquet\] has .*\[f.parquet\] \[user\], \[item_id\]"):
        read(tmp_path / "x")
    parquet(tmp_path / "x" / "f.parquet", who=[7, 8], item_id=[3, 3])
    with pytest.raises(ValueError, match=r"f.parquet: no column has a usual name of users"):
        read(tmp_path / "x")


@pytest.mark.parametrize("kind", ["csv", "json", "parquet"])
def test_empty_parts_of_a_folder_are_skipped(tmp_path, kind):
    empty = [b"", b"", b""] if kind == "parquet" else [b"", b"\n \n", gzip.compress(b"")]
    if kind == "json":
        empty.append(b"[]\n")
    for number, content in enumerate(empty):
        (tmp_path / f"part-{number}.{kind}").write_bytes(content)
    with pytest.raises(ValueError, match="folder without files, or with empty ones"):
        read(tmp_path)
    part = tmp_path / f"part-9.{kind}"
    if kind == "parquet":
        users, items = zip(*ROWS, strict=True)
        parquet(part, user=users, item=items)
    else:
        write(part, lines() if kind == "csv" else json.dumps([{"user": u, "item": i} for u, i in ROWS]))
    assert read(tmp_path) == (ROWS, [])


def test_a_path_is_no_pattern(tmp_path):
    name = "a[1]*?'; --"
    parquet(tmp_path / name / "x[2]*.parquet", user=[1, 2], item=[3, 3])
    parquet(tmp_path / "a1" / "x2.parquet", user=[9, 9], item=[9, 9])
    assert read(tmp_path / name / "x[2]*.parquet")[0] == [(1, 3), (2, 3)]
    assert read(tmp_path / name)[0] == [(1, 3), (2, 3)]
    parquet(tmp_path / "y*.parquet", user=[1, 2], item=[3, 3])
    parquet(tmp_path / "y1.parquet", user=[9, 9], item=[9, 9])
    assert read(tmp_path / "y*.parquet")[0] == [(1, 3), (2, 3)]
    hostile = 'user"; DROP TABLE x; --'
    columns = {hostile: [1, 2], "item') UNION": [3, 3]}
    path = parquet(tmp_path / "y.parquet", **columns)
    assert read(path, *columns)[0] == [(1, 3), (2, 3)]


def test_frames_of_polars_and_arrow():
    polars, pa = pytest.importorskip("polars"), pytest.importorskip("pyarrow")
    columns = {"user_id": ["u1", None, "u2"], "item_id": [2**60 + 1, 5, None]}
    for table in (polars.DataFrame(columns), pa.table(columns)):
        with pytest.raises(ValueError, match=r"2 of 3 rows.*row 2 \(no user id\), row 3 \(no item id\)"):
            read(table)
        pairs, _ = read(table[:1])
        assert pairs == [("u1", 2**60 + 1)]
        assert read_users(table, None, lambda _: None) == ["u1", "u2"]
    frame = polars.DataFrame({"user": [1.0, float("nan"), 2.0], "item": ["a", "b", "c"]})
    assert read(frame.with_columns(polars.col("item").cast(polars.Categorical)))[0] == [(1, "a"), (2, "c")]


def test_frames_of_pandas_with_other_types():
    pytest.importorskip("pyarrow")
    values = {"Int64": [1, None, 2], "double[pyarrow]": [1.0, float("nan"), 2.0], "float32": [1, float("nan"), 2]}
    for kind, users in values.items():
        frame = pd.DataFrame({"user": pd.array(users, dtype=kind), "item": ["a", "b", "c"]})
        assert read(frame)[0] == [(1, "a"), (2, "c")], kind
    frame = pd.DataFrame({"user": pd.Categorical([1, None, 2]), "item": pd.Categorical(["a", "b", "c"])})
    assert read(frame)[0] == [(1, "a"), (2, "c")]
    with pytest.raises(ValueError, match="no ids"):
        read(pd.DataFrame({"user": [[1], [2]], "item": [1, 2]}))


def test_sequences_of_items(tmp_path):
    text = "user_id:token\titem_id_list:token_seq\titem_id:token\nu0\ti2 i3\ti4\nu1\t\ti5\n\ti1 i2\ti3\n"
    pairs, said = read(write(tmp_path / "x.inter", text))
    assert pairs == [("u0", "i2"), ("u0", "i3"), ("u0", "i4"), ("u1", "i5")]
    assert "[item_id_list:token_seq] are read too" in said[0]
    assert "1 of 3 rows is" in said[1] and "line 4 (no user id)" in said[1]


def test_atomic_files_have_no_quoting(tmp_path):
    text = 'user_id:token\titem_id:token\n"u1\ta"\nu2\t"b"\n"u1\tc\n'
    assert read(write(tmp_path / "x.inter", text))[0] == [('"u1', 'a"'), ('"u1', "c"), ("u2", '"b"')]


@pytest.mark.parametrize("ending", ["\n", "\r\n", "\r", "\n\r\n"])
def test_line_ends_and_compressions(tmp_path, ending):
    pa = pytest.importorskip("pyarrow")
    text = lines([*ROWS, ("é", "")]).replace("\n", ending).encode("utf-16")
    with pa.CompressedOutputStream(str(tmp_path / "zstd"), "zstd") as file:
        file.write(text)
    (tmp_path / "plain").write_bytes(text)
    (tmp_path / "gzip").write_bytes(gzip.compress(text[:40]) + gzip.compress(text[40:]))
    for name in ("plain", "gzip", "zstd"):
        pairs, said = read(tmp_path / name)
        number = 17 if len(ending) == 3 else 9
        assert pairs == ROWS and f"line {number} (no item id)" in said[0], name


def test_a_long_line_is_left_out_and_the_next_ones_are_read(tmp_path):
    long = ["a" * (2**20 + 1), "a" * 2**23]
    text = lines([("u1", "a"), *(("u2", each) for each in long), ("u3", "c"), ("u3", "d")])
    pairs, said = read(write(tmp_path / "x.csv", text))
    assert pairs == [("u1", "a"), ("u3", "c"), ("u3", "d")]
    assert "2 of 5 rows" in said[0] and "line 3 (a line of more than 1 MiB), line 4 (a line of more" in said[0]


def _memory(path, limit_kb):
    """Read in a fresh process without torch; its messages and its peak memory in kB."""
    code = (
        "import re, sys, types\n"
        "package = types.ModuleType('recbole_universal'); package.__path__ = [sys.argv[2]]\n"
        "sys.modules['recbole_universal'] = package\n"
        "from recbole_universal.io.interactions import read_interactions\n"
        "try:\n    print(len(read_interactions(sys.argv[1], None, None, print).users))\n"
        "except ValueError as error:\n    print(error)\n"
        # ru_maxrss would be that of the process that started this one, if it is larger.
        "print(re.search(r'VmHWM:\\s*(\\d+)', open('/proc/self/status').read())[1])\n"
    )
    import recbole_universal

    command = [sys.executable, "-c", code, str(path), recbole_universal.__path__[0]]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip().split("\n")
    assert int(out[-1]) < limit_kb, out
    return " ".join(out[:-1])


@pytest.mark.parametrize("n_pieces", [8, pytest.param(96, marks=pytest.mark.slow)])
@pytest.mark.parametrize("kind", ["text", "json"])
def test_a_huge_line_of_a_small_file_takes_little_memory(tmp_path, n_pieces, kind):
    start = "".join(f"u{n % 50},i{n % 37},x\n" for n in range(1200))
    start = f"user_id,item_id,title\n{start}u1,i1,"
    if kind == "json":
        start = '[{"user_id": 1, "item_id": 1}, {"user_id": "'
    with gzip.open(tmp_path / "x.gz", "wb", 1) as file:
        file.write(start.encode())
        for _ in range(n_pieces):
            file.write(b"a" * 2**24)
    said = _memory(tmp_path / "x.gz", 600_000)
    assert ("line 1202 (a line of more than 1 MiB)" if kind == "text" else "longer than 1 MiB") in said


@pytest.mark.parametrize("row", ['u{0}","i{1}","5\n', 'u{0},i{1},5","\n', 'u{0},i{1},"Heroes\n', '"u{0},i{1},"""\n'])
def test_stray_quotes_cost_no_more_than_twice_for_twice_the_rows(tmp_path, row):
    import recbole_universal.io.records as records

    def steps(n_rows):
        count = 0
        found = records._line_end

        def counted(text, start):
            nonlocal count
            count += 1
            return found(text, start)

        records._line_end = counted
        text = "user_id,item_id,rating\n" + "".join(row.format(n % 50, n % 40) for n in range(n_rows))
        try:
            read(write(tmp_path / "x.csv", text))
        except ValueError:
            pass
        finally:
            records._line_end = found
        return count

    assert steps(4000) < 3 * steps(2000)


def test_ids_that_look_alike_in_numpy_and_users(tmp_path):
    frame = pd.DataFrame({"user": np.array([1, 2, 2], dtype=np.uint8), "item": [True, False, True]})
    assert read(frame)[0] == [(1, True), (2, False), (2, True)]
    assert read_users(write(tmp_path / "u.txt", "user_id;age\n007;1\n;2\n"), None, lambda _: None) == ["007"]


def test_users_with_quotes(tmp_path):
    assert read_users('"u1","u,2", u3', None, print) == ["u1", "u,2", "u3"]
    for header, expected in (("user_id:token\tage:float", ['"u1"', 'u"2']), ("user_id\tage", ["u1", 'u"2'])):
        path = write(tmp_path / "x.user", header + '\n"u1"\t1\nu"2\t2\n')
        assert read_users(path, None, print) == expected
    assert read_users(write(tmp_path / "y.user", 'user_id:token\n"u1"\n'), None, print) == ['"u1"']


@pytest.mark.parametrize("users", [[[1]], np.array([[1, 2]]), [{"a"}], pd.DataFrame({"user": [[1]]})])
def test_users_that_are_no_ids(users):
    with pytest.raises(ValueError, match=r"users: must be ids of users or a file of them; a value is no id"):
        read_users(users, None, print)


def test_the_package_imports_nothing_of_recbole_and_no_torch():
    import ast
    from pathlib import Path

    import recbole_universal.io

    for file in Path(recbole_universal.io.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            names = [each.name for each in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                assert name.split(".")[0] not in ("recbole", "torch"), file
                assert not name.startswith("recbole_universal") or name.startswith("recbole_universal.io"), (file, name)


def test_infinity_is_no_id():
    inf = float("inf")
    for values in ([1.0, inf, 2.0, -inf], pd.Series([1.0, inf, 2.0, -inf], dtype=object)):
        pairs, said = read(pd.DataFrame({"user": values, "item": ["a", "b", "c", "d"]}))
        assert [repr(user) for user, _ in pairs] == ["1", "2"] and "2 of 4 rows" in said[0]
    assert read_users([1.0, np.float32("inf"), 2.0], None, lambda _: None) == [1, 2]


def test_types_of_polars_that_are_not_read():
    polars = pytest.importorskip("polars")
    things = polars.Series("x", [object(), object()], dtype=polars.Object)
    wide = polars.Series("x", [1, 2], dtype=polars.Int128)
    for odd, kind in ((things, "Object"), (wide, "Int128")):
        frame = polars.DataFrame([odd, polars.Series("user_id", [1, 2]), polars.Series("item_id", ["a", "b"])])
        assert read(frame)[0] == [(1, "a"), (2, "b")]
        frame = frame.drop("user_id").rename({"x": "user_id"})
        message = rf"column \[user_id\] has the type {kind}, which is not read"
        with pytest.raises(ValueError, match=message):
            read(frame)
        with pytest.raises(ValueError, match=message):
            read_users(frame, None, print)
    frame = polars.DataFrame({"x": [None, None], "user_id": [1, 2], "item_id": ["a", "b"]})
    assert read(frame)[0] == [(1, "a"), (2, "b")]
    with pytest.raises(ValueError, match=r"2 of 2 rows are unreadable.*row 1 .no user id"):
        read(frame.drop("user_id").rename({"x": "user_id"}))
    with pytest.raises(ValueError, match=r"got LazyFrame; call .collect\(\) first"):
        read(frame.lazy())


def test_a_column_twice(tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet

    table = pa.table([[1, 2], [3, 4], [5, 6], [7, 8]], names=["user_id", "user_id", "item_id", "user_id_2"])
    pyarrow.parquet.write_table(table, tmp_path / "x.parquet")
    for source in (table, tmp_path / "x.parquet"):
        with pytest.raises(ValueError, match=r"more than one column may hold the users: \[user_id\], \[user_id\]"):
            read(source)
        with pytest.raises(ValueError, match=r"Columns: \[user_id\], \[user_id\], \[item_id\], \[user_id_2\]"):
            read_users(source, None, print)
        assert read(source, "user_id_2", None)[0] == [(7, 5), (8, 6)]


@pytest.mark.parametrize(
    ("users", "message"),
    [
        (b"ab", "users: must be ids of users or a file of them, got bytes"),
        (["\ud800"], "users: there is no user in it"),
        ("\udcff", "users: there is no user in it"),
    ],
)
def test_users_that_are_no_text(users, message):
    with pytest.raises(ValueError, match=message):
        read_users(users, None, print)


def test_users_that_are_not_utf_8_are_left_out():
    said: list[str] = []
    assert read_users("u1,\udcff", None, said.append) == ["u1"]
    assert said == ["users: 1 of 2 rows is unreadable and left out: row 2 (an id that is not UTF-8)."]


def test_a_table_of_users_is_read_as_a_table_of_interactions(tmp_path):
    said: list[str] = []
    text = 'user_id,note\nu1,"a\nb"\n\nu2,"x, \\"y\\""\nuser_id,note\n,z\nu3,z,z\nu4\n'
    assert read_users(write(tmp_path / "x.csv", text), None, said.append) == ["u1", "u2", "u4"]
    assert "line 6 (the header again), line 7 (no user id), line 8 (3 columns instead of 2)" in said[0]
    for text in ('{"user_id":"u1"}\n{"user_id":"u2"}\n', '["u1", "u2"]', '[{"user_id": 1}]'):
        with pytest.raises(ValueError, match=r"users: \[.*x.json\] is JSON"):
            read_users(write(tmp_path / "x.json", text), None, print)
    assert read_users(write(tmp_path / "y.csv", "a\n" + "b" * 2**21 + "\nc\n"), None, said.append) == ["a", "c"]
    assert "line 2 (a line of more than 1 MiB)" in said[1]


def test_a_header_of_several_lines(tmp_path):
    text = '\nuser_id,"item\nid",rating\n' + "".join(f"{user},{item},5\n" for user, item in ROWS) + "u9\n"
    pairs, said = read(write(tmp_path / "x.csv", text))
    assert pairs == ROWS and "ignored columns: rating" in said[0] and "1 of 8 rows is" in said[1]
    assert "line 11 (1 column instead of 3)" in said[1]
    assert read(tmp_path / "x.csv", "user_id", "item id")[0] == ROWS


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("\u00b2 1 2\n\u00b3 3 4 5\n", ""),
        ("1" * 5000 + " 1 2\n3 3 4 5\n", ""),
        ("," * 2**19 + "\n" + "," * 2**19 + "\n", "524289 columns; at most 10000 are read"),
    ],
)
def test_text_that_looks_like_something_else(tmp_path, text, message):
    path = write(tmp_path / "x.csv", text)
    try:
        read(path)
    except ValueError as error:
        assert str(path) in str(error) and message in str(error)
    else:
        assert not message


def test_a_table_of_too_many_columns_is_refused_before_their_names_are_looked_at(tmp_path, monkeypatch):
    import recbole_universal.io.column_names as column_names

    looked: list[str] = []
    monkeypatch.setattr(column_names, "_bare", lambda name: looked.append(name) or "")
    with pytest.raises(ValueError, match="at most 10000 are read"):
        read(write(tmp_path / "x.csv", "a" + "," * 20_000 + "\n"))
    assert len(looked) <= 10_000


@pytest.mark.parametrize("size", [30, 300])
def test_a_damaged_zstd_file_is_named(tmp_path, size):
    pa = pytest.importorskip("pyarrow")
    with pa.CompressedOutputStream(str(tmp_path / "x.zst"), "zstd") as file:
        file.write(np.random.default_rng(1).bytes(2000))
    content = bytearray((tmp_path / "x.zst").read_bytes())
    content[4:size] = b"\xff" * (size - 4)
    (tmp_path / "x.zst").write_bytes(content)
    with pytest.raises(ValueError, match=r"x\.zst is a damaged file"):
        read(tmp_path / "x.zst")


def test_folders_of_different_files_name_two_that_differ(tmp_path):
    parquet(tmp_path / "x" / "b.parquet", user_id=[1], item_id=[1])
    write(tmp_path / "x" / "a.parquet", "broken")
    with pytest.raises(ValueError, match=r"different files, such as \[a.parquet\] and \[b.parquet\]"):
        read(tmp_path / "x")
    (tmp_path / "y").mkdir()
    write(tmp_path / "y" / "a.csv", lines([*ROWS, *ROWS[:1]]))
    write(tmp_path / "y" / "b.csv", lines([*ROWS, *ROWS[:1]], header=None))
    with pytest.raises(ValueError, match=r"different tables: \[a.csv\] has a header, \[b.csv\] has none"):
        read(tmp_path / "y")
