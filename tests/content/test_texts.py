from __future__ import annotations

import time

import numpy as np
import pandas as pd
import pytest

from recbole_universal.content.texts import MOST_CHARACTERS, chosen_fields, cleaned, is_text, item_texts, texts_of_table


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("<p>Tom &amp; <b>Jerry</b></p><script>x = 1</script> run", "Tom & Jerry run"),
        ("2 < 3 > 1", "2 < 3 > 1"),  # no markup
        ("a\n\n b", "a b"),
        (None, ""),
        (float("nan"), ""),
        ("", ""),
        (["the", "red", "car"], "the red car"),  # a token_seq
        (["Science Fiction", None, "War"], "Science Fiction, War"),
        ("river \ud800 boat", "river ? boat"),  # half of a surrogate pair
        (7, "7"),
        ("<!-- never closed", ""),
    ],
)
def test_cleaned(value, text):
    assert cleaned(value) == text


def test_a_million_characters_are_cut_before_the_work():
    start = time.process_time()
    assert len(cleaned("ab " * 10**6)) <= MOST_CHARACTERS
    assert len(cleaned("<" * 10**6)) <= MOST_CHARACTERS
    assert time.process_time() - start < 5


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (["Toy Story", "", None], True),
        (["1995", "1996"], False),
        ([1995, 1.5], False),
        (["https://a.b/c.jpg", "www.x.y"], False),
        (["a.jpg", "b.png"], False),
        ([["Drama"], ["War"]], True),
        ([None, ""], False),
        (["x1", "2", "3"], False),  # most have no letter
        ([True, False], False),
        (["Привет"], True),
    ],
)
def test_which_columns_are_text(values, expected):
    assert is_text(values) is expected


def test_named_columns_are_taken_as_they_are_and_must_exist():
    columns = {"title": ["a"], "year": ["1995"]}
    assert chosen_fields(columns, None, "items") == ["title"]
    assert chosen_fields(columns, ["year", "title"], "items") == ["year", "title"]
    with pytest.raises(ValueError, match=r"no column .*plot.*title.*year"):
        chosen_fields(columns, ["plot"], "items")


def test_fields_are_joined_in_their_order():
    assert item_texts({"a": ["x", ""], "b": ["y", None]}, ["b", "a"], 2) == ["y . x", ""]


def table(ids) -> pd.DataFrame:
    return pd.DataFrame({"item_id": ids, "title": ["one", "two", "three"]})


def test_texts_follow_ids_of_another_type_and_order():
    frame = table(["3", "1", "9"])
    texts = texts_of_table(frame, pd.Index(frame["item_id"]), pd.Index([1, 2, 3]), None, "items")
    assert texts == ["two", "", "one"]


def test_ids_that_fit_no_item_are_an_error():
    frame = table(["x", "y", "z"])
    with pytest.raises(ValueError, match=r"no id of the table is an item.*1.*ids such as.*x"):
        texts_of_table(frame, pd.Index(frame["item_id"]), pd.Index([1, 2, 3]), None, "items")


def test_values_of_numpy():
    assert cleaned(np.float64("nan")) == "" and cleaned(np.str_("a")) == "a"
