"""Content of RecBole's datasets."""

from __future__ import annotations

from unittest.mock import patch

import numpy as np
import pytest
import torch
from recbole.config import Config
from recbole.data import create_dataset
from recbole.data.interaction import Interaction
from recbole.utils import get_model, init_seed

from recbole_universal.content.spaces import content_relation
from recbole_universal.plugin import content_fields
from recbole_universal.plugin.content_fields import content_of_dataset
from recbole_universal.ranking.correction import ContentGain

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
    with pytest.raises(ValueError, match=r"\[plot\] is no field of the items"):
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


TOPICS = ("red car", "blue sea", "green tree", "old book", "new song", "fast horse", "high tower", "cold night")


def shop_of_topics(folder, shuffled=False):
    """A shop of 40 users, each with items of one of eight topics. The titles name the topics, or they are shuffled."""
    rng = np.random.default_rng(0)
    (folder / "topics").mkdir()
    rows = []
    for user in range(160):
        liked = np.arange(64)[np.arange(64) % 8 == user % 8]
        rows += [(user, item) for item in rng.choice(liked, 4, replace=False)]
        rows += [(user, item) for item in rng.choice(np.setdiff1d(np.arange(64), liked), 2, replace=False)]
    text = "".join(f"u{user}\ti{item:02d}\n" for user, item in rows)
    (folder / "topics" / "topics.inter").write_text(f"user_id:token\titem_id:token\n{text}")
    topics = rng.permutation(64) % 8 if shuffled else np.arange(64) % 8
    text = "".join(f"i{item:02d}\t{TOPICS[topic]} {item}\t{item}\n" for item, topic in enumerate(topics))
    (folder / "topics" / "topics.item").write_text(f"item_id:token\ttitle:token_seq\tprice:float\n{text}")
    return {
        "data_path": str(folder),
        "load_col": {"inter": ["user_id", "item_id"], "item": ["item_id", "title"]},
        "universal_cache_dir": None,
        "show_progress": False,
        "state": "ERROR",
        "gpu_id": "",
    }


def built(keys, model="UniversalMLP", **others):
    config = Config(model, "topics", config_dict={**keys, **others})
    init_seed(config["seed"], True)
    train = create_dataset(config).build()[0]
    return get_model(model)(config, train).eval() if model != "UniversalInterpolation" else (config, train)


@pytest.mark.parametrize("fields", ["auto", ["auto"], "title", ["title"]])
def test_universal_mlp_ranks_by_content(tmp_path, fields):
    keys = shop_of_topics(tmp_path)
    model, plain = built(keys, content_fields=fields), built(keys)
    assert model.network.content_gain is not None and plain.network.content_gain is None
    users = torch.arange(1, 30)
    with torch.no_grad(), patch.object(ContentGain, "helps", True):
        model.network._checked = None
        full = model.full_sort_predict(Interaction({"user_id": users})).view(len(users), -1)
        without = plain.full_sort_predict(Interaction({"user_id": users})).view(len(users), -1)
        pairs = Interaction({"user_id": users.repeat_interleave(64), "item_id": torch.arange(1, 65).repeat(len(users))})
        torch.testing.assert_close(model.predict(pairs), full[:, 1:].reshape(-1))
    assert (full != without).any()


def test_content_of_other_items_is_refused(tmp_path):
    keys = shop_of_topics(tmp_path, shuffled=True)
    with pytest.raises(ValueError, match=r"content_join_z: dataset \[topics\]: two items of one user"):
        built(keys, content_fields="auto")
    for least in (None, "none"):
        assert built(keys, content_fields="auto", content_join_z=least).network.content_gain is not None


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        (
            {"content_fields": ["plot", "title"]},
            r"^content_fields: \[plot\] is no .*item\] has the fields \[item_id\], \[title\], \[price\]; loaded",
        ),
        ({"content_fields": ["price"]}, r"^content_fields: \[price\] is not loaded \(keys load_col"),
        (
            {"content_fields": ["price"], "load_col": {"inter": ["user_id", "item_id"], "item": ["item_id", "price"]}},
            r"^content_fields: \[price\] is of the type float, and texts are token or token_seq\. The item file",
        ),
        ({"content_fields": ["item_id", "plot"]}, r"\[item_id\] is the id of the items; \[plot\] is no field"),
        (
            {"content_fields": "auto", "load_col": {"inter": ["user_id", "item_id"], "item": ["item_id", "plot"]}},
            r"^load_col: item: \[plot\] is no field\. The item file \[.*topics\.item\] has the fields \[item_id\]",
        ),
        ({"content_fields": 3}, "content_fields: must be auto, a list"),
        ({"content_files": ["image.npz"]}, "content_files: must be a mapping"),
        (
            {"content_fields": "auto", "content_encoders": ["bert"]},
            "content_encoders.*bert",
        ),
        ({"content_fields": "auto", "content_encoders": []}, "content_encoders: content_fields names texts"),
        ({"content_fields": "auto", "content_join_z": -1}, "content_join_z: must be"),
        (
            {"content_fields": "auto", "load_col": {"inter": ["user_id", "item_id"]}},
            r"content_fields: no loaded field .*\[title\], \[price\]; loaded are \[item_id\]\.",
        ),
        (
            {
                "content_fields": "auto",
                "train_stage": "in_domain",
                "universal_features": ["activity", "proximity"],
            },
            r"content_fields: content is read with one family.*activity",
        ),
    ],
)
def test_wrong_keys(tmp_path, keys, message):
    with pytest.raises(ValueError, match=message):
        built({**shop_of_topics(tmp_path), **keys})


def test_a_file_of_vectors_beside_the_texts_and_alone(tmp_path):
    keys, file = shop_of_topics(tmp_path), tmp_path / "colour.npz"
    vectors = np.eye(8)[np.arange(64) % 8] + np.random.default_rng(0).normal(size=(64, 8)) / 10
    np.savez(file, ids=[f"i{item:02d}" for item in range(64)], feat=vectors)
    heard = []

    def spaces_of(**keys_of_content):
        with patch.object(content_fields, "content_relation", side_effect=content_relation) as nearest:
            built(keys, **keys_of_content)
        heard.append([space.name for space in nearest.call_args.args[0]])
        return nearest.call_args.args[0]

    (space,) = spaces_of(content_files={"colour": str(file)})
    assert not space.has_vector[0] and space.has_vector[1:].all()
    spaces_of(content_files={"colour": str(file)}, content_fields="auto", content_encoders=["tfidf"])
    spaces_of(content_files={"tfidf": str(file)}, content_encoders=["tfidf"])
    assert heard == [["colour"], ["tfidf", "colour"], ["tfidf"]]
    np.save(tmp_path / "rows.npy", np.ones((64, 4)))
    with pytest.raises(ValueError, match=r"content_files, rows: .*has no ids"):
        built(keys, content_files={"rows": str(tmp_path / "rows.npy")})
    with pytest.raises(ValueError, match=r"content_files: the name \[tfidf\] is an encoder's"):
        built(keys, content_fields="auto", content_files={"tfidf": str(file)})
    with pytest.raises(FileNotFoundError, match="content_files, colour"):
        built(keys, content_files={"colour": "nowhere.npz"})


@pytest.mark.parametrize("keys", [{"content_fields": "auto"}, {"content_files": {"image": "image.npz"}}])
def test_other_models_read_no_content(tmp_path, keys):
    with pytest.raises(ValueError, match=rf"{next(iter(keys))}: only UniversalMLP, .*UniversalSASRec read content"):
        Config("Pop", "topics", config_dict={**shop_of_topics(tmp_path), **keys})


def test_the_interpolation_reads_content(tmp_path):
    keys = {**shop_of_topics(tmp_path), "base_model": "Pop", "content_fields": "auto"}
    config, train = built(keys, "UniversalInterpolation")
    model = get_model("UniversalInterpolation")(config, train)
    assert model._universal_network[0].content_gain is not None


def test_a_dataset_without_an_item_file(tmp_path):
    keys = shop_of_topics(tmp_path)
    (tmp_path / "topics" / "topics.item").unlink()
    with pytest.raises(ValueError, match=r"^content_fields: \[title\] is no .* There is no item file \[.*item\]"):
        built(keys, content_fields=["title"])


def test_vectors_of_zeros_are_no_content(tmp_path):
    np.savez(tmp_path / "image.npz", ids=[f"i{item:02d}" for item in range(64)], feat=np.zeros((64, 3)))
    with pytest.raises(ValueError, match=r"^content_files, image: \[.*\]: all vectors of the items are zero"):
        built(shop_of_topics(tmp_path), content_fields="auto", content_files={"image": str(tmp_path / "image.npz")})


def test_vectors_of_other_items_are_refused_beside_right_texts(tmp_path):
    keys, file = shop_of_topics(tmp_path), tmp_path / "colour.npz"
    vectors = np.random.default_rng(0).permutation(np.eye(8)[np.arange(64) % 8] + np.arange(64)[:, None] / 999)
    np.savez(file, ids=[f"i{item:02d}" for item in range(64)], feat=vectors)
    with pytest.raises(ValueError, match=r"content_join_z: dataset \[topics\]: .*: colour: z "):
        built(keys, content_fields="auto", content_files={"colour": str(file)})
