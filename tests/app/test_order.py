"""Recommendations and analysis of interactions with times: which model ranks, why, and what the report says."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from recbole_universal import Histories, UniversalRanker, recommend
from recbole_universal.app import cli
from recbole_universal.app.analysis.order import order_section, shuffled, statistics_of
from recbole_universal.graph.interaction_graph import binary_matrix
from recbole_universal.ranking.order_check import WITH_ORDER, WITHOUT_ORDER, check_order

N_ITEMS, N_USERS = 24, 80


def walks(seed: int = 0) -> pd.DataFrame:
    """Users who walk along a ring of items, in random order of the rows."""
    rng = np.random.default_rng(seed)
    rows = []
    for user in range(N_USERS):
        first, when = int(rng.integers(N_ITEMS)), int(rng.integers(1_500_000_000, 1_600_000_000))
        rows += [
            {"user_id": f"u{user}", "item_id": f"i{(first + step) % N_ITEMS:02}", "timestamp": when + 3600 * step}
            for step in range(int(rng.integers(6, 12)))
        ]
    return pd.DataFrame(rows).sample(frac=1, random_state=seed).reset_index(drop=True)


def following(frame: pd.DataFrame) -> dict[str, str]:
    """The item after the last one of each user."""
    last = frame.sort_values("timestamp").groupby("user_id")["item_id"].last()
    return {user: f"i{(int(item[1:]) + 1) % N_ITEMS:02}" for user, item in last.items()}


def first_items(recommended: pd.DataFrame) -> dict[str, str]:
    return recommended[recommended["rank"] == 1].set_index("user_id")["item_id"].to_dict()


def share_found(frame: pd.DataFrame, given: pd.DataFrame | None = None, **settings) -> float:
    """Share of users whose next item comes first, where the recommender is given the frame or another one."""
    given = frame if given is None else given
    expected, found = following(frame), first_items(recommend(given, top_k=3, show_progress=False, **settings))
    return float(np.mean([found[user] == item for user, item in expected.items()]))


def test_times_choose_the_sequential_model_which_finds_the_next_item():
    frame = walks()
    message = rf"{WITH_ORDER}\], which reads .* ranks: on the last items .* NDCG@10 [01]\.\d+"
    with pytest.warns(UserWarning, match=message):
        assert share_found(frame) > 0.9
    assert share_found(frame, pretrained=WITHOUT_ORDER) < 0.7
    assert share_found(frame, frame.drop(columns="timestamp")) < 0.7


def test_the_order_of_the_rows_is_the_order_where_asked():
    frame = walks().sort_values("timestamp", kind="stable")
    rows = frame.drop(columns="timestamp")
    with pytest.warns(UserWarning, match="which reads order and repeats, ranks"):
        in_order = first_items(recommend(rows, top_k=3, order="rows", show_progress=False))
    expected = following(frame)
    assert np.mean([in_order[user] == item for user, item in expected.items()]) > 0.9


def test_the_model_can_be_told(tmp_path, capsys):
    file, output = tmp_path / "log.csv", tmp_path / "recs.csv"
    frame = walks()
    frame.to_csv(file, index=False)
    for model, best in ((WITH_ORDER, 1.0), (WITHOUT_ORDER, 0.7)):
        command = ["recommend", str(file), "--output", str(output), "--top-k", "2", "--quiet", "--model", model]
        assert cli.main(command) == 0
        assert "ranks:" not in capsys.readouterr().err
        found = first_items(pd.read_csv(output))
        share = np.mean([found[user] == item for user, item in following(frame).items()])
        assert share > 0.9 if best == 1.0 else share < best
    assert cli.main(["recommend", str(file), "--output", str(output), "--quiet", "--fast"]) == 0
    assert WITH_ORDER not in capsys.readouterr().err  # fast lists know no order


def test_lists_for_later_are_checked_in_time(tmp_path, capsys):
    frame = walks()
    step, user = frame.groupby("user_id").cumcount(), pd.factorize(frame["user_id"])[0]
    file, output = tmp_path / "log.csv", str(tmp_path / "recs.csv")
    frame.assign(timestamp=1_600_000_000 + 3600 * step + 60 * user).to_csv(file, index=False)
    command = ["recommend", str(file), "--output", output, "--quiet"]
    for more, held_out in (([], "on the last items of"), (["--later"], "users after a point in time")):
        assert cli.main([*command, *more]) == 0
        assert held_out in capsys.readouterr().err
    for wrong in (["--fast"], ["--order", "rows"], ["--model", WITHOUT_ORDER]):
        assert cli.main([*command, "--later", *wrong]) == 1
        assert "later (--later): needs" in capsys.readouterr().err


def histories_of(frame: pd.DataFrame) -> tuple[Histories, int]:
    users, items = (pd.factorize(frame[name], sort=True)[0] for name in ("user_id", "item_id"))
    return Histories.of_events(users, items, N_USERS, frame["timestamp"].to_numpy()), N_ITEMS


def test_shuffled_histories_show_no_help():
    histories, n_items = histories_of(walks())
    mixed = shuffled(histories, np.random.default_rng(0))
    for some, helps in ((histories, True), (mixed, False)):
        matrix = binary_matrix(some.matrix(n_items))
        result = check_order(UniversalRanker(matrix, WITH_ORDER, histories=some), some, WITHOUT_ORDER)
        assert result is not None and result.n_held_out == N_USERS // 2
        assert (result.z_score > 3) == helps


def test_the_check_lacks_the_last_items(monkeypatch):
    """The model without order is made of the interactions without the held-out items."""
    histories, n_items = histories_of(walks())
    matrix = binary_matrix(histories.matrix(n_items))
    sequential = UniversalRanker(matrix, WITH_ORDER, histories=histories)
    seen = []

    class Seen(UniversalRanker):
        def __init__(self, given, *args, **settings):
            seen.append(given)
            super().__init__(given, *args, **settings)

    monkeypatch.setattr("recbole_universal.ranking.order_check.UniversalRanker", Seen)
    check_order(sequential, histories, WITHOUT_ORDER)
    (support,) = seen
    removed = (matrix - support).tocoo()
    assert len(removed.row) == N_USERS // 2 == len(set(removed.row))
    assert (histories.last_items()[removed.row] == removed.col).all()


def test_in_time_the_check_lacks_all_that_came_after(monkeypatch):
    """People begin their walks at different times, so many are on their way at any point in time."""
    frame = walks()
    histories, n_items = histories_of(frame)
    start = np.random.default_rng(0).permutation(N_USERS) * 180.0
    times = 3600.0 * (np.arange(len(histories.items)) - histories.indptr[histories.rows]) + start[histories.rows]
    clocked = Histories(histories.items, histories.indptr, histories.users, times + 0.5).asked_later()
    matrix = binary_matrix(clocked.matrix(n_items))
    sequential = UniversalRanker(matrix, WITH_ORDER, histories=clocked)
    seen = {}

    class Seen(UniversalRanker):
        def __init__(self, given, *args, **settings):
            super().__init__(given, *args, **settings)
            self.given = given

        def top_k(self, users, *args, **settings):
            lists = super().top_k(users, *args, **settings)
            seen.update((user, (items, self.given)) for user, items in zip(users.tolist(), lists[0], strict=True))
            return lists

    monkeypatch.setattr("recbole_universal.ranking.order_check.UniversalRanker", Seen)
    result = check_order(sequential, clocked, WITHOUT_ORDER)
    assert result.in_time and "after a point in time" in result.held_out and result.n_held_out == len(seen)
    assert result.with_order > result.without_order and result.z_score > 3
    gains = []
    for user, (items, support) in seen.items():
        history = clocked.items[clocked.indptr[user] : clocked.indptr[user + 1]]
        n_before = support[[user]].nnz
        assert sorted(support[[user]].indices) == sorted(history[:n_before])
        (place,) = np.flatnonzero(items == history[n_before]) if history[n_before] in items else (None,)
        gains.append(0.0 if place is None else 1 / np.log2(place + 2))
    assert result.without_order == pytest.approx(np.mean(gains))


def test_the_section_on_the_order():
    histories, n_items = histories_of(walks())
    section = order_section(histories, n_items, 40, 2020)
    assert "is better than [universal-base]" in section.text
    splits = section.tables["Splits"].set_index("held out")
    assert list(splits.index) == ["a random item", "the last item", "the first item after one point in time"]
    assert splits.loc["the last item", WITH_ORDER] > 0.9 > splits.loc["the last item", "MostPop"]
    pairs = section.tables["Shuffle test"].set_index("histories")["frequent pairs"]
    assert pairs["in order"] == N_ITEMS > pairs["shuffled"]
    values = statistics_of(histories).set_index("statistic")["value"]
    assert values["share of repeats"] == 0
    assert values["days between events, 50th percentile"] == pytest.approx(1 / 24)


def test_a_catalogue_smaller_than_the_list(tmp_path):
    few = pd.DataFrame({"user_id": list("aabb"), "item_id": list("xyyz"), "timestamp": [1, 2, 1, 2]})
    for settings in ({}, {"fast": True}, {"pretrained": WITHOUT_ORDER}, {"order": "rows"}):
        given = few.drop(columns="timestamp") if "order" in settings else few
        with pytest.warns(UserWarning, match="fewer"):
            lists = recommend(given, show_progress=False, **settings)
        assert dict(zip(lists["user_id"], lists["item_id"], strict=True)) == {"a": "z", "b": "x"}


def test_data_that_repeat_items_recommend_them_again():
    rng = np.random.default_rng(0)
    rows = [(f"u{user}", f"i{item}") for user in range(40) for item in np.tile(rng.permutation(30)[:4], 4)]
    frame = pd.DataFrame(rows, columns=["user_id", "item_id"])
    with pytest.warns(UserWarning, match="which reads order and repeats, ranks"):
        lists = recommend(frame, top_k=4, order="rows", show_progress=False)
    own = frame.groupby("user_id")["item_id"].agg(set)
    assert np.mean([row.item_id in own[row.user_id] for row in lists.itertuples()]) > 0.6  # without order none is


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"times": [1.0]}, "equally many"),
        ({"times": [0.0, np.nan]}, "finite"),
        ({"times": ["2", "1"]}, "times: must be numbers"),
        ({"users": [0, 5]}, "less than n_users"),
        ({"items": [0.5, 1]}, "items: must be integers"),
    ],
)
def test_wrong_events_are_refused(arguments, message):
    given = {"users": [0, 0], "items": [0, 1], "n_users": 1, **arguments}
    with pytest.raises(ValueError, match=message):
        Histories.of_events(**given)


def test_a_model_of_order_says_what_it_needs():
    with pytest.raises(ValueError, match=r"--time-column.*--order"):
        recommend(walks().drop(columns="timestamp"), pretrained=WITH_ORDER, show_progress=False)
