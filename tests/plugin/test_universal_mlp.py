"""The model has no weights of single ids, and every method gives the same score."""

from __future__ import annotations

import itertools

import by_hand
import pytest
import torch
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.data.interaction import Interaction
from recbole.quick_start import run_recbole
from recbole.utils import get_trainer, init_seed

from recbole_universal import UniversalMLP
from recbole_universal.ranking import network, ranking_network

FAMILIES = ["activity", "cooccurrence", "interaction"]


def built(settings, model="UniversalMLP"):
    config = Config(model, "tiny", config_dict=dict(settings))
    init_seed(config["seed"], config["reproducibility"])
    dataset = create_dataset(config)
    loaders = data_preparation(config, dataset)
    return UniversalMLP(config, loaders[0]._dataset), dataset, loaders


@pytest.mark.parametrize("combination", network.COMBINATIONS)
@pytest.mark.parametrize("families", [[f] for f in FAMILIES] + [FAMILIES])
def test_predict_equals_full_sort_equals_one_by_one(tiny, small_config, combination, families, monkeypatch):
    settings = {**tiny, **small_config, "universal_features": families, "feature_combination": combination}
    model, dataset, _ = built(settings)
    model.eval()
    monkeypatch.setattr(ranking_network, "_BLOCK_FLOATS", 3 * dataset.item_num * 64)  # several blocks
    users = torch.arange(dataset.user_num)
    full = model.full_sort_predict(Interaction({"user_id": users})).view(dataset.user_num, dataset.item_num)
    pairs = list(itertools.product(range(dataset.user_num), range(dataset.item_num)))
    user, item = (torch.tensor(column) for column in zip(*pairs, strict=True))
    batch = model.predict(Interaction({"user_id": user, "item_id": item})).view_as(full)
    torch.testing.assert_close(full, batch, rtol=1e-5, atol=1e-5)
    single = [model.predict(Interaction({"user_id": user[k : k + 1], "item_id": item[k : k + 1]})) for k in range(50)]
    torch.testing.assert_close(torch.cat(single), batch.flatten()[:50], rtol=1e-5, atol=1e-5)
    assert torch.isfinite(full).all()


def test_no_weight_belongs_to_a_user_or_an_item(tiny, small_config):
    model, dataset, _ = built({**tiny, **small_config})
    assert dataset.user_num not in {size for p in model.parameters() for size in p.shape}
    assert dataset.item_num not in {size for p in model.parameters() for size in p.shape}
    assert all("activity" not in name for name in model.state_dict())


def test_weights_move_to_another_dataset(tiny, small_config, tmp_path):
    model, _, _ = built({**tiny, **small_config})
    other = {**tiny, **small_config, "item_inter_num_interval": "[12,inf)"}
    there, dataset, _ = built(other)
    there.load_state_dict(model.state_dict())
    scores = there.eval().full_sort_predict(Interaction({"user_id": torch.tensor([1, 2])}))
    assert scores.shape == (2 * dataset.item_num,) and torch.isfinite(scores).all()


def test_interpolation_weights_are_learned_and_on_the_simplex(tiny, small_config):
    model, _, (train, _, _) = built({**tiny, **small_config, "feature_combination": "interpolation"})
    torch.testing.assert_close(model.network.combination_weights, torch.full((3,), 1 / 3))
    model.calculate_loss(next(iter(train))).backward()
    assert model.network.combination_logits.grad.abs().sum() > 0
    assert all(p.grad is not None for p in model.parameters())


def test_columns_of_the_batch_are_scored(tiny, small_config):
    """Columns of the batch replace the tables, so that training may use other features than the final ones."""
    model, _, (train, _, _) = built({**tiny, **small_config})
    batch = next(iter(train))
    before = model.predict(batch)
    batch["item_activity"] = batch["item_activity"].flip(-1)
    assert not torch.equal(before, model.predict(batch))


@pytest.mark.parametrize("transform", [None, "universal"])
def test_transform_does_not_change_the_score(tiny, small_config, transform):
    model, _, (train, _, _) = built({**tiny, **small_config, "transform": transform})
    batch = next(iter(train))
    assert ("pair_interaction" in batch) == (transform == "universal")
    ids = Interaction({"user_id": batch["user_id"], "item_id": batch["item_id"]})
    torch.testing.assert_close(model.predict(batch), model.predict(ids))


def test_training_learns(tiny, small_config):
    settings = {**tiny, **small_config, "epochs": 20, "stopping_step": 20}
    model, _, (train, _, _) = built(settings)
    batches = list(train)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    losses = []
    for _ in range(30):
        loss = sum(model.calculate_loss(batch) for batch in batches)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.95 * losses[0]


@pytest.mark.parametrize(
    "extra",
    [
        {"eval_args": {"split": {"RS": [8, 1, 1]}, "order": "RO", "group_by": "user", "mode": "uni10"}},
        {"eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "full"}},
        {"eval_args": {"split": {"RS": [8, 1, 1]}, "order": "TO", "group_by": "user", "mode": "full"}},
        {"train_neg_sample_args": {"distribution": "uniform", "sample_num": 1, "dynamic": True, "candidate_num": 3}},
        {"train_neg_sample_args": {"distribution": "popularity", "sample_num": 2}},
        {"numerical_features": ["user_activity", "item_activity"], "transform": "universal"},
        {"worker": 1, "transform": "universal"},
    ],
    ids=["uni10", "leave-one-out", "time", "dynamic", "popularity", "numerical", "worker"],
)
def test_recbole_settings(tiny, small_config, extra):
    """RecBole's metrics are those of the model's scores, and training changes the scores."""
    model, dataset, (train, valid, test) = built({**tiny, **small_config, **extra})
    before = {name: value.clone() for name, value in model.named_parameters()}
    trainer = get_trainer(None, "UniversalMLP")(dataset.config, model)
    trainer.fit(train, valid, saved=False, verbose=False)
    assert all((value != before[name]).any() for name, value in model.named_parameters() if name.endswith("weight"))
    init_seed(1, True)  # sampled negatives are the same twice
    result = trainer.evaluate(test, load_best_model=False)
    init_seed(1, True)
    by_hand.assert_ndcg(result["ndcg@10"], model, test)


def test_seeds_give_the_same_run_again(tiny, small_config):
    first, again = (
        run_recbole("UniversalMLP", "tiny", config_dict={**tiny, **small_config}, saved=False) for _ in range(2)
    )
    assert first == again


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("feature_combination", "sum"),
        ("mlp_hidden_size", [0]),
        ("mlp_hidden_size", "wide"),
        ("embedding_size", 0),
        ("dropout_prob", 1.0),
    ],
)
def test_bad_arguments_name_the_key(tiny, small_config, key, value):
    with pytest.raises(ValueError, match=f"{key}:"):
        built({**tiny, **small_config, key: value})


def test_a_dataset_without_columns_is_refused(tiny, small_config):
    config = Config("UniversalMLP", "tiny", config_dict={**tiny, **small_config})
    from recbole.data.dataset import Dataset

    with pytest.raises(ValueError, match="universal columns"):
        UniversalMLP(config, Dataset(config))


def test_a_checkpoint_of_another_schema_is_refused(tiny, small_config):
    model, _, _ = built({**tiny, **small_config})
    other, _, _ = built({**tiny, **small_config, "universal_features": ["activity"]})
    with pytest.raises(ValueError, match=r"other universal features(.|\n)*cooccurrence"):
        other.load_state_dict(model.state_dict())


def test_topk_beyond_the_number_of_items(tiny, small_config):
    with pytest.raises(ValueError, match=r"topk: \[10000\] asks for more items"):
        built({**tiny, **small_config, "topk": [10000], "valid_metric": "NDCG@10000"})
