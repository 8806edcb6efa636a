"""Content of RecBole's datasets."""

from __future__ import annotations

import numpy as np
import pytest
from recbole.config import Config
from recbole.data import create_dataset

from recbole_universal.plugin.content_fields import content_of_dataset

ITEMS = """item_id:token	title:token_seq	genre:token	year:float	code:token
i0	the red car	motor	1990	17
i1	a red truck	motor	1991	18
i2	sea and river	water	1992	19
i3			1993	20
"""


@pytest.fixture
def dataset(tmp_path):
    folder = tmp_path / "shop"
    folder.mkdir()
    pairs = [(user, item) for user in range(5) for item in range(4)]
    rows = "".join(f"u{user}\ti{item}\n" for user, item in pairs)
    (folder / "shop.inter").write_text(f"user_id:token\titem_id:token\n{rows}")
    (folder / "shop.item").write_text(ITEMS)
    vectors = "".join(f"i{item}\t{item} {item + 1}\n" for item in (3, 0, 1))
    (folder / "shop.itememb").write_text(f"iid:token\temb:float_seq\n{vectors}")
    keys = {
        "data_path": str(tmp_path),
        "load_col": {"inter": ["user_id", "item_id"], "item": ["item_id", "title", "genre", "year", "code"]},
        "show_progress": False,
    }

    def made(**others):
        config = Config("Pop", "shop", config_dict={**keys, **others})
        return create_dataset(config)

    return made


def test_texts_by_internal_id(dataset):
    made = dataset()
    heard = []
    (space,) = content_of_dataset(made, encoders=[lambda texts: heard.extend(texts) or np.eye(len(texts))])
    tokens = made.field2id_token["item_id"].tolist()
    assert sorted(heard) == ["a red truck . motor", "sea and river . water", "the red car . motor"]
    assert [tokens[index] for index in np.flatnonzero(~space.has_vector)] == ["[PAD]", "i3"]
    assert len(space.vectors) == made.item_num
    parts = made.build()  # which turns the table of items into tensors
    again = []
    content_of_dataset(parts[0], encoders=[lambda texts: again.extend(texts) or np.eye(len(texts))])
    assert again == heard


def test_named_fields(dataset):
    heard = []
    content_of_dataset(dataset(), ["code"], [lambda texts: heard.extend(texts) or np.eye(len(texts))])
    assert sorted(heard) == ["17", "18", "19", "20"]
    with pytest.raises(ValueError, match=r"no column .*plot"):
        content_of_dataset(dataset(), ["plot"])


def test_preloaded_vectors(dataset):
    made = dataset(
        load_col={"inter": ["user_id", "item_id"], "itememb": ["iid", "emb"]},
        additional_feat_suffix=["itememb"],
        alias_of_item_id=["iid"],
        preload_weight={"iid": "emb"},
    )
    (space,) = content_of_dataset(made)
    tokens = made.field2id_token["item_id"].tolist()
    assert space.name == "iid"
    assert sorted(tokens[index] for index in np.flatnonzero(space.has_vector)) == ["i0", "i1", "i3"]


def test_without_an_item_file_there_is_no_content(dataset):
    assert content_of_dataset(dataset(load_col={"inter": ["user_id", "item_id"]})) == []
