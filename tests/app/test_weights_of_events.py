"""Weights for the class, the function and the commands: equal lists, laws, updates, folders, evaluation."""

from __future__ import annotations

import io
import math
import warnings

import numpy as np
import pandas as pd
import pytest

from recbole_universal import Recommender, recommend
from recbole_universal.app import cli
from recbole_universal.app.commands.weights import _kinds
from recbole_universal.app.evaluation.evaluate import evaluate
from recbole_universal.app.evaluation.splits import make_split
from recbole_universal.app.evaluation.weights import with_weights
from recbole_universal.app.fitted_interactions import FittedInteractions
from recbole_universal.io.interactions import read_interactions

KINDS = {"view": 1, "cart": 3, "purchase": 10}
DAY = 86400
QUIET = {"show_progress": False}
WAYS = {
    "events": {"event_weights": KINDS},
    "events and numbers": {"event_weights": KINDS, "weight_column": "quantity"},
    "half-life": {"half_life": 5.0},
    "all": {"event_weights": KINDS, "weight_column": "quantity", "half_life": 5.0},
}


def shop() -> pd.DataFrame:
    """Customers of two tastes; some rows repeat a pair, some quantities are 0."""
    rng = np.random.default_rng(0)
    rows = []
    for user in range(60):
        likes = 0.35 * (user % 2 == np.arange(40) % 2) + 0.03
        items = rng.permutation(np.flatnonzero(rng.random(40) < likes))
        for step, item in enumerate([*items, *items[:2]]):
            event, quantity = rng.choice(list(KINDS)), rng.integers(0, 5) / 2
            rows.append((f"u{user}", f"i{item}", event, quantity, 1_700_000_000 + DAY * (user % 9 + step)))
    return pd.DataFrame(rows, columns=["user", "item", "event", "quantity", "time"])


def fitted(frame: pd.DataFrame, way: str, **arguments) -> Recommender:
    return Recommender.fit(frame, model="universal-base", **WAYS[way], **arguments, **QUIET)


def assert_same(one: Recommender, other: Recommender) -> None:
    ours, theirs = one.ranker.arrays(), other.ranker.arrays()
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():
        np.testing.assert_array_equal(array, theirs[name], err_msg=name)
    pd.testing.assert_frame_equal(one.recommend(k=5), other.recommend(k=5), check_exact=True)


@pytest.fixture(autouse=True)
def _quiet():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def test_weights_change_the_lists_and_equal_weights_do_not():
    frame = shop()
    plain = Recommender.fit(frame, model="universal-base", **QUIET)
    for way in WAYS:
        assert not fitted(frame, way).recommend(k=5)["item"].equals(plain.recommend(k=5)["item"])
    once = frame.drop_duplicates(["user", "item"])
    plain = Recommender.fit(once, model="universal-base", **QUIET)
    for arguments in ({"event_weights": dict.fromkeys(KINDS, 7)}, {"half_life": math.inf}):
        assert_same(Recommender.fit(once, model="universal-base", **arguments, **QUIET), plain)


def test_a_factor_of_all_weights_changes_nothing():
    more = {kind: 8 * weight for kind, weight in KINDS.items()}
    assert_same(Recommender.fit(shop(), model="universal-base", event_weights=more, **QUIET), fitted(shop(), "events"))


@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_half_lives_at_the_limits():
    longest = fitted(shop(), "events", half_life=10**400)
    assert_same(longest, fitted(shop(), "events"))
    assert_same(fitted(shop(), "events", half_life=5e-324), fitted(shop(), "events", half_life=1e-12))


def test_an_infinite_half_life_is_none():
    assert_same(fitted(shop(), "events", half_life=math.inf), fitted(shop(), "events"))


def test_weight_0_is_no_evidence_and_a_seen_item():
    frame = shop().drop_duplicates(["user", "item"])
    nothing = frame["event"] == "view"
    rec = Recommender.fit(frame, model="universal-base", event_weights={**KINDS, "view": 0}, **QUIET)
    without = Recommender.fit(frame[~nothing], model="universal-base", event_weights=KINDS, **QUIET)
    assert list(rec.users) == list(without.users) and list(rec.items) == list(without.items)
    pd.testing.assert_frame_equal(rec.recommend(k=40, filter_seen=False), without.recommend(k=40, filter_seen=False))
    had = set(zip(frame["user"], frame["item"], strict=True))
    found = rec.recommend(k=40)
    assert not had & set(zip(found["user"], found["item"], strict=True))
    seen = frame[nothing].iloc[0]
    assert rec.explain(seen["user"], seen["item"]).startswith(f"[{seen['user']}] has had [{seen['item']}]")


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("times", [True, False])
def test_updates_equal_a_fit_of_then(way, times, tmp_path):
    if not times and "half_life" in WAYS[way]:
        pytest.skip("a half-life needs times")
    frame = shop() if times else shop().drop(columns="time")
    new = (np.arange(len(frame)) % 7 == 0) | (frame["user"] == "u3")
    pytest.importorskip("pyarrow")
    rec = fitted(frame[~new], way)
    rec.save(tmp_path)
    rec = Recommender.load(tmp_path)
    rec.partial_fit(frame[new], **QUIET)
    assert_same(rec, fitted(pd.concat([frame[~new], frame[new]]), way))
    rec.save(tmp_path)
    again = Recommender.load(tmp_path)
    assert_same(again, rec)
    again.remove(users="u5", items="i7", **QUIET)
    assert_same(again, fitted(frame[(frame["user"] != "u5") & (frame["item"] != "i7")], way))


def test_class_function_and_commands_give_the_same_lists(tmp_path, capsys):
    pytest.importorskip("pyarrow")
    frame = shop().drop(columns="time")
    frame.to_csv(tmp_path / "shop.csv", index=False)
    options = ["--event-weights", "view=1,cart=3,purchase=10", "--weight-column", "quantity", "--quiet"]
    rec = Recommender.fit(frame, **WAYS["events and numbers"], **QUIET)
    expected = rec.recommend(k=3).sort_values(["user", "rank"]).reset_index(drop=True)
    lists = {"function": recommend(frame, top_k=3, **WAYS["events and numbers"], **QUIET)}
    assert cli.main(["fit", str(tmp_path / "shop.csv"), "--output", str(tmp_path / "folder"), *options]) == 0
    for name, words in {"file": [str(tmp_path / "shop.csv"), *options], "folder": [str(tmp_path / "folder")]}.items():
        output = tmp_path / f"{name}.csv"
        assert cli.main(["recommend", *words, "--top-k", "3", "--output", str(output), "--quiet"]) == 0
        lists[name] = pd.read_csv(output)
    for found in lists.values():
        found = found.sort_values(["user", "rank"]).reset_index(drop=True)
        pd.testing.assert_frame_equal(found, expected, check_dtype=False, rtol=1e-6)
    capsys.readouterr()
    assert cli.main(["similar", str(tmp_path / "shop.csv"), "--items", "i1", *options]) == 0
    similar = pd.read_csv(io.StringIO(capsys.readouterr().out))
    pd.testing.assert_frame_equal(similar, rec.similar_items("i1"), check_dtype=False, rtol=1e-6)
    assert cli.main(["explain", str(tmp_path / "shop.csv"), "--user", "u1", "--item", "i1", *options]) == 0
    assert capsys.readouterr().out.strip() == rec.explain("u1", "i1")
    assert cli.main(["similar", str(tmp_path / "folder"), "--items", "i1", *options]) == 1
    assert "leave out --weight-column, --event-weights" in capsys.readouterr().err
    assert cli.main(["evaluate", str(tmp_path / "shop.csv"), "--top-k", "5", *options]) == 0
    assert "The universal model reads weights, and the baselines do not." in capsys.readouterr().out


def test_weights_of_the_command_line():
    assert _kinds("view=1, add to cart=2.5,a=b=3") == {"view": 1, "add to cart": 2.5, "a=b": 3}
    for text in ("view", "view=", "=1", "view=x", "view=1,view=2", ""):
        with pytest.raises(ValueError, match="--event-weights: must name each kind once"):
            _kinds(text)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"weight_column": ["a"]}, r"weight_column \(--weight-column\): must be the name of a column"),
        ({"event_column": "event"}, r"event_column \(--event-column\): needs event_weights"),
        ({"event_weights": {}}, "must be a mapping such as"),
        ({"event_weights": "view=1"}, "must be a mapping such as"),
        ({"event_weights": {"view": -1}}, r"the weight of \[view\] must be a number of at least 0, got -1"),
        ({"event_weights": {"view": math.nan}}, "must be a number of at least 0, got nan"),
        ({"event_weights": {"view": math.inf}}, "must be a number of at least 0, got inf"),
        ({"event_weights": {1: 1, "1": 2}}, r"\[1\] has two weights"),
        ({"event_weights": {"view": "1"}}, "must be a number of at least 0, got '1'"),
        ({"event_weights": {"view": 10**400}}, "must be a number of at least 0, got .*at most 1e\\+30 is read"),
        ({"event_weights": {"view": 1, " view": 2}}, r"\[view\] has two weights"),
        ({"event_weights": {1: 1, "1.0": 2}}, r"\[1\] has two weights"),
        ({"half_life": 0}, r"half_life \(--half-life\): must be a number of days, more than 0, got 0"),
        ({"half_life": -3}, "more than 0, got -3"),
        ({"half_life": math.nan}, "more than 0, got nan"),
        ({"half_life": "week"}, "more than 0, got 'week'"),
    ],
)
def test_bad_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        Recommender.fit(shop(), **arguments, **QUIET)
    with pytest.raises(ValueError, match=message):
        evaluate(shop(), **arguments, **QUIET)
    with pytest.raises(ValueError, match=message):
        recommend(shop(), **arguments, **QUIET)


def test_a_half_life_needs_a_clock():
    frame = shop()
    with pytest.raises(ValueError, match=r"half_life \(--half-life\): needs the times"):
        Recommender.fit(frame.drop(columns="time"), half_life=3, **QUIET)
    with pytest.raises(ValueError, match=r"half_life.*needs times of a clock"):
        Recommender.fit(frame.assign(time=frame.groupby("user").cumcount()), half_life=3, **QUIET)
    with pytest.raises(ValueError, match=r"half_life.*needs times of a clock"):
        Recommender.fit(frame.assign(time=np.arange(len(frame)) + 0.5), half_life=3, **QUIET)


def test_only_weights_of_0_are_an_error():
    with pytest.raises(ValueError, match="weights: all are 0"):
        Recommender.fit(shop(), event_weights=dict.fromkeys(KINDS, 0), **QUIET)


def test_a_model_that_reads_the_order_says_that_it_reads_no_weights():
    with pytest.warns(UserWarning, match="reads the order of the interactions, and no weights"):
        Recommender.fit(shop(), model="universal-sequential", event_weights=KINDS, **QUIET)


@pytest.mark.parametrize("split", ["time", "last", "random", "folds"])
def test_an_evaluation_with_equal_weights_is_one_without(split):
    once = shop().drop_duplicates(["user", "item"])
    settings = {"split": split, "top_k": 5, "pretrained": "universal-base", **QUIET}
    plain = evaluate(once, **settings)
    equal = evaluate(once, event_weights=dict.fromkeys(KINDS, 2), **settings)
    columns = ["NDCG@5", "recall@5", "coverage"]
    pd.testing.assert_frame_equal(plain.table[columns], equal.table[columns], check_exact=True)


@pytest.mark.parametrize("split", ["time", "last", "random"])
@pytest.mark.parametrize("repeats", [False, True])
def test_folds_with_weights(split, repeats):
    """Nothing of weight 0 is held out, and the training part knows nothing that comes later."""
    frame = shop()
    bought = frame[frame["event"] != "view"]  # what was only seen before is new
    frame = frame if repeats else frame.drop(bought.index[bought.duplicated(["user", "item"])])
    table = read_interactions(frame, None, None, print, event_weights={**KINDS, "view": 0})
    read = FittedInteractions.of_table(table)
    weights = read.weights(None)
    evidence = weights.sign()
    evidence.eliminate_zeros()
    made = make_split(split, evidence.astype(np.float32), read.histories.of_positive_weight(), 100, 3, 0)
    (fold,) = (with_weights(fold, read.matrix, read.histories, weights, None) for fold in made.folds)
    assert len(fold.users) > 10 and (np.diff(fold.test.indptr)[fold.users] > 0).all()
    assert (fold.test > evidence).nnz == 0
    assert fold.repeats or fold.test.multiply(fold.seen()).nnz == 0
    assert fold.repeats == (repeats and split != "random")
    assert (fold.weights.sign() != fold.train).nnz == 0
    assert fold.seen_only.nnz and fold.seen_only.multiply(fold.train).nnz == 0
    late = read.histories.times >= (np.inf if fold.cut is None else fold.cut)
    early = read.histories.where(~late).matrix(len(read.items))
    assert (fold.seen() > early).nnz == 0
    assert fold.repeats or (fold.excluded(fold.users) != fold.seen()[fold.users]).nnz == 0
