"""Evaluation on a table of the user: metrics, splits, recommenders, answer, files, command line."""

from __future__ import annotations

import json
import re

import numpy as np
import pandas as pd
import pytest
import scipy.sparse as sp

import recbole_universal
from recbole_universal import Histories, Recommender, metrics
from recbole_universal.app import cli
from recbole_universal.app.commands.evaluate import EXAMPLES
from recbole_universal.app.evaluation import recommenders, results
from recbole_universal.app.evaluation.evaluate import evaluate
from recbole_universal.app.evaluation.output import open_output
from recbole_universal.app.evaluation.splits import SPLITS, Fold, make_split, shown_time
from recbole_universal.app.explanation import explanation, strongest_items
from recbole_universal.ranking.order_check import WITH_ORDER

DAY = 86400
N_USERS, N_ITEMS = 120, 30


def shop(seed: int = 0, n_users: int = N_USERS) -> pd.DataFrame:
    """Customers of three tastes, who take 8 of the 10 items of their taste and 2 others, one a day, in random order."""
    rng = np.random.default_rng(seed)
    rows = []
    for user in range(n_users):
        same = np.arange(user % 3, N_ITEMS, 3)
        items = [*rng.choice(same, 8, replace=False), *rng.choice(np.setdiff1d(np.arange(N_ITEMS), same), 2, False)]
        start = 1.6e9 + DAY * int(rng.integers(30))
        rows += [(f"u{user:03}", f"i{item:02}", int(start) + DAY * n) for n, item in enumerate(rng.permutation(items))]
    return pd.DataFrame(rows, columns=["user", "item", "timestamp"])


def ordered(frame: pd.DataFrame) -> tuple[sp.csr_matrix, Histories]:
    """Matrix and histories of a frame of :func:`shop`."""
    users, items = (frame[name].str[1:].astype(int).to_numpy() for name in ("user", "item"))
    histories = Histories.of_events(users, items, users.max() + 1, frame["timestamp"].to_numpy())
    return histories.matrix(N_ITEMS), histories


@pytest.fixture(scope="module")
def evaluation():
    return evaluate(shop(), split="time", top_k=3, show_progress=False)


# -- Metrics ---------------------------------------------------------------------------------------------------------


def test_metrics_of_hits():
    hits = np.array([[0, 1, 1, 0], [0, 0, 0, 0], [1, 0, 0, 0]], dtype=bool)
    n_relevant = np.array([2, 1, 4])
    first = (1 / np.log2(3) + 1 / np.log2(4)) / (1 + 1 / np.log2(3))
    last = 1 / (1 + 1 / np.log2(3) + 1 / np.log2(4) + 1 / np.log2(5))
    np.testing.assert_allclose(metrics.ndcg(hits, n_relevant), [first, 0, last])
    assert metrics.recall(hits, n_relevant).tolist() == [1, 0, 0.25]
    assert metrics.hit_rate(hits).tolist() == [1, 0, 1]
    assert metrics.precision(hits).tolist() == [0.5, 0, 0.25]
    assert metrics.reciprocal_rank(hits).tolist() == [0.5, 0, 1]


def test_metrics_of_lists():
    lists = np.array([[0, 1], [2, -1], [-1, -1]])
    assert metrics.novelty(lists, np.array([0.5, 0.125, 1.0])).tolist() == [2, 0, 0]
    assert metrics.novelty(np.array([[0, 1]]), np.array([0.25, 0.0])).tolist() == [2]  # nobody has item 1
    assert metrics.overlap(lists, np.array([[1, 3], [2, 0], [0, 1]])).tolist() == [0.5, 1, 0]
    train = sp.csr_matrix(np.array([[1, 1, 0, 0, 0], [1, 0, 1, 1, 0]]))
    fold = Fold(train, train, np.array([0, 1]))
    assert results.metrics_of_lists(np.array([[2, 3], [2, -1]]), fold) == {"coverage": 0.5, "Gini": 7 / 12}


def test_metrics_of_a_fold():
    train = sp.csr_matrix(np.array([[1, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]))
    test = sp.csr_matrix(np.array([[0, 0, 1, 1], [0, 1, 0, 0], [0, 0, 0, 0]]))
    fold = Fold(train, test, np.array([0, 1]))
    values = results.metrics_by_user(np.array([[2, 3], [0, 2]]), np.array([[2, 3], [1, 2]]), fold)
    assert values["hit rate@2"].tolist() == [1, 0] and values["recall@2"].tolist() == [1, 0]
    assert values["overlap with MostPop"].tolist() == [1, 0.5]
    assert values["novelty"].tolist() == [0, 0]  # all users have item 0, nobody items 2 and 3


def test_margins_and_the_paired_difference():
    ours, theirs = np.array([1.0, 0.5, 0.5, 0.0]), np.array([0.5, 0.0, 0.0, 0.0])
    by_user = {
        name: pd.DataFrame({"NDCG@1": values})
        for name, values in (("universal model", ours), ("MostPop", theirs), ("EASE", theirs / 2))
    }
    assert results.margins(by_user["universal model"])["NDCG@1"] == pytest.approx(1.96 * np.std(ours, ddof=1) / 2)
    best = results.difference_to_best(by_user, 1)
    assert best.baseline == "MostPop" and best.mean == pytest.approx(0.375)
    assert best.margin == pytest.approx(1.96 * np.std(ours - theirs, ddof=1) / 2)
    assert best.z_score == pytest.approx(0.375 / best.margin * 1.96, abs=1e-5)


# -- Splits ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "n_folds"), [("time", 1), ("folds", 3)])
def test_splits_in_time(name, n_folds):
    """The training part is all that came before the cut, the held-out part what came from then on and is new."""
    matrix, histories = ordered(shop())
    split = make_split(name, matrix, histories, 10**6, 3, 0)
    cuts = [fold.cut for fold in split.folds]
    assert len(cuts) == n_folds and cuts == sorted(set(cuts))
    for fold, end in zip(split.folds, [*cuts[1:], np.inf], strict=True):
        before, part = histories.times < fold.cut, (histories.times >= fold.cut) & (histories.times < end)
        np.testing.assert_array_equal(fold.train.toarray(), histories.where(before).matrix(N_ITEMS).toarray())
        np.testing.assert_array_equal(fold.test.toarray(), histories.where(part).matrix(N_ITEMS).toarray())
        assert (fold.histories.times < fold.cut).all() and not fold.repeats
        assert (np.diff(fold.train.indptr)[fold.users] > 0).all() and (np.diff(fold.test.indptr)[fold.users] > 0).all()


def test_the_last_item_is_held_out():
    matrix, histories = ordered(shop())
    (fold,) = make_split("last", matrix, histories, 50, 3, 0).folds
    assert len(fold.users) == 50
    np.testing.assert_array_equal(fold.test[fold.users].indices, histories.last_items()[fold.users])
    np.testing.assert_array_equal((fold.train + fold.test).toarray(), matrix.toarray())


def test_a_random_part_is_held_out():
    matrix, histories = ordered(shop())
    split = make_split("random", matrix, histories, 50, 3, 0)
    (fold,) = split.folds
    assert len(fold.users) == 50 and split.n_eligible == N_USERS and fold.histories is None
    assert (np.diff(fold.test.indptr)[fold.users] == 2).all()  # a fifth of ten items
    np.testing.assert_array_equal((fold.train + fold.test).toarray(), matrix.toarray())


def test_users_are_drawn_by_the_seed():
    matrix, histories = ordered(shop())
    users = [make_split("folds", matrix, histories, 20, 3, seed).folds for seed in (1, 1, 2)]
    drawn = [np.unique(np.concatenate([fold.users for fold in folds])).tolist() for folds in users]
    assert len(drawn[0]) == 20 and drawn[0] == drawn[1] != drawn[2]


def test_users_who_come_back_to_items():
    """Then items of the history are held out and recommended too; otherwise neither."""
    users = np.repeat(np.arange(10), 4)
    items = np.tile([0, 1, 0, 1], 10)
    histories = Histories.of_events(users, items, 10, np.tile(np.arange(4) + 0.5, 10))
    (fold,) = make_split("last", histories.matrix(3), histories, 10, 3, 0).folds
    assert fold.repeats and fold.test[:, 1].nnz == 10 and not fold.excluded(fold.users).nnz
    assert list(recommenders.baselines(fold)) == ["MostPop", "own items", "ItemKNN", "EASE"]
    assert recommenders.own_items(fold)(fold.users[:2], 3).tolist() == [[0, 1, 2]] * 2  # item 0 twice, item 1 once
    once = Histories.of_events(np.repeat(np.arange(100), 3), np.tile([0, 1, 2], 100), 100, np.arange(300) + 0.5)
    once.items[2] = 0  # a single repeat
    (fold,) = make_split("last", once.matrix(3), once, 100, 3, 0).folds
    assert not fold.repeats and fold.users.tolist() == [*range(1, 100)] and fold.excluded(fold.users).nnz == 198


def test_the_split_suits_the_data():
    matrix, histories = ordered(shop(n_users=400))
    assert make_split(None, matrix, histories, 10, 3, 0).name == "time"
    assert make_split(None, matrix, None, 10, 3, 0).name == "random"
    few = ordered(shop(n_users=60))
    assert make_split(None, *few, 10, 3, 0).name == "last"
    positions = Histories(histories.items, histories.indptr, histories.users, histories.ages.astype(float))
    assert make_split(None, matrix, positions, 10, 3, 0).name == "last"


@pytest.mark.parametrize(
    ("name", "histories", "message"),
    [
        ("time", None, r"\[time\] needs the order of the interactions\. Name their time column with time_column"),
        ("last", None, r"\[last\] needs the order"),
        ("folds", Histories.of_events(np.arange(3), np.arange(3), 3), r"\[folds\] needs times\."),
        ("last", Histories.of_events(np.arange(3), np.arange(3), 3), r"\[last\] holds nothing out: no user has"),
        ("random", None, r"\[random\] holds nothing out: no user has two different items"),
        ("time", Histories.of_events(np.arange(3), np.arange(3), 3, np.ones(3)), "no user has an item before"),
    ],
)
def test_what_a_small_table_lacks(name, histories, message):
    with pytest.raises(ValueError, match=message):
        make_split(name, sp.eye(3).tocsr(), histories, 10, 3, 0)


def test_times_for_people():
    assert shown_time(1.6e9) == "2020-09-13 12:26" and shown_time(17.0) == "17"


# -- Recommenders ----------------------------------------------------------------------------------------------------


def fold_of(seed: int = 0) -> Fold:
    matrix, histories = ordered(shop(seed))
    return make_split("random", matrix, histories, 40, 3, seed).folds[0]


def best_unseen(scores: np.ndarray, fold: Fold, k: int) -> np.ndarray:
    scores = np.where(fold.train[fold.users].toarray() > 0, -np.inf, scores)
    return np.sort(np.argsort(-scores, axis=1, kind="stable")[:, :k], axis=1)


def test_baselines_by_formula():
    fold, k = fold_of(), 4
    dense = fold.train.toarray().astype(np.float64)
    degree, mine = dense.sum(axis=0), dense[fold.users]
    np.testing.assert_array_equal(
        np.sort(recommenders.most_popular(fold)(fold.users, k), axis=1), best_unseen(np.tile(degree, (40, 1)), fold, k)
    )
    cosines = dense.T @ dense / np.sqrt(np.outer(degree, degree))
    np.fill_diagonal(cosines, 0)
    np.testing.assert_array_equal(
        np.sort(recommenders.item_knn(fold)(fold.users, k), axis=1), best_unseen(mine @ cosines, fold, k)
    )
    inverse = np.linalg.inv(dense.T @ dense + 3 * degree.mean() * np.eye(N_ITEMS))
    weights = -inverse / np.diag(inverse)
    np.fill_diagonal(weights, 0)
    np.testing.assert_array_equal(
        np.sort(recommenders.ease(fold)(fold.users, k), axis=1), best_unseen(mine @ weights, fold, k)
    )


def test_popular_items_complete_a_list():
    """An item without a common user has no score; all unseen items are listed once, and -1 follows."""
    train = sp.csr_matrix(np.array([[1, 1, 0, 0, 0, 0], [0, 1, 1, 0, 0, 0], [0, 0, 0, 1, 1, 0], [0, 0, 0, 1, 0, 0.0]]))
    fold = Fold(train.astype(np.float32), train, np.arange(4))
    assert recommenders.item_knn(fold)(np.array([0, 3]), 5).tolist() == [[2, 3, 4, 5, -1], [4, 1, 0, 2, 5]]
    again = Fold(fold.train, train, np.arange(4), repeats=True)
    assert recommenders.most_popular(again)(np.array([0]), 3).tolist() == [[1, 3, 0]]


def test_ease_is_left_out_where_the_matrix_is_large(monkeypatch):
    monkeypatch.setattr(recommenders, "LARGEST_REGRESSION", 20)
    result = evaluate(shop(), split="random", top_k=3, max_users=20, pretrained="universal-base", show_progress=False)
    assert list(result.table.index) == ["MostPop", "ItemKNN", "universal model"]
    assert "EASE is left out" in "\n".join(result.notes)


@pytest.mark.parametrize("split", ["time", "last"])
def test_held_out_items_take_no_part(split):
    """With other held-out items, every recommender makes the same lists."""
    frame = shop()
    matrix, histories = ordered(frame)
    (fold,) = make_split(split, matrix, histories, 50, 3, 2020).folds
    if split == "time":
        held_out = frame["timestamp"] >= fold.cut
    else:
        last = frame.groupby("user")["timestamp"].idxmax()
        held_out = frame.index.isin(last.iloc[fold.users])
    other = frame.copy()
    other.loc[held_out, "item"] = other.loc[held_out, "item"].sample(frac=1, random_state=0).to_numpy()
    lists = []
    for some in (frame, other):
        (fold,) = make_split(split, *ordered(some), 50, 3, 2020).folds
        fits = {**recommenders.baselines(fold), "universal": recommenders.universal(None, lambda _: None)}
        lists.append({name: fit(fold)(np.arange(20), 5) for name, fit in fits.items()})
    for name in lists[0]:
        np.testing.assert_array_equal(lists[0][name], lists[1][name], err_msg=name)


# -- The whole -------------------------------------------------------------------------------------------------------


def test_a_personal_recommender_is_better_where_tastes_differ(evaluation):
    table = evaluation.table
    assert list(table.index) == ["MostPop", "ItemKNN", "EASE", "universal model"]
    assert evaluation.answer.startswith("Yes: for ") and "of 100 customers" in evaluation.answer
    assert table.loc["universal model", "NDCG@3"] > 1.5 * table.loc["MostPop", "NDCG@3"]
    assert (table.loc["MostPop", "overlap with MostPop"], evaluation.split, evaluation.top_k) == (1, "time", 3)
    assert (table.filter(like="seconds") >= 0).all(axis=None) and evaluation.n_users > 30
    for name, values in evaluation.by_user.items():
        assert len(values) == evaluation.n_users and values.index.isin(shop()["user"]).all()
        pd.testing.assert_series_equal(values.mean(), table.loc[name, values.columns], check_names=False)
    text = str(evaluation)
    assert text.startswith(evaluation.answer) and "NDCG@3" in text and "Split: time. Everything from 2020-" in text


def test_examples_have_histories_and_hits(evaluation):
    frame = shop()
    cut = frame["timestamp"].quantile(0.9)
    assert len({example.user for example in evaluation.examples}) == 5
    for example in evaluation.examples:
        mine = frame[frame["user"] == example.user].sort_values("timestamp")
        before, after = (mine[mask]["item"].tolist() for mask in (mine["timestamp"] < cut, mine["timestamp"] >= cut))
        assert example.history == before[-5:]
        for items in example.lists.values():
            assert len(items) == 3 and all(hit == (item in after) for item, hit in items)


def test_where_all_want_the_same():
    """Popular items are as good as any."""
    rng = np.random.default_rng(0)
    share = 1 / np.arange(1, 41) ** 1.5
    rows = [(user, item) for user in range(150) for item in rng.choice(40, 3, replace=False, p=share / share.sum())]
    result = evaluate(pd.DataFrame(rows, columns=["user", "item"]), top_k=3, show_progress=False)
    assert result.split == "random" and result.answer.startswith(("Not clearly: ", "No: "))


def test_folds_count_each_user_once():
    messages = []
    result = evaluate(
        shop(), split="folds", n_folds=2, top_k=3, max_users=25, show_progress=False, report=messages.append
    )
    assert result.n_users == 25 and "Users: 25 of " in "\n".join(result.notes)
    assert any("Fewer than 30 users" in note for note in result.notes)
    assert messages and "timestamp" in messages[0]


def answer(ours: list[float], popular: list[float], z_score: float = 0.0, split: str = "time", k: int = 10) -> str:
    by_user = {
        name: pd.DataFrame({f"hit rate@{k}": np.repeat(values, 50)})
        for name, values in (("universal model", ours), ("MostPop", popular))
    }
    return results.answer(by_user, results.Difference("EASE", 0.0, 0.0, z_score), split, k)


def test_answers():
    assert answer([1, 1, 0, 0], [1, 0, 0, 0]) == (
        "Yes: for 50 of 100 customers, at least one of the 10 recommended items is one that they chose later; "
        "with the 10 most popular items it is 25 of 100."
    )
    assert answer([1, 1], [1, 0], -3).startswith("Yes, but EASE does better: for 100 of 100")
    assert answer([0, 0], [1, 0]).startswith("No: for 0 of 100")
    few = {name: pd.DataFrame({"hit rate@1": [value] * 29}) for name, value in (("universal model", 1), ("MostPop", 0))}
    assert results.answer(few, results.Difference("EASE", 1, 0, np.inf), "time", 1).startswith("Not clearly: for 100")
    same = answer([1, 0], [1, 0], split="random", k=1)
    assert same.startswith("Not clearly: for 50 of 100 customers, the recommended item is one of their items that")
    assert same.endswith("with the most popular item it is 50 of 100, for each customer alike.")


# -- Files and the command line --------------------------------------------------------------------------------------


def written(evaluation, name: str) -> str:
    with open_output(name) as write:
        write(evaluation)
    with open(name, encoding="utf-8") as file:
        return file.read()


def test_tables_as_files(evaluation):
    written(evaluation, "figures.csv")
    frame = pd.read_csv("figures.csv", index_col=0)
    pd.testing.assert_frame_equal(frame[evaluation.table.columns], evaluation.table)
    assert frame["NDCG@3 margin"].tolist() == pytest.approx(evaluation.margins["NDCG@3"].tolist())
    content = json.loads(written(evaluation, "figures.json"))
    assert content["answer"] == evaluation.answer and content["users"] == evaluation.n_users
    assert content["recommenders"]["EASE"]["value"] == pytest.approx(evaluation.table.loc["EASE"].to_dict())
    tex = written(evaluation, "figures.TEX")
    assert tex.startswith(r"\begin{tabular}{lrrrr}") and r"\pm" in tex and "±" not in tex
    assert tex.count(r" \\") == 1 + len(evaluation.table.columns)


def test_the_page(evaluation):
    page = written(evaluation, "page.html")
    assert len(page) < 100_000 and "<script" not in page and not re.search(r"""(?:src|href)=["']?http""", page)
    parts = ["<h1>Should I use", evaluation.answer, "Customer ", "<h2>Fig", '<ul class="bars"', "<table", "Split: time"]
    positions = [page.index(part) for part in parts]
    assert positions == sorted(positions)
    assert page.count("<h3>Customer") == 5 and page.count('<ul class="bars">') == 2
    n_hits = sum(hit for example in evaluation.examples for items in example.lists.values() for _, hit in items)
    assert page.count("&#10003;") == n_hits
    reasons = [", ".join(reason) for example in evaluation.examples for reason in example.reasons if reason]
    assert reasons and re.findall('class="why">because of ([^<]+)<', page) == reasons


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_reasons_are_the_strongest_items_of_the_explanation():
    rec = Recommender.fit(shop(), model="universal-base", show_progress=False)
    row = rec.users.get_loc("u004")
    columns = rec.ranker.top_k([row], 4)[0][0].tolist()
    expected = [explanation(rec.ranker, row, column, rec.items, "[u004]").items[:2] for column in columns]
    found = strongest_items(rec.ranker, row, columns, 2)
    assert found == [[column for column, share in items if share >= 0.01] for items in expected]
    of_taste = [own for column, own in zip(columns, found, strict=True) if int(rec.items[column][1:]) % 3 == 1]
    assert len(of_taste) == 2  # those that the user lacks; items of the same taste speak for them
    assert all(int(rec.items[column][1:]) % 3 == 1 for own in of_taste for column in own)
    had = rec.ranker.matrix[[row]].indices[:2].tolist()
    assert strongest_items(rec.ranker, row, had, 2) == [[], []]


def test_ids_cannot_change_the_page():
    frame = shop(n_users=45)
    frame[["user", "item"]] = "<b>" + frame[["user", "item"]]
    result = evaluate(frame, split="random", top_k=3, max_users=20, pretrained="universal-base", show_progress=False)
    page = written(result, "page.html")
    assert "<b>" not in page and "&lt;b&gt;u0" in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"split": "weekly"}, r"split \(--split\): must be one of time, random, last, folds, got 'weekly'"),
        ({"top_k": 0}, r"top_k \(--top-k\): must be a whole number"),
        ({"top_k": 30}, r"top_k \(--top-k\): a list of 30 would hold every item"),
        ({"max_users": 0}, r"max_users \(--max-users\)"),
        ({"n_folds": 1}, r"n_folds \(--folds\)"),
        ({"seed": -1}, "seed"),
        ({"user_column": ["user"]}, r"user_column \(--user-column\): must be the name of a column"),
        ({"order": "columns"}, r"order \(--order\): must be rows"),
        ({"split": "random", "pretrained": WITH_ORDER}, "which a random split does not have"),
        ({"device": "abacus"}, "device: PyTorch knows no device 'abacus'"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        evaluate(shop(n_users=20), show_progress=False, **arguments)


def test_the_command_line(capsys):
    shop(n_users=60).rename(columns={"user": "who", "item": "what"}).to_csv("shop.csv", index=False)
    words = ["evaluate", "shop.csv", "--user-column", "who", "--item-column", "what", "--quiet", "--top-k", "4"]
    words += ["--split", "random", "--max-users", "20", "--model", "universal-base"]
    assert cli.main([*words, "--output", "page.html"]) == 0
    shown = capsys.readouterr()
    assert "of 100 customers" in shown.out.splitlines()[0] and "NDCG@4" in shown.out
    assert shown.out.endswith("Wrote page.html.\n") and "evaluate: shop.csv: times from [timestamp]" in shown.err
    for output, message in (
        ("shop.csv", "is an input file"),
        ("page.pdf", "must end in one of .csv, .json, .tex, .html"),
        ("nowhere/page.html", "there is no folder [nowhere]"),
    ):
        assert cli.main([*words, "--output", output]) == 1
        assert f"evaluate: {'--output' if output == 'shop.csv' else 'output (--output)'}: " in (
            error := capsys.readouterr().err
        )
        assert message in error
    assert cli.main(["evaluate", "missing.csv"]) == 1
    assert "missing.csv" in capsys.readouterr().err


def test_names_of_splits_are_those_of_the_command_line(capsys):
    assert set(re.findall(r"^  (\w+)  +\w", EXAMPLES, re.MULTILINE)) == set(SPLITS)
    with pytest.raises(SystemExit, match="2"):
        cli.main(["evaluate", "shop.csv", "--split", "weekly"])
    error = capsys.readouterr().err
    assert all(name in error for name in SPLITS)
    assert recbole_universal.evaluate is evaluate
