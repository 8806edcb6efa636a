"""Recommendations from a table of the user: reading, warnings, writing."""

from __future__ import annotations

import csv
import gzip
import stat
import subprocess
import sys
import warnings
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from interactions_data import ROWS, lines, read, write

import recbole_universal.checkpoint
import recbole_universal.ranking.ranker
from recbole_universal.app import cli
from recbole_universal.app.recommend import recommend
from recbole_universal.app.recommendation_files import open_recommendations
from recbole_universal.checkpoint import Pretrained, save_pretrained
from recbole_universal.features import FeaturePipeline
from recbole_universal.ranking.network import UniversalNetwork


class PopularityRanker:
    """Ranks by popularity, then by column, and stores the arguments of the constructor."""

    made: list[SimpleNamespace]

    def __init__(self, matrix, pretrained="universal-base", *, device="cpu", show_progress=False, **_):
        self.matrix = self.evidence = matrix
        self.made.append(SimpleNamespace(matrix=matrix, pretrained=pretrained, device=device))

    def top_k(self, users, k, exclude_seen=None, *, fast=False):
        scores = np.tile(np.bincount(self.matrix.indices, minlength=self.matrix.shape[1]), (len(users), 1)).astype(
            float
        )
        if exclude_seen in (None, True):
            scores[self.matrix[users].nonzero()] = -np.inf
        items = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        scores = np.take_along_axis(scores, items, axis=1)
        return np.where(np.isinf(scores), -1, items), scores.astype(np.float32)


@pytest.fixture(autouse=True)
def ranker(monkeypatch):
    PopularityRanker.made = []
    monkeypatch.setattr(recbole_universal.ranking.ranker, "UniversalRanker", PopularityRanker)
    monkeypatch.setattr(
        recbole_universal.checkpoint,
        "load_pretrained",
        lambda name: Pretrained({}, {"features": {"families": []}}, {"name": name}),
    )
    return PopularityRanker


def lists(frame):
    user, item = frame.columns[:2]
    return {name: group[item].tolist() for name, group in frame.groupby(user, observed=True)}


def written_to_file(frame, path):
    """Write a frame of users, items, scores and ranks as the command line does."""
    with open_recommendations(path) as writer:
        writer.columns = list(frame.columns)
        writer.write(
            *(pd.Index(frame[name]) for name in frame.columns[:2]),
            *(frame[name].to_numpy() for name in frame.columns[2:]),
        )


# -- Lists -----------------------------------------------------------------------------------------------------------


def test_lists_of_a_frame():
    frame = pd.DataFrame(ROWS, columns=["user_id", "item_id"])
    result = recommend(frame, top_k=1, show_progress=False)
    assert result.columns.tolist() == ["user_id", "item_id", "score", "rank"]
    assert lists(result) == {"u1": ["c"], "u2": ["b"], "u3": ["c"]}
    assert result["rank"].tolist() == [1, 1, 1]


def test_seen_items_when_asked_for():
    result = recommend(pd.DataFrame(ROWS, columns=["user", "item"]), top_k=4, include_seen=True, show_progress=False)
    assert lists(result) == {user: ["a", "b", "c", "d"] for user in ("u1", "u2", "u3")}
    assert result["rank"].tolist() == [1, 2, 3, 4] * 3


def test_fast_lists(monkeypatch, tmp_path, capsys):
    monkeypatch.undo()  # the ranker itself
    rows = [(f"u{user}", f"i{item}") for user in range(20) for item in range(14) if (user + item) % 2 == 0]
    rows = [(user, item) for user, item in rows if int(item[1:]) // 2 != int(user[1:]) % 7]
    frame = pd.DataFrame(rows, columns=["user", "item"])
    with pytest.warns(UserWarning, match="stranger"):
        found = lists(recommend(frame, top_k=1, users=["u3", "u4", "stranger"], fast=True, show_progress=False))
    # Odd users have all odd items except one. Even users have all even items except one.
    assert found["u3"] == ["i7"] and found["u4"] == ["i8"]
    assert len(found["stranger"]) == 1
    path = write(tmp_path / "x.csv", frame.to_csv(index=False))
    assert (
        cli.main(["recommend", str(path), "--fast", "--top-k", "2", "--output", str(tmp_path / "out.csv"), "--quiet"])
        == 0
    )
    written = pd.read_csv(tmp_path / "out.csv")
    expected = recommend(path, top_k=2, fast=True, show_progress=False)
    pd.testing.assert_frame_equal(written, expected, check_dtype=False, rtol=1e-5)
    arguments = [str(path), "--fast", "--pretrained", "universal-paper", "--output", str(tmp_path / "no.csv")]
    assert cli.main(["recommend", *arguments]) == 1
    assert "--fast): needs a model with the family [proximity]" in capsys.readouterr().err
    assert not (tmp_path / "no.csv").exists()


def test_users_with_few_unseen_items_get_shorter_lists():
    rows = [*ROWS, ("all", "a"), ("all", "b"), ("all", "c"), ("all", "d")]
    with pytest.warns(UserWarning, match="2 of 4 users have fewer than 2 items .* 1 have none"):
        result = recommend(pd.DataFrame(rows, columns=["user", "item"]), top_k=2, show_progress=False)
    assert {user: len(items) for user, items in lists(result).items()} == {"u1": 2, "u2": 2, "u3": 1}


@pytest.mark.parametrize("users", [[3, 99, 1], np.array([3, 99, 1]), pd.Series([3.0, 99.0, None, 1.0]), "3,99,1"])
def test_unknown_users_get_the_most_popular_items_and_are_named(users):
    frame = pd.DataFrame({"user": [1, 1, 2, 2, 3], "item": [10, 11, 10, 12, 10]})
    with pytest.warns(UserWarning) as said:
        result = recommend(frame, top_k=2, users=users, show_progress=False)
    assert any("1 of 3 users have no interactions" in str(each.message) for each in said)
    assert list(dict.fromkeys(map(str, result["user"]))) == ["3", "99", "1"]
    popular = result[result["user"].astype(str) == "99"]
    assert popular["item"].tolist() == [10, 11] and popular["score"].tolist() == pytest.approx([1, 1 / 3])


def test_other_users_do_not_change_a_list(ranker):
    frame = pd.DataFrame(ROWS, columns=["user", "item"])
    alone = recommend(frame, top_k=2, users=["u2"], show_progress=False)
    with pytest.warns(UserWarning, match="no interactions"):
        beside = recommend(frame, top_k=2, users=["new", "u2", "u2"], show_progress=False)
    pd.testing.assert_frame_equal(alone, beside[beside["user"] == "u2"].reset_index(drop=True), check_dtype=False)
    assert [made.matrix.shape for made in ranker.made] == [(3, 4), (3, 4)]


def test_integers_match_ids_of_a_text_file(tmp_path):
    path = write(tmp_path / "x.csv", "user,item\n1,a\n2,b\n")
    assert recommend(path, top_k=1, users=[2], show_progress=False)["user"].tolist() == ["2"]


def test_the_order_of_rows_changes_no_list(tmp_path):
    rng = np.random.default_rng(1)
    rows = [(f"u{u}", f"i{i}") for u, i in zip(rng.integers(0, 30, 300), rng.integers(0, 20, 300), strict=True)]
    results = []
    for _ in range(2):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            results.append(lists(recommend(pd.DataFrame(rows, columns=["u", "i"]), top_k=3, show_progress=False)))
        rng.shuffle(rows)
    assert results[0] == results[1]


def test_blocks_of_users_are_joined(monkeypatch):
    frame = pd.DataFrame({"user": np.repeat(np.arange(50), 2), "item": np.arange(100) % 7})
    whole = recommend(frame, top_k=3, show_progress=False)
    monkeypatch.setattr(sys.modules["recbole_universal.app.recommendation_blocks"], "_BLOCK_USERS", 7)
    pd.testing.assert_frame_equal(recommend(frame, top_k=3, show_progress=False), whole)


def test_ids_keep_their_type():
    frame = pd.DataFrame({"user": [7, 8, 8], "item": pd.Categorical(["x", "x", "y"])})
    result = recommend(frame, top_k=1, users=[7], show_progress=False)
    assert result["user"].dtype == np.int64 and result["item"].tolist() == ["y"]


def test_settings_reach_the_ranker(ranker):
    recommend(
        pd.DataFrame(ROWS, columns=["user", "item"]), top_k=1, pretrained="mine", device="cpu", show_progress=False
    )
    assert ranker.made[0].device == "cpu" and ranker.made[0].pretrained.card["name"] == "mine"


# -- Files -----------------------------------------------------------------------------------------------------------


def test_ids_stay_as_written(tmp_path):
    ids = ["007", "7", "7.0", "1e5", "12345678901234567890", "True", "2020-01-01", "ü", "a b", "x,y", 'in"ch', "-0"]
    path = tmp_path / "x.csv"
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("user", "item"), *((name, name) for name in ids)])
    pairs, said = read(path)
    assert sorted(ids) == sorted(user for user, _ in pairs) == sorted(item for _, item in pairs) and not said
    result = recommend(path, top_k=1, include_seen=True, show_progress=False)
    assert result["user"].tolist() == ids
    written_to_file(result, tmp_path / "out.csv")
    with open(tmp_path / "out.csv", encoding="utf-8", newline="") as file:
        assert [row["user"] for row in csv.DictReader(file)] == ids


def test_fewer_items_than_asked_for():
    table = pd.DataFrame(ROWS, columns=["user", "item"])
    with pytest.warns(UserWarning) as warned:
        most = recommend(table, top_k=5, show_progress=False)
    assert [str(warning.message).split(", so")[0] for warning in warned] == [
        f"{table['user'].nunique()} of {table['user'].nunique()} users have fewer than 5 items that they have not seen"
    ]
    with pytest.warns(UserWarning, match="fewer than 4"):
        pd.testing.assert_frame_equal(most, recommend(table, top_k=4, show_progress=False))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"top_k": 0}, "at least 1 and below 1048576, got 0"),
        ({"top_k": 2.5}, "whole number"),
        ({"top_k": 1, "device": "tpu9"}, "knows no device 'tpu9'"),
        ({"top_k": 1, "users": []}, "no user"),
        ({"top_k": 1, "users": pd.DataFrame({"a": [1], "b": [2]})}, "no column is known to hold the users"),
    ],
)
def test_wrong_arguments(settings, message):
    with pytest.raises(ValueError, match=message):
        recommend(pd.DataFrame(ROWS, columns=["user", "item"]), show_progress=False, **settings)


def test_parquet_without_pyarrow(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    assert (
        cli.main(["recommend", str(write(tmp_path / "x.csv", lines())), "--output", "out.parquet", "--top-k", "1"]) == 1
    )
    assert not list(tmp_path.glob("*out.parquet*"))


def test_parquet_in_and_out(tmp_path):
    pytest.importorskip("pyarrow")
    frame = pd.DataFrame(
        {"item_id": pd.Categorical(["a", "b", "a", "c"]), "user_id": pd.array([1, 1, 2, None], "Int64")}
    )
    frame.to_parquet(tmp_path / "x.parquet")
    pairs, said = read(tmp_path / "x.parquet")
    assert pairs == [(1, "a"), (1, "b"), (2, "a")] and "row 4 (no user id)" in said[0]
    frame[["user_id"]].iloc[:1].to_parquet(tmp_path / "users.parquet")
    arguments = [str(tmp_path / "x.parquet"), "--top-k", "1", "--output", "out.parquet", "--include-seen"]
    assert cli.main(["recommend", *arguments, "--users", str(tmp_path / "users.parquet")]) == 0
    result = pd.read_parquet("out.parquet")
    assert result.to_dict("records") == [{"user_id": 1, "item_id": "a", "score": 2.0, "rank": 1}]
    (tmp_path / "folder").mkdir()
    frame.to_parquet(tmp_path / "folder" / "part-0.parquet")
    assert read(tmp_path / "folder")[0] == pairs
    write(tmp_path / "broken.parquet", "PAR1 and no more")
    with pytest.raises(ValueError, match="cannot be read as Parquet"):
        read(tmp_path / "broken.parquet")


# -- Writing and the command line ------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["out.csv", "out.tsv", "out.csv.gz", "OUT.TSV.GZ"])
def test_text_output(tmp_path, name):
    frame = pd.DataFrame({"user": ["007", "a,b"], "item": [1, 2], "score": np.float32([0.1, -1]), "rank": [1, 1]})
    written_to_file(frame, tmp_path / name)
    content = (tmp_path / name).read_bytes()
    text = (gzip.decompress(content) if name.lower().endswith("gz") else content).decode()
    expected = 'user,item,score,rank\n007,1,0.1,1\n"a,b",2,-1,1\n'
    assert text == (
        expected if "csv" in name else expected.replace('"a,b"', "a#b").replace(",", "\t").replace("#", ",")
    )
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_the_command_line_writes_what_the_function_returns(tmp_path, capsys):
    path = write(tmp_path / "x.csv", lines(header="Kunde,Artikel"))
    write(tmp_path / "users.txt", "u3\nu1\n")
    names = ["--user-column", "Kunde", "--item-column", "Artikel"]
    assert (
        cli.main(["recommend", str(path), *names, "--top-k", "1", "--output", "out.csv", "--users", "users.txt"]) == 0
    )
    assert (tmp_path / "out.csv").read_text() == "Kunde,Artikel,score,rank\nu3,c,1,1\nu1,c,1,1\n"
    out, err = capsys.readouterr()
    assert "Wrote 2 recommendations for 2 users to out.csv" in out
    assert "7 interactions of 3 users with 4 items (users from [Kunde], items from [Artikel])" in err
    assert "recommending" in err  # the progress bar


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("u1\n\nu2 \n", ["u1", "u2"]),
        ("user_id\nu1\nu2\n", ["u1", "u2"]),
        ("age,customer\n1,u1\n2,\n3,u2\n", ["u1", "u2"]),
        ('"u1"\n"u2"', ["u1", "u2"]),
        ("\ufeffu1\r\nu2\r\nu1\r\n", ["u1", "u2"]),
    ],
)
def test_files_of_users(tmp_path, content, expected):
    path = write(tmp_path / "x.csv", lines())
    write(tmp_path / "users.csv", content)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        result = recommend(path, users=tmp_path / "users.csv", top_k=1, show_progress=False)
    assert result["user"].tolist() == expected
    assert [str(each.message).split(": ", 1)[1] for each in said] == (
        ["1 of 3 rows is unreadable and left out: line 3 (no user id)."] if "age" in content else []
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["none.csv", "--output", "out.csv"], "There is no file [none.csv]"),
        (["x.csv", "--output", "out.xlsx"], "must end in one of .csv"),
        (["x.csv", "--output", "none/out.csv"], "there is no folder [none]"),
        (["x.csv", "--output", "folder.csv"], "is a folder"),
        (["x.csv", "--output", "x.csv"], "is an input file"),
        (["x.csv", "--output", "out.csv", "--top-k", "0"], "at least 1"),
        (["x.csv", "--output", "out.csv", "--users", "none.txt"], "There is no file [none.txt]"),
    ],
)
def test_errors_of_the_command_line(tmp_path, capsys, ranker, arguments, message):
    write(tmp_path / "x.csv", lines())
    (tmp_path / "folder.csv").mkdir()
    before = sorted(tmp_path.iterdir())
    assert cli.main(["recommend", *arguments, "--quiet"]) == 1
    assert message in capsys.readouterr().err
    assert not ranker.made and sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("interactions", "output"),
    [
        ("~/in.csv", "~/in.csv"),
        ("in.csv", "~/in.csv"),
        ("in.csv", "folder/../in.csv"),
        ("in.csv", "soft.csv"),
        ("soft.csv", "in.csv"),
        ("in.csv", "hard.csv"),
        ("parts", "parts/0.parquet"),
        ("parts", "parts/new.parquet"),
        ("parts", "parts/day=1/new.parquet"),
        ("linked_parts", "parts/new.parquet"),
        ("parts", "linked_parts/new.parquet"),
        ("parts", "elsewhere.parquet"),
    ],
)
@pytest.mark.parametrize("option", ["INTERACTIONS", "--users"])
def test_no_form_of_a_path_overwrites_the_input(tmp_path, monkeypatch, capsys, interactions, output, option):
    monkeypatch.setenv("HOME", str(tmp_path))
    write(tmp_path / "in.csv", lines())
    (tmp_path / "folder").mkdir()
    (tmp_path / "soft.csv").symlink_to("in.csv")
    (tmp_path / "hard.csv").hardlink_to(tmp_path / "in.csv")
    (tmp_path / "parts" / "day=1").mkdir(parents=True)
    (tmp_path / "linked_parts").symlink_to("parts")
    frame = pd.DataFrame(ROWS, columns=["user", "item"])
    frame.to_parquet(tmp_path / "parts" / "0.parquet")
    frame.to_parquet(tmp_path / "elsewhere.parquet")
    (tmp_path / "parts" / "1.parquet").symlink_to(tmp_path / "elsewhere.parquet")

    def contents():
        return {str(path): path.read_bytes() for path in sorted(tmp_path.rglob("*")) if path.is_file()}

    before = contents()
    other = str(write(tmp_path / "other.csv", lines())) if option == "--users" else None
    arguments = [other, "--users", interactions] if other else [interactions]
    assert cli.main(["recommend", *arguments, "--output", output, "--top-k", "1", "--quiet"]) == 1
    assert f"--output: [{output}] is an input file, or in an input folder" in capsys.readouterr().err
    assert contents() == before | ({other: (tmp_path / "other.csv").read_bytes()} if other else {})


def test_the_output_has_the_permissions_of_the_old_file(tmp_path):
    write(tmp_path / "x.csv", lines())
    for mode in (0o600, 0o640):
        (tmp_path / "out.csv").touch()
        (tmp_path / "out.csv").chmod(mode)
        assert cli.main(["recommend", "x.csv", "--output", "out.csv", "--top-k", "1", "--quiet"]) == 0
        assert stat.S_IMODE((tmp_path / "out.csv").stat().st_mode) == mode
    (tmp_path / "out.csv").chmod(0o444)
    before = (tmp_path / "out.csv").read_bytes()
    assert cli.main(["recommend", "x.csv", "--output", "out.csv", "--top-k", "2", "--quiet"]) == 1
    assert (tmp_path / "out.csv").read_bytes() == before


def test_a_run_that_is_stopped_leaves_the_old_file(tmp_path, monkeypatch, capsys):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(PopularityRanker, "top_k", stop)
    write(tmp_path / "out.csv", "old")
    with pytest.raises(SystemExit, match="130"):
        cli.main(["recommend", str(write(tmp_path / "x.csv", lines())), "--output", "out.csv", "--top-k", "1"])
    assert (tmp_path / "out.csv").read_text() == "old" and len(list(tmp_path.iterdir())) == 2


def test_the_command_line_in_a_fresh_process(tmp_path):
    pipeline = FeaturePipeline(["activity"], {"activity": {"n_bins": 3}})
    network = {"mlp_hidden_size": [4], "embedding_size": 4, "dropout_prob": 0.0, "feature_combination": "concatenation"}
    torch.manual_seed(0)
    untrained = UniversalNetwork(pipeline.dims, **network)
    save_pretrained(tmp_path / "model", untrained.state_dict(), {"features": pipeline.schema, "network": network}, {})
    write(tmp_path / "x.csv", lines([*ROWS, ("", "a")]))
    command = [sys.executable, "-m", "recbole_universal", "recommend", "x.csv", "--output", "out.csv", "--top-k", "2"]
    command += ["--pretrained", "model", "--device", "cpu", "--users", "u2,new"]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "1 of 8 rows is unreadable and left out: line 9 (no user id)" in result.stderr
    assert "[new]" in result.stderr and "Wrote 4 recommendations for 2 users" in result.stdout
    written = pd.read_csv(tmp_path / "out.csv")
    assert written["user"].tolist() == ["u2", "u2", "new", "new"]
    assert set(written["item"][:2]) == {"b", "d"} and written["item"][2:].tolist() == ["a", "b"]


def test_a_header_that_is_read_as_data_gets_a_warning(tmp_path):
    lines = ["bestellung,artikel,kunde", *(f"{k},A{k % 5},K{k % 7}" for k in range(35))]
    (tmp_path / "orders.csv").write_text("\n".join(lines))
    with pytest.warns(UserWarning, match=r"first row is counted as data: user \[kunde\], item \[artikel\]"):
        recommend(tmp_path / "orders.csv", user_column=3, item_column=2, top_k=1, show_progress=False)


@pytest.mark.parametrize("name", ["a\rb", 'q"', "n\nl", "c,d", " blank "])
@pytest.mark.parametrize("ending", [".csv", ".tsv", ".csv.gz", ".parquet"])
def test_every_id_is_read_back(tmp_path, name, ending):
    recommendations = pd.DataFrame({"user": ["u", name], "item": [name, "i"], "score": [1.0, 0.5], "rank": [1, 1]})
    written_to_file(recommendations, tmp_path / f"x{ending}")
    if ending == ".parquet":
        found = pd.read_parquet(tmp_path / "x.parquet")
    else:
        found = pd.read_csv(tmp_path / f"x{ending}", sep="\t" if ending == ".tsv" else ",", keep_default_na=False)
    assert found["user"].tolist() == ["u", name] and found["item"].tolist() == [name, "i"]


def test_ids_of_unknown_users_keep_their_type():
    frame = pd.DataFrame({"user": [1, 1, 2, 2, 3, 3], "item": [1, 2, 2, 3, 3, 1]})
    with pytest.warns(UserWarning):
        found = recommend(frame, users=[1, 2.5], top_k=1, show_progress=False)
    assert [type(user) for user in found["user"].tolist()] == [int, float]


def test_true_finds_no_user_1():
    frame = pd.DataFrame({"user": [1, 1, 2, 2, 3, 3], "item": [1, 2, 2, 3, 3, 1]})
    with pytest.warns(UserWarning, match=r"1 of 2 users have no interactions .*\[True\]"):
        found = recommend(frame, users=[True, 1], top_k=1, show_progress=False)
    assert [repr(user) for user in found["user"].tolist()] == ["True", "1"]
    with pytest.warns(UserWarning, match="2 of 2 users"):
        found = recommend(frame[frame["user"] > 1], users=[True, 1], top_k=1, show_progress=False)
    assert [repr(user) for user in found["user"].tolist()] == ["True", "1"]
    with pytest.warns(UserWarning, match=r"1 of 2 users have .*\[1\]"):
        recommend(frame.assign(user=frame["user"] == 1), users=[np.True_, 1], top_k=1, show_progress=False)
