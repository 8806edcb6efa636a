"""Weights of rows: columns of numbers and of events in every format, bad weights, sums of pairs."""

from __future__ import annotations

import json
from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from interactions_data import write

from recbole_universal.io.interactions import read_interactions

ROWS = [
    ("u1", "a", "view", 2.0),
    ("u1", "a", "purchase", 1.5),
    ("u1", "b", "view", 0.0),
    ("u2", "b", "cart", 1.0),
    ("u2", "a", "view", 4.0),
]
KINDS = {"view": 1, "cart": 3, "purchase": 10}
FRAME = pd.DataFrame(ROWS, columns=["user", "item", "event_type", "quantity"])
EXPECTED = {("u1", "a"): 17.0, ("u1", "b"): 0.0, ("u2", "b"): 3.0, ("u2", "a"): 4.0}


def read(source, **arguments):
    """Sum of weights by pair, and the messages."""
    said: list[str] = []
    table = read_interactions(
        source, arguments.pop("user", None), arguments.pop("item", None), said.append, **arguments
    )
    pairs = zip(table.users.take(table.user_codes), table.items.take(table.item_codes), strict=True)
    return dict(zip(pairs, table.weights.tolist(), strict=True)), said


def sources(tmp_path) -> dict:
    text = FRAME.to_csv(index=False)
    found = {
        "csv": write(tmp_path / "a.csv", text),
        "quoted": write(tmp_path / "b.csv", text.replace("view", '"view"').replace("4.0", '"4.0"')),
        "jsonl": write(tmp_path / "a.jsonl", FRAME.to_json(orient="records", lines=True)),
        "json": write(tmp_path / "a.json", json.dumps(FRAME.to_dict(orient="records"))),
        "pandas": FRAME,
        "categories": FRAME.astype({"event_type": "category"}),
        "decimals": FRAME.assign(quantity=[Decimal(str(value)) for value in FRAME["quantity"]]),
        "texts": FRAME.assign(quantity=FRAME["quantity"].astype(str)),
        "nullable": FRAME.astype({"quantity": "Float64"}),
    }
    arrow = pytest.importorskip("pyarrow")
    arrow.parquet = pytest.importorskip("pyarrow.parquet")
    arrow.parquet.write_table(arrow.Table.from_pandas(FRAME), tmp_path / "a.parquet")
    texts = FRAME.assign(quantity=FRAME["quantity"].astype(str))
    return {
        **found,
        "parquet": tmp_path / "a.parquet",
        "arrow": arrow.Table.from_pandas(FRAME),
        "arrow of texts": arrow.Table.from_pandas(texts),
    }


@pytest.mark.parametrize(
    "form",
    [
        "csv",
        "quoted",
        "jsonl",
        "json",
        "pandas",
        "categories",
        "decimals",
        "texts",
        "nullable",
        "parquet",
        "arrow",
        "arrow of texts",
    ],
)
def test_every_format_has_the_same_weights(form, tmp_path):
    found, said = read(sources(tmp_path)[form], weight_column="quantity", event_weights=KINDS)
    assert found == EXPECTED
    assert len(said) == 1 and "repeats a pair" in said[0] and said[0].endswith("the weights of a pair are added.")


def test_without_header_the_columns_are_positions(tmp_path):
    path = write(tmp_path / "a.csv", FRAME.to_csv(index=False, header=False))
    found, _ = read(path, user="1", item="2", weight_column="4", event_column=3, event_weights=KINDS)
    assert found == EXPECTED
    with pytest.raises(ValueError, match=r"weight_column \(--weight-column\): there is no column 5; the lines have 4"):
        read(path, user="1", item="2", weight_column="5")
    with pytest.raises(ValueError, match=r"event_column \(--event-column\): column 2 holds the users or the items"):
        read(path, user="1", item="2", event_column="2", event_weights=KINDS)
    with pytest.raises(ValueError, match=r"there is no header with a column \[n\]; give the position"):
        read(path, user="1", item="2", weight_column="n")


def test_weights_keep_to_their_events_in_the_order_of_time():
    frame = FRAME.assign(time=[50, 10, 30, 20, 40])
    table = read_interactions(frame, None, None, print, weight_column="quantity")
    assert table.events.weights.tolist() == [1.5, 0.0, 2.0, 1.0, 4.0]
    amounts, matrix = table.amounts(), table.matrix()
    assert amounts.nnz == matrix.nnz == 4
    assert np.array_equal(amounts.indices, matrix.indices) and amounts.toarray().tolist() == [[3.5, 0.0], [4.0, 1.0]]


def test_no_weights_are_read_without_an_argument():
    table = read_interactions(FRAME, None, None, print)
    assert table.weights is None and table.amounts() is None


def test_the_order_of_the_rows_changes_no_sum():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"user": ["u"] * 60, "item": ["a"] * 60, "n": 10.0 ** rng.uniform(-8, 8, 60)})
    sums = {tuple(read(frame.sample(frac=1, random_state=seed), weight_column="n")[0].values()) for seed in range(9)}
    assert len(sums) == 1


BAD = {
    "nan": "no weight",
    "": "no weight",
    "inf": "a weight that is no finite number: 'inf'",
    "1e31": "a weight that is no finite number: '1e31'",
    "many": "a weight that is no finite number: 'many'",
    "-0.5": "a negative weight: '-0.5'",
}


@pytest.mark.parametrize("value", BAD)
def test_a_bad_weight_is_left_out_and_named(value, tmp_path):
    rows = ["user,item,n", *(f"u{n},i{n % 2},1" for n in range(6)), f"u9,i0,{value}"]
    found, said = read(write(tmp_path / "a.csv", "\n".join(rows)), weight_column="n")
    assert len(found) == 6 and ("u9", "i0") not in found
    reason = BAD[value] if value != "nan" else "a weight that is no finite number: 'nan'"
    assert f"1 of 7 rows is unreadable and left out: line 8 ({reason})." in said[0]


@pytest.mark.parametrize("value", [None, np.nan, np.inf, -1.0, "x", pd.Timestamp("2024-01-01")])
def test_a_bad_weight_of_a_frame(value):
    frame = pd.DataFrame({"user": range(8), "item": [0, 1] * 4, "n": [1, 2.5, 3, 4, 5, 6, 7, value]})
    found, said = read(frame, weight_column="n")
    assert len(found) == 7 and any("left out: row 8 (" in each for each in said)


@pytest.mark.parametrize("value", [10**400, 1j])
def test_a_number_that_is_no_weight_is_left_out(value):
    quantity = pd.Series([value, 1.5, 0.0, 1.0, 4.0], dtype=object)
    sums, said = read(FRAME.assign(quantity=quantity), weight_column="quantity")
    assert ("u1", "a") in sums and sums["u1", "a"] == 1.5
    assert "row 1 (a weight that is no finite number" in " ".join(said)


def test_mostly_bad_weights_are_an_error(tmp_path):
    frame = pd.DataFrame({"user": range(8), "item": [0, 1] * 4, "n": ["good"] * 8})
    with pytest.raises(ValueError, match=r"'good'.* no usable row; each needs a user and an item and a weight\."):
        read(frame, weight_column="n")


def test_a_row_without_event_is_left_out():
    frame = pd.DataFrame({"user": range(5), "item": [0, 1, 0, 1, 0], "event": ["view", "view", None, "  ", "view"]})
    found, said = read(frame, event_weights={"view": 2})
    assert set(found.values()) == {2.0} and len(found) == 3
    assert "row 3 (no event), row 4 (no event)" in said[0]


def test_kinds_without_a_weight_are_an_error():
    with pytest.raises(
        ValueError, match=r"\[event_type\] has kinds without a weight: \[view\] \(3 rows\), \[cart\] \(1 row\)\."
    ):
        read(FRAME, event_weights={"purchase": 1})


def test_kinds_that_no_row_has_are_named():
    _, said = read(FRAME, event_weights={**KINDS, "Purchase": 1})
    assert "The data frame: no row of [event_type] has the kind [Purchase]." in said


@pytest.mark.parametrize("stars", [[1, 5, 3], [1.0, 5.0, 3.0], ["1", "5.0", "3"], [1, 5, None, 3]])
def test_numbers_are_kinds_too(stars):
    frame = pd.DataFrame({"user": range(len(stars)), "item": [0, 1, 1, 0][: len(stars)], "rating": stars})
    found, _ = read(frame, event_column="rating", event_weights={"1": 0.0, "3": 1.0, "5": 2.0})
    assert sorted(found.values()) == [0.0, 1.0, 2.0]


@pytest.mark.parametrize("name", ["event", "Event_Type", "action", "behavior_type", "behaviour", "interactionType"])
def test_usual_names_of_events(name):
    assert read(FRAME.rename(columns={"event_type": name}), event_weights=KINDS)[0]["u1", "a"] == 11


def test_which_column_of_events_is_unclear():
    with pytest.raises(ValueError, match=r"more than one column may hold the events: \[event_type\], \[action\]"):
        read(FRAME.assign(action="view"), event_weights=KINDS)
    with pytest.raises(
        ValueError, match=r"no column has a usual name of kinds of events.*event_column \(--event-column\)"
    ):
        read(FRAME.drop(columns="event_type"), event_weights=KINDS)
    with pytest.raises(
        ValueError,
        match=r"weight_column \(--weight-column\): there is no column \[quantty\]; did you mean \[quantity\]",
    ):
        read(FRAME, weight_column="quantty")


def test_a_weight_column_is_not_ignored():
    _, said = read(FRAME, weight_column="quantity")
    assert said[0] == "The data frame: ignored columns: event_type."
