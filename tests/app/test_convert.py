"""Tables become datasets of RecBole and tables again, and nothing is lost on the way without a word."""

from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from recbole_universal import convert
from recbole_universal.app import cli
from recbole_universal.io.times import NULL_WORDS

RATINGS = """customer_id,sku,stars,event type,zip,order_date,tags
alice,tea,5,view,02139,2024-01-02,hot|drink
bob,tea,3.50,buy,10001,2024-01-03 10:00,hot
bob,cup,,view,10001,2024-01-04,
"""
ITEMS = "sku,title,price\ntea,other,1\ntea,Green Tea,3.5\ncup,Cup,NA\n"


@pytest.fixture
def shop(tmp_path) -> Path:
    (tmp_path / "ratings.csv").write_text(RATINGS)
    (tmp_path / "items.csv").write_text(ITEMS)
    (tmp_path / "users.csv").write_text("customer_id,age\nalice,30\nbob,41\n")
    return tmp_path


def messages_of(*arguments, **options) -> list[str]:
    """What a conversion reports."""
    said: list[str] = []
    convert(*arguments, **options, show_progress=False, report=said.append)
    return said


def test_all_columns_by_the_documented_rules(shop):
    said = messages_of(
        "ratings.csv",
        "dataset/shop",
        items="items.csv",
        users="users.csv",
        sequence_columns=["tags"],
        sequence_separator="|",
    )
    folder = shop / "dataset" / "shop"
    assert (folder / "shop.inter").read_text() == (
        "user_id:token\titem_id:token\trating:float\tevent_type:token\tzip:token\ttags:token_seq\ttimestamp:float\n"
        "alice\ttea\t5\tview\t02139\thot drink\t1704153600\n"
        "bob\ttea\t3.50\tbuy\t10001\thot\t1704276000\n"
        "bob\tcup\t\tview\t10001\t\t1704326400\n"
    )
    assert (
        folder / "shop.item"
    ).read_text() == "item_id:token\ttitle:token\tprice:float\ntea\tGreen Tea\t3.5\ncup\tCup\t\n"
    assert (folder / "shop.user").read_text() == "user_id:token\tage:float\nalice\t30\nbob\t41\n"
    assert yaml.safe_load((folder / "shop.yaml").read_text()) == {
        "USER_ID_FIELD": "user_id",
        "ITEM_ID_FIELD": "item_id",
        "TIME_FIELD": "timestamp",
        "RATING_FIELD": "rating",
        "load_col": {
            "inter": ["user_id", "item_id", "rating", "event_type", "zip", "tags", "timestamp"],
            "item": ["item_id", "title", "price"],
            "user": ["user_id", "age"],
        },
    }
    assert said == [
        "ratings.csv: times from [order_date], read as dates.",
        "ratings.csv: the column [event type] is called event_type in the atomic file.",
        "items.csv: rows of items that have a later row, which are left out: 1.",
    ]


@pytest.mark.parametrize("form", ["csv", "tsv", "csv.gz", "jsonl", "parquet", "folder", "frame", "arrow"])
def test_every_form_gives_the_same_dataset(form, tmp_path):
    frame = pd.DataFrame(
        {
            "user": ["a", "b", "b"],
            "item": [3, 5, 3],
            "price": [1.5, np.nan, 3.0],
            "code": [1, 2, 3],
            "shown": [True, False, True],
            "time": [1e9, 1e9 + 0.5, 1e9 + 2],
        }
    )
    csv_text = frame.assign(shown=["true", "false", "true"]).to_csv(index=False)
    source: object = str(tmp_path / f"source.{form}")
    if form in ("parquet", "arrow"):
        pytest.importorskip("pyarrow")
    if form == "csv":
        Path(source).write_text(csv_text)
    elif form == "tsv":
        Path(source).write_text(csv_text.replace(",", "\t"))
    elif form == "csv.gz":
        Path(source).write_bytes(gzip.compress(csv_text.encode()))
    elif form == "jsonl":
        frame.to_json(source, orient="records", lines=True, double_precision=15)
    elif form == "parquet":
        frame.to_parquet(source)
    elif form == "folder":
        Path(source).mkdir()
        head, *rows = csv_text.splitlines()
        for number, row in enumerate(rows):
            (Path(source) / f"part-{number}.csv").write_text(f"{head}\n{row}\n")
    elif form == "frame":
        source = frame
    else:
        import pyarrow

        source = pyarrow.table(frame)
    messages_of(source, "dataset/x")
    rows = [line.split("\t") for line in (tmp_path / "dataset/x/x.inter").read_text().splitlines()]
    assert rows[0] == [
        *("user_id:token", "item_id:token", "price:float", "code:float", "shown:token", "timestamp:float"),
    ]
    assert [[*row[:2], *map(float, row[2:4]), row[4], float(row[5])] for row in rows[1::2]] == [
        ["a", "3", 1.5, 1.0, "true", 1e9],
        ["b", "3", 3.0, 3.0, "true", 1e9 + 2],
    ]
    assert rows[2] == ["b", "5", "", rows[2][3], "false", "1000000000.5"]


def test_columns_of_all_parts_are_kept(tmp_path):
    pytest.importorskip("pyarrow")
    (tmp_path / "log").mkdir()
    for part, extra in enumerate(("price", "colour")):
        frame = pd.DataFrame({"user": ["a", "b"], "item": ["x", "y"], extra: [1, 2]})
        frame.to_parquet(tmp_path / "log" / f"{part}.parquet")
    messages_of("log", "d")
    assert Path("d/d.inter").read_text().splitlines() == [
        "user_id:token\titem_id:token\tprice:float\tcolour:float",
        *("a\tx\t1\t", "b\ty\t2\t", "a\tx\t\t1", "b\ty\t\t2"),
    ]


@pytest.mark.parametrize("form", ["jsonl", "parquet", "frame"])
def test_lists_become_sequences(form, tmp_path):
    frame = pd.DataFrame(
        {"user": ["a", "b"], "item": ["x", "y"], "genre": [["New Wave", "Pop"], []], "vector": [[0.5, 2.0], [1.0]]}
    )
    source: object = str(tmp_path / f"source.{form}")
    if form == "parquet":
        pytest.importorskip("pyarrow")
        frame.to_parquet(source)
    elif form == "jsonl":
        frame.to_json(source, orient="records", lines=True)
    else:
        source = frame
    (said,) = messages_of(source, "dataset/x")
    assert "[genre] that hold blanks within elements, and blanks separate elements; each became _: 1, the first" in said
    rows = [line.split("\t") for line in (tmp_path / "dataset/x/x.inter").read_text().splitlines()]
    assert rows[0][2:] == ["genre:token_seq", "vector:float_seq"]
    assert rows[1][2] == "New_Wave Pop" and rows[2][2] == ""
    assert [list(map(float, row[3].split())) for row in rows[1:]] == [[0.5, 2.0], [1.0]]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (["1", "2.5", "-3e-4", ""], "float"),
        (["1", "NA", "2", "NULL"], "float"),
        (["02139", "10001", "3", "4"], "token"),
        (["+49", "1", "2", "3"], "token"),
        (["1234567890123456", "1", "2", "3"], "token"),
        (["123456789012345", "1", "2", "3"], "float"),
        (["1", "inf", "2", "3"], "token"),
        (["1_000", "1", "2", "3"], "token"),
        (["", "", "", ""], "token"),
        (["1 2", "3", "4", "5"], "token"),
    ],
)
def test_types(values, kind, tmp_path):
    rows = "".join(f"u{n},i{n},{value}\n" for n, value in enumerate(values))
    (tmp_path / "a.csv").write_text(f"user,item,extra\n{rows}")
    messages_of("a.csv", "d")
    assert (tmp_path / "d" / "d.inter").read_text().splitlines()[0].split("\t")[2] == f"extra:{kind}"
    messages_of("a.csv", "e", token_columns=["extra"])
    assert (tmp_path / "e" / "e.inter").read_text().splitlines()[0].split("\t")[2] == "extra:token"


def test_values_that_break_the_format_are_replaced_and_reported(tmp_path):
    frame = pd.DataFrame({"user": ["a", "b", "c"], "item": ["x", "y", "z"], "note": ['"q', "l\tm\nn", "ok"]})
    said = messages_of(frame, "d")
    assert [row.split("\t")[2] for row in (tmp_path / "d/d.inter").read_text().splitlines()[1:]] == [
        "'q",
        "l m n",
        "ok",
    ]
    assert said == [
        "The data frame: values of [note] that hold a double quote at the start, which RecBole takes for a mark of "
        "quoting; it became ': 1, the first in row 1.",
        "The data frame: values of [note] that hold a tab, a line end or a NUL; each became a blank: 1, the first in "
        "row 2.",
    ]


@pytest.mark.parametrize("bad", ["a\tb", "a\nb", '"a"', "a\rb"])
def test_an_id_that_breaks_the_format_is_an_error_with_its_row(bad, tmp_path):
    frame = pd.DataFrame({"user": ["a", None, "b", "b"], "item": ["x", "y", "z", bad]})
    with pytest.raises(ValueError, match=r"row 4: the item id .* holds .*Change it in the table"):
        messages_of(frame, "dataset/d")
    assert os.listdir(tmp_path / "dataset") == []


def test_an_existing_dataset_is_replaced_as_a_whole_or_not_at_all(shop):
    messages_of("ratings.csv", "d", items="items.csv")
    before = {file.name: file.read_bytes() for file in Path("d").iterdir()}
    with pytest.raises(FileExistsError, match=r"overwrite \(--overwrite\) replaces it"):
        messages_of("ratings.csv", "d")
    Path("bad.csv").write_text('user,item\na,x\nb,"""y"\nc,z\n')
    with pytest.raises(ValueError, match="line 3: the item id"):
        messages_of("bad.csv", "d", overwrite=True)
    assert {file.name: file.read_bytes() for file in Path("d").iterdir()} == before
    messages_of("ratings.csv", "d", overwrite=True)
    assert sorted(os.listdir("d")) == ["d.inter", "d.yaml"]
    (Path("d") / "d.kg").write_text("mine")
    with pytest.raises(FileExistsError, match="holds other files, such as"):
        messages_of("ratings.csv", "d", overwrite=True)
    assert not [name for name in os.listdir(".") if name.startswith(".recbole")]


def test_column_names_are_unique(tmp_path):
    (tmp_path / "a.csv").write_text("customer,sku,user_id,score,rating:x\n1,2,3,4,5\n2,3,4,5,6\n")
    (tmp_path / "items.csv").write_text("sku,score\n2,good\n")
    said = messages_of("a.csv", "d", user_column="customer", items="items.csv")
    assert Path("d/d.inter").read_text().splitlines()[0] == (
        "user_id:token\titem_id:token\tuser_id_2:float\trating:float\trating_x:float"
    )
    assert "a.csv: the column [user_id] is called user_id_2 in the atomic file." in said
    assert Path("d/d.item").read_text() == "item_id:token\tscore:token\n2\tgood\n"


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"output": "x.csv"}, r"no \.inter file"),
        ({"output": "x.csv", "items": "items.csv"}, "belongs to the output of a dataset"),
        ({"output": ""}, "must be the path of a folder"),
        ({"output": "d", "token_columns": "zip"}, "must be names of columns"),
        ({"output": "d", "token_columns": ["zap"]}, r"no other column \[zap\]"),
        ({"output": "d", "sequence_separator": ""}, "must be a text"),
        ({"output": "d", "order": "time"}, "must be rows"),
        ({"output": "d", "items": "users.csv"}, "no single column holds the items"),
        ({"output": "ratings.csv/d", "items": None}, None),
    ],
)
def test_mistakes_are_named(options, message, shop):
    output = options.pop("output")
    with pytest.raises((ValueError, OSError), match=message):
        messages_of("ratings.csv", output, **options)
    assert sorted(os.listdir(".")) == ["items.csv", "ratings.csv", "users.csv"]


def test_inputs_are_never_replaced(shop):
    messages_of("ratings.csv", "d")
    with pytest.raises(ValueError, match="holds an input file"):
        messages_of("d/d.inter", "d", overwrite=True)
    for output in ("d/d.inter.csv", "d/ratings.csv"):  # beside the input, not over it
        messages_of("d", output)
    os.symlink("d/d.inter", "link.csv")
    with pytest.raises(ValueError, match="is an input file"):
        messages_of("d", "link.csv")


IDS = st.text(st.characters(codec="utf-8", exclude_characters="\t\n\r\0\ufdd0"), min_size=1, max_size=6).filter(
    lambda text: text.strip() == text and not text.startswith('"') and text != "\ufeff"
)
TEXTS = st.one_of(st.none(), IDS)
FLOATS = st.one_of(st.none(), st.floats(allow_nan=False, allow_infinity=False))


@settings(max_examples=60)
@given(
    rows=st.lists(st.tuples(IDS, IDS, TEXTS, FLOATS, st.integers(10**9, 2 * 10**9)), min_size=1, max_size=8),
    name=st.sampled_from(["back.csv", "back.tsv.gz", "back.parquet"]),
)
def test_there_and_back_is_exact(rows, name, tmp_path_factory):
    """Ids, times, texts and numbers are the same after a conversion there and back."""
    pytest.importorskip("pyarrow")
    folder = tmp_path_factory.mktemp("law")
    frame = pd.DataFrame(rows, columns=["user", "item", "word", "price", "time"]).astype({"price": float})
    messages_of(frame, folder / "d")
    messages_of(folder / "d", folder / name)
    if name.endswith("parquet"):
        back = pd.read_parquet(folder / name)
    else:
        text = {"keep_default_na": False, "float_precision": "round_trip", "dtype": str}
        back = pd.read_csv(folder / name, sep="\t" if "tsv" in name else ",", **text)
    assert [str(one) for one in back["user_id"]] == frame["user"].tolist()
    assert [str(one) for one in back["item_id"]] == frame["item"].tolist()
    assert [float(one) for one in back["timestamp"]] == frame["time"].tolist()
    prices = [None if one in ("", None) or pd.isna(one) else float(one) for one in back["price"]]
    assert prices == [None if pd.isna(one) else one for one in frame["price"]]
    words = [None if one in ("", None) or pd.isna(one) else one for one in back["word"]]
    expected = [one if isinstance(one, str) else None for one in frame["word"]]
    if any(isinstance(one, float) for one in words):  # all words are numbers
        expected = [None if one is None or one in NULL_WORDS else float(one) for one in expected]
    assert words == expected


def test_the_command(shop, capsys):
    assert cli.main(["convert", "ratings.csv", "--items", "items.csv", "--output", "dataset/shop", "--quiet"]) == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines() == [f"Wrote dataset/shop/shop.{kind}." for kind in ("inter", "item", "yaml")]
    assert printed.err.startswith("convert: ratings.csv: times from [order_date]")
    assert cli.main(["convert", "dataset/shop", "--output", "back.csv", "--quiet"]) == 0
    assert Path("back.csv").read_text().splitlines()[1] == "alice,tea,5,view,02139,hot|drink,1704153600"
    assert Path("back.items.csv").read_text().splitlines()[1] == "tea,Green Tea,3.5"
    assert cli.main(["convert", "gone.csv", "--output", "dataset/x", "--quiet"]) == 1
    assert capsys.readouterr().err == "convert: There is no file [gone.csv].\n"


def test_recbole_loads_and_trains_what_was_written(tmp_path):
    """Stock RecBole with the written config: the same rows, ids and columns, and an epoch of a model."""
    from recbole.config import Config
    from recbole.data import create_dataset
    from recbole.quick_start import run_recbole

    rng = np.random.default_rng(1)
    rows = [
        {"customer": f"u{user}", "sku": f"i{item}", "stars": int(rng.integers(1, 6)), "ts": 10**9 + time}
        for user in range(30)
        for time, item in enumerate(rng.choice(20, 8, replace=False).tolist())
    ]
    (tmp_path / "log.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (tmp_path / "items.csv").write_text("sku,title\n" + "".join(f"i{item},Item {item}\n" for item in range(20)))
    messages_of("log.jsonl", "dataset/shop", items="items.csv")
    keys = {"data_path": "dataset", "state": "ERROR", "gpu_id": "", "epochs": 1, "show_progress": False}
    config = Config("BPR", "shop", ["dataset/shop/shop.yaml"], keys)
    dataset = create_dataset(config)
    loaded = dataset.inter_feat
    names = dataset.field2id_token
    assert [names["user_id"][code] for code in loaded["user_id"]] == [row["customer"] for row in rows]
    assert [names["item_id"][code] for code in loaded["item_id"]] == [row["sku"] for row in rows]
    assert loaded["rating"].tolist() == [row["stars"] for row in rows]
    assert loaded["timestamp"].tolist() == [row["ts"] for row in rows]
    titles = dataset.item_feat
    texts = [np.asarray(names[field])[titles[field].to_numpy(dtype=int)] for field in ("item_id", "title")]
    found = dict(zip(*texts, strict=True))
    assert found["i7"] == "Item 7"
    result = run_recbole("BPR", "shop", ["dataset/shop/shop.yaml"], keys | {"data_path": "dataset"}, saved=False)
    assert result["test_result"]["recall@10"] >= 0


@pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
def test_a_text_in_a_column_of_numbers_is_named(tmp_path):
    pytest.importorskip("pyarrow")
    (tmp_path / "a.inter").write_text("user_id:token\titem_id:token\tx:float\nu\ti\tabc\n")
    with pytest.raises(ValueError, match=r"a\.inter.*the column \[x\] must hold numbers: .*'abc'"):
        convert(tmp_path / "a.inter", tmp_path / "a.parquet", show_progress=False)
    assert not (tmp_path / "a.parquet").exists()
