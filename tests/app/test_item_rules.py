"""Item tables and rules on their columns: what fits, what is missing, what is refused."""

from __future__ import annotations

import gzip
import warnings

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recbole_universal import Recommender
from recbole_universal.app.item_rules import MOST_CHARACTERS, ItemColumns
from recbole_universal.io.item_table import read_items

FRAME = pd.DataFrame(
    {
        "sku": ["a", "b", "c", "d", "e"],
        "Product Name": ["red shoes", "blue hat", None, "green shoes", "bag"],
        "price": [10, 20.5, np.nan, 40, 50],
        "stock": pd.array([1, None, 3, 4, 2**60], dtype="Int64"),
        "sale": pd.array([True, False, None, True, False], dtype="boolean"),
        "since": pd.to_datetime(["2026-01-01", "2026-02-01", None, "2026-04-01", "2026-05-01"]),
        "tags": [["x", "y"], ["y"], None, [], ["z"]],
        "old_price": [10, 30, 30, 30, 30],
        "class": ["1", "2", "1", "2", ""],
    }
)


def columns_of(source, items=("d", "c", "b", "a", "none", "e")) -> ItemColumns:
    return ItemColumns(read_items(source, None, lambda _: None), pd.Index(items))


def fitting(rule: str, source=FRAME) -> str:
    columns = columns_of(source)
    return "".join(sorted(np.array(["d", "c", "b", "a", "none", "e"])[columns.matching(rule)]))


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("price < 40", "ab"),
        ("price <= 40 and price != 10", "bd"),
        ("10 < price < 50", "bd"),
        ("40 > price", "ab"),
        ("price == 20.5 or stock == 3", "bc"),
        ("not price < 40", "de"),
        ("not (price < 40 or stock > 5)", "d"),
        ("price < old_price", "b"),
        ("price > -1", "abde"),
        ("stock == 1152921504606846976", "e"),
        ("stock == 1152921504606846977", ""),
        ("stock < 99999999999999999999999", "acde"),
        ("sale", "ad"),
        ("not sale and price > 1", "be"),
        ("sale == False", "be"),
        ("sku in ['a', 'zzz', 'd']", "ad"),
        ("sku not in ('a', 'd')", "bce"),
        ("sku in []", ""),
        ("sku not in []", "abcde"),
        ("'shoes' in Product_Name", "ad"),
        ("'shoes' not in Product_Name", "be"),
        ("'y' in tags", "ab"),
        ("'y' not in tags", "de"),
        ("since >= '2026-02-01'", "bde"),
        ("since == '2026-04-01T00:00:00Z'", "d"),
        ("class_ == '1'", "ac"),
        ("class_ < '2'", "ac"),
        (" sku == 'a' ", "a"),
        ('sku == "a"', "a"),
        ("(sku == 'a' or\n sku == 'b')", "ab"),
    ],
)
def test_known_answers(rule, expected):
    assert fitting(rule) == expected


rules = st.recursive(
    st.sampled_from(["price < 20", "price >= 20.5", "stock == 3", "sale", "sku != 'b'", "class_ in ['1']"]),
    lambda part: st.one_of(
        part.map("not ({})".format),
        st.tuples(part, st.sampled_from(["and", "or"]), part).map("({0[0]}) {0[1]} ({0[2]})".format),
    ),
    max_leaves=6,
)


@given(rules)
def test_rules_are_those_of_sql(rule):
    """DuckDB computes the same rows, missing values included."""
    import duckdb

    frame = FRAME[["sku", "price", "stock", "sale", "class"]].rename(columns={"class": "class_"})
    frame["class_"] = frame["class_"].replace("", None)
    table = frame.assign(price=frame["price"].astype("Float64"))
    sql = rule.replace("==", "=").replace("['1']", "('1')")
    with duckdb.connect() as duck:
        duck.register("t", table)
        expected = "".join(sorted(row[0] for row in duck.execute(f"SELECT sku FROM t WHERE {sql}").fetchall()))
    assert fitting(rule) == expected


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("colour == 'red'", r"no column \[colour\]\. Columns: \[sku\], \[Product_Name\], \[price\]"),
        ("price = 3", "cannot be read: 'price = 3'. Compare with =="),
        ("price > 3 AND sale", "Write and, or, not, in with small letters"),
        ("(price > 3) & sale", "Write and, or, not for &, |, ~"),
        ("~sale", "Write and, or, not for &, |, ~"),
        ("price <", "cannot be read"),
        ("", "must be a rule as a text"),
        (3, "must be a rule as a text, got 3"),
        ("price < '3'", r"\[price\] holds numbers, and '3' is a text: write 3 without quotes"),
        ("class_ == 1", r"\[class_\] holds texts, and 1 is a number: write '1'"),
        ("class_ in ['1', 2]", r"\[class_\] holds texts, and 2 is a number"),
        ("price == True", r"\[price\] holds numbers, and True is not"),
        ("sale == 'yes'", r"\[sale\] holds truth values, and 'yes' is not"),
        ("sale < True", "compare it with == or !="),
        ("price", r"\[price\] holds numbers; compare it with a value"),
        ("since > 'soon'", r"\[since\] holds times, and 'soon' is none"),
        ("since > 3", r"\[since\] holds times, and 3 is not"),
        ("tags == 'x'", r"\[tags\] holds lists; write 'value' in tags"),
        ("tags in ['x']", r"\[tags\] holds lists"),
        ("'x' in price", r"\[price\] holds numbers, in which nothing lies"),
        ("1 in Product_Name", r"\[Product_Name\] holds texts, and 1 is a number"),
        ("price == sku", r"\[price\] holds numbers and \[sku\] texts"),
        ("1 == 1", "one side of each comparison must be a column"),
        ("'a' in ['a']", "needs a list of values"),
        ("price is None", r"\[is\] is not allowed"),
        ("price == None", r"\[None\] is not allowed"),
        ("True", r"\[True\] is not allowed"),
        ("__import__('os').system('true')", r"\[__import__\('os'\)\.system\('true'\)\] is not allowed"),
        ("price.real > 3", r"\[price\.real\] is not allowed"),
        ("price + 1 > 3", r"\[price \+ 1\] is not allowed"),
        ("tags[0] == 'x'", r"\[tags\[0\]\] is not allowed"),
        ("[sku for sku in sku]", "is not allowed"),
        ("(lambda: 1)() == 1", "is not allowed"),
        ("f'{sku}' == sku", "is not allowed"),
        ("sku in [sku]", r"\[sku\] is not allowed"),
        ("sku == b'a'", "is not allowed"),
        ("price == 1j", "is not allowed"),
        ("(x := 3) == 3", "is not allowed"),
        ("sku == 'a' if sale else sale", "is not allowed"),
        ("sku == 'a\\n'", "must not hold a backslash"),
        ("sku == '\0'", "must not hold a backslash"),
        ("sku == 'a'; import os", "cannot be read"),
        ("@price > 3", "cannot be read"),
        ("`price` > 3", "cannot be read"),
        ("sku == '" + "a" * MOST_CHARACTERS + "'", "at most 2000 are read"),
        ("not " * 30 + "sale", "more than 20 deep"),
        ("not " * 450 + "sale", "more than 20 deep|cannot be read"),
        ("(" * 900 + "sale" + ")" * 900, "cannot be read"),
        ("sku" + ".a" * 900 + " == 1", "is not allowed|cannot be read"),
        ("-" * 900 + "1 < price", "is not allowed|cannot be read"),
    ],
)
def test_what_is_refused(rule, message):
    with pytest.raises(ValueError, match=rf"^where \(--where\): .*({message})"):
        columns_of(FRAME).matching(rule)


@given(
    st.text(max_size=30)
    | st.lists(st.sampled_from("price sku sale 'a' 3 and or not in == < ( ) [ ] , . -".split())).map(" ".join)
)
def test_any_text_is_a_rule_or_is_refused_in_words(rule):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the parser's, such as on "3and"
        try:
            assert columns_of(FRAME).matching(rule).dtype == bool
        except ValueError as error:
            assert str(error).startswith("where (--where): ")


# -- Tables ----------------------------------------------------------------------------------------------------------

CSV = """item_id,title,code,price,new,brand
7,"Tea, green",007,1.50,true,NA
8,Cup,010,,FALSE,12
9,,011,20,True,
8,Mug,012,3,,12
,nobody,1,1,true,3
"""


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".csv.gz", ".parquet", ".json", ".item"])
def test_a_table_reads_equal_from_each_format(ending, tmp_path):
    path = tmp_path / f"items{ending}"
    frame = pd.DataFrame({"item_id": ["7", "8", "9"], "title": ["Tea, green", "Cup", None], "price": [1.5, None, 20.0]})
    if ending == ".parquet":
        frame.to_parquet(path)
    elif ending == ".json":
        frame.to_json(path, orient="records", lines=True)
    elif ending == ".item":
        typed = frame.rename(columns={"item_id": "item_id:token", "title": "title:token", "price": "price:float"})
        typed.to_csv(path, sep="\t", index=False)
    else:
        frame.to_csv(path, sep="\t" if ending == ".tsv" else ",", index=False)
    columns = columns_of(path, (7, "8", 9.0))
    assert columns.titles().tolist() == ["Tea, green", "Cup", None]
    assert columns.matching("price > 1 and item_id in ['7', '8', '9']").tolist() == [True, False, True]
    if ending == ".csv.gz":
        assert gzip.open(path).read(4) == b"item"


def test_types_of_a_text_file(tmp_path):
    (tmp_path / "items.csv").write_text(CSV)
    said: list[str] = []
    table = read_items(tmp_path / "items.csv", None, said.append)
    columns = ItemColumns(table, pd.Index(["7", "8", "9"]))
    for rule, expected in (
        ("code == '007'", [1, 0, 0]),
        ("price <= 3", [1, 1, 0]),
        ("new", [1, 0, 1]),
        ("brand == 12", [0, 1, 0]),  # NA is no number
        ("title == 'Mug'", [0, 1, 0]),
    ):
        assert columns.matching(rule).tolist() == [bool(value) for value in expected], rule
    assert said == [
        f"items (--items): [{tmp_path / 'items.csv'}]: 2 of 5 rows are left out, since they have no item id or a later "
        "row has the same."
    ]


def test_lists_of_an_atomic_file(tmp_path):
    (tmp_path / "x.item").write_text("item_id:token\tgenre:token_seq\tyear:token\n1\tComedy Drama\t1990\n2\t\t1991\n")
    columns = columns_of(tmp_path / "x.item", ("1", "2"))
    assert columns.matching("'Drama' in genre").tolist() == [True, False]
    assert columns.matching("year == '1991'").tolist() == [False, True]


@pytest.mark.parametrize(
    ("source", "message"),
    [
        (7, "must be a table of items, as a frame, an Arrow table or the path of a file, got int"),
        ("gone.csv", "There is no file"),
        (pd.DataFrame({"price": [1]}), r"no column is known to hold the item ids; call it item_id. Columns: \[price\]"),
        (pd.DataFrame({"sku": [1], "ean": [1]}), "more than one column may hold the item ids"),
        (pd.DataFrame({"sku": [None]}), r"no row has an item id in the column \[sku\]"),
        (pd.DataFrame([[1, 2, 3]], columns=["sku", "a", "a"]), r"more than one column is called \[a\]"),
    ],
)
def test_what_is_no_table(source, message):
    with pytest.raises((ValueError, OSError), match=message):
        read_items(source, None, lambda _: None)


def test_which_column_holds_the_ids():
    for names, named, expected in (
        (["id", "name", "price"], None, "id"),
        (["id", "product_id", "x"], None, "product_id"),
        (["what", "item_id", "x"], "what", "what"),
        (["movieId", "title", "genres"], "user", "movieId"),
    ):
        table = read_items(pd.DataFrame([[1, 2, 3]], columns=names), named, lambda _: None)
        assert next(iter(table.frame)) == expected


@pytest.fixture
def rec(tmp_path) -> Recommender:
    pairs = [(f"u{user}", item) for user in range(12) for item in "abcdefg" if (user + ord(item)) % 3]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Recommender.fit(pd.DataFrame(pairs, columns=["user", "sku"]), show_progress=False, items=FRAME)


def test_a_table_outlives_folders_and_updates(rec, tmp_path):
    pytest.importorskip("pyarrow")
    rules = [
        "price < 40",
        "'y' in tags",
        "sale",
        "since > '2026-01-15'",
        "stock == 1152921504606846976",
        "class_ == '1'",
    ]
    found = [rec.recommend(k=9, where=rule, filter_seen=False) for rule in rules]
    rec.save(tmp_path)
    again = Recommender.load(tmp_path)
    for rule, frame in zip(rules, found, strict=True):
        pd.testing.assert_frame_equal(again.recommend(k=9, where=rule, filter_seen=False), frame, check_exact=True)
    assert again.titles.to_dict() == rec.titles.to_dict()
    assert rec.titles["a"] == "red shoes" and rec.titles["f"] is None
    again.remove(users="u1", show_progress=False)
    assert set(again.recommend(where="price < 40", filter_seen=False)["sku"]) == {"a", "b"}
    again.set_items(None)
    assert again.titles is None
    with pytest.raises(ValueError, match=r"where \(--where\): needs an item table"):
        again.recommend(where="price < 40")
    again.save(tmp_path)
    assert Recommender.load(tmp_path).titles is None


def test_items_without_a_row_are_counted(rec):
    with pytest.warns(
        UserWarning, match=r"2 of 7 items have no row in the item table and fit no rule: \[f\], \[g\]\."
    ) as said:
        rec.set_items(FRAME)
    assert said[0].filename == __file__
    before = rec._state
    with pytest.raises(ValueError, match="no column is known"):
        rec.set_items(pd.DataFrame({"price": [1]}))
    assert rec._state is before


def test_json_lines_keep_texts_and_whole_numbers(tmp_path):
    """Blank lines, a line separator within a text, ids beyond 2**53, numbers that no column of integers holds."""
    rows = [
        '{"item_id": 9007199254740993, "title": "a\u2028b", "code": 9007199254740993, "size": 1e400}',
        "",
        '{"item_id": 9007199254740992, "size": 12345678901234567890123}',
        "",
    ]
    (tmp_path / "items.jsonl").write_text("\n".join(rows), encoding="utf-8")
    table = read_items(tmp_path / "items.jsonl", None, lambda _: None)
    assert table.ids.tolist() == [9007199254740992 + 1, 9007199254740992]
    columns = ItemColumns(table, table.ids)
    assert columns.titles().tolist() == ["a\u2028b", None]
    rules = {"code == 9007199254740993": [True, False], "code == 9007199254740992": [False, False]}
    digits = "9" * 400
    rules |= {"size > 1e22": [False, True], f"size < {digits}": [False, True], f"code < {digits}": [True, False]}
    for rule, expected in rules.items():
        assert columns.matching(rule).tolist() == expected, rule


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("since < '9999-12-31'", "abc"),
        ("since > '1500-01-01'", "abc"),
        ("since < '1600'", ""),
        ("far == '9999-01-01'", "a"),
        ("old < '1678-01-01'", "abc"),
        ("huge > 18446744073709551615", "a"),
        ("unsigned == 9223372036854775813", "a"),
        ("unsigned > 9223372036854775808", "a"),
        ("cafe\u0301 == 1", "abc"),
        ("caf\u00e9 == 1", "abc"),
        ("m2 == 2", "abc"),
        ("'x' in mixed", "ab"),
        ("'7' in mixed", "b"),
    ],
)
def test_values_and_names_at_the_limits(rule, expected):
    day = np.array(["2026-01-01"] * 3, dtype="datetime64[s]")
    frame = pd.DataFrame({"sku": ["a", "b", "c"], "since": day, "cafe\u0301": 1, "m\u00b2": 2})
    frame["far"] = np.array(["9999-01-01", "2000-01-01", "NaT"], dtype="datetime64[s]")
    frame["old"] = np.array(["1500-01-01", "1677-01-01", "0001-01-01"], dtype="datetime64[s]")
    frame["huge"] = pd.Series([10**30, 5, -(10**400)], dtype=object)
    frame["unsigned"] = np.array([2**63 + 5, 2**63, 1], dtype="uint64")
    frame["mixed"] = [["x"], [7, "x"], [np.array([1, 2]), {"x": 1}]]
    columns = columns_of(frame, ("a", "b", "c"))
    assert "".join(np.array(["a", "b", "c"])[columns.matching(rule)]) == expected


@pytest.mark.parametrize("text", ["", "now", "today", "NaT", "5", "2026-13-01"])
def test_only_dates_are_times(text):
    with pytest.raises(ValueError, match=r"\[since\] holds times, and '.*' is none; write '2026-11-27'\."):
        fitting(f"since != '{text}'")


def test_a_name_of_two_columns_is_refused():
    frame = pd.DataFrame({"sku": ["a"], "item price": [1], "item_price": [2]})
    with pytest.raises(ValueError, match=r"may be any of the columns \[item price\], \[item_price\]"):
        fitting("item_price == 2", frame)


def test_any_table_can_be_saved(rec, tmp_path):
    rec.set_items(
        pd.DataFrame({"sku": ["a"], "mixed": [[1, "x", None, [2]]], "text": ["\ud800"], "n": [2**70]}, dtype=object)
    )
    rec.save(tmp_path)
    again = Recommender.load(tmp_path).recommend(k=9, where="text == '?' and 'x' in mixed", filter_seen=False)
    assert set(again["sku"]) == {"a"}
