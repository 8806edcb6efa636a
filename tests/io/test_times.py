"""Times of interactions: how they are read, which column holds them, and the order that they give."""

from __future__ import annotations

import datetime
import json
import re

import numpy as np
import pandas as pd
import pytest
from interactions_data import ROWS, lines, write

from recbole_universal.graph.histories import Histories
from recbole_universal.io.column_names import TimeColumn
from recbole_universal.io.interactions import read_interactions
from recbole_universal.io.time_column import TimeStatistics, column_times
from recbole_universal.io.times import read_times

NAN = float("nan")
T = 1704067200.0  # 2024-01-01
DAY = 86400.0


def events(source, **options):
    """User, item and time of each event in order, and the messages."""
    said: list[str] = []
    table = read_interactions(source, options.pop("user", None), options.pop("item", None), said.append, **options)
    if table.events is None:
        return None, said
    users, items = table.users.take(table.events.user_codes), table.items.take(table.events.item_codes)
    times = [None] * len(users) if table.events.times is None else table.events.times.tolist()
    return list(zip(users, items, times, strict=True)), said


def seconds(values):
    times = column_times(read_times(values))
    return times.seconds.tolist(), times.form, times.ambiguous


# -- Formats ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("as_text", [False, True])
@pytest.mark.parametrize(
    ("factor", "form"),
    [(1, "unix seconds"), (10**3, "unix milliseconds"), (10**6, "unix microseconds"), (10**9, "unix nanoseconds")],
)
@pytest.mark.parametrize("start", [100_000_000, int(T), 4_102_000_000])
def test_units_of_numbers(as_text, factor, form, start):
    numbers = [start * factor, (start + 60) * factor, (start - 60) * factor]
    values = np.array(list(map(str, numbers)), dtype=object) if as_text else numbers
    found, name, _ = seconds(values)
    assert name == (form if start > 10**8 or factor > 1 else "unix seconds")
    np.testing.assert_allclose(found, [start, start + 60, start - 60], atol=1e-6)


def test_the_median_decides_the_unit_of_all_numbers():
    assert seconds([0, T, T + 5]) == ([0.0, T, T + 5], "unix seconds", "")
    assert seconds([0, T * 1e3, T * 1e3 + 5]) == ([0.0, T, T + 0.005], "unix milliseconds", "")


@pytest.mark.parametrize(
    "values", [[0, 1, 2], [5.5, -3.0, 1e7], [99_999_999.0], [2021, 2022, 2023], [1e19, 1e20, 3e25], ["7", " 1e2 ", "0"]]
)
def test_numbers_that_are_no_time_give_an_order(values):
    assert seconds(values) == (list(map(float, values)), "numbers that give an order", "")


def test_numbers_of_days():
    assert seconds([20240101, 20240102, 19691231]) == ([T, T + DAY, -DAY], "dates written as yyyymmdd", "")
    assert seconds(np.array(["20240101", None, "20240229"], dtype=object))[0][2] == T + 59 * DAY
    found, form, _ = seconds([*[20240101] * 19, 20241301])
    assert form == "dates written as yyyymmdd" and np.isnan(found[-1]) and found[0] == T
    assert seconds([20240101, 20241301, 20240199])[1] == "numbers that give an order"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2024-01-01", T),
        ("2024-01-01 00:01", T + 60),
        ("2024-01-01T00:00:02", T + 2),
        ("2024-01-01T00:00:02.250", T + 2.25),
        ("2024-01-01T00:00:02.250000000", T + 2.25),
        ("2024-01-01T02:00:00Z", T + 7200),
        ("2024-01-01T02:00:00+02:00", T),
        ("2024-01-01 02:00:00-0130", T + 12_600),
        ("2024-01-01 00:00:05 UTC", T + 5),
        ("2024-01-01 00:00:05UTC", T + 5),
        (" 2024-01-01 03 ", T + 10_800),
        ("2024/01/02", T + DAY),
        ("1969-12-31 23:59:59.5", -0.5),
    ],
)
def test_iso_8601(text, expected):
    assert seconds([text, "2024-01-01T00:00:00"]) == ([expected, T], "dates", "")


@pytest.mark.parametrize(
    "text", ["now", "today", "2024-13-01", "yesterday", "10:30", "0000-00-00 00:00:00", "inf", "UTC"]
)
def test_texts_that_are_no_time(text):
    read = read_times(np.array(["2024-01-01", text, None, "", "NULL", "2024-01-02"], dtype=object))
    assert column_times(read).seconds.tolist() == pytest.approx([T, NAN, NAN, NAN, NAN, T + DAY], nan_ok=True)
    assert read.forms.tolist() == [3, 1, 0, 0, 0, 3] and read.text(1) == text


@pytest.mark.parametrize(
    ("values", "expected", "first"),
    [
        (["13/01/2024", "02/01/2024"], [12 * DAY, DAY], "day"),
        (["02/01/2024", "13/01/2024"], [DAY, 12 * DAY], "day"),
        (["01/13/2024", "01/02/2024"], [12 * DAY, DAY], "month"),
        (["1-2-2024 00:01", "1-31-2024 1:00:00.5"], [DAY + 60, 30 * DAY + 3600.5], "month"),
        (["02.01.2024", "03.01.2024 23:59:59"], [DAY, 3 * DAY - 1], "day"),
        (["1/31/2024 12:05 AM", "1/2/2024 1:00 pm"], [30 * DAY + 300, DAY + 46_800], "month"),
        (["1/31/2024 11:59 AM", "1/2/2024 12:00 PM"], [30 * DAY + 43_140, DAY + 43_200], "month"),
        (["01/01/2024", "01/01/2024"], [0, 0], "day"),
        (["13/01/2024", "01/13/2024"], [12 * DAY, NAN], "day"),
        (["13/1/2024", "30/02/2023", "14/1/2024 24:00", "13/1.2024", "13/1/24"], [12 * DAY, *[NAN] * 4], "day"),
        (["13/01/2024", "01/13/2024", "01/14/2024"], [NAN, 12 * DAY, 13 * DAY], "month"),
    ],
)
def test_dates_with_the_year_at_the_end(values, expected, first):
    found, form, ambiguous = seconds(values)
    expected = [T + time for time in expected]
    assert found[: len(expected)] == pytest.approx(expected, nan_ok=True, abs=1e-6)
    assert form == f"dates with the {first} first" and not ambiguous


def test_dates_with_two_readings():
    assert seconds(["01/01/2024", "03/04/2024"])[2] == "[03/04/2024] may be 2024-04-03 or 2024-03-04"
    assert not seconds(["03/04/2024", "03/04/2024", "3/25/2024"])[2]
    mixed = ["03/04/2024", "13/04/2024", "04/13/2024"]  # one row for each reading decides nothing
    assert "[03/04/2024] may be" in seconds(mixed)[2]


def test_most_rows_decide_the_form():
    assert seconds(["2024-01-01", "2024-01-02", "1704067200"])[0] == pytest.approx([T, T + DAY, NAN], nan_ok=True)
    assert seconds(["2024-01-01", "1704067200", "1704067201"])[0] == pytest.approx([NAN, T, T + 1], nan_ok=True)
    assert seconds(["2024-01-01", "31/01/2024", "30/01/2024"])[0][0] != T


DATES = pd.Series(pd.to_datetime(["2024-01-01 00:00:00.0", None, "2024-01-02 00:00:00.5"]))


@pytest.mark.parametrize(
    "values",
    [
        DATES,
        DATES.dt.as_unit("ns"),
        DATES.dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo"),
        pd.Series(["2024-01-01", None, "2024-01-02 00:00:00.5"], dtype="string"),
        pd.Series(["2024-01-01", None, "2024-01-02 00:00:00.5"], dtype="category"),
        pd.Series([pd.Timestamp(T, unit="s"), pd.NaT, pd.Timestamp(T + DAY + 0.5, unit="s", tz="UTC")], dtype=object),
        pd.Series([datetime.date(2024, 1, 1), None, datetime.datetime(2024, 1, 2, 0, 0, 0, 500_000)], dtype=object),
        pd.Series([np.datetime64("2024-01-01"), None, "2024-01-02T00:00:00.5"], dtype=object),
        pd.Series([T, NAN, T + DAY + 0.5]),
        pd.Series([T, None, T + DAY + 0.5], dtype="Float64"),
        pd.Series([int(T), None, T + DAY + 0.5], dtype=object),
    ],
)
def test_types_of_frames(values):
    read = read_times(values)
    assert column_times(read).seconds.tolist() == pytest.approx([T, NAN, T + DAY + 0.5], nan_ok=True)
    assert read.forms[1] == 0


def test_types_that_are_no_time():
    for values in ([True, False], [1j, 2j], [[1], {}], pd.Series([pd.Timedelta(1, "D")] * 2)):
        assert read_times(values).forms.tolist() == [1, 1]
    assert read_times(np.array([True, 1, "x", np.inf], dtype=object)).forms.tolist() == [1, 2, 1, 1]
    period = pd.Series(pd.period_range("2024-01", periods=2, freq="M"))
    assert seconds(period)[0] == [T, T + 31 * DAY]


def test_parts_of_a_column_are_decided_together():
    parts = [["01/02/2024"], [None, "x"], ["02/13/2024", "y"]]
    reads, statistics = [read_times(np.array(part, dtype=object)) for part in parts], TimeStatistics()
    for read in reads:
        statistics.add(read)
    seconds = np.concatenate([statistics.reading().seconds(read) for read in reads])
    assert seconds.tolist() == pytest.approx([T + DAY, NAN, NAN, T + 43 * DAY, NAN], nan_ok=True)


# -- The column ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        (["u", "i", "timestamp:float"], 2),
        (["u", "i", "Event Time", "date", "time"], 2),
        (["u", "i", "date", "time"], 3),
        (["u", "i", "order_date"], 2),
        (["u", "i", "created_at", "updated_at"], 2),
        (["u", "i", "unixReviewTime", "reviewTime"], 2),
        (["u", "i", "TS"], 2),
        (["u", "i", "watch_time", "playtime", "rating"], None),
    ],
)
def test_names_of_times(names, expected):
    assert TimeColumn().find(names, (0, 1), "x") == (expected, "")
    assert TimeColumn(wanted=False).find(names, (0, 1), "x") == (None, "")


def test_a_column_of_users_or_items_holds_no_times(tmp_path):
    assert TimeColumn().find(["user", "date"], (0, 1), "x") == (None, "")
    assert TimeColumn().find(["user", "timestamp", "date"], (0, 1), "x") == (2, "")
    path = write(tmp_path / "x.csv", lines(timed(), header="user,item,date"))
    assert events(path, item="date")[0] is None


def test_two_equally_good_columns_are_reported_and_not_used(tmp_path):
    rows = [(*row, n, n) for n, row in enumerate(ROWS)]
    path = write(tmp_path / "x.csv", lines(rows, header="user,item,timestamp,event_time"))
    found, said = events(path)
    assert found is None and "ignored columns: timestamp, event_time" in said[0]
    assert said[1:] == [
        f"{path}: more than one column may hold the times: [timestamp], [event_time]; time_column (--time-column) "
        "chooses one."
    ]
    found, said = events(path, time_column="event_time")
    assert len(found) == len(ROWS) and "ignored columns: timestamp." in said[0]


@pytest.mark.parametrize("make", ["csv", "json", "frame", "parquet"])
def test_a_time_column_that_is_missing_or_taken(tmp_path, make):
    frame = pd.DataFrame({"user": ["u1", "u2"], "item": ["a", "b"], "happened": [1, 2], "3": [1, 1]})
    source = frame
    if make == "csv":
        source = write(tmp_path / "x", frame.to_csv(index=False))
    elif make == "json":
        source = write(tmp_path / "x", frame.to_json(orient="records", lines=True))
    elif make == "parquet":
        pytest.importorskip("pyarrow")
        source = tmp_path / "x"
        frame.to_parquet(source)
    start = r"time_column \(--time-column\): "
    with pytest.raises(
        ValueError, match=start + r"there is no column \[happend\]; did you mean \[happened\]\?.*Columns"
    ):
        events(source, time_column="happend")
    for taken in ("user", "item"):
        with pytest.raises(ValueError, match=start + rf"\[{taken}\] holds the users or the items. Columns: \[user\]"):
            events(source, time_column=taken)
    assert [time for _, _, time in events(source, time_column="happened")[0]] == [1.0, 2.0]


def test_a_time_column_twice():
    frame = pd.DataFrame([["u", "i", 1, 2]], columns=["user", "item", "when", "when"])
    with pytest.raises(ValueError, match=r"time_column.*more than one column may hold the times: \[when\], \[when\]\."):
        events(frame, time_column="when")


def test_order_is_checked(tmp_path):
    path = write(tmp_path / "x.csv", lines())
    with pytest.raises(ValueError, match=r"order \(--order\): must be rows, or left out, got \[time\]"):
        events(path, order="time")
    with pytest.raises(ValueError, match=r"order \(--order\) and time_column \(--time-column\) exclude each other"):
        events(path, order="rows", time_column="item")


# -- Sources ---------------------------------------------------------------------------------------------------------

# The rows are not in order of time; u1 comes back to a, and b and c of u2 have one time.
TIMED = [("u1", "a", 5), ("u2", "b", 3), ("u1", "c", 1), ("u2", "c", 3), ("u2", "a", 2), ("u1", "a", 9)]
IN_ORDER = [("u1", "c", 1), ("u1", "a", 5), ("u1", "a", 9), ("u2", "a", 2), ("u2", "b", 3), ("u2", "c", 3)]
EXPECTED = [(user, item, T + time) for user, item, time in IN_ORDER]


def timed(form=lambda time: int(T) + time):
    return [(user, item, form(time)) for user, item, time in TIMED]


def iso(time):
    return f"2024-01-01T00:00:0{time}Z"


@pytest.mark.parametrize(
    ("text", "options"),
    [
        (lines(timed(), header="user,item,timestamp"), {}),
        (lines(timed(iso), header="user,item,datetime"), {}),
        (lines(timed(iso), header="user,item,happened"), {"time_column": "happened"}),
        (lines(timed(), header="user,item,happened"), {"time_column": 3}),
        (lines(timed(), "\t", "user_id:token\titem_id:token\ttimestamp:float"), {}),
        (lines(timed(), "\t", "user_id:token\titem_id:token\twhen:float"), {"time_column": "when"}),
        (lines([(time, *row) for *row, time in timed()], header="ts,user,item"), {}),
        (lines(timed(), "::", None), {"user": 1, "item": 2, "time_column": "3"}),
        (lines(timed(), "\t", None), {"time_column": 3}),
        (lines(timed(lambda time: f'"{iso(time)}"'), header='"user","item","time"'), {}),
        (lines(timed(lambda time: f'"a ""b"", c",{iso(time)}'), header="user,item,note,time"), {}),
        ("\n".join(json.dumps({"user": u, "item": i, "ts": t}) for u, i, t in timed()), {}),
        (json.dumps([{"user": u, "item": i, "ts": t} for u, i, t in timed(iso)]), {}),
        (json.dumps([{"user": u, "item": i, "w": t} for u, i, t in timed(iso)]), {"time_column": "w"}),
    ],
)
def test_files(tmp_path, text, options):
    found, said = events(write(tmp_path / "x", text), **options)
    assert found == EXPECTED
    assert any("times from [" in each for each in said) and any("1 of 6 rows repeats a pair" in each for each in said)
    assert not any(re.search(r"ignored columns:.* (t|d|h|w|column 3)[,.]", each) for each in said)


@pytest.mark.parametrize("name", ["timestamp", "happened"])
def test_the_sentence_about_times(tmp_path, name):
    path = write(tmp_path / "x.csv", lines(timed()[:5], header=f"user,item,{name},rating").replace("\nu", ",\nu"))
    _, said = events(path, time_column=None if name == "timestamp" else name)
    assert said[0].startswith(f"{path}: ignored columns: rating.")
    assert said[1:] == [f"{path}: times from [{name}], read as unix seconds."]


def frame_of(kind):
    frame = pd.DataFrame(TIMED, columns=["user", "item", "time"])
    dates = pd.to_datetime(T + frame["time"], unit="s")
    columns = {
        "integer": int(T) + frame["time"],
        "date": dates,
        "zone": dates.dt.tz_localize("UTC").dt.tz_convert("Asia/Tokyo"),
    }
    columns["text"] = dates.astype(str)
    columns["nanoseconds"] = dates.dt.as_unit("ns")
    return frame.assign(time=columns[kind])


@pytest.mark.parametrize("kind", ["integer", "date", "zone", "text", "nanoseconds"])
@pytest.mark.parametrize("source", ["pandas", "arrow_dtype", "parquet", "polars", "arrow"])
def test_tables(tmp_path, kind, source):
    frame = frame_of(kind)
    if source != "pandas":
        pa = pytest.importorskip("pyarrow")
    if source == "pandas":
        table = frame.set_index(np.arange(6)[::-1])
    elif source == "arrow_dtype":
        table = frame.convert_dtypes(dtype_backend="pyarrow")
    elif source == "parquet":
        table = tmp_path / "x.parquet"
        frame.to_parquet(table)
    elif source == "polars":
        table = pytest.importorskip("polars").from_pandas(frame)
    else:
        table = pa.table(frame)
    found, said = events(table)
    assert found == EXPECTED
    assert sum("times from [time]" in each for each in said) == 1 and "ignored" not in " ".join(said)


def test_dates_and_decimals_of_parquet(tmp_path):
    pa = pytest.importorskip("pyarrow")
    import pyarrow.parquet

    days = [datetime.date(2024, 1, 1 + time) for _, _, time in TIMED]
    for values in (pa.array(days), pa.array([int(T + time * DAY) for _, _, time in TIMED]).cast(pa.decimal128(20, 0))):
        users, items, _ = zip(*TIMED, strict=True)
        pyarrow.parquet.write_table(pa.table({"user": users, "item": items, "date": values}), tmp_path / "x")
        assert events(tmp_path / "x")[0] == [(user, item, T + time * DAY) for user, item, time in IN_ORDER]


def test_types_of_columns_that_are_no_time(tmp_path):
    polars = pytest.importorskip("polars")
    frame = polars.DataFrame({"user": ["u"], "item": ["i"], "time": polars.Series([1], dtype=polars.Int128)})
    assert events(frame)[0] is None
    with pytest.raises(ValueError, match=r"column \[time\] has the type Int128"):
        events(frame, time_column="time")
    found, said = events(polars.DataFrame({"user": ["u"], "item": ["i"], "time": [[1]]}))
    assert found is None and "1 of 1 values of [time] cannot be read as times, such as '[1]'" in said[0]


def test_histories_in_recbole_files_come_before_the_item(tmp_path):
    text = "user_id:token\titem_id_list:token_seq\titem_id:token\ttimestamp:float\n"
    path = write(tmp_path / "x.inter", text + f"u\tc b\ta\t{T + 5}\nu\t\tz\t{T + 1}\nv\tb\tc\t{T}\n")
    expected = [("u", "z", T + 1), *(("u", item, T + 5) for item in "cba"), ("v", "b", T), ("v", "c", T)]
    assert events(path)[0] == expected
    path = write(tmp_path / "x.inter", text + f"u\tc b\ta\tx\nu\t\tz\t{T + 1}\nv\tb\tc\t{T}\nv\tb\tc\n")
    found, said = events(path, time_column="timestamp")
    assert found == [expected[0], *expected[4:]]
    assert (
        "2 of 4 rows are unreadable and left out: line 2 (a time that cannot be read: 'x'), line 5 (no time)."
        in said[1]
    )


def test_order_of_rows(tmp_path):
    for source in (
        write(tmp_path / "x.csv", lines(timed(), header="user,item,timestamp")),
        pd.DataFrame(timed(), columns=["user", "item", "timestamp"]),
    ):
        found, said = events(source, order="rows")
        assert found == [(*row[:2], None) for user in ("u1", "u2") for row in TIMED if row[0] == user]
        assert "ignored columns: timestamp" in said[0] and "times from" not in " ".join(said)
    adjacency = write(tmp_path / "train.txt", "0 7 3 5\n1 3\n2 5 7\n")
    assert events(adjacency)[0] is None
    found, _ = events(adjacency, order="rows")
    assert [item for _, item, _ in found] == ["7", "3", "5", "3", "5", "7"]


def test_positions_and_names_without_header(tmp_path):
    path = write(tmp_path / "x", lines(timed(), header=None))
    for column, message in (
        (4, "there is no column 4; the lines have 3 columns"),
        (0, "there is no column 0"),
        (2, "column 2 holds the users or the items"),
        ("when", r"there is no header with a column \[when\]; give the position"),
    ):
        with pytest.raises(ValueError, match=rf"x: time_column \(--time-column\): {message}"):
            events(path, user=1, item=2, time_column=column)
    assert events(path, user=1, item=2)[0] is None
    integers = write(tmp_path / "y", "1 5 9\n2 6 8 4\n3 7 7\n4 7 7\n")
    assert "LightGCN" in events(integers)[1][0]
    assert events(integers, time_column=3)[0] == [("1", "5", 9.0), ("3", "7", 7.0), ("4", "7", 7.0)]


# -- Times that are missing or cannot be read ------------------------------------------------------------------------


@pytest.mark.parametrize("form", ["csv", "json", "frame"])
def test_rows_without_a_time_are_left_out(tmp_path, form):
    rows = [*timed(), ("", "a", ""), ("u1", "d", ""), ("u3", "e", "soon"), ("u4", "a", int(T))]
    if form == "csv":
        source, row, first = write(tmp_path / "x", lines(rows, header="user,item,when")), "line", 2
    elif form == "json":
        records = [{"user": u, "item": i, "when": t} for u, i, t in rows]
        source, row, first = write(tmp_path / "x", json.dumps(records)), "record", 1
    else:
        source, row, first = pd.DataFrame(rows, columns=["user", "item", "when"]), "row", 1
    said: list[str] = []
    table = read_interactions(source, None, None, said.append, time_column="when")
    assert sorted(table.users) == ["u1", "u2", "u4"] and "e" not in table.items and "d" not in table.items
    assert (
        f": 3 of 10 rows are unreadable and left out: {row} {first + 6} (no user id), {row} {first + 7} (no time), "
        f"{row} {first + 8} (a time that cannot be read: 'soon')." in said[0]
    )
    assert len(table.events.times) == 7 and table.events.time_column == "when"
    np.testing.assert_array_equal(
        Histories.of_table(table).matrix(table.matrix().shape[1]).toarray(), table.matrix().toarray()
    )


def test_more_than_half_without_a_time_is_an_error(tmp_path):
    rows = [("u", "a", 1), ("u", "b", 2), *[("u", "c", "")] * 7]
    with pytest.raises(
        ValueError, match=r"7 of 9 rows are unreadable.*line 8 .no time., \.\.\.\. That is more than half"
    ):
        events(write(tmp_path / "x", lines(rows, header="user,item,when")), time_column="when")
    with pytest.raises(ValueError, match=r"2 of 2 rows are unreadable.*no usable row"):
        events(write(tmp_path / "x", "user,item,when\nu,a,x\nv,b,y\n"), time_column="when")
    with pytest.raises(ValueError, match="no usable row"):
        events(write(tmp_path / "x", "user,item,timestamp\n"))


@pytest.mark.parametrize(("n_bad", "used"), [(5, True), (6, False)])
@pytest.mark.parametrize(("bad", "example"), [("often", "such as 'often'"), ("", "since they are empty")])
def test_a_recognised_column_is_used_if_nearly_all_of_it_can_be_read(tmp_path, n_bad, used, bad, example):
    rows = [(f"u{n % 9}", f"i{n % 7}", bad if n < n_bad else int(T) + n) for n in range(100)]
    path = write(tmp_path / "x.csv", lines(rows, header="user,item,time"))
    said: list[str] = []
    table = read_interactions(path, None, None, said.append)
    left_out = [each for each in said if "left out" in each]
    assert (table.events is not None) == used and len(left_out) == used
    if used:
        assert f"{n_bad} of 100 rows are unreadable" in left_out[0] and len(table.events.times) == 95
    else:
        assert len(table.user_codes) == 63 and Histories.of_table(table) is None
        assert said[0] == (
            f"{path}: no time is used: 6 of 100 values of [time] cannot be read as times, {example}. Name another time "
            "column (--time-column), or take the order of the rows (--order rows)."
        )


def test_a_short_row_stays_if_the_recognised_column_is_not_used(tmp_path):
    found, said = events(write(tmp_path / "x.csv", "user,item,time\nu1,a\nu1,b,x\nu2,a,y\n"))
    assert found is None and "left out" not in " ".join(said) and "3 of 3 values of [time]" in said[0]


def test_ambiguous_dates_are_refused(tmp_path):
    path = write(tmp_path / "x.csv", lines([(*row, "03/04/2024") for row in ROWS], header="user,item,order_date"))
    message = (
        r"\[order_date\] holds dates with two readings: \[03/04/2024\] may be 2024-04-03 or 2024-03-04. Write them as "
        r'yyyy-mm-dd, or take the order of the rows \(order="rows", --order rows\)'
    )
    with pytest.raises(ValueError, match=message):
        events(path)
    assert len(events(path, order="rows")[0]) == len(ROWS)


def test_parts_with_different_time_columns(tmp_path):
    (tmp_path / "parts").mkdir()
    write(tmp_path / "parts" / "a.csv", lines(timed(), header="user,item,timestamp"))
    write(tmp_path / "parts" / "b.csv", lines([("u1", "z", int(T))], header="user,item,timestamp"))
    found, said = events(tmp_path / "parts")
    assert found[0] == ("u1", "z", T) and len(found) == 7 and sum("times from" in each for each in said) == 1
    write(tmp_path / "parts" / "b.csv", lines([("u1", "z", "x")], header="user,item,timestamp"))
    _, said = events(tmp_path / "parts", time_column="timestamp")
    assert "1 of 7 rows is unreadable and left out: b.csv, line 2 (a time that cannot be read: 'x')." in said[0]
    write(tmp_path / "parts" / "b.csv", lines([("u1", "z")]))
    found, said = events(tmp_path / "parts")
    assert found is None and "ignored columns: timestamp" in said[0]
    assert "the time columns of the parts differ: [timestamp] and no usual name. time_column" in said[1]
    with pytest.raises(ValueError, match=r"b.csv: time_column .--time-column.: there is no column \[timestamp\]"):
        events(tmp_path / "parts", time_column="timestamp")


def test_parquet_parts_with_times_of_several_types(tmp_path):
    pytest.importorskip("pyarrow")
    (tmp_path / "parts").mkdir()
    frame_of("date")[:3].to_parquet(tmp_path / "parts" / "a.parquet")
    frame_of("text")[3:].to_parquet(tmp_path / "parts" / "b.parquet")
    assert events(tmp_path / "parts")[0] == EXPECTED


def test_a_short_row_with_quotes_has_no_time(tmp_path):
    path = write(tmp_path / "x.csv", f'user,item,when\n"u,1",a\nu1,b,{T}\nu2\nu2,a,{T}\nu3,a,{T}\n')
    found, said = events(path, time_column="when")
    assert [user for user, _, _ in found] == ["u1", "u2", "u3"]
    assert "line 4 (1 column instead of 3), line 2 (no time)." in said[0]


def test_json_in_several_chunks(tmp_path, monkeypatch):
    monkeypatch.setattr("recbole_universal.io.json_records._CHUNK_RECORDS", 2)
    records = [{"user": u, "item": i, "ts": t} for u, i, t in timed()]
    assert events(write(tmp_path / "x.json", json.dumps(records)))[0] == EXPECTED


def test_days_of_partition_folders(tmp_path):
    pytest.importorskip("pyarrow")
    for day, item in ((20240102, "a"), (20240101, "b")):
        (tmp_path / "x" / f"day={day}").mkdir(parents=True)
        frame = pd.DataFrame({"user": ["u"], "item": [item]})
        frame.to_parquet(tmp_path / "x" / f"day={day}" / "part.parquet")
    assert events(tmp_path / "x", time_column="day")[0] == [("u", "b", T), ("u", "a", T + DAY)]
    assert events(tmp_path / "x")[0] is None


def test_positions_in_the_message_about_a_guessed_column_count_the_times(tmp_path):
    path = write(tmp_path / "x", lines([(n, n % 3, int(T) + n, 1) for n in range(40)], header=None))
    with pytest.raises(ValueError, match=r"40 different values .*such as --user-column 4 --item-column 3"):
        events(path, time_column=3)


# -- Histories -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("options", [{}, {"order": "rows"}])
def test_histories_have_the_indices_of_the_matrix(options):
    rng = np.random.default_rng(3)
    frame = pd.DataFrame(
        {
            "user": [f"u{n}" for n in rng.integers(0, 30, 400)],
            "item": rng.integers(0, 25, 400),
            "time": int(T) + rng.integers(0, 50, 400),
        }
    )
    table = read_interactions(frame, None, None, lambda _: None, **options)
    matrix, rows, item_order = table.matrix(), table.user_rows, table.item_order
    histories = Histories.of_table(table)
    assert len(histories) == 30 and len(histories.items) == 400 and (histories.times is None) == bool(options)
    assert (histories.matrix(25) != matrix).nnz == 0
    items = table.items.take(item_order)
    for user, row in zip(table.users, rows, strict=True):
        own = frame[frame["user"] == user]
        own = own if options else own.sort_values("time", kind="stable")
        of_user = slice(histories.indptr[row], histories.indptr[row + 1])
        assert items.take(histories.items[of_user]).tolist() == own["item"].tolist()
        if not options:
            assert histories.times[of_user].tolist() == own["time"].tolist()


def test_without_times_there_are_no_histories():
    table = read_interactions(pd.DataFrame(ROWS, columns=["user", "item"]), None, None, lambda _: None)
    assert table.events is None and Histories.of_table(table) is None


def test_an_odd_first_row_changes_no_index():
    frame = pd.DataFrame({"user": ["z", "a", "a"], "item": ["z", "q", "b"], "time": [None, T + 1, T]})
    table = read_interactions(frame, None, None, lambda _: None, time_column="time")
    assert list(table.users) == ["a"] and list(table.items) == ["q", "b"]
    assert Histories.of_table(table).items.tolist() == [0, 1] and table.events.item_codes.tolist() == [1, 0]
