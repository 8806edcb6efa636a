"""Bad input: an error that names the key, the file or the row; never a traceback from deep inside, never NaN."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import write_atomic
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.data.interaction import Interaction
from recbole.quick_start import run_recbole

from recbole_universal import UniversalMLP


def build(path, small_config, **extra):
    config = Config("UniversalMLP", "odd", config_dict={"data_path": path, **small_config, **extra})
    dataset = create_dataset(config)
    return config, dataset, data_preparation(config, dataset)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"universal_features": ["colour"]}, "activity.*colour"),
        ({"universal_features": 3}, "universal_features"),
        ({"universal_feature_args": {"colour": {}}}, "colour"),
        ({"universal_feature_args": {"activity": {"colour": 1}}}, "colour.*n_bins"),
        ({"universal_feature_args": {"activity": {"n_bins": 1}}}, "n_bins"),
        ({"universal_feature_args": {"activity": {"n_bins": 0}}}, "n_bins"),
        ({"universal_feature_args": {"cooccurrence": {"n_clusters": 1}}}, "n_clusters"),
        ({"universal_feature_args": {"cooccurrence": {"n_clusters": 0}}}, "n_clusters"),
        ({"universal_feature_args": {"cooccurrence": {"n_clusters": 10_000}}}, "n_clusters.*10000"),
        ({"universal_feature_args": {"interaction": {"n_clusters": 10_000}}}, "n_clusters.*10000"),
        ({"universal_feature_args": {"interaction": {"operator": "minus"}}}, "operator.*hadamard"),
        ({"universal_feature_args": {"node2vec": {"p": 0}}}, "argument p must"),
        ({"universal_cache_dir": 3}, "universal_cache_dir"),
        ({"universal_weight_field": "stars"}, "universal_weight_field.*stars"),
        ({"transform": "universal", "universal_features": None}, "universal_features"),
        ({"numerical_features": ["user_activty"]}, "numerical_features.*user_activty.*no loaded column.*item_activity"),
        ({"numerical_features": ["pair_interaction"]}, "numerical_features.*pair_interaction.*transform: universal"),
    ],
)
def test_arguments(tiny, small_config, extra, message):
    with pytest.raises(ValueError, match=f"(?s){message}"):
        run_recbole("UniversalMLP", "tiny", config_dict={**tiny, **small_config, **extra}, saved=False)


@pytest.mark.parametrize("rating", ["-1", "nan", "inf", "", "1e39"])
def test_weights_that_are_no_weights(tmp_path, small_config, rating):
    rows = [(f"u{u}", f"i{i}", 3) for u in range(5) for i in range(5)]
    rows[7] = ("u1", "i2", rating)
    path = write_atomic(tmp_path, "odd", rows, "user_id:token\titem_id:token\trating:float")
    with pytest.raises(ValueError, match=r"universal_weight_field: field \[rating\].*user 'u1', item 'i2'"):
        build(path, small_config, universal_weight_field="rating", load_col={"inter": ["user_id", "item_id", "rating"]})


@pytest.mark.parametrize(
    ("kind", "rating", "message"),
    [("token", "good", "type token"), ("float_seq", "1 2", "type float_seq"), ("float", "0", "is 0")],
)
def test_fields_that_hold_no_weights(tmp_path, small_config, kind, rating, message):
    rows = [(f"u{u}", f"i{i}", rating) for u in range(5) for i in range(5)]
    path = write_atomic(tmp_path, "odd", rows, f"user_id:token\titem_id:token\trating:{kind}")
    with pytest.raises(ValueError, match=rf"universal_weight_field: .*field \[rating\].*{message}"):
        build(path, small_config, universal_weight_field="rating", load_col={"inter": ["user_id", "item_id", "rating"]})


def test_no_interaction(tmp_path, small_config):
    path = write_atomic(tmp_path, "odd", [("u", "i")])
    with pytest.raises(ValueError, match=r"\[odd\] has no interaction"):
        build(path, small_config, user_inter_num_interval="[5,inf)")


@pytest.mark.parametrize(
    "rows",
    [
        [("u0", f"i{i}") for i in range(20)],
        [(f"u{u}", "i0") for u in range(20)],
        [("u0", "i0")],
        [(f"u{u}", f"i{u}") for u in range(10)],
        [("u0", f"i{i}") for i in range(10)] + [("u1", "i0")],
    ],
    ids=["one user", "one item", "one pair", "pairs", "lone item"],
)
def test_degenerate_data_gets_defined_scores(tmp_path, small_config, rows):
    node2vec = {"embedding_dim": 4, "walks_per_node": 1}
    settings = {
        **small_config,
        "universal_feature_args": {"node2vec": node2vec},
        "topk": [1],
        "valid_metric": "NDCG@1",
    }
    path = write_atomic(tmp_path, "odd", rows)
    config = Config("UniversalMLP", "odd", config_dict={"data_path": path, **settings})
    dataset = create_dataset(config)
    # RecBole's samplers refuse users with all items by an error of RecBole. The features do not.
    model = UniversalMLP(config, dataset.build()[0]).eval()
    scores = model.full_sort_predict(Interaction({"user_id": torch.arange(dataset.user_num)}))
    assert torch.isfinite(scores).all()


def test_data_of_single_interactions_are_ranked_by_popularity(tmp_path, small_config, caplog):
    """``train_stage: zero_shot`` needs no training interactions."""
    rng = np.random.default_rng(0)
    pairs = {(f"u{u}", f"i{min(19, rng.geometric(0.2))}") for u in range(200) for _ in range(2)}
    path = write_atomic(tmp_path, "odd", sorted(pairs))
    split = {"split": {"LS": "test_only"}, "order": "RO", "group_by": "user", "mode": "full"}
    settings = {**small_config, "data_path": path, "train_stage": "zero_shot", "eval_args": split}
    settings = {key: value for key, value in settings.items() if not key.startswith("universal_")}
    result = run_recbole("UniversalMLP", "odd", config_dict=settings, saved=False)
    popular = run_recbole("Pop", "odd", config_dict={**settings, "train_batch_size": 1}, saved=False)
    assert "All users get the same popular items: no user has two interactions" in caplog.text
    ours, theirs = (found["test_result"]["ndcg@10"] for found in (result, popular))
    assert ours == pytest.approx(theirs, abs=0.05) and ours > 0.2
    with pytest.raises(ValueError, match="no user with two training interactions"):
        run_recbole("UniversalMLP", "odd", config_dict={**settings, "train_stage": "finetune"}, saved=False)


def test_repeated_pairs_that_are_split_get_a_warning(tmp_path, small_config, caplog):
    rng = np.random.default_rng(0)
    pairs = [(f"u{u}", f"i{i}") for u in range(20) for i in rng.choice(15, 8, replace=False)]
    path = write_atomic(tmp_path, "odd", pairs * 2)
    ours = {"universal_features": ["proximity"], "universal_feature_args": {}}
    build(path, small_config, **ours)
    assert "are in the training split and in another split" in caplog.text and "rm_dup_inter: first" in caplog.text
    caplog.clear()
    build(path, small_config, **ours, rm_dup_inter="first")
    build(path, small_config)  # a model without candidates may recommend seen items
    assert "another one" not in caplog.text


def test_ids_that_occur_in_no_training_interaction(tmp_path, small_config):
    rng = np.random.default_rng(0)
    train = [(f"u{u}", f"i{i}") for u in range(12) for i in rng.choice(10, 5, replace=False)]
    held_out = [("new", "i1"), ("u0", "fresh"), ("new", "fresh")]
    for part, rows in {"train": train, "valid": held_out, "test": held_out}.items():
        path = write_atomic(tmp_path, "odd", rows)
        (tmp_path / "odd" / "odd.inter").rename(tmp_path / "odd" / f"odd.{part}.inter")
    settings = {"data_path": path, **small_config, "benchmark_filename": ["train", "valid", "test"]}
    _config, dataset, _loaders = build(path, settings)
    user = dataset.token2id("user_id", "new")
    item = dataset.token2id("item_id", "fresh")
    for family in dataset.universal.values():
        assert np.all(np.asarray(family.user[user]) == 0) and np.all(np.asarray(family.item[item]) == 0)
    result = run_recbole("UniversalMLP", "odd", config_dict=settings, saved=False)
    assert np.isfinite(list(result["test_result"].values())).all()


def test_a_column_name_that_is_taken(tmp_path, small_config):
    rows = [(f"u{u}", f"i{i}", 1) for u in range(5) for i in range(5)]
    path = write_atomic(tmp_path, "odd", rows, "user_id:token\titem_id:token\tuser_activity:float")
    with pytest.raises(ValueError, match=r"field \[user_activity\]"):
        build(path, small_config, load_col=None)


def test_a_cache_folder_that_cannot_be_written(tiny, small_config, tmp_path, caplog):
    (tmp_path / "taken").write_text("a file, not a folder")
    settings = {**tiny, **small_config, "universal_cache_dir": str(tmp_path / "taken"), "state": "WARNING"}
    result = run_recbole("UniversalMLP", "tiny", config_dict=settings, saved=False)
    assert result["test_result"]
    assert (tmp_path / "taken").read_text() == "a file, not a folder"


def test_a_missing_field_is_named_by_recbole(tmp_path, small_config):
    path = write_atomic(tmp_path, "odd", [("u", "i")], "user_id:token\tthing:token")
    with pytest.raises(ValueError, match="item_id"):
        build(path, small_config)
