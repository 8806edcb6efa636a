"""Pre-training, and its model on a dataset that it was not trained on."""

from __future__ import annotations

import json
import math
from types import SimpleNamespace

import by_hand
import numpy as np
import pytest
import scipy.sparse as sp
import torch
from conftest import killed_after_epoch, write_atomic, write_planted
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.data.interaction import Interaction
from recbole.quick_start import run_recbole
from recbole.utils import get_trainer, init_seed
from torch.utils.data.distributed import DistributedSampler

import recbole_universal
from recbole_universal import UniversalMLP, UniversalRanker
from recbole_universal.app import pretrain
from recbole_universal.checkpoint import Pretrained, load_pretrained
from recbole_universal.files import locked_folder
from recbole_universal.graph import graph_scores
from recbole_universal.plugin import loader
from recbole_universal.plugin.dataset import training_matrix
from recbole_universal.plugin.loader import CandidateListDataLoader
from recbole_universal.plugin.mlp_trainer import UniversalMLPTrainer
from recbole_universal.plugin.unseen import rows_to_test, unseen_groups
from recbole_universal.ranking.candidate_lists import CandidateLists, make_candidate_lists
from recbole_universal.ranking.network import UniversalNetwork
from recbole_universal.ranking.ranking_network import MIN_CANDIDATE_SCORE

FEATURES = {"universal_features": ["proximity"], "universal_feature_args": {"proximity": {"top_k": 10}}}


def write_source(folder, name: str, seed: int, n_users: int = 60, n_items: int = 30) -> None:
    rng = np.random.default_rng(seed)
    taste = rng.integers(0, 3, n_users)
    rows = []
    for user in range(n_users):
        weight = np.where(np.arange(n_items) % 3 == taste[user], 8.0, 1.0) / np.arange(3, n_items + 3)
        items = rng.choice(n_items, 10, replace=False, p=weight / weight.sum())
        rows += [(f"u{user}", f"i{item}") for item in items]
    write_atomic(folder, name, rows)


@pytest.fixture
def sources(tmp_path) -> dict:
    """Config keys of a small pre-training on three sources."""
    for seed, name in enumerate(("red", "green", "blue", "target")):
        write_source(tmp_path / "data", name, seed)
    return {
        "data_path": str(tmp_path / "data"),
        "pretrain_sources": ["red", {"dataset": "green"}, "blue"],
        "pretrain_held_out": ["blue"],
        "pretrain_dir": str(tmp_path / "model"),
        "pretrain_lists": str(tmp_path / "lists"),
        "query_users": 40,
        "epochs": 3,
        "mlp_hidden_size": [8],
        "learning_rate": 0.01,
        "show_progress": False,
        "gpu_id": "",
        "state": "ERROR",
        **FEATURES,
    }


@pytest.fixture
def planted(sources, tmp_path) -> float:
    """NDCG@10 that a model which learns must reach on the dataset "planted", far above Random and Pop."""
    write_planted(tmp_path / "data", "planted", 5)
    shared = {key: sources[key] for key in ("data_path", "show_progress", "gpu_id", "state")}
    simple = [run_recbole(model, "planted", config_dict=shared, saved=False) for model in ("Random", "Pop")]
    return 1.5 * max(result["test_result"]["ndcg@10"] for result in simple)


def target_keys(sources: dict, folder, **extra) -> dict:
    shared = {key: sources[key] for key in ("data_path", "show_progress", "gpu_id", "state")}
    return {**shared, "train_stage": "zero_shot", "pretrained": str(folder), **extra}


def test_pretrain_zero_shot_and_fresh_ranker_agree(sources):
    folder = recbole_universal.pretrain(config_dict=sources)
    pretrained = load_pretrained(folder)
    assert pretrained.card["sources"] == ["red", "green"]
    assert "blue" in next(iter(pretrained.card["metrics"]))
    assert (folder / "README.md").read_text().startswith("# my-universal")

    keys = target_keys(sources, folder)

    config = Config("UniversalMLP", "target", config_dict=keys)
    torch.manual_seed(0)
    dataset = create_dataset(config)
    train, _, _ = data_preparation(config, dataset)
    model = recbole_universal.UniversalMLP(config, train._dataset).eval()
    for name, value in model.network.state_dict().items():
        torch.testing.assert_close(value, pretrained.state_dict[name], rtol=0, atol=0)
    users = torch.arange(dataset.user_num)
    scores = model.full_sort_predict(Interaction({"user_id": users})).view(dataset.user_num, -1)
    every_item = torch.arange(dataset.item_num).repeat(len(users))
    pairs = Interaction({"user_id": users.repeat_interleave(dataset.item_num), "item_id": every_item})
    torch.testing.assert_close(model.predict(pairs).view_as(scores), scores, rtol=1e-4, atol=1e-4)

    matrix = training_matrix(train._dataset)
    items, values = UniversalRanker(matrix[1:, 1:], pretrained, seed=config["seed"]).top_k(np.arange(5), 5)
    masked = scores.detach().clone()
    masked[matrix.nonzero()] = -torch.inf
    masked[:, 0] = -torch.inf
    best = masked[1:6].topk(5)
    np.testing.assert_array_equal(items + 1, best.indices.numpy())
    np.testing.assert_allclose(values, best.values.numpy(), rtol=1e-4, atol=1e-4)


def test_every_candidate_ranks_above_every_other_item(sources):
    folder = recbole_universal.pretrain(config_dict=sources)
    pretrained = load_pretrained(folder)
    last = "scorers.0.pair_head.4.weight"
    sure = Pretrained({**pretrained.state_dict, last: pretrained.state_dict[last] * 1e4}, pretrained.schema, {})
    matrix = sp.csr_matrix((np.random.default_rng(0).random((40, 30)) < 0.2).astype(np.float32))
    network = UniversalRanker(matrix, sure).network
    network.falls_back = lambda: False
    users = torch.arange(40)
    scores = network.score_all(users)
    candidate = torch.zeros(40, 31, dtype=torch.bool)
    items = network.pairs("proximity").candidates(users).items
    candidate = candidate.scatter(1, torch.where(items < 0, 30, items), True)[:, :30]
    lowest = torch.where(candidate, scores, torch.inf).amin(dim=1)
    highest = torch.where(candidate, -torch.inf, scores).amax(dim=1)
    assert (lowest >= MIN_CANDIDATE_SCORE).all() and (lowest < 0.99 * MIN_CANDIDATE_SCORE).any()
    assert (lowest > highest).all()


def test_items_outside_the_candidates_follow_by_popularity(sources):
    folder = recbole_universal.pretrain(config_dict={**sources, "universal_feature_args": {"proximity": {"top_k": 1}}})
    config = Config("UniversalMLP", "target", config_dict=target_keys(sources, folder))
    train, _, _ = data_preparation(config, create_dataset(config))
    network = recbole_universal.UniversalMLP(config, train._dataset).eval().network
    scores = network.score_all(torch.tensor([0, 1]))
    outside = scores[1] < MIN_CANDIDATE_SCORE
    assert outside.any() and not outside.all() and (scores[0] < MIN_CANDIDATE_SCORE).all()
    degree = np.bincount(train._dataset.inter_feat["item_id"].numpy(), minlength=scores.shape[1])
    order = scores[0].argsort(descending=True).numpy()
    assert (np.diff(degree[order]) <= 0).all()


def test_a_killed_run_resumes_to_the_same_weights(sources, tmp_path):
    whole = load_pretrained(recbole_universal.pretrain(config_dict=sources))
    again = {**sources, "pretrain_dir": str(tmp_path / "again")}
    with killed_after_epoch(2):
        recbole_universal.pretrain(config_dict=again)
    resumed = load_pretrained(recbole_universal.pretrain(config_dict=again))
    for name, value in whole.state_dict.items():
        torch.testing.assert_close(resumed.state_dict[name], value, rtol=0, atol=0)


def test_damaged_lists_in_the_store_are_made_anew(sources, tmp_path):
    whole = load_pretrained(recbole_universal.pretrain(config_dict=sources))
    kept = sorted((tmp_path / "lists").iterdir())
    assert [path.name.split("-")[0] for path in kept] == ["blue", "green", "red"]
    intact = [path.read_bytes() for path in kept]
    for path in kept:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    again = load_pretrained(
        recbole_universal.pretrain(config_dict={**sources, "pretrain_dir": str(tmp_path / "again")})
    )
    for name, value in whole.state_dict.items():
        torch.testing.assert_close(again.state_dict[name], value, rtol=0, atol=0)
    assert [path.read_bytes() for path in kept] == intact


def test_two_trainings_do_not_share_a_folder(sources, tmp_path):
    (tmp_path / "model").mkdir()
    with locked_folder(tmp_path / "model"), pytest.raises(ValueError, match="pretrain_dir: another pre-training works"):
        recbole_universal.pretrain(config_dict=sources)
    assert list((tmp_path / "model").iterdir()) == []


def test_a_model_of_another_program_is_refused_before_the_work(sources, tmp_path, monkeypatch):
    (tmp_path / "model" / "model").mkdir(parents=True)
    (tmp_path / "model" / "model" / "model.json").write_text("{}")
    monkeypatch.setattr(pretrain, "source_lists", None)
    with pytest.raises(FileExistsError, match="is not a model of recbole_universal"):
        recbole_universal.pretrain(config_dict=sources)


@pytest.mark.parametrize("parameters", ["all", "head"])
def test_finetune_changes_only_the_chosen_weights(sources, parameters):
    folder = recbole_universal.pretrain(config_dict=sources)
    extra = {"train_stage": "finetune", "finetune_parameters": parameters, "epochs": 2, "finetune_interactions": 0.5}
    config = Config("UniversalMLP", "target", config_dict=target_keys(sources, folder, **extra))
    train, valid, _ = data_preparation(config, create_dataset(config))
    model = recbole_universal.UniversalMLP(config, train._dataset)
    before = {name: value.clone() for name, value in model.network.state_dict().items()}
    UniversalMLPTrainer(config, model).fit(train, valid, saved=False)
    changed = {name for name, value in model.network.state_dict().items() if not torch.equal(value, before[name])}
    weights = {name for name, _ in model.network.named_parameters() if "logits" not in name}
    last = {name for name in weights if ".2." not in name and ".1." not in name} if parameters == "head" else weights
    assert changed and changed <= (last if parameters == "all" else {n for n in weights if "pair_head.4" in n})


@pytest.mark.parametrize("stage", ["finetune", "in_domain"])
def test_a_trained_model_is_saved_as_a_pretrained_one_too(sources, tmp_path, stage):
    extra = {"train_stage": "finetune", "epochs": 2}
    folder = recbole_universal.pretrain(config_dict=sources) if stage == "finetune" else ""
    if stage == "in_domain":
        extra = {"train_stage": "in_domain", "mlp_hidden_size": [8], "epochs": 2, **FEATURES}
    trained = run_recbole("UniversalMLP", "target", config_dict=target_keys(sources, folder, **extra))
    (saved,) = (path for path in (tmp_path / "saved").iterdir() if path.is_dir() and path.name.startswith("Universal"))
    assert saved.with_suffix(".pth").is_file()  # one name, that of this run
    again = run_recbole("UniversalMLP", "target", config_dict=target_keys(sources, saved), saved=False)
    assert again["test_result"] == trained["test_result"]
    sources_of = load_pretrained(saved).card["sources"]
    assert sources_of == ["target", "red", "green"] if stage == "finetune" else ["target"]
    assert "target" in (saved / "README.md").read_text()


@pytest.mark.parametrize("loss", ["softmax", "BPR"])
def test_in_domain_training_learns(sources, planted, loss):
    keys = target_keys(sources, "", train_stage="in_domain", list_loss=loss, epochs=5, **FEATURES)
    result = run_recbole("UniversalMLP", "planted", config_dict={**keys, "mlp_hidden_size": [8]}, saved=False)
    assert result["test_result"]["ndcg@10"] > planted


def test_pre_training_transfers_to_another_dataset(sources, planted, monkeypatch):
    folder = recbole_universal.pretrain(config_dict=sources)
    result = run_recbole("UniversalMLP", "planted", config_dict=target_keys(sources, folder), saved=False)
    assert result["test_result"]["ndcg@10"] > planted


@pytest.mark.parametrize("stage", ["in_domain", "finetune"])
def test_an_epoch_has_each_list_once(sources, tmp_path, monkeypatch, stage):
    # With two candidates a source, the held-out items of many users are no candidates.
    monkeypatch.setattr(graph_scores, "_N_POPULAR", 2)
    narrow = {"proximity": {"top_k": 2}}
    folder = recbole_universal.pretrain(config_dict={**sources, "universal_feature_args": narrow})
    extra = {"train_stage": stage, "epochs": 3, "list_batch_size": 7, "query_users": 50}
    if stage == "in_domain":
        extra |= {"universal_features": ["proximity"], "universal_feature_args": narrow}
    config = Config("UniversalMLP", "target", config_dict=target_keys(sources, folder, **extra))
    train, valid, _ = data_preparation(config, create_dataset(config))
    taken: list[int] = []
    batch = CandidateLists.batch

    def recorded(self, indices):
        taken.extend(int(index) for index in indices)
        return batch(self, indices)

    n_lists, n_batches = len(train.lists), len(train)
    assert 7 < n_lists < train.sample_size == 50 and n_batches == math.ceil(n_lists / 7)
    model = recbole_universal.UniversalMLP(config, train._dataset)
    monkeypatch.setattr(CandidateLists, "batch", recorded)
    UniversalMLPTrainer(config, model).fit(train, valid, saved=False)
    taken = taken[-3 * n_lists :]  # earlier batches standardise the columns
    epochs = [taken[start : start + n_lists] for start in range(0, len(taken), n_lists)]
    assert len(epochs) == 3 and all(sorted(epoch) == list(range(n_lists)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


def test_a_loader_that_is_iterated_at_once_has_each_list_once(sources, monkeypatch):
    monkeypatch.setattr(graph_scores, "_N_POPULAR", 2)
    extra = {
        "train_stage": "in_domain",
        "list_batch_size": 7,
        **FEATURES,
        "universal_feature_args": {"proximity": {"top_k": 2}},
    }
    config = Config("UniversalMLP", "target", config_dict=target_keys(sources, "", **extra))
    train, _, _ = data_preparation(config, create_dataset(config))
    n_rows = sum(len(batch) for batch in train)
    assert n_rows == len(train.lists) < train.sample_size


def test_processes_share_the_lists():
    samplers = [DistributedSampler(list(range(50)), num_replicas=2, rank=rank) for rank in (0, 1)]
    for sampler in samplers:
        CandidateListDataLoader._limit_sampler(SimpleNamespace(sampler=sampler), 20)
    assert [len(sampler) for sampler in samplers] == [10, 10]
    assert sorted([*samplers[0], *samplers[1]]) == list(range(20))


def test_a_mistake_in_making_lists_is_not_swallowed(sources, monkeypatch):
    keys = target_keys(sources, "", train_stage="in_domain", epochs=1, **FEATURES)
    calls: list[int] = []

    def mistaken_once(*given, **settings):
        calls.append(1)
        return make_candidate_lists(*given, **settings) if len(calls) > 1 else None.missing

    monkeypatch.setattr(loader, "make_candidate_lists", mistaken_once)
    with pytest.raises(AttributeError, match="missing"):
        run_recbole("UniversalMLP", "target", config_dict=keys, saved=False)


def test_in_domain_training_that_diverges_names_the_learning_rate_and_exports_nothing(sources, tmp_path):
    keys = target_keys(sources, "", train_stage="in_domain", epochs=3, learning_rate=1e30, **FEATURES)
    with pytest.raises(ValueError, match="learning_rate"):
        run_recbole("UniversalMLP", "target", config_dict=keys)
    assert not list((tmp_path / "saved").glob("**/model.json"))


def test_errors_of_stages(sources, tmp_path):
    with pytest.raises(FileNotFoundError, match=r"pretrained: \[nowhere\] is neither a shipped model"):
        Config("UniversalMLP", "target", config_dict=target_keys(sources, "nowhere"))
    folder = recbole_universal.pretrain(config_dict=sources)
    with pytest.raises(ValueError, match=r"universal_features.*Leave the key out, or set train_stage: in_domain"):
        Config("UniversalMLP", "target", config_dict=target_keys(sources, folder, universal_features=["activity"]))
    with pytest.raises(ValueError, match="train_stage: must be one of"):
        run_recbole("UniversalMLP", "target", config_dict=target_keys(sources, folder, train_stage="none", **FEATURES))
    with pytest.raises(ValueError, match="pretrain_sources: must be a list"):
        recbole_universal.pretrain(config_dict={**sources, "pretrain_sources": None})
    with pytest.raises(ValueError, match="named twice"):
        recbole_universal.pretrain(config_dict={**sources, "pretrain_sources": ["red", "red"]})
    with pytest.raises(ValueError, match="pretrain_held_out"):
        recbole_universal.pretrain(config_dict={**sources, "pretrain_held_out": ["target"]})


def test_proximity_is_no_column(sources):
    keys = target_keys(sources, "", train_stage="in_domain", **FEATURES)
    with pytest.raises(ValueError, match=r"proximity has no columns, so the model \[FM\]"):
        run_recbole("FM", "target", config_dict=keys)
    with pytest.raises(ValueError, match="transform: universal has no columns for the family proximity"):
        run_recbole("UniversalMLP", "target", config_dict={**keys, "transform": "universal"})


def test_a_network_that_cannot_be_built():
    dims = {"proximity": {"user": 0, "item": 0, "pair": 3}}
    with pytest.raises(ValueError, match="mlp_hidden_size"):
        UniversalNetwork(dims, [0], 4, 0.0, "concatenation")


def test_schema_of_a_model_is_json(sources):
    folder = recbole_universal.pretrain(config_dict=sources)
    content = json.loads((folder / "model.json").read_text())
    assert content["schema"]["features"]["families"][0]["args"]["top_k"] == 10


def test_training_never_meets_unseen_users_and_items(sources):
    extra = {"train_stage": "in_domain", "unseen_users": 0.3, "unseen_items": 0.2, **FEATURES}
    config = Config("UniversalMLP", "target", config_dict=target_keys(sources, "", **extra))
    train, _, test = data_preparation(config, create_dataset(config))
    users, items = unseen_groups(config, train._dataset)
    assert users.sum() == round(0.3 * 60) and items.sum() == round(0.2 * (train._dataset.item_num - 1))
    assert not users[0] and not items[0]
    whole = training_matrix(train._dataset)
    assert train.matrix[users].nnz == 0 and train.matrix[:, items].nnz == 0
    expected = whole.toarray()
    expected[users] = 0
    expected[:, items] = 0
    np.testing.assert_array_equal(train.matrix.toarray(), expected)
    # The graph of the training lacks them. The graph of the ranking has them.
    assert train._dataset.universal["proximity"].pair.scorers.matrix.nnz == whole.nnz
    assert set(np.unique(test._dataset.inter_feat["user_id"])) & set(np.flatnonzero(users))


@pytest.mark.parametrize("user", ["seen", "unseen", "all"])
@pytest.mark.parametrize("item", ["seen", "unseen"])
def test_the_test_part_of_a_group(sources, user, item):
    extra = {"train_stage": "in_domain", "unseen_users": 0.3, "unseen_items": 0.3, "epochs": 1, **FEATURES}
    extra |= {"eval_users": user, "eval_items": item, "mlp_hidden_size": [8]}
    config = Config("UniversalMLP", "target", config_dict=target_keys(sources, "", **extra))
    init_seed(config["seed"], True)  # RecBole splits by the global random state
    _, _, test = data_preparation(config, create_dataset(config))
    users, items = unseen_groups(config, test._dataset)
    rows = test._dataset.inter_feat
    assert all(items[rows["item_id"].numpy()] == (item == "unseen"))
    if user != "all":
        assert all(users[rows["user_id"].numpy()] == (user == "unseen"))
    train, valid, test = data_preparation(config, create_dataset(config))
    model = UniversalMLP(config, train._dataset)
    trainer = get_trainer(None, "UniversalMLP")(config, model)
    trainer.fit(train, valid, saved=False, verbose=False)
    result = trainer.evaluate(test, load_best_model=False)
    by_hand.assert_ndcg(result["ndcg@10"], model, test)


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"unseen_users": 1.0}, "unseen_users: must be a share"),
        ({"unseen_items": "all"}, "unseen_items: must be a share"),
        ({"eval_users": "some"}, "eval_users: must be one of"),
        ({"eval_items": "unseen"}, "no interaction of that group"),
        ({"unseen_items": 0.2, "universal_features": ["activity"]}, "add proximity to universal_features"),
    ],
)
def test_bad_groups(sources, extra, message):
    keys = target_keys(sources, "", train_stage="in_domain", **{**FEATURES, **extra})
    with pytest.raises(ValueError, match=message):
        run_recbole("UniversalMLP", "target", config_dict=keys, saved=False)


def test_groups_of_another_model_are_checked():
    """The table of keys checks them for UniversalMLP alone."""
    test = SimpleNamespace(user_num=5, item_num=5, uid_field="user_id", iid_field="item_id")
    test.inter_feat = {"user_id": torch.tensor([1]), "item_id": torch.tensor([1])}
    keys = {"unseen_users": None, "unseen_items": None, "eval_users": None, "eval_items": None, "seed": 1}
    assert rows_to_test(keys, test).all() and not np.any(unseen_groups(keys, test))
    with pytest.raises(ValueError, match=r"unseen_items: must be a share in \[0, 1\)"):
        unseen_groups({**keys, "unseen_items": 1.5}, test)
    with pytest.raises(ValueError, match="eval_users: must be one of"):
        rows_to_test({**keys, "eval_users": "some"}, test)
