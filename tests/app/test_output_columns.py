"""Columns of recommendations have the names that came in, wherever they come from."""

from __future__ import annotations

import warnings

import pandas as pd
import pytest

from recbole_universal import Recommender, recommend
from recbole_universal.app import cli
from recbole_universal.app.output_columns import output_columns

PAIRS = [(f"u{user}", f"i{(user + step) % 7}") for user in range(6) for step in range(3)]


@pytest.fixture(autouse=True)
def _quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # too few users for a self-check
        yield


@pytest.mark.parametrize(
    ("user", "item", "expected"),
    [
        ("customer", "sku", ["customer", "sku"]),
        ("user_id:token", "item_id:token", ["user_id", "item_id"]),
        ("rank", "sku", ["user_id", "item_id"]),
        (4, 7, ["4", "7"]),
        ("client", "history", ["client", "history"]),
    ],
)
def test_class_function_and_command_agree(user, item, expected, tmp_path):
    frame = pd.DataFrame(PAIRS, columns=[user, item])
    named = {"user_column": user, "item_column": item}
    rec = Recommender.fit(frame, show_progress=False, **named)
    columns = [*expected, "score", "rank"]
    assert list(rec.recommend("u1")) == list(recommend(frame, show_progress=False, **named)) == columns
    other = "item_id" if expected[1] == "history" else expected[1]
    assert list(rec.recommend(histories=[["i1"]])) == ["history", other, "score", "rank"]
    assert list(rec.similar_items("i1")) == ["similar_to", *columns[1:]]
    if isinstance(item, int):  # a number is a position in a text file
        return
    frame.to_csv(tmp_path / "x.csv", index=False)
    words = ["--user-column", user, "--item-column", item, "--quiet"]
    assert cli.main(["recommend", str(tmp_path / "x.csv"), "--output", "recs.csv", *words]) == 0
    assert list(pd.read_csv("recs.csv")) == columns
    assert cli.main(["similar", str(tmp_path / "x.csv"), "--items", "i1", "--output", "near.csv", *words]) == 0
    assert list(pd.read_csv("near.csv")) == ["similar_to", *columns[1:]]


def test_names_outlive_folders_and_updates(tmp_path):
    pytest.importorskip("pyarrow")
    rec = Recommender.fit(pd.DataFrame(PAIRS, columns=["customer", "sku"]), show_progress=False)
    rec.save(tmp_path / "shop")
    rec = Recommender.load(tmp_path / "shop")
    rec.partial_fit(pd.DataFrame([("new", "i1")], columns=["customer", "sku"]), show_progress=False)
    rec.remove(users="u2", show_progress=False)
    with_stranger = rec.recommend(["new", 7], k=1)
    assert list(with_stranger) == ["customer", "sku", "score", "rank"]
    rec.save(tmp_path / "shop")
    assert list(recommend(tmp_path / "shop", users=["u1"], show_progress=False)) == list(with_stranger)
    assert cli.main(["recommend", "shop", "--output", "recs.parquet", "--quiet"]) == 0
    assert list(pd.read_parquet("recs.parquet")) == list(with_stranger)


def test_input_without_names(tmp_path):
    (tmp_path / "x.tsv").write_text("".join(f"{user[1:]}\t{item[1:]}\n" for user, item in PAIRS))
    for source in (tmp_path / "x.tsv", pd.DataFrame(PAIRS)):
        assert list(Recommender.fit(source, show_progress=False).recommend(k=1))[:2] == ["user_id", "item_id"]


def test_one_name_does_not_repeat_another():
    ids = pd.Index([1])
    assert output_columns(ids.rename("a"), ids.rename("a")) == ("user_id", "item_id", "score", "rank")
    assert output_columns(ids.rename("a"), ids.rename("similar_to"), "similar_to")[:2] == ("similar_to", "item_id")
