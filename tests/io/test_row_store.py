"""Rows out of core: temporary files give what memory gives, and leave nothing behind."""

from __future__ import annotations

import errno
import os

import numpy as np
import pandas as pd
import pytest

from recbole_universal.graph.histories import Histories
from recbole_universal.io import interaction_table, row_store, usable_rows
from recbole_universal.io.core import Core
from recbole_universal.io.interactions import read_interactions
from recbole_universal.io.row_store import RowStore


@pytest.fixture
def small_blocks(monkeypatch):
    """Three rows in memory, blocks of two rows, users of five rows and seven events at once."""
    monkeypatch.setattr(row_store, "ROWS_IN_MEMORY", 3)
    monkeypatch.setattr(row_store, "ROWS_AT_ONCE", 2)
    monkeypatch.setattr(usable_rows, "_ROWS_OF_USERS", 5)
    monkeypatch.setattr(interaction_table, "_EVENTS_AT_ONCE", 7)


def rows(n=200, seed=0):
    """Rows of 15 users and 12 items, of which some repeat, lack an id or a time."""
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "user_id": [f"u{user}" for user in rng.integers(0, 15, n)],
            "item_id": rng.integers(0, 12, n),
            "timestamp": rng.integers(1_600_000_000, 1_600_000_050, n).astype(object),
            "rating": rng.integers(0, 50, n) / 10,
        }
    )
    frame.loc[rng.permutation(n)[:5], "user_id"] = ""
    frame.loc[rng.permutation(n)[:4], "timestamp"] = None
    return frame


def content(table):
    """All of a table, as lists."""
    events = table.events
    columns = [table.user_codes, table.item_codes, table.weights]
    columns += [] if events is None else [events.user_codes, events.item_codes, events.times, events.weights]
    return [table.users.tolist(), table.items.tolist()] + [None if each is None else each.tolist() for each in columns]


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("options", [{}, {"weight_column": "rating"}, {"order": "rows"}, {"read_times": False}])
@pytest.mark.parametrize("core", [None, Core((3, np.inf), (8, 40))])
def test_files_give_what_memory_gives(seed, options, core, request):
    frame, said = rows(seed=seed), ([], [])
    expected = read_interactions(frame, None, None, said[0].append, core=core, **options)
    others = Histories.of_table(expected)
    request.getfixturevalue("small_blocks")
    table = read_interactions(frame, None, None, said[1].append, core=core, **options)
    assert content(table) == content(expected) and said[0] == said[1]
    assert (table.matrix() != expected.matrix()).nnz == 0
    histories = Histories.of_table(table)
    assert (histories is None) == (others is None)
    if histories is not None and others is not None:
        assert histories.items.tolist() == others.items.tolist() and histories.indptr.tolist() == others.indptr.tolist()


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_a_folder_of_parts_gives_what_one_frame_gives(tmp_path, small_blocks, form):
    frame = rows().dropna().query("user_id != ''").astype({"timestamp": int})
    folder = tmp_path / "parts"
    for number, start in enumerate(range(0, len(frame), 50)):
        part = folder / f"day={number}"
        part.mkdir(parents=True)
        if form == "csv":
            frame[start : start + 50].to_csv(part / "x.csv", index=False)
        else:
            frame[start : start + 50].to_parquet(part / "x.parquet", index=False)
    table = read_interactions(folder, None, None, lambda _: None)
    expected = read_interactions(frame.astype({"item_id": str}) if form == "csv" else frame, None, None, lambda _: None)
    assert content(table) == content(expected)


def test_the_order_of_events_is_by_user_then_time_then_row(small_blocks):
    frame = pd.DataFrame({"user": list("babab") * 3, "item": range(15), "time": [5, 4, 3, 2, 1] * 2 + [1] * 5})
    table = read_interactions(frame, None, None, lambda _: None)
    by_time = frame.sort_values("time", kind="stable")
    histories = Histories.of_table(table)
    text_order = sorted(range(15), key=str)
    for row, user in enumerate("ab"):
        expected = by_time[by_time["user"] == user]["item"]
        assert [text_order[item] for item in histories[np.array([row])].items] == expected.tolist()


def test_blocks_have_all_rows_in_their_order(small_blocks):
    store = RowStore(a="int32", b="float64")
    for start, end in ((0, 2), (2, 7), (7, 7), (7, 8)):
        store.add(a=np.arange(start, end), b=np.arange(start, end) / 2)
    blocks = list(store.blocks())
    assert np.concatenate([block["a"] for block in blocks]).tolist() == list(range(8))
    assert np.concatenate([block["b"] for block in blocks]).tolist() == [row / 2 for row in range(8)]
    assert max(len(block["a"]) for block in blocks) <= 2 and store.n_rows == 8
    store.close()
    assert store.n_rows == 0 and not list(store.blocks())


def test_temporary_files_have_no_name(tmp_path, monkeypatch, small_blocks):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    store = RowStore(a="int32")
    store.add(a=np.arange(10))
    assert next(store.blocks())["a"].tolist() == [0, 1] and not os.listdir(tmp_path)


def test_a_full_disk_is_an_error_that_names_the_folder(tmp_path, monkeypatch, small_blocks):
    class Full:
        def seek(self, *_):
            pass

        def write(self, _):
            raise OSError(errno.ENOSPC, "No space left on device")

        def close(self):
            pass

    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.setattr("tempfile.TemporaryFile", lambda **_: Full())
    with pytest.raises(OSError, match=r"is full: the first [1-9]\d* rows need [1-9]\d* bytes .* TMPDIR") as raised:
        read_interactions(rows(), None, None, lambda _: None)
    assert str(tmp_path) in str(raised.value)


def naive_core(pairs, users, items):
    """By deleting until nothing changes."""
    while True:
        n_of_user, n_of_item = ({key: 0 for pair in pairs for key in pair[side : side + 1]} for side in (0, 1))
        for user, item in pairs:
            n_of_user[user] += 1
            n_of_item[item] += 1
        left = {
            pair
            for pair in pairs
            if users[0] <= n_of_user[pair[0]] <= users[1] and items[0] <= n_of_item[pair[1]] <= items[1]
        }
        if left == pairs:
            return left
        pairs = left


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize(
    "core", [Core((4, np.inf)), Core(items=(5, np.inf)), Core((3, np.inf), (3, np.inf)), Core((2, 4))]
)
def test_the_core_is_what_deleting_leaves(seed, core, small_blocks):
    rng = np.random.default_rng(seed)
    pairs = {
        (f"u{user}", f"i{item}") for user, item in zip(rng.integers(0, 20, 60), rng.integers(0, 15, 60), strict=True)
    }
    expected, said = naive_core(pairs, core.users, core.items), []
    frame = pd.DataFrame(sorted(pairs) * 2, columns=["user", "item"])  # a repeated row is one interaction
    if not expected:
        with pytest.raises(ValueError, match="no interaction is left"):
            read_interactions(frame, None, None, said.append, core=core)
        return
    table = read_interactions(frame, None, None, said.append, core=core)
    left = set(zip(table.users.take(table.user_codes), table.items.take(table.item_codes), strict=True))
    assert left == expected
    assert set(table.users) == {user for user, _ in left} and set(table.items) == {item for _, item in left}
    assert any(f"{len(left)} of {len(pairs)} interactions" in message for message in said)
