"""The commands fit, similar and explain, and recommend of a folder: they print what Recommender returns."""

from __future__ import annotations

import io
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from recbole_universal import Recommender, recommend
from recbole_universal.app import cli

pytest.importorskip("pyarrow")


@pytest.fixture(scope="module")
def rec(tmp_path_factory) -> tuple[Recommender, Path]:
    """A recommender, and the folder of its file [orders.csv] and of itself [shop]."""
    folder = tmp_path_factory.mktemp("commands")
    rng = np.random.default_rng(0)
    rows = [(f"u{user}", f"i{(3 * user + step) % 24}") for user in range(50) for step in rng.permutation(12)[:7]]
    pd.DataFrame(rows, columns=["user", "item"]).to_csv(folder / "orders.csv", index=False)
    assert cli.main(["fit", str(folder / "orders.csv"), "--output", str(folder / "shop"), "--quiet"]) == 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Recommender.fit(folder / "orders.csv", show_progress=False), folder


@pytest.fixture(params=["orders.csv", "shop"])
def source(rec, request) -> str:
    return str(rec[1] / request.param)


def test_fit_saves_the_recommender(rec, tmp_path, capsys):
    again = Recommender.load(rec[1] / "shop")
    pd.testing.assert_frame_equal(again.recommend(k=3), rec[0].recommend(k=3), check_exact=True)
    words = ["fit", str(rec[1] / "orders.csv"), "--output", str(tmp_path / "new"), "--order", "rows", "--quiet"]
    assert cli.main([*words, "--model", "universal-sequential"]) == 0
    printed = capsys.readouterr()
    assert printed.out.startswith(f"Wrote 50 users and 24 items to {tmp_path / 'new'} in ")
    assert Recommender.load(tmp_path / "new").ranker.pretrained.families == ["sequence"]


def test_similar(rec, source, tmp_path, capsys):
    expected = rec[0].similar_items(["i4", "i9"], 3)
    assert cli.main(["similar", source, "--items", "i4", "gone", "i9", "--top-k", "3", "--quiet"]) == 0
    printed = capsys.readouterr()
    pd.testing.assert_frame_equal(pd.read_csv(io.StringIO(printed.out)), expected, check_dtype=False, rtol=1e-6)
    assert "similar: 1 item id has no interactions and does not count: [gone]." in printed.err
    for name, read in (("out.tsv", lambda file: pd.read_csv(file, sep="\t")), ("out.parquet", pd.read_parquet)):
        words = ["similar", source, "--items", "i4", "i9", "--top-k", "3", "--output", str(tmp_path / name), "--quiet"]
        assert cli.main(words) == 0
        assert capsys.readouterr().out == f"Wrote 6 similar items to {tmp_path / name}.\n"
        pd.testing.assert_frame_equal(read(tmp_path / name), expected, check_dtype=False, rtol=1e-6)


@pytest.mark.parametrize("item", ["i4", "gone"])
def test_explain(rec, source, item, capsys):
    assert cli.main(["explain", source, "--user", "u4", "--item", item, "--quiet"]) == 0
    assert capsys.readouterr().out == rec[0].explain("u4", item) + "\n"


@pytest.mark.parametrize("options", [[], ["--fast"], ["--users", "u7,x,u2"], ["--include-seen"]])
def test_recommend_reads_the_folder(rec, options, tmp_path, capsys):
    out = [tmp_path / "file.csv", tmp_path / "folder.csv"]
    for name, path in zip(("orders.csv", "shop"), out, strict=True):
        words = ["recommend", str(rec[1] / name), "--output", str(path), "--top-k", "3", "--quiet", *options]
        assert cli.main(words) == 0
    ours, theirs = (pd.read_csv(path).sort_values(["user", "rank"], ignore_index=True) for path in out)
    pd.testing.assert_frame_equal(ours, theirs)
    assert "recommend: a recommender of 350 interactions of 50 users with 24 items." in capsys.readouterr().err


def test_the_function_reads_the_folder(rec):
    found = recommend(rec[1] / "shop", top_k=3, show_progress=False)
    pd.testing.assert_frame_equal(found, rec[0].recommend(k=3), check_dtype=False, check_exact=True)


def test_recommend_with_a_rule(rec, tmp_path, capsys):
    table = pd.DataFrame({"item": [f"i{item}" for item in range(20)], "price": range(20)})
    table.to_csv(tmp_path / "items.csv", index=False)
    rule = ["--where", "price < 5", "--top-k", "9", "--quiet", "--include-seen"]
    shop = str(tmp_path / "shop")
    words = ["fit", str(rec[1] / "orders.csv"), "--items", str(tmp_path / "items.csv"), "--output", shop, "--quiet"]
    assert cli.main(words) == 0
    users = ["--users", "u1,u2,new"]
    for source, given in (("orders.csv", ["--items", str(tmp_path / "items.csv")]), (shop, [])):
        out = str(tmp_path / f"{len(given)}.csv")
        assert cli.main(["recommend", str(rec[1] / source), "--output", out, *rule, *users, *given]) == 0
        said = capsys.readouterr().err
        assert "3 of 3 users have fewer than 9 items that the filters allow and that they have not seen" in said
        assert ("4 of 24 items have no row in the item table and fit no rule: [i20], [i21]" in said) == bool(given)
    ours, theirs = (pd.read_csv(tmp_path / name) for name in ("2.csv", "0.csv"))
    pd.testing.assert_frame_equal(ours, theirs)
    assert ours.groupby("user")["item"].agg(set).tolist() == [{f"i{item}" for item in range(5)}] * 3
    shown = recommend(
        shop, users=["u1", "u2", "new"], top_k=9, include_seen=True, where="price < 5", show_progress=False
    )
    assert shown["item"].tolist() == ours["item"].tolist()
    assert recommend(shop, users=["u1", "new"], where="price < 0", show_progress=False).empty
    with pytest.warns(UserWarning, match="2 of 24 items have no row"):
        more = table.assign(price=7)
        more.loc[20] = "i20", 1
        more.loc[21] = "i21", 1
        found = recommend(shop, top_k=1, items=more, where="price == 1", include_seen=True, show_progress=False)
    assert set(found["item"]) <= {"i20", "i21"}


def test_a_folder_leaves_out_its_excluded_items(rec, tmp_path):
    again = Recommender.load(rec[1] / "shop")
    again.set_excluded(["i1", "i2"])
    again.save(tmp_path)
    found = recommend(tmp_path, top_k=24, include_seen=True, show_progress=False)
    assert set(found["item"]) == set(again.items) - {"i1", "i2"}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["similar", "gone.csv", "--items", "i1"], "similar: There is no file [gone.csv]."),
        (["similar", "shop", "--items", "i1", "--top-k", "0"], "top_k (--top-k): must be a whole number"),
        (["similar", "shop", "--items", "i1", "--output", "x.doc"], "must end in one of"),
        (["similar", "shop", "--items", "i1", "--output", "shop/x.csv"], "is an input file, or in an input folder"),
        (["similar", "shop", "--items", "i1", "--order", "rows"], "fitted recommender, so leave out --order."),
        (["explain", "shop", "--user", "u1", "--item", "i1", "--later"], "leave out --later."),
        (
            ["explain", "shop", "--user", "u1", "--item", "i1", "--device", "tpu"],
            "explain: device: PyTorch knows no device",
        ),
        (["recommend", "shop", "--output", "x.csv", "--item-column", "a"], "leave out item_column (--item-column)."),
        (
            ["recommend", "orders.csv", "--output", "x.csv", "--where", "a == 1"],
            "needs an item table; name it with items",
        ),
        (["recommend", "shop", "--output", "x.csv", "--where", "a == 1"], "needs an item table"),
        (["recommend", "shop", "--output", "x.csv", "--items", "orders.csv"], "items (--items): belongs to where"),
        (
            ["recommend", "shop", "--output", "x.csv", "--items", "orders.csv", "--where", "a == 1"],
            "where (--where): the item table has no column [a]. Columns: [item], [user].",
        ),
        (["fit", "orders.csv", "--items", "gone.csv", "--output", "new"], "There is no file [gone.csv]."),
        (["fit", "orders.csv", "--output", "orders.csv"], "--output: [orders.csv] is a file; name a folder."),
        (["fit", "shop", "--output", "shop"], "is the folder of the interactions; name another."),
        (["fit", "shop", "--output", "new"], "shop"),
        (["fit", "orders.csv", "--model", "gone", "--output", "new"], "gone"),
    ],
)
def test_an_error_is_one_sentence(rec, words, message, monkeypatch, capsys):
    monkeypatch.chdir(rec[1])
    assert cli.main([*words, "--quiet"]) == 1
    lines = capsys.readouterr().err.splitlines()
    assert message in lines[-1] and lines[-1].startswith(f"{words[0]}: ")
    assert sorted(path.name for path in Path().iterdir()) == ["orders.csv", "shop"]


@pytest.mark.parametrize("command", ["recommend", "fit", "similar", "explain", "evaluate"])
def test_unused_columns_are_said_once(command, tmp_path, capsys):
    rng = np.random.default_rng(0)
    rows = [(f"u{user}", f"i{item}", "view", 1) for user in range(40) for item in rng.permutation(24)[:7]]
    pd.DataFrame(rows, columns=["user", "item", "event_type", "price"]).to_csv(tmp_path / "log.csv", index=False)
    options = {
        "recommend": ["--output", "recs.csv"],
        "fit": ["--output", "shop"],
        "similar": ["--items", "i4"],
        "explain": ["--user", "u1", "--item", "i4"],
        "evaluate": ["--max-users", "10"],
    }
    assert cli.main([command, str(tmp_path / "log.csv"), *options[command], "--quiet"]) == 0
    said = [line for line in capsys.readouterr().err.splitlines() if "ignored" in line]
    assert said == [f"{command}: {tmp_path / 'log.csv'}: ignored columns: event_type, price."]
