"""Recommender: lists by the user's own ids, filters, unknown ids, words, folders on disk."""

from __future__ import annotations

import json
import re
import shutil
import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import fresh
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_universal import Recommender, recommend
from recbole_universal.app import explanation, recommender_files
from recbole_universal.graph.histories import Histories
from recbole_universal.graph.scorer_definitions import SCORERS
from recbole_universal.graph.scorers import GraphScorers
from recbole_universal.graph.sequence_scorers import SEQUENCE_SCORERS, SequenceScorers
from recbole_universal.ranking import order_check
from recbole_universal.ranking.ranking_network import RankingNetwork

pytest.importorskip("pyarrow")
N_ITEMS = 24


def events() -> pd.DataFrame:
    """People walk along a ring of items; some skip an item."""
    rng = np.random.default_rng(0)
    rows = []
    for user in range(50):
        item = rng.integers(N_ITEMS)
        for step in range(8):
            rows.append((f"u{user}", f"i{item}", 1000 * user + step))
            item = (item + rng.integers(1, 3)) % N_ITEMS
    return pd.DataFrame(rows, columns=["user", "item", "position"])


def fitted(**settings) -> Recommender:
    return Recommender.fit(events()[["user", "item"]], show_progress=False, **settings)


@pytest.fixture(scope="module")
def rec() -> Recommender:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return fitted()


@pytest.fixture(scope="module")
def ordered() -> Recommender:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return fitted(model="universal-sequential", order="rows")


both = pytest.mark.parametrize("which", ["rec", "ordered"])


def lists(frame: pd.DataFrame, by: str = "user") -> dict:
    return {name: group["item"].tolist() for name, group in frame.groupby(by)}


# -- Lists -----------------------------------------------------------------------------------------------------------


def test_lists_are_those_of_the_function(rec):
    ours = rec.recommend(k=5)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = recommend(events()[["user", "item"]], top_k=5, show_progress=False)
    assert ours.columns.tolist() == ["user", "item", "score", "rank"]
    order = ["user", "rank"]
    pd.testing.assert_frame_equal(
        ours.sort_values(order).reset_index(drop=True), theirs.sort_values(order).reset_index(drop=True)
    )


@pytest.mark.parametrize("library", ["polars", "pyarrow"])
def test_other_tables_have_the_same_lists(rec, library):
    module = pytest.importorskip(library)
    frame = events()[["user", "item"]]
    columns = {name: frame[name].tolist() for name in frame}
    table = module.DataFrame(columns) if library == "polars" else module.table(columns)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        other = Recommender.fit(table, show_progress=False)
    pd.testing.assert_frame_equal(other.recommend(k=3), rec.recommend(k=3), check_exact=True)
    column = table["user"][:3]
    assert other.recommend(column, k=1)["user"].tolist() == ["u0"]


def test_auto_takes_the_model_that_the_check_of_the_order_chooses(monkeypatch):
    said = []
    chosen = order_check.chosen_ranker
    monkeypatch.setattr(order_check, "chosen_ranker", lambda *args, **kw: said.append(1) or chosen(*args, **kw))
    with pytest.warns(UserWarning, match=r"which reads .* ranks"):
        Recommender.fit(events(), time_column="position", show_progress=False)
    assert said == [1]


def test_some_users_in_the_given_order(rec):
    every = lists(rec.recommend(k=4))
    some = rec.recommend(["u7", "u3", "u7"], k=4)
    assert list(dict.fromkeys(some["user"])) == ["u7", "u3"]
    assert lists(some) == {name: every[name] for name in ("u7", "u3")}
    for one in ("u7", np.array(["u7"]), pd.Series(["u7"]), ("u7",)):
        assert lists(rec.recommend(one, k=4)) == {"u7": every["u7"]}
    assert len(rec.recommend([], k=4)) == 0 and rec.recommend([]).columns.tolist() == list(some)


@both
def test_histories_have_the_lists_of_the_ranker(request, which):
    rec, table = request.getfixturevalue(which), events()
    histories = [group["item"].tolist() for _, group in table.groupby("user")]  # in the order of the ids
    ours = rec.recommend(histories=histories[:20], k=3)
    assert ours.columns.tolist() == ["history", "item", "score", "rank"]
    assert sorted(set(ours["history"])) == list(range(20))
    columns = [[rec.items.get_loc(item) for item in history] for history in histories[:20]]
    items, scores = rec.ranker.top_k_of(columns, 3)
    assert ours["item"].tolist() == rec.items.take(items.ravel()).tolist()
    np.testing.assert_array_equal(ours["score"], scores.ravel())


def test_seen_items(rec):
    seen = {user: set(group["item"]) for user, group in events().groupby("user")}
    for user, items in lists(rec.recommend(k=N_ITEMS)).items():
        assert set(items) == set(rec.items) - seen[user]
    assert all(len(items) == N_ITEMS for items in lists(rec.recommend(k=N_ITEMS, filter_seen=False)).values())
    alone = rec.recommend(histories=[["i1", "i2"]], k=N_ITEMS, filter_seen=True)["item"].tolist()
    assert set(alone) == set(rec.items) - {"i1", "i2"}


some_items = st.sets(st.integers(0, N_ITEMS - 1).map("i{}".format))


@both
@settings(max_examples=50)
@given(candidates=st.none() | some_items, exclude=st.none() | some_items, k=st.integers(1, 30))
def test_only_candidates_appear_and_lists_are_full(request, which, candidates, exclude, k):
    rec = request.getfixturevalue(which)
    possible = set(rec.items) if candidates is None else candidates
    possible = possible - (exclude or set())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the unknown user and the empty history
        by_user = rec.recommend(["u1", "u2", "nobody"], k=k, candidates=candidates, exclude=exclude, filter_seen=False)
        by_history = rec.recommend(histories=[["i3"], []], k=k, candidates=candidates, exclude=exclude)
    for name in ("u1", "u2", "nobody"):
        items = by_user["item"][by_user["user"] == name].tolist()
        assert set(items) <= possible and len(set(items)) == len(items) == min(k, len(possible))
    for index, left in ((0, possible - {"i3"}), (1, possible)):
        items = by_history["item"][by_history["history"] == index].tolist()
        assert set(items) <= left and len(set(items)) == len(items) == min(k, len(left))
    assert (by_user["rank"] >= 1).all() and np.isfinite(by_user["score"]).all()


def test_unknown_ids_are_named_in_one_warning(rec):
    names = [f"x{index}" for index in range(7)]
    with pytest.warns(UserWarning) as said:
        found = rec.recommend(["u1", *names], k=3, candidates=["i1", "i2", "i3", "i4", "gone"], exclude=["i2", None])
    (message,) = [str(each.message) for each in said]
    assert (
        "7 of 8 users have no interactions and get the most popular items: [x0], [x1], [x2], [x3], [x4], ..." in message
    )
    assert "2 item ids have no interactions and do not count: [gone], []" in message
    assert said[0].filename == __file__
    degree = events().drop_duplicates(["user", "item"])["item"].value_counts()
    popular = found[found["user"] == "x3"]
    allowed = degree[["i1", "i3", "i4"]]
    assert sorted(popular["item"]) == ["i1", "i3", "i4"]
    np.testing.assert_allclose(popular["score"], np.sort(allowed.to_numpy())[::-1] / degree.max(), rtol=1e-6)
    with pytest.warns(
        UserWarning, match=r"2 of 3 histories have no known item .*: \[1\], \[2\]\. 1 item id .*\[gone\]"
    ):
        found = rec.recommend(histories=[["i1"], [], ["gone"]], k=3)
    assert lists(found, "history")[1] == lists(found, "history")[2]
    with pytest.warns(UserWarning, match="3 item ids"):
        assert len(rec.recommend(["u1"], candidates=["a", "b", "c"])) == 0


def test_integers_find_the_text_of_a_file_and_stay_integers(tmp_path):
    frame = pd.DataFrame({"user": [1, 1, 2, 2, 3, 3], "item": [10, 11, 10, 12, 10, 12]})
    frame.to_csv(tmp_path / "x.csv", index=False)
    for source, kind in ((frame, int), (tmp_path / "x.csv", str)):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # too few users for a self-check
            rec = Recommender.fit(source, show_progress=False)
        found = rec.recommend([1, "2", 3.0], k=1)
        assert found["user"].tolist() == [kind(name) for name in (1, 2, 3)]
        assert found["item"].tolist() == [kind(name) for name in (12, 11, 11)]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"users": ["u1"], "histories": [["i1"]]}, "users and histories exclude each other"),
        ({"k": 0}, "argument k must be an integer >= 1"),
        ({"filter_seen": "yes"}, "filter_seen"),
        ({"users": [["u1"]]}, r"users: must be ids, \[n\]"),
        ({"users": pd.DataFrame({"user": [1]})}, "users: must be ids, got a frame"),
        ({"candidates": [{"i1": 2}]}, "candidates: must be ids"),
        ({"exclude": [[1]]}, "exclude: must be ids"),
        ({"histories": "i1"}, "histories: must be lists of item ids"),
        ({"histories": ["i1", "i2"]}, "histories: each must be a list of item ids"),
        ({"histories": 7}, "histories: must be lists of item ids"),
    ],
)
def test_wrong_arguments_are_refused_by_name(rec, settings, message):
    with pytest.raises(ValueError, match=message):
        rec.recommend(**settings)


def test_ids_must_be_those_of_the_matrix(rec):
    with pytest.raises(ValueError, match=r"users, items: must be the ids of the matrix, \[50, 24\], got \[49, 24\]"):
        Recommender(rec.ranker, rec.users[1:], rec.items)


def test_popularity_is_reported_once_at_the_fit():
    frame = pd.DataFrame({"user": list("abcdef"), "item": list("xyzxyx")})
    with pytest.warns(UserWarning, match="All users get the same popular items") as said:
        rec = Recommender.fit(frame, show_progress=False)
    assert sum("popular items" in str(each.message) for each in said) == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert rec.recommend(["a"], k=2)["item"].tolist() == ["y", "z"]
    assert rec.explain("a", "y").startswith("All users get the same popular items: ")


def test_threads_read_side_by_side(rec):
    expected = lists(rec.recommend(k=4))
    with ThreadPoolExecutor(4) as threads:
        found = list(threads.map(lambda user: lists(rec.recommend([user], k=4)), rec.users[:20]))
    assert found == [{user: expected[user]} for user in rec.users[:20]]


# -- Similar items and words -----------------------------------------------------------------------------------------


@both
def test_similar_items(request, which):
    rec = request.getfixturevalue(which)
    with pytest.warns(UserWarning, match=r"1 item id .* \[gone\]"):
        found = rec.similar_items(["i5", "gone", "i9"], 4)
    assert found.columns.tolist() == ["similar_to", "item", "score", "rank"]
    assert list(dict.fromkeys(found["similar_to"])) == ["i5", "i9"]
    dense = rec.ranker.matrix.toarray()
    if which == "rec":
        relations = rec.ranker.item_item().toarray()
    else:
        norm = np.sqrt(dense.sum(axis=0))
        relations = (dense.T @ dense) / np.outer(norm, norm)
        np.fill_diagonal(relations, 0)
    for item, group in found.groupby("similar_to"):
        row = relations[rec.items.get_loc(item)]
        np.testing.assert_allclose(group["score"], np.sort(row)[::-1][:4], rtol=1e-5)
        np.testing.assert_allclose(row[rec.items.get_indexer(group["item"])], group["score"], rtol=1e-5)
    near = {f"i{(5 + step) % N_ITEMS}" for step in range(-7, 8)}
    assert set(found["item"][found["similar_to"] == "i5"]) <= near
    assert rec.similar_items("i5", 1)["item"].tolist() == found["item"].tolist()[:1]


@both
def test_an_explanation_names_scorers_and_items(request, which, monkeypatch):
    rec = request.getfixturevalue(which)
    monkeypatch.setattr(RankingNetwork, "fallback_reason", lambda self: "")
    item = rec.recommend("u4", k=1)["item"][0]
    text = rec.explain("u4", item)
    assert text.startswith(f"[{item}] is number 1 of ")
    assert "candidates of [u4]. These raise its score most: " in text and " %)" in text
    own = text.split("Among the items of [u4], these speak for it most: ")[1]
    named = [part.split("]")[0].removeprefix("[") for part in own.rstrip(".").split("; ")]
    seen = events()["item"][events()["user"] == "u4"].tolist()
    assert 1 <= len(named) <= 3 and set(named) <= set(seen)
    distance = [
        min((int(item[1:]) - int(name[1:])) % N_ITEMS, (int(name[1:]) - int(item[1:])) % N_ITEMS) for name in named
    ]
    assert min(distance) <= 2  # a neighbour on the ring
    assert rec.explain("x", item) == "[x] has no interactions, so the most popular items are recommended."
    assert rec.explain("u4", "x") == "[x] is no item of the interactions, so it is never recommended."
    if which == "rec":
        assert rec.explain("u4", seen[0]) == f"[u4] has had [{seen[0]}], so it is no candidate."


@both
def test_parts_of_the_items_add_up_to_the_linear_scores(request, which):
    """Up to a factor of scorer and user, which is the same for all items; 1 where the order counts."""
    pairs = request.getfixturevalue(which).ranker.network.candidate_pairs
    history = pairs._histories(torch.tensor([8]))
    whole = pairs.scorers.scores_of(Histories(history.items, history.indptr))[:, 0].numpy()
    parts = [pairs.linear_parts(8, item)[1] for item in range(N_ITEMS)]
    assert sorted(pairs.linear_parts(8, 0)[0]) == sorted(pairs._item_id[np.unique(history.items)].tolist())
    for index, name in enumerate(pairs.scorers.names):
        if name not in pairs.scorers.linear:
            assert name not in parts[0]
            continue
        sums = np.array([part[name].sum() for part in parts])
        scores = whole[index][pairs.item_index]
        others = ~np.isin(pairs.item_index, history.items)  # a regression leaves an item out of its own score
        factor = sums[others] @ scores[others] / max(scores[others] @ scores[others], 1e-12)
        np.testing.assert_allclose(
            sums[others], factor * scores[others], atol=2e-3 * max(np.abs(sums).max(), 1e-6), err_msg=name
        )
        assert which == "rec" or not scores[others].any() or factor == pytest.approx(1, abs=1e-3), name


# -- Folders ---------------------------------------------------------------------------------------------------------

LISTS = """
import sys, warnings
import numpy as np
from recbole_universal import Recommender
warnings.simplefilter("ignore")
rec = Recommender.load(sys.argv[1])
found = rec.recommend(k=6, exclude=["i3"])
rest = rec.recommend(histories=[["i1", "i2"], ["i7"]], k=6) if rec.ranker.network.ranks_candidates else found
np.savez(sys.argv[2], items=found["item"].to_numpy(str), scores=found["score"], rest=rest["score"])
"""


@pytest.mark.parametrize("which", ["rec", "ordered", "universal-paper"])
def test_a_loaded_recommender_gives_the_same_lists_in_a_new_process(request, which, tmp_path, monkeypatch):
    rec = fitted(model=which) if which == "universal-paper" else request.getfixturevalue(which)
    rec.save(tmp_path / "rec")
    done = fresh.run("-c", LISTS, tmp_path / "rec", tmp_path / "lists.npz")
    assert done.returncode == 0, done.stderr
    found = rec.recommend(k=6, exclude=["i3"])
    rest = rec.recommend(histories=[["i1", "i2"], ["i7"]], k=6) if which != "universal-paper" else found
    with np.load(tmp_path / "lists.npz") as theirs:
        assert theirs["items"].tolist() == found["item"].tolist()
        np.testing.assert_array_equal(theirs["scores"], found["score"])
        np.testing.assert_array_equal(theirs["rest"], rest["score"])
    for owner in (GraphScorers, SequenceScorers):
        monkeypatch.setattr(owner, "__init__", None)  # nothing is fitted again
    monkeypatch.setattr("recbole_universal.ranking.checked_network.choose_correction", None)
    again = Recommender.load(str(tmp_path / "rec"))
    assert again.users.equals(rec.users) and again.items.equals(rec.items) and again.items.dtype == rec.items.dtype
    pd.testing.assert_frame_equal(again.recommend(k=6, exclude=["i3"]), found, check_exact=True)
    if which != "universal-paper":
        assert again.explain("u4", found["item"][0]) == rec.explain("u4", found["item"][0])
    again.save(tmp_path / "copy")  # of mapped arrays
    for ours, theirs in zip(
        sorted((tmp_path / "copy").rglob("*.safetensors")),
        sorted((tmp_path / "rec").rglob("*.safetensors")),
        strict=True,
    ):
        assert ours.read_bytes() == theirs.read_bytes()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_processes_that_load_one_folder_share_its_memory(ordered, tmp_path):
    ordered.save(tmp_path)
    again = Recommender.load(tmp_path)
    file = str(tmp_path / state_of(tmp_path).name / "arrays.safetensors")
    assert file in Path("/proc/self/maps").read_text()
    arrays = again.ranker.features["sequence"].pair.scorers.arrays()
    assert all(not array.flags.owndata for array in arrays.values())


@pytest.fixture
def folder(rec, tmp_path):
    rec.save(tmp_path / "rec")
    return tmp_path / "rec"


def state_of(folder):
    (state,) = [path for path in folder.iterdir() if path.is_dir()]
    return state


def changed(**entries):
    def change(folder):
        file = folder / "recommender.json"
        file.write_text(json.dumps({**json.loads(file.read_text()), **entries}))

    return change


def flip(name: str, position: int):
    def change(folder):
        content = bytearray((state_of(folder) / name).read_bytes())
        content[position] ^= 1
        (state_of(folder) / name).write_bytes(content)

    return change


@pytest.mark.parametrize(
    ("damage", "error", "message"),
    [
        (lambda folder: (folder / "recommender.json").unlink(), FileNotFoundError, "holds no recommender: there is no"),
        (lambda folder: (folder / "recommender.json").write_text("{"), ValueError, "no description of a recommender"),
        (lambda folder: (folder / "recommender.json").write_text("[]"), ValueError, "no description of a recommender"),
        (
            changed(format=1),
            ValueError,
            "is of format 1, written by recbole_universal '0.1.0'; this version reads format 2. Fit and save",
        ),
        (changed(state="../rec"), ValueError, "entries are missing or of another type"),
        (changed(bytes=3), ValueError, "entries are missing or of another type"),
        (changed(features={"all": 0}), ValueError, "whose features have other numbers .* Fit it again"),
        (changed(n_items=3), ValueError, r"it has 50 users and 24 items, .* says \[50, 3\]"),
        (flip("arrays.safetensors", -5), ValueError, "arrays.safetensors.* is damaged: its checksum does not match"),
        (flip("users.parquet", 40), ValueError, "users.parquet.* is damaged: its hash"),
        (
            lambda folder: (state_of(folder) / "arrays.safetensors").write_bytes(b""),
            ValueError,
            "has 0 bytes instead of",
        ),
        (lambda folder: (state_of(folder) / "items.parquet").unlink(), FileNotFoundError, "items.parquet"),
        (lambda folder: shutil.rmtree(state_of(folder) / "model"), FileNotFoundError, "model"),
        (lambda folder: shutil.rmtree(state_of(folder)), FileNotFoundError, "state-"),
    ],
)
def test_damage_is_named(folder, damage, error, message):
    damage(folder)
    with pytest.raises(error, match=message):
        Recommender.load(folder)


def test_a_stopped_save_leaves_the_old_recommender_or_none(rec, tmp_path, monkeypatch):
    for name in ("save_pretrained", "write_arrays", "atomic_write", "write_text"):
        folder = tmp_path / name

        def stop(*args):
            raise KeyboardInterrupt

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(recommender_files, name, stop)
            rec.save(folder)
        assert list(folder.iterdir()) == []
        with pytest.raises(FileNotFoundError, match="holds no recommender"):
            Recommender.load(folder)
        rec.save(folder)
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(recommender_files, name, stop)
            rec.save(folder)
        assert len(Recommender.load(folder).users) == 50


def test_a_save_replaces_the_old_one_and_removes_what_a_kill_left(rec, ordered, folder):
    old = state_of(folder)
    killed = folder / "state-0123456789abcdef"
    killed.mkdir()
    (killed / "users.parquet").write_bytes(b"")
    (folder / "notes.txt").write_text("mine")
    ordered.save(folder)
    assert not old.exists() and not killed.exists() and (folder / "notes.txt").exists()
    pd.testing.assert_frame_equal(Recommender.load(folder).recommend(k=3), ordered.recommend(k=3), check_exact=True)


def test_a_load_during_a_save_reads_the_new_one(rec, ordered, folder, monkeypatch):
    load = recommender_files._load

    def slow(state, *args):
        if not saved:
            saved.append(ordered.save(folder))
        return load(state, *args)

    saved: list = []
    monkeypatch.setattr(recommender_files, "_load", slow)
    assert Recommender.load(folder).ranker.pretrained.families == ["sequence"]


def test_a_folder_of_another_program_is_refused(rec, tmp_path):
    (tmp_path / "recommender.json").write_text('{"name": "mine"}')
    with pytest.raises(FileExistsError, match="is not that of a recommender and would be replaced"):
        rec.save(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["recommender.json"]


def test_ids_that_no_file_holds_are_refused(rec, tmp_path):
    mixed = pd.Index([1, *rec.users[1:]], dtype=object)
    for ids, kinds in (
        (mixed, "int, str"),
        (pd.Index([1, *(np.arange(49) + 0.5).tolist()], dtype=object), "float, int"),
    ):
        with pytest.raises(ValueError, match=f"users: ids must be of one type that Parquet holds, .*, and are {kinds}"):
            Recommender(rec.ranker, ids, rec.items).save(tmp_path / "rec")
    assert not (tmp_path / "rec").exists()


def test_integers_are_saved(rec, tmp_path):
    numbers = Recommender(rec.ranker, pd.Index(np.arange(50)), pd.Index(np.arange(24) + 2**40))
    numbers.save(tmp_path)
    again = Recommender.load(tmp_path)
    pd.testing.assert_frame_equal(again.recommend([4, 9], k=3), numbers.recommend([4, 9], k=3), check_exact=True)


def test_each_scorer_has_words():
    assert {*SCORERS, *SEQUENCE_SCORERS} <= set(explanation._WORDS)


def test_a_mask_is_no_list_of_ids(rec):
    with pytest.raises(ValueError, match="candidates: must be ids, not truth values; give the ids where they are true"):
        rec.recommend(candidates=pd.Series([True, False, True]))


def test_hashed_ids_are_saved(rec, tmp_path):
    large = Recommender(rec.ranker, pd.Index(np.arange(50, dtype=np.uint64) + 2**63), rec.items)
    large.save(tmp_path)
    assert Recommender.load(tmp_path).users.tolist() == large.users.tolist()


@pytest.mark.parametrize("name", ["users.parquet", "arrays.safetensors", "model"])
def test_what_a_folder_lacks_is_named(folder, name):
    missing = state_of(folder) / name
    shutil.rmtree(missing) if missing.is_dir() else missing.unlink()
    with pytest.raises(FileNotFoundError, match=rf"is incomplete: \[.*{name}\] is missing\. Save it again\."):
        Recommender.load(folder)


def test_a_file_is_no_folder(rec, tmp_path):
    file = tmp_path / "file"
    file.touch()
    for call in (rec.save, Recommender.load):
        with pytest.raises(ValueError, match=r"folder: \[.*file\] is a file; name a folder\."):
            call(file)


def test_the_matrix_as_an_arrow_table(rec):
    arrow = pytest.importorskip("pyarrow")
    table = rec.to_arrow()
    assert isinstance(table, arrow.Table) and table.column_names == ["item", "neighbor", "weight"]
    frame = table.to_pandas()
    index = [rec.items.get_indexer(frame[name]) for name in ("item", "neighbor")]
    dense = np.zeros((N_ITEMS, N_ITEMS), dtype=np.float32)
    dense[tuple(index)] = frame["weight"]
    np.testing.assert_array_equal(dense, rec.ranker.item_item().toarray())
    first = frame.groupby("item")["neighbor"].first()
    assert first["i5"] == rec.similar_items("i5", 1)["item"][0]
    assert frame.groupby("item")["weight"].apply(lambda values: values.is_monotonic_decreasing).all()
    assert frame["item"].drop_duplicates().tolist() == rec.items.tolist()
    numbers = Recommender(rec.ranker, rec.users, pd.Index(np.arange(24), name="weight")).to_arrow()
    assert numbers.column_names == ["item_id", "neighbor", "weight"] and numbers["neighbor"].type == arrow.int64()


def test_a_model_without_a_matrix_has_no_arrow_table(ordered):
    with pytest.raises(ValueError, match="proximity"):
        ordered.to_arrow()


def test_one_line_says_what_a_recommender_is(rec, ordered):
    assert repr(rec) == f"<Recommender: 50 users, 24 items, {rec.ranker.matrix.nnz} pairs, universal-base>"
    assert repr(ordered).endswith(", universal-sequential>")


def test_a_saved_item_item_matrix_is_not_computed_again(tmp_path, monkeypatch):
    rec = fitted()
    rec.save(tmp_path / "without")
    expected, similar = rec.recommend(k=5, fast=True), rec.similar_items("i4", 5)
    rec.save(tmp_path / "with")
    assert Recommender.load(tmp_path / "with").ranker.has_item_item
    assert not Recommender.load(tmp_path / "without").ranker.has_item_item
    monkeypatch.setattr(GraphScorers, "item_item", lambda *_: 1 / 0)
    again = Recommender.load(tmp_path / "with")
    pd.testing.assert_frame_equal(again.recommend(k=5, fast=True), expected, check_exact=True)
    pd.testing.assert_frame_equal(again.similar_items("i4", 5), similar, check_exact=True)
    again.partial_fit(pd.DataFrame({"user": ["new"], "item": ["i3"]}), show_progress=False)
    with pytest.raises(ZeroDivisionError):
        again.recommend("new", fast=True)


@both
def test_reasons_of_a_history(request, which):
    rec = request.getfixturevalue(which)
    own = rec._state.histories[[8]].items if which == "ordered" else rec.ranker.matrix[[8]].indices
    history = rec.items[own].tolist()
    best = rec.recommend(histories=[history], k=3)["item"].tolist()
    for place, item in enumerate(best, start=1):
        text = rec.explain(history=history, item=item)
        assert text.startswith(f"[{item}] is number {place} of ") and "candidates of this history." in text
        named = text.partition("Among the items of this history, these speak for it most: ")[2]
        assert all(name in history for name in re.findall(r"\[(\w+)\]", named))
    assert rec.explain(history=["gone"], item=best[0]).startswith("This history has no known item")
    assert "never recommended" in rec.explain(history=history, item="gone")
    assert rec.explain(history=history, item=history[0]).startswith("This history has had") or which == "ordered"
    for wrong in ({}, {"user": "u1", "history": history}):
        with pytest.raises(ValueError, match="user, history: give one of them"):
            rec.explain(item=best[0], **wrong)
    with pytest.raises(ValueError, match="history: each must be a list"):
        rec.explain(history="i1", item=best[0])
