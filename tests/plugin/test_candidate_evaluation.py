"""Evaluation by candidates gives what RecBole collects from the scores of all items, and ranks a user once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import write_atomic
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.data.interaction import Interaction
from recbole.evaluator.register import metric_information, metric_types
from recbole.trainer import Trainer
from recbole.utils import EvaluatorType, get_model, get_trainer, init_seed

from recbole_universal.plugin import user_candidates
from recbole_universal.plugin.top_items import TopItems, TopItemsCollector
from recbole_universal.plugin.universal_mlp import UniversalMLP

RANKING = [name for name, kind in metric_types.items() if kind == EvaluatorType.RANKING]
BY_TOP_ITEMS = [name for name in RANKING if name != "gauc"]


@pytest.fixture
def shop(tmp_path) -> dict:
    """Config keys of a dataset of three tastes with popular items, twins that nothing distinguishes, and a clock."""
    rng = np.random.default_rng(3)
    rows = []
    for user in range(90):
        weight = np.where(np.arange(80) % 3 == user % 3, 6.0, 1.0) / (1 + np.arange(80) // 8)
        items = rng.choice(80, size=int(rng.integers(6, 15)), replace=False, p=weight / weight.sum())
        rows += [(f"u{user}", f"i{item}", time) for time, item in enumerate(items)]
        rows += [(f"u{user}", f"twin{twin}", 20 + twin) for twin in range(6) if user % 9 == 0]
    path = write_atomic(tmp_path / "data", "shop", rows, "user_id:token\titem_id:token\ttimestamp:float")
    return {
        **{"data_path": path, "load_col": {"inter": ["user_id", "item_id", "timestamp"]}, "state": "ERROR"},
        **{"train_stage": "zero_shot", "universal_cache_dir": None, "show_progress": False, "gpu_id": ""},
        **{"metrics": BY_TOP_ITEMS, "topk": [1, 5, 10], "valid_metric": "NDCG@10", "metric_decimal_place": 12},
    }


def built(keys: dict, model_name: str = "UniversalMLP"):
    """Model, the trainer of the plugin and that of RecBole, and the three loaders."""
    config = Config(model_name, "shop", config_dict=dict(keys))
    init_seed(config["seed"], config["reproducibility"])
    loaders = data_preparation(config, create_dataset(config))
    model = get_model(model_name)(config, loaders[0].dataset)
    trainers = get_trainer(config["MODEL_TYPE"], model_name)(config, model), Trainer(config, model)
    for trainer in trainers:
        trainer.eval_collector.data_collect(loaders[0])
    return model, *trainers, loaders


def evaluated(trainer, loader) -> tuple[dict, dict]:
    """Metrics, and what the collector held."""
    held = []
    stock = trainer.evaluator.evaluate
    trainer.evaluator.evaluate = lambda struct: stock(held.append(struct) or struct)
    try:
        return trainer.evaluate(loader, load_best_model=False), held[0]._data_dict
    finally:
        trainer.evaluator.evaluate = stock


def assert_same(ours, stock, loader) -> None:
    (metrics, held), (stock_metrics, stock_held) = evaluated(ours, loader), evaluated(stock, loader)
    assert metrics == stock_metrics and held.keys() == stock_held.keys()
    for name in ("rec.items", "rec.topk"):
        assert name not in held or held[name].dtype == stock_held[name].dtype
        assert name not in held or torch.equal(held[name], stock_held[name])


class Rows:
    """Counts the rows that models score in full."""

    def __init__(self, monkeypatch, model) -> None:
        self.n = 0
        stock = type(model).full_sort_predict

        def counted(this, interaction):
            self.n += len(interaction)
            return stock(this, interaction)

        monkeypatch.setattr(type(model), "full_sort_predict", counted)


BY_TIME = {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "full"}
BY_ROWS = {"split": {"RS": [6, 2, 2]}, "order": "RO", "group_by": None, "mode": "full"}
LABELED = {"eval_args": {**BY_ROWS, "mode": "labeled"}, "threshold": {"timestamp": 5}}
IN_LISTS = {"eval_args": BY_TIME, "MAX_ITEM_LIST_LENGTH": 6, "train_neg_sample_args": None}


@pytest.mark.parametrize(
    ("model", "changed"),
    [
        ("UniversalMLP", {}),
        ("UniversalMLP", {"eval_args": BY_ROWS, "eval_batch_size": 1}),
        ("UniversalMLP", {"eval_args": BY_TIME, "eval_batch_size": 700}),
        ("UniversalMLP", {"repeatable": True}),
        ("UniversalMLP", {"metrics": ["NDCG"]}),
        ("UniversalMLP", {"metrics": ["ItemCoverage"], "valid_metric": "ItemCoverage@10"}),
        ("UniversalSequential", IN_LISTS),
        ("UniversalSequential", {**IN_LISTS, "eval_batch_size": 7}),
    ],
)
def test_the_collector_holds_the_same(shop, model, changed, monkeypatch):
    network, ours, stock, (_, valid, test) = built({**shop, **changed}, model)
    rows = Rows(monkeypatch, network)
    evaluated(ours, valid), evaluated(ours, test)
    n_rows = len(valid.dataset if valid.is_sequential else valid.uid_list)
    assert rows.n < n_rows  # most rows of both parts are not scored in full
    for loader in (valid, test):
        assert_same(ours, stock, loader)


def test_benchmark_files(shop, tmp_path):
    rows = (tmp_path / "data/shop/shop.inter").read_text().splitlines()
    for name, part in (("train", slice(0, None, 2)), ("valid", slice(1, None, 4)), ("test", slice(1, None, 4))):
        text = "\n".join([rows[0], *rows[1:][part]]) + "\n"
        (tmp_path / f"data/shop/shop.{name}.inter").write_text(text)
    _, ours, stock, (_, valid, test) = built({**shop, "benchmark_filename": ["train", "valid", "test"]})
    for loader in (valid, test):
        assert_same(ours, stock, loader)


def test_candidates_that_tie_are_in_the_order_of_recbole(shop, monkeypatch):
    """Where all candidates of a user tie, the best items are those of ``torch.topk`` for the whole row."""
    model, ours, stock, (_, _, test) = built(shop)
    monkeypatch.setattr(
        type(model.network), "candidate_scores", lambda self, columns: columns[2]["proximity"][..., 0] * 0
    )
    monkeypatch.setattr(
        "recbole_universal.ranking.ranking_network.PairProducts", lambda *_: lambda features: features[..., 0] * 0
    )
    rows = Rows(monkeypatch, model)
    assert_same(ours, stock, test)
    assert rows.n == 2 * len(test.uid_list)


@pytest.mark.parametrize("topk", [[60], [5, 83]])
def test_longer_lists_than_candidates(shop, topk):
    """Popular items follow."""
    _, ours, stock, (_, valid, test) = built({**shop, "topk": topk, "valid_metric": f"NDCG@{topk[0]}"})
    for loader in (valid, test):
        assert_same(ours, stock, loader)


def test_popularity_alone(shop, monkeypatch):
    model, ours, stock, (_, _, test) = built(shop)
    monkeypatch.setattr(type(model.network), "falls_back", lambda self: True)
    assert_same(ours, stock, test)


def test_more_masked_items_than_candidates_in_reserve(shop, monkeypatch):
    """The validation part is most of the items, and the test masks them."""
    split = {"split": {"RS": [1, 8, 1]}, "order": "RO", "group_by": "user", "mode": "full"}
    model, ours, stock, (_, valid, test) = built({**shop, "eval_args": split, "topk": [2], "valid_metric": "NDCG@2"})
    monkeypatch.setattr(user_candidates.UserCandidates, "__init__", _with_little_reserve)
    rows = Rows(monkeypatch, model)
    evaluated(ours, valid)
    assert_same(ours, stock, test)
    assert rows.n > len(test.uid_list)  # RecBole's trainer asks for each once


def test_a_tie_with_a_candidate_beyond_the_reserve(shop, monkeypatch):
    """Candidates tie. Where RecBole masks the second of two that are kept, the third may be the best."""
    split = {"split": {"RS": [3, 5, 2]}, "order": "RO", "group_by": "user", "mode": "full"}
    keys = {**shop, "eval_args": split, "topk": [1], "valid_metric": "NDCG@1", "metrics": ["NDCG", "ItemCoverage"]}
    _, ours, stock, (_, _, test) = built(keys)
    products = "recbole_universal.ranking.ranking_network.PairProducts"
    monkeypatch.setattr(products, lambda *_: lambda features: features[..., 0] * 0)
    monkeypatch.setattr(user_candidates.UserCandidates, "__init__", lambda self, model, k: _init(self, model, 2))
    assert_same(ours, stock, test)


_init = user_candidates.UserCandidates.__init__


def _with_little_reserve(self, model, k: int) -> None:
    _init(self, model, 3)


@pytest.mark.parametrize(
    ("changed", "whole"),
    [
        ({"metrics": RANKING}, True),
        ({"universal_features": ["activity"], "train_stage": "in_domain"}, True),
        ({"eval_args": {**BY_ROWS, "mode": "uni5"}}, False),
        ({**LABELED, "metrics": ["AUC"], "valid_metric": "AUC"}, False),
    ],
)
def test_recbole_evaluates_where_candidates_are_not_enough(shop, changed, whole, monkeypatch):
    model, ours, stock, (_, _, test) = built({**shop, **changed})
    rows = Rows(monkeypatch, model)
    init_seed(1, True)  # sampled negatives are the same twice
    found = evaluated(ours, test)[0]
    assert rows.n == (len(test.uid_list) if whole else 0)
    init_seed(1, True)
    assert found == evaluated(stock, test)[0]


def test_a_metric_that_reads_something_else_gets_all_scores(shop, monkeypatch):
    model, ours, _, (_, _, test) = built(shop)
    rows = Rows(monkeypatch, model)
    monkeypatch.setitem(metric_information, "ndcg", ["rec.topk", "rec.taste"])
    ours.evaluate(test, load_best_model=False)
    assert rows.n == len(test.uid_list)


def test_a_subclass_scores_in_its_own_way(shop, monkeypatch):
    class Reversed(UniversalMLP):
        def full_sort_predict(self, interaction):
            return -super().full_sort_predict(interaction)

    model, ours, stock, (_, _, test) = built(shop)
    before = evaluated(ours, test)[0]
    model.__class__ = Reversed
    assert_same(ours, stock, test)
    assert evaluated(ours, test)[0] != before


def test_a_subclass_of_the_trainer_reads_scores(shop):
    """RecBole's method returns the scores of all items, which a method of a subclass may change."""

    class WithoutThree:
        def _full_sort_batch_eval(self, batched_data):
            interaction, scores, *positive = super()._full_sort_batch_eval(batched_data)
            scores[:, 1:4] = -torch.inf
            return interaction, scores, *positive

    _, ours, stock, (_, _, test) = built(shop)
    for trainer in (ours, stock):
        trainer.__class__ = type("Changed", (WithoutThree, type(trainer)), {})
    assert_same(ours, stock, test)
    assert (evaluated(ours, test)[1]["rec.items"] > 3).all()


def test_only_the_own_evaluation_gets_candidates_in_place_of_scores(shop):
    """Code outside calls RecBole's method too, before and after an evaluation, also one that fails."""
    _, ours, stock, (_, _, test) = built(shop)
    batch = next(iter(test))
    for trainer in (ours, stock):
        trainer.evaluate(test, load_best_model=False)
    with pytest.raises(FileNotFoundError):
        ours.evaluate(test, model_file="missing.pth")
    with torch.no_grad():
        assert torch.equal(ours._full_sort_batch_eval(batch)[1], stock._full_sort_batch_eval(batch)[1])


@pytest.mark.parametrize("place", ["model", "trainer"])
def test_a_method_that_is_replaced_in_an_object_counts(shop, place):
    model, ours, stock, (_, _, test) = built(shop)
    if place == "model":
        predict = model.full_sort_predict
        model.full_sort_predict = lambda interaction: -predict(interaction)
    else:
        for trainer in (ours, stock):
            trainer._full_sort_batch_eval = _reversed(trainer._full_sort_batch_eval)
    assert_same(ours, stock, test)


def _reversed(batch_eval):
    def replaced(batched_data):
        interaction, scores, *positive = batch_eval(batched_data)
        return interaction, scores.neg().clamp(max=100), *positive

    return replaced


@pytest.mark.parametrize("user", [-1, 91])
def test_a_user_outside_of_the_dataset_is_an_error(shop, user):
    """A negative index would read the list of another user."""
    _, ours, _, (_, _, test) = built(shop)
    ours.evaluate(test, load_best_model=False)
    users = test.user_df["user_id"].clone()
    users[4] = user
    test.user_df = Interaction({"user_id": users})
    histories = test.uid2history_item, test.uid2positive_item
    test.uid2history_item, test.uid2positive_item = (np.append(column, column[-1:]) for column in histories)
    with pytest.raises(ValueError, match=f"user_id: internal ids go from 0 .padding. to 90, got {user}"):
        ours.evaluate(test, load_best_model=False)


def test_a_user_is_ranked_once_until_the_weights_change(shop, monkeypatch):
    model, ours, stock, (_, valid, test) = built({**shop, "eval_batch_size": 7 * 87})
    users = []
    rank = model.best_candidates
    monkeypatch.setattr(model, "best_candidates", lambda batch, k: users.append(batch["user_id"]) or rank(batch, k))
    monkeypatch.setattr(user_candidates, "_USERS_AT_ONCE", 30)
    for loader in (valid, test, valid):
        ours.evaluate(loader, load_best_model=False)
    either = torch.cat([valid.uid_list, test.uid_list]).unique()
    assert torch.equal(torch.cat(users).sort().values, either)
    assert len(users[0]) == 30  # more than a batch of seven users
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(-1)
    assert_same(ours, stock, test)
    assert sum(map(len, users)) == len(either) + len(test.uid_list)


def test_an_error_while_ranking_leaves_no_user_ranked(shop, monkeypatch):
    model, ours, stock, (_, _, test) = built(shop)
    with monkeypatch.context() as patch:
        patch.setattr(model, "best_candidates", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            ours.evaluate(test, load_best_model=False)
    assert_same(ours, stock, test)


def test_collector_counts_a_repeated_positive_once(shop):
    """As RecBole's matrix of positives does."""
    config = Config("UniversalMLP", "shop", config_dict=dict(shop, topk=[2], metrics=["NDCG"], valid_metric="NDCG@2"))
    collector = TopItemsCollector(config)
    rows, items = torch.tensor([0, 0, 0, 2]), torch.tensor([4, 4, 1, 3])
    collector.eval_batch_collect(TopItems(torch.tensor([[1, 4], [4, 1], [4, 5]]), 6), None, rows, items)
    assert collector.get_data_struct().get("rec.topk").tolist() == [[1, 1, 2], [0, 0, 0], [0, 0, 1]]
