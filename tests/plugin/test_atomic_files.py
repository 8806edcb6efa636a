"""Atomic files are read as plain text, so every token stays as it is."""

from __future__ import annotations

import re
import warnings
from pathlib import Path

import numpy as np
import pytest
from conftest import SMALL_FEATURES, write_atomic
from hypothesis import given, settings
from hypothesis import strategies as st
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.utils import FeatureSource

KINDS = {
    "inter": FeatureSource.INTERACTION,
    "user": FeatureSource.USER,
    "item": FeatureSource.ITEM,
    "kg": FeatureSource.KG,
    "link": "link",
    "net": "net",
}
ODD = [
    '"Heroes',
    '"Great Performances" Cats',
    '"whole"',
    'a"b',
    "it's",
    "back\\slash",
    "#1",
    "x,y",
    "NA",
    "null",
    "None",
]
ODD += ["nan", " lead", "trail ", "007", "1e5", "%", "\\t", "True", "-", "\u2028line", "naïve ☕", "[PAD]x", "<NA>"]
# A token has no separator, line end, control character or surrogate.
TOKENS = st.one_of(
    st.sampled_from(ODD), st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=12)
)


@pytest.fixture(scope="module")
def reader(tmp_path_factory):
    """A dataset class with universal columns, which can read any file."""
    path = write_atomic(
        tmp_path_factory.mktemp("data"), "odd", [(f"u{u}", f"i{i}") for u in range(3) for i in range(3)]
    )
    keys = {"data_path": path, "universal_features": ["activity"], "load_col": None, "state": "ERROR"}
    return create_dataset(Config("BPR", "odd", config_dict=keys))


@pytest.mark.parametrize("kind", list(KINDS))
def test_the_same_tokens_come_back(reader, tmp_path_factory, kind):
    file = tmp_path_factory.mktemp("files") / f"odd.{kind}"

    @given(st.lists(st.tuples(TOKENS, TOKENS, st.floats(allow_nan=False, width=64)), min_size=1, max_size=12))
    @settings(max_examples=60)
    def law(rows):
        rows = [row for row in rows if any(str(field).strip() for field in row)]
        lines = ["\t".join((left, right, repr(number))) for left, right, number in rows]
        file.write_text("\n".join(["user_id:token\titem_id:token\tc:float", *lines]) + "\n", encoding="utf-8")
        table = reader._load_feat(str(file), KINDS[kind])
        assert list(zip(table["user_id"], table["item_id"], strict=True)) == [row[:2] for row in rows]
        np.testing.assert_array_equal(table["c"], [row[2] for row in rows])

    law()


def test_missing_values_stay_missing(reader, tmp_path):
    file = tmp_path / "odd.user"
    file.write_text("user_id:token\tb:float\tc:float_seq\nNA\tNA\t\n\t\t1 2\nx\t1.5\t3\n")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        table = reader._load_feat(str(file), FeatureSource.USER)
    assert table["user_id"].isna().tolist() == [False, True, False] and table["b"].isna().tolist() == [
        True,
        True,
        False,
    ]
    assert [list(values) for values in table["c"]] == [[], [1.0, 2.0], [3.0]]


def test_every_kind_of_file_of_a_dataset(tmp_path):
    """A quote in any of the files loses no row of the file and no interaction."""
    items = [*ODD, *(f"i{i}" for i in range(8))]
    rng = np.random.default_rng(0)
    rows = [(f'"u{u}', items[i]) for u in range(30) for i in rng.choice(len(items), 8, replace=False)]
    path = write_atomic(tmp_path, "odd", rows)
    folder = tmp_path / "odd"

    def write(kind, fields, lines):
        (folder / f"odd.{kind}").write_text("\n".join([fields, *map("\t".join, lines)]) + "\n", encoding="utf-8")

    write("item", "item_id:token\ttitle:token", [(item, f'"{item}') for item in items])
    write("user", "user_id:token\tname:token", [(f'"u{u}', f'the "{u}"') for u in range(30)])
    write("kg", "head_id:token\trelation_id:token\ttail_id:token", [(f'"e{item}', '"r"', "NA") for item in items])
    write("link", "item_id:token\tentity_id:token", [(item, f'"e{item}') for item in items])
    keys = {"data_path": path, "universal_features": ["activity"], "universal_feature_args": SMALL_FEATURES}
    keys |= {"load_col": None, "state": "ERROR", "gpu_id": ""}
    dataset = create_dataset(Config("CFKG", "odd", config_dict=keys))
    assert dataset.inter_num == len(rows) and dataset.item_num == len(items) + 1
    assert set(dataset.field2id_token["item_id"][1:]) == set(items)
    titles = dataset.id2token("title", dataset.item_feat["title"].to_numpy(dtype=int))
    assert [f'"{item}' for item in dataset.field2id_token["item_id"][1:]] == list(titles[1:])
    assert len(dataset.kg_feat) == len(items) and len(dataset.item2entity) == len(items)


def test_the_recipe_of_the_docs_writes_readable_files(tmp_path, small_config, monkeypatch):
    page = Path(__file__).parents[2] / "docs" / "stages.md"
    recipe = next(
        code for code in re.findall(r"```python\n(.*?)```", page.read_text("utf-8"), re.S) if "convert(" in code
    )
    items = [item for item in ODD if not item.startswith('"') and item == item.strip()]  # which are read as they are
    rows = [(f"u{u % 20}", item) for u, item in enumerate(items * 10)]
    text = ["user,item,stars", *('"{}","{}",5'.format(*(field.replace('"', '""') for field in row)) for row in rows)]
    (tmp_path / "ratings.csv").write_text("\n".join(text) + "\n", encoding="utf-8")
    exec(compile(recipe, "recipe", "exec"), {})
    config = Config("UniversalMLP", "shop", config_dict={"data_path": "dataset", **small_config})
    dataset = create_dataset(config)
    assert dataset.inter_num == len(set(rows)) and set(dataset.field2id_token["item_id"][1:]) == set(items)
    data_preparation(config, dataset)
