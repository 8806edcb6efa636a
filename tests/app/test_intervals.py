"""The arguments user_inter_num_interval and item_inter_num_interval."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from recbole_universal import recommend
from recbole_universal.app.core import checked_core
from recbole_universal.io.core import Core

INF = float("inf")


@pytest.mark.parametrize(
    ("given", "interval"),
    [
        (5, (5, INF)),
        ("5", (5, INF)),
        (np.int64(5), (5, INF)),
        ("[5,inf)", (5, INF)),
        (" [ 5 , inf ) ", (5, INF)),
        ("(5,inf)", (6, INF)),
        ("[5,10]", (5, 10)),
        ("(5,10)", (6, 9)),
        ("[4.5,9.5]", (5, 9)),
        ("(4.5,9.5)", (5, 9)),
        ("[0,inf)", (0, INF)),
    ],
)
def test_forms_of_an_interval(given, interval):
    assert checked_core(given, None) == Core(users=interval) and checked_core(None, given) == Core(items=interval)


@pytest.mark.parametrize(
    "given",
    [
        0,
        -1,
        2.5,
        True,
        "",
        "five",
        "5,10",
        "[5,10",
        "[10,5]",
        "(5,6)",
        "[a,b]",
        "[nan,inf)",
        "[inf,inf]",
        "[0,0]",
        "[5,inf);[1,2]",
        [5, 10],
    ],
)
def test_another_value_is_an_error_that_names_the_argument(given):
    with pytest.raises(
        ValueError, match=r"item_inter_num_interval \(--item-inter-num-interval\): must be a least number"
    ):
        checked_core(None, given)


def test_no_interval_is_no_core():
    assert checked_core(None, None) is None


def test_lists_are_those_of_the_core_alone():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"user": rng.integers(0, 40, 600), "item": rng.integers(0, 25, 600)}).drop_duplicates()
    core = frame
    for _ in range(20):
        of_user, of_item = core.groupby("user")["item"], core.groupby("item")["user"]
        core = core[of_user.transform("size").ge(8) & of_item.transform("size").ge(12)]
    assert 0 < len(core) < len(frame) and core["user"].nunique() < 40
    settings = {"top_k": 3, "show_progress": False}
    with pytest.warns(UserWarning, match="interactions, .* stay, with 8 and more a user and 12 and more an item"):
        lists = recommend(frame, user_inter_num_interval=8, item_inter_num_interval="[12,inf)", **settings)
    pd.testing.assert_frame_equal(lists, recommend(core.reset_index(drop=True), **settings))


def test_a_user_who_is_left_out_is_not_said_to_have_no_interactions():
    frame = pd.DataFrame({"user": [1, 1, 2, 2, 3], "item": ["a", "b", "a", "b", "a"]})
    with pytest.warns(UserWarning) as warned:
        recommend(frame, users=["3", 1, "nobody"], user_inter_num_interval=2, top_k=1, show_progress=False)
    said = [str(warning.message) for warning in warned]
    left_out = (
        "1 of 3 users are left out by user_inter_num_interval and item_inter_num_interval and get the most popular"
    )
    assert any(left_out in message and message.endswith(": [3].") for message in said)
    assert any("1 of 3 users have no interactions" in message and "[nobody]" in message for message in said)
