"""Universal columns in RecBole's datasets and batches."""

from __future__ import annotations

import pickle

import by_hand
import numpy as np
import pytest
import torch
from conftest import SMALL_FEATURES, write_atomic
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.data.dataset import Dataset
from recbole.data.interaction import Interaction
from recbole.model.context_aware_recommender.fm import FM
from recbole.quick_start import load_data_and_model, run_recbole
from recbole.utils import init_seed

from recbole_universal.plugin.dataset import UniversalDataset, training_matrix, universal_dataset_class
from recbole_universal.plugin.transform import PairInteraction

ALL = ["activity", "cooccurrence", "interaction"]


def loaders(model, settings):
    config = Config(
        model, "tiny", config_dict={**settings, "universal_features": settings.get("universal_features", ALL)}
    )
    init_seed(config["seed"], config["reproducibility"])
    dataset = create_dataset(config)
    return config, dataset, data_preparation(config, dataset)


def test_columns_are_filled_and_shared_by_all_splits(tiny, small_config):
    _, dataset, (train, valid, test) = loaders("BPR", {**tiny, **small_config})
    assert isinstance(dataset, UniversalDataset)
    for split in (dataset, train._dataset, valid._dataset, test._dataset):
        assert split.user_feat["user_activity"].shape == (dataset.user_num, 4)
        assert split.item_feat["item_interaction"].shape == (dataset.item_num, 8)
        assert split.universal is train._dataset.universal
    assert torch.equal(dataset.user_feat["user_activity"], torch.as_tensor(dataset.universal["activity"].user))
    assert dataset.user_feat["user_activity"][1:].sum() > 0
    assert dataset.user_feat["user_activity"][0].abs().sum() == 0  # padding


def test_a_pairwise_batch_carries_columns_of_both_items(tiny, small_config):
    _, dataset, (train, _, _) = loaders("BPR", {**tiny, **small_config})
    batch = next(iter(train))
    assert torch.equal(batch["item_activity"], dataset.item_feat["item_activity"][batch["item_id"]])
    assert torch.equal(batch["neg_item_activity"], dataset.item_feat["item_activity"][batch["neg_item_id"]])
    assert not any("pair_" in name for name in batch.columns)


@pytest.mark.parametrize("changed", ["valid", "test"])
def test_train_only(tmp_path, small_config, changed):
    """Other held-out interactions change no feature, so no held-out positive influences the features that score it."""
    rng = np.random.default_rng(3)
    pairs = [(f"u{u}", f"i{i}") for u in range(20) for i in rng.choice(15, 6, replace=False)]

    def features(name, held_out):
        splits = {"train": pairs[::2], "valid": pairs[1::4], "test": pairs[3::4]}
        splits[changed] = held_out
        for split, rows in splits.items():
            path = write_atomic(tmp_path, name, rows)
            (tmp_path / name / f"{name}.inter").rename(tmp_path / name / f"{name}.{split}.inter")
        settings = {"data_path": path, "benchmark_filename": ["train", "valid", "test"], **small_config}
        config = Config("UniversalMLP", name, config_dict=settings)
        dataset = create_dataset(config)
        data_preparation(config, dataset)
        users = dataset.token2id("user_id", [f"u{u}" for u in range(20)])
        items = dataset.token2id("item_id", sorted({i for _, i in pairs}))
        pair = dataset.universal["interaction"].pair
        return [f.user[users] for f in dataset.universal.values()] + [
            pair(torch.as_tensor(users[:10]), torch.as_tensor(items[:10])).numpy()
        ]

    one = features("one", pairs[1::4])
    other = features("other", [(user, f"i{14 - int(item[1:])}") for user, item in pairs[1::4]])
    for left, right in zip(one, other, strict=True):
        np.testing.assert_array_equal(left, right)


def test_training_matrix_holds_the_training_part_alone(tiny, small_config):
    _, dataset, (train, valid, test) = loaders("BPR", {**tiny, **small_config})
    matrix = training_matrix(train._dataset).toarray()
    inter = train._dataset.inter_feat
    assert matrix.sum() == len(inter) < dataset.inter_num
    assert np.all(matrix[inter["user_id"].numpy(), inter["item_id"].numpy()] == 1)
    for held_out in (valid, test):
        inter = held_out._dataset.inter_feat
        assert np.all(matrix[inter["user_id"].numpy(), inter["item_id"].numpy()] == 0)


def test_sequential_training_matrix_is_every_step_before_the_held_out_ones(tiny, small_config):
    settings = {**tiny, **small_config, "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full"}}
    settings["train_neg_sample_args"] = None
    _, _dataset, (train, valid, test) = loaders("SASRec", settings)
    matrix = training_matrix(train._dataset).toarray()
    np.testing.assert_array_equal(matrix.sum(axis=1)[1:], 10)  # 12 a user, two held out
    for held_out in (valid, test):
        inter = held_out._dataset.inter_feat
        assert np.all(matrix[inter["user_id"].numpy(), inter["item_id"].numpy()] == 0)


@pytest.mark.parametrize("model", ["FM", "DeepFM", "DCN"])
def test_context_models_use_columns_by_naming_them(tiny, small_config, model):
    settings = {
        **tiny,
        **small_config,
        "universal_features": ["activity", "interaction"],
        "numerical_features": ["user_activity", "item_activity", "item_interaction"],
        "threshold": {"rating": 4},
        "load_col": {"inter": ["user_id", "item_id", "rating"]},
    }
    plain = run_recbole(model, "tiny", config_dict={**settings, "universal_features": None, "numerical_features": []})
    result = run_recbole(model, "tiny", config_dict=dict(settings))
    assert result["best_valid_result"] != plain["best_valid_result"]
    newest = max(__import__("pathlib").Path("saved").glob(f"{model}-*.pth"), key=lambda f: f.stat().st_mtime)
    _, net, dataset, _, _, test = load_data_and_model(str(newest))
    assert result["test_result"]["auc"] == pytest.approx(by_hand.auc(net, test), abs=6e-5)
    assert dataset.item_feat["item_activity"].shape == (dataset.item_num, 4, 2)
    assert "item_activity" in net.float_seq_field_names and "item_cooccurrence" not in dataset.field2type


@pytest.mark.parametrize("mode", ["full", "uni20", "labeled"])
def test_pair_columns_reach_a_stock_model_in_every_mode(tiny, small_config, mode, monkeypatch):
    """FM sees the pair column in training, in sampled evaluation and where RecBole expands users to all items."""
    metrics = {"metrics": ["AUC"], "valid_metric": "AUC"} if mode == "labeled" else {}
    ranking = {
        "metrics": ["NDCG"],
        "valid_metric": "NDCG@10",
        "train_neg_sample_args": {"distribution": "uniform", "sample_num": 1},
    }
    settings = {
        **tiny,
        **small_config,
        "universal_features": ["interaction"],
        "numerical_features": ["pair_interaction"],
        "transform": "universal",
        "eval_args": {"split": {"RS": [8, 1, 1]}, "order": "RO", "group_by": "user", "mode": mode},
        **(metrics or ranking),
    }
    if mode == "labeled":
        settings |= {"threshold": {"rating": 3}}
    seen = []
    forward = FM.forward
    monkeypatch.setattr(FM, "forward", lambda self, interaction: seen.append(interaction) or forward(self, interaction))
    run_recbole("FM", "tiny", config_dict=dict(settings), saved=False)
    _config, dataset, _ = loaders("FM", {**settings, "universal_features": ["interaction"]})
    assert len(seen) > 3
    for batch in seen[1:]:  # the first one is RecBole's FLOPs count
        expected = dataset.pair_columns(batch["user_id"], batch["item_id"])["pair_interaction"]
        assert torch.equal(batch["pair_interaction"], expected)
    assert any(batch["pair_interaction"][..., 0].abs().sum() > 0 for batch in seen[1:])


def test_pairwise_training_gets_pair_columns_of_negatives(tiny, small_config):
    _, dataset, (train, valid, _) = loaders("BPR", {**tiny, **small_config, "transform": "universal"})
    batch = next(iter(train))
    for prefix in ("", "neg_"):
        expected = dataset.pair_columns(batch["user_id"], batch[prefix + "item_id"])["pair_interaction"]
        assert torch.equal(batch[prefix + "pair_interaction"], expected)
    users = next(iter(valid))[0]
    assert isinstance(users, PairInteraction) and "pair_interaction" not in users


def test_recbole_transforms_keep_working(tiny, small_config):
    settings = {**tiny, **small_config, "transform": "inverse_itemseq", "train_neg_sample_args": None}
    settings["eval_args"] = {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full"}
    result = run_recbole("SASRec", "tiny", config_dict={**settings, "universal_features": ["activity"]}, saved=False)
    assert result["test_result"]
    with pytest.raises(NotImplementedError, match="no transform named"):
        run_recbole("BPR", "tiny", config_dict={**tiny, **small_config, "transform": "unheard_of"}, saved=False)


@pytest.mark.parametrize("model", ["SASRec", "CFKG", "MultiVAE", "EASE"])
def test_other_kinds_of_models_take_columns(tiny, small_config, model, tmp_path):
    settings = {**tiny, **small_config, "universal_features": ["activity"]}
    if model == "SASRec":
        settings |= {"train_neg_sample_args": None}
        settings |= {"eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full"}}
    if model == "MultiVAE":
        settings |= {"train_neg_sample_args": None}
    if model == "CFKG":
        folder = tmp_path / "data" / "tiny"
        (folder / "tiny.kg").write_text(
            "head_id:token\trelation_id:token\ttail_id:token\n"
            + "".join(f"e{i}\tr\te{(i + 1) % 30}\n" for i in range(30))
        )
        (folder / "tiny.link").write_text(
            "item_id:token\tentity_id:token\n" + "".join(f"i{i}\te{i}\n" for i in range(30))
        )
        settings["load_col"] = {
            "inter": ["user_id", "item_id"],
            "kg": ["head_id", "relation_id", "tail_id"],
            "link": ["item_id", "entity_id"],
        }
    result, plain = (
        run_recbole(model, "tiny", config_dict={**settings, "universal_features": features}, saved=False)
        for features in (["activity"], None)
    )
    assert result == plain  # the columns are there, and change nothing in a model that does not read them


def test_columns_join_the_columns_of_the_dataset(tiny, small_config, tmp_path):
    folder = tmp_path / "data" / "tiny"
    (folder / "tiny.user").write_text("user_id:token\tage:token\n" + "".join(f"u{u}\t{u % 5}\n" for u in range(40)))
    settings = {**tiny, **small_config, "load_col": None}
    _, _dataset, (train, _, _) = loaders("BPR", settings)
    batch = next(iter(train))
    assert {"age", "user_activity", "item_activity"} <= set(batch.columns)


def test_weights_count_in_the_marginals(tiny, small_config):
    """The weights are the values of the file, also if RecBole normalises the field afterwards."""
    _, _dataset, (train, _, _) = loaders(
        "BPR", {**tiny, **small_config, "universal_weight_field": "rating", "normalize_all": True}
    )
    matrix = training_matrix(train._dataset).toarray()
    assert set(np.unique(matrix)) <= {0, 1, 2, 3, 4, 5} and len(np.unique(matrix)) > 3


def test_pickled_datasets_come_back(tiny, small_config):
    _, dataset, _ = loaders("BPR", {**tiny, **small_config})
    again = pickle.loads(pickle.dumps(dataset))
    assert type(again) is UniversalDataset
    assert torch.equal(again.user_feat["user_activity"], dataset.user_feat["user_activity"])


def test_dataset_classes():
    assert universal_dataset_class(Dataset) is UniversalDataset
    assert universal_dataset_class(UniversalDataset) is UniversalDataset
    from recbole_universal.plugin import dataset as module

    assert issubclass(module.UniversalDIENDataset, UniversalDataset.__mro__[1])
    with pytest.raises(AttributeError):
        module.UniversalUnheardOfDataset  # noqa: B018


def test_loading_is_the_same_as_recboles(tiny, small_config):
    config = Config("Pop", "tiny", config_dict={**tiny, **small_config})
    stock = Dataset(config)
    config = Config("UniversalMLP", "tiny", config_dict={**tiny, **small_config})
    ours = UniversalDataset(config)
    for field in ("user_id", "item_id", "rating", "timestamp"):
        np.testing.assert_array_equal(stock.inter_feat[field].to_numpy(), ours.inter_feat[field].to_numpy())


def test_pair_interaction_keeps_its_kind(tiny, small_config):
    import copy

    _, dataset, _ = loaders("BPR", {**tiny, **small_config, "transform": "universal"})
    ids = torch.tensor([1, 2, 3])
    batch = PairInteraction({"user_id": ids, "item_id": ids}, dataset)
    for other in (batch[torch.tensor([0, 2])], batch.to("cpu"), batch.cpu(), batch.repeat(2), copy.deepcopy(batch)):
        assert isinstance(other, PairInteraction) and other.pair_dataset is dataset
        assert torch.equal(
            other["pair_interaction"], dataset.pair_columns(other["user_id"], other["item_id"])["pair_interaction"]
        )
    assert len(batch.repeat_interleave(2)) == 6
    batch.update(Interaction({"item_id": ids.flip(0)}))
    assert torch.equal(batch["pair_interaction"], dataset.pair_columns(ids, ids.flip(0))["pair_interaction"])
    assert SMALL_FEATURES["interaction"]["n_bins"] * 2 == batch["pair_interaction"].shape[1]


def test_a_bad_value_is_named_with_file_line_and_column_without_our_entry_point(tmp_path):
    path = write_atomic(
        tmp_path, "odd", [("u1", "i1", 3), ("u2", "i2", "abc")], "user_id:token\titem_id:token\trating:float"
    )
    keys = {"data_path": path, "load_col": {"inter": ["user_id", "item_id", "rating"]}}
    with pytest.raises(ValueError, match=r"odd.inter\], line 3, column \[rating\]: 'abc' is no number"):
        create_dataset(Config("BPR", "odd", config_dict={**keys, "universal_features": ["activity"]}))
    with pytest.raises(ValueError, match=r"^(?!.*line 3)"):  # the error of RecBole for a RecBole model
        create_dataset(Config("BPR", "odd", config_dict=keys))
