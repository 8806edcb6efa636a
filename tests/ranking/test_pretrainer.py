"""Pre-training: known answers of loss, schedule, metric and stopping; the states that a run resumes."""

from __future__ import annotations

import json
import math
import pickle
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from conftest import killed_after_epoch, write_atomic, write_planted
from safetensors import safe_open

import recbole_universal
from recbole_universal.app import pretrain
from recbole_universal.array_store import read_arrays, write_arrays
from recbole_universal.checkpoint import load_pretrained
from recbole_universal.features.fields import LIST_LABEL, LIST_MASK
from recbole_universal.ranking.candidate_lists import (
    Block,
    CandidateLists,
)
from recbole_universal.ranking.list_loss import list_loss
from recbole_universal.ranking.network import UniversalNetwork
from recbole_universal.ranking.pretraining import Pretrainer

DIMS = {"proximity": {"user": 0, "item": 0, "pair": 2}}


class Identity:
    """A network whose scores are the columns."""

    families = ("proximity",)

    def each_network(self, user, item, pair) -> torch.Tensor:
        return pair["proximity"]

    def __call__(self, user, item, pair) -> torch.Tensor:
        return pair["proximity"][..., 0]


def lists_of(scores: list[list[list[float]]], held_out: list[list[int]], mask: list[list[int]]) -> Block:
    return {
        "pair_proximity": torch.tensor(scores),
        LIST_LABEL: torch.tensor(held_out).bool(),
        LIST_MASK: torch.tensor(mask).bool(),
    }


def random_lists(seed: int, n: int = 24) -> CandidateLists:
    generator = torch.Generator().manual_seed(seed)
    label = torch.rand(n, 6, generator=generator) < 0.3
    label[:, 0] = True
    columns = torch.randn(n, 6, 2, generator=generator) * torch.tensor([3.0, 0.1]) + label[..., None]
    return CandidateLists([{"pair_proximity": columns.half(), LIST_LABEL: label, LIST_MASK: torch.ones(n, 6).bool()}])


def pretrainer(folder, **changed) -> Pretrainer:
    torch.manual_seed(0)
    network = UniversalNetwork(DIMS, [4], 4, 0.0, "concatenation")
    keys = {"seed": 1, "learning_rate": 0.01, "epochs": 3, "stopping_step": 3, "batch_size": 8}
    return Pretrainer(network, folder, **{**keys, **changed})


def trained_epochs(monkeypatch) -> list[int]:
    """Indices of all epochs that are trained after this call."""
    epochs: list[int] = []
    stock = Pretrainer._epoch

    def epoch(self, train, optimizer, index):
        epochs.append(index)
        return stock(self, train, optimizer, index)

    monkeypatch.setattr(Pretrainer, "_epoch", epoch)
    return epochs


# Known answers


def test_the_softmax_loss_of_lists_is_that_of_the_formula():
    # Two networks. The last position of the first list is padding, whose score must not count.
    scores = [[[1.0, 0.0], [2.0, 0.5], [0.0, 0.0], [9.0, 9.0]], [[0.0, 1.0], [1.0, 0.0], [2.0, 2.0], [3.0, 0.0]]]
    batch = lists_of(scores, [[1, 1, 0, 0], [0, 0, 1, 0]], [[1, 1, 1, 0], [1, 1, 1, 1]])
    expected = []
    for network in range(2):
        for row, held_out, length in ((0, [0, 1], 3), (1, [2], 4)):
            values = [item[network] for item in scores[row][:length]]
            total = math.log(sum(math.exp(value) for value in values))
            expected.append(-sum(values[index] - total for index in held_out) / len(held_out))
    assert list_loss(Identity(), batch, "softmax").item() == pytest.approx(np.mean(expected), rel=1e-6)


def test_the_bpr_loss_of_lists_is_the_mean_over_pairs():
    scores = [[[1.0], [2.0], [0.0], [9.0]], [[0.0], [1.0], [2.0], [3.0]]]
    batch = lists_of(scores, [[1, 1, 0, 0], [0, 0, 1, 0]], [[1, 1, 1, 0], [1, 1, 1, 1]])
    pairs = [[1.0 - 0.0, 2.0 - 0.0], [2.0 - 0.0, 2.0 - 1.0, 2.0 - 3.0]]
    expected = np.mean([np.mean([math.log1p(math.exp(-x)) for x in differences]) for differences in pairs])
    assert list_loss(Identity(), batch, "BPR").item() == pytest.approx(expected, rel=1e-6)


def test_the_learning_rate_rises_over_a_tenth_and_falls_along_a_cosine(tmp_path):
    rate = pretrainer(tmp_path, learning_rate=2.0)._rate
    known = {0.0: 0.08, 0.05: 1.04, 0.1: 2.0, 0.325: 1 + math.sqrt(0.5), 0.55: 1.0, 0.775: 1 - math.sqrt(0.5), 1.0: 0.0}
    for done, expected in known.items():
        assert rate(done) == pytest.approx(expected, abs=1e-9)
    rates = [rate(step / 1000) for step in range(1001)]
    assert int(np.argmax(rates)) == 100
    assert (np.diff(rates[:101]) > 0).all() and (np.diff(rates[100:]) < 0).all()


def test_each_step_has_the_rate_of_the_whole_schedule_and_the_seed_of_its_epoch(tmp_path, monkeypatch):
    seen = []
    stock = torch.optim.Adam.step

    def step(self):
        seen.append((self.param_groups[0]["lr"], torch.initial_seed()))
        return stock(self)

    monkeypatch.setattr(torch.optim.Adam, "step", step)
    trained = pretrainer(tmp_path, seed=5)
    trained.fit(random_lists(0, 20), {})
    assert seen == [(trained._rate(step / 9), 5 + step // 3) for step in range(9)]  # 3 epochs of 3 batches


def test_ndcg_of_lists_is_that_of_the_formula(tmp_path):
    trained = pretrainer(tmp_path)
    trained.network = Identity()
    discount = [1 / math.log2(rank + 2) for rank in range(12)]
    # Held-out items at ranks 1 and 3 of three; at rank 2 of two; eleven of twelve, the first of all missed.
    three = lists_of(
        [[[3.0], [1.0], [2.0], [9.0]], [[1.0], [2.0], [9.0], [9.0]]],
        [[1, 1, 0, 0], [1, 0, 0, 0]],
        [[1, 1, 1, 0], [1, 1, 0, 0]],
    )
    twelve = lists_of([[[12.0 - rank] for rank in range(12)]], [[0] + [1] * 11], [[1] * 12])
    expected = [(discount[0] + discount[2]) / sum(discount[:2]), discount[1], sum(discount[1:10]) / sum(discount[:10])]
    assert trained.evaluate(CandidateLists([three, twelve])) == pytest.approx(np.mean(expected), rel=1e-6)


def test_training_stops_after_epochs_without_improvement_and_keeps_the_best(tmp_path, monkeypatch):
    epochs = trained_epochs(monkeypatch)
    scores = iter([0.3, 0.5, 0.4, 0.45, 0.9])
    after = []

    def evaluate(self, lists):
        after.append({name: value.clone() for name, value in self.network.state_dict().items()})
        return next(scores)

    monkeypatch.setattr(Pretrainer, "evaluate", evaluate)
    trained = pretrainer(tmp_path, epochs=10, stopping_step=2)
    assert trained.fit(random_lists(0), {"held": random_lists(1)}) == {"held": 0.5}
    assert epochs == [0, 1, 2, 3]
    for name, value in trained.network.state_dict().items():
        torch.testing.assert_close(value, after[1][name], rtol=0, atol=0)


def test_pair_columns_are_standardised():
    network = UniversalNetwork(DIMS, [], 4, 0.0, "concatenation").eval()
    network.standardise({"proximity": torch.tensor([[1.0, 10.0], [3.0, 50.0], [5.0, 30.0]])})
    (inner,) = network.scorers
    assert inner.pair_mean.tolist() == [3.0, 30.0]
    assert inner.pair_scale.tolist() == pytest.approx([2.001, 20.001])
    linear = inner.pair_head[1]
    columns = torch.tensor([[[7.0, 20.0]]])
    expected = linear.weight[0, 0] * (7 - 3) / 2.001 + linear.weight[0, 1] * (20 - 30) / 20.001 + linear.bias[0]
    torch.testing.assert_close(network({}, {}, {"proximity": columns}), expected.view(1, 1))


def test_training_that_diverges_names_the_learning_rate_and_saves_nothing(tmp_path):
    with pytest.raises(ValueError, match="learning_rate: the training diverged with 1e\\+30"):
        pretrainer(tmp_path, learning_rate=1e30).fit(random_lists(0), {})
    assert list(tmp_path.iterdir()) == []


# Resuming


def test_only_the_same_run_is_resumed(tmp_path, monkeypatch):
    epochs = trained_epochs(monkeypatch)
    lists, held_out = random_lists(0), {"held": random_lists(1)}
    changes = {
        "seed": ({"seed": 2}, lists, held_out),
        "learning rate": ({"learning_rate": 0.02}, lists, held_out),
        "epochs": ({"epochs": 4}, lists, held_out),
        "stopping step": ({"stopping_step": 4}, lists, held_out),
        "batch size": ({"batch_size": 4}, lists, held_out),
        "loss": ({"loss": "BPR"}, lists, held_out),
        "described": ({"described": {"sources": ["red"]}}, lists, held_out),
        "as many other lists": ({}, random_lists(2), held_out),
        "as many other held-out lists": ({}, lists, {"held": random_lists(2)}),
        "name of the held-out source": ({}, lists, {"other": random_lists(1)}),
        "no held-out source": ({}, lists, {}),
    }
    for name, (changed, train, held) in changes.items():
        pretrainer(tmp_path).fit(lists, held_out)
        epochs.clear()
        pretrainer(tmp_path).fit(lists, held_out)
        assert epochs == []  # the file is intact
        pretrainer(tmp_path, **changed).fit(train, held)
        assert epochs[0] == 0, name


def test_a_state_of_a_network_with_weights_of_the_same_shape_is_not_resumed(tmp_path, monkeypatch):
    pretrainer(tmp_path).fit(random_lists(0), {})
    epochs = trained_epochs(monkeypatch)
    other = pretrainer(tmp_path)
    other.network = UniversalNetwork(DIMS, [4], 4, 0.1, "concatenation")
    other.fit(random_lists(0), {})
    assert epochs == [0, 1, 2]


def test_a_state_of_other_initial_weights_is_not_resumed(tmp_path, monkeypatch):
    pretrainer(tmp_path).fit(random_lists(0), {})
    epochs = trained_epochs(monkeypatch)
    other = pretrainer(tmp_path)
    torch.manual_seed(9)
    other.network = UniversalNetwork(DIMS, [4], 4, 0.0, "concatenation")
    other.fit(random_lists(0), {})
    assert epochs == [0, 1, 2]


def test_a_resumed_run_ends_with_the_same_weights(tmp_path, monkeypatch):
    lists = random_lists(0)
    whole = pretrainer(tmp_path / "whole")
    (tmp_path / "whole").mkdir()
    whole.fit(lists, {})
    with killed_after_epoch(2):
        pretrainer(tmp_path).fit(lists, {})
    epochs = trained_epochs(monkeypatch)
    again = pretrainer(tmp_path)
    again.fit(lists, {})
    assert epochs == [2]
    for name, value in again.network.state_dict().items():
        torch.testing.assert_close(value, whole.network.state_dict()[name], rtol=0, atol=0)


class Harm:
    """A pickle that leaves a file behind when it is opened."""

    def __reduce__(self):
        return (Path.touch, (Path("harm"),))


def _flip(content: bytes) -> bytes:
    changed = bytearray(content)
    changed[len(content) // 2] ^= 1
    return bytes(changed)


DAMAGES = {
    "empty": lambda content: b"",
    "truncated": lambda content: content[: len(content) // 2],
    "bit": _flip,
    "pickle": lambda content: pickle.dumps(Harm()),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
def test_a_damaged_state_is_one_warning_and_training_begins_anew(tmp_path, monkeypatch, caplog, damage):
    first = pretrainer(tmp_path)
    first.fit(random_lists(0), {})
    first.file.write_bytes(damage(first.file.read_bytes()))
    epochs = trained_epochs(monkeypatch)
    again = pretrainer(tmp_path)
    again.fit(random_lists(0), {})
    assert epochs == [0, 1, 2] and not Path("harm").exists()
    (text,) = (record.getMessage() for record in caplog.records if record.levelname == "WARNING")
    assert str(first.file) in text and "pre-training begins anew" in text
    for name, value in again.network.state_dict().items():
        torch.testing.assert_close(value, first.network.state_dict()[name], rtol=0, atol=0)


def _rewritten(change):
    """Rewrite a state by :func:`write_arrays`, so that its checksum is right."""

    def rewrite(file):
        with safe_open(file, framework="numpy") as opened:
            key = json.loads(opened.metadata()["key"])
        arrays, state = read_arrays(file, key)
        changed = change(arrays, state)
        write_arrays(file, key, *((arrays, state) if changed is None else changed))

    return rewrite


def _set(name, value):
    return _rewritten(lambda arrays, state: state.update({name: value}))


WRONG_STATES = {
    "missing weights": _rewritten(lambda arrays, state: arrays.__delitem__("best/combination_logits")),
    "missing moments": _rewritten(lambda arrays, state: arrays.__delitem__("optimizer/0/exp_avg")),
    "unknown array": _rewritten(lambda arrays, state: arrays.update(zzz=np.zeros(2, dtype=np.float32))),
    "other shape": _rewritten(lambda arrays, state: arrays.update({"optimizer/0/step": np.zeros(2, np.float32)})),
    "other type": _rewritten(lambda arrays, state: arrays.update({"optimizer/0/step": np.zeros((), np.float64)})),
    "NaN": _rewritten(lambda arrays, state: arrays["scorer/combination_logits"].fill(np.nan)),
    "missing epoch": _rewritten(lambda arrays, state: state.__delitem__("epoch")),
    "best epoch after the last": _set("best_epoch", 3),
    "epoch of another type": _set("epoch", 2.0),
    "epoch too large": _set("epoch", 4),
    "score of another type": _set("best_score", "high"),
    "other metrics": _set("metrics", {"other": 0.5}),
    "metrics of another type": _set("metrics", ["held"]),
    "no description": _rewritten(lambda arrays, state: (arrays, None)),
}


@pytest.mark.parametrize("damage", WRONG_STATES.values(), ids=WRONG_STATES)
def test_a_state_of_wrong_content_is_one_warning_and_training_begins_anew(tmp_path, monkeypatch, caplog, damage):
    lists, held_out = random_lists(0), {"held": random_lists(1)}
    with killed_after_epoch(2):
        pretrainer(tmp_path).fit(lists, held_out)
    again = pretrainer(tmp_path)
    damage(again.file)
    epochs = trained_epochs(monkeypatch)
    again.fit(lists, held_out)
    assert epochs == [0, 1, 2]
    (text,) = (record.getMessage() for record in caplog.records if record.levelname == "WARNING")
    assert str(again.file) in text and "pre-training begins anew" in text


# Whole runs


@pytest.fixture
def keys(tmp_path) -> dict:
    """Config keys of a pre-training on two small sources, with a third held out."""
    for seed, name in enumerate(("red", "green", "blue")):
        write_planted(tmp_path / "data", name, seed)
    return {
        "data_path": str(tmp_path / "data"),
        "pretrain_sources": ["red", "green", "blue"],
        "pretrain_held_out": ["blue"],
        "pretrain_dir": str(tmp_path / "model"),
        "pretrain_lists": str(tmp_path / "lists"),
        "query_users": 40,
        "epochs": 3,
        "mlp_hidden_size": [8],
        "list_batch_size": 16,
        "learning_rate": 0.01,
        "universal_features": ["activity"],
        "universal_feature_args": {"activity": {"n_bins": 4}},
        "universal_cache_dir": None,
        "show_progress": False,
        "gpu_id": "",
        "state": "ERROR",
    }


@pytest.mark.parametrize(
    "changed",
    [
        {"pretrain_sources": ["red", "other", "blue"]},
        {"pretrain_sources": ["green", "red", "blue"]},
        {"pretrain_held_out": ["green"]},
        {"universal_feature_args": {"activity": {"n_bins": 4, "binning": "hard"}}},
        {"query_share": 0.4},
        {"dropout_prob": 0.1},
        "file",
    ],
    ids=str,
)
def test_another_pre_training_in_the_same_folder_begins_anew(keys, tmp_path, monkeypatch, changed):
    write_planted(tmp_path / "data", "other", 7)
    recbole_universal.pretrain(config_dict=keys)
    epochs = trained_epochs(monkeypatch)
    before = load_pretrained(recbole_universal.pretrain(config_dict=keys)).state_dict
    assert epochs == []
    if changed == "file":  # another content under the same name, with as many lists
        write_planted(tmp_path / "data", "green", 8)
        changed = {}
    weights = load_pretrained(recbole_universal.pretrain(config_dict={**keys, **changed})).state_dict
    assert epochs == [0, 1, 2]
    fresh = {**keys, **changed, "pretrain_dir": str(tmp_path / "m"), "pretrain_lists": str(tmp_path / "l")}
    expected = load_pretrained(recbole_universal.pretrain(config_dict=fresh)).state_dict
    assert any(not torch.equal(value, before[name]) for name, value in expected.items())
    for name, value in expected.items():
        torch.testing.assert_close(weights[name], value, rtol=0, atol=0)


def test_a_golden_pre_training(keys, monkeypatch):
    """The training of the shipped models: loss and held-out NDCG of each epoch, and some weights."""
    scalars: dict[str, list[float]] = {}
    recorder = SimpleNamespace(add_scalar=lambda name, value, _: scalars.setdefault(name, []).append(value))
    monkeypatch.setattr(pretrain, "get_tensorboard", lambda _: recorder)
    features = {"universal_features": ["proximity"], "universal_feature_args": {"proximity": {"top_k": 10}}}
    folder = recbole_universal.pretrain(config_dict={**keys, **features})
    np.testing.assert_allclose(scalars["Loss/pretrain"], [2.870406, 2.596265, 2.608132], rtol=1e-3)
    np.testing.assert_allclose(scalars["NDCG@10/blue"], [0.558294, 0.553818, 0.553818], atol=4e-3)
    weights = load_pretrained(folder).state_dict  # of the first epoch, the best
    sums = {name.removeprefix("scorers.0."): value.double().abs().sum().item() for name, value in weights.items()}
    assert sums.pop("combination_logits") == 0
    expected = {"pair_mean": 22.81965, "pair_scale": 10.53498, "pair_head.1.weight": 27.25267}
    expected |= {"pair_head.1.bias": 0.749610, "pair_head.4.weight": 1.679971}
    sums.pop("pair_head.4.bias")  # a softmax does not depend on it, so its gradient is rounding, and Adam scales it up
    assert sums == pytest.approx(expected, rel=1e-3)
    first = weights["scorers.0.pair_head.1.weight"].flatten()[:2].tolist()
    assert first == pytest.approx([-0.0390763, -0.1571160], rel=1e-3)


def test_stored_lists_of_wrong_content_are_made_again(keys, monkeypatch, tmp_path, caplog):
    expected = load_pretrained(recbole_universal.pretrain(config_dict=keys)).state_dict
    file = next((tmp_path / "lists").glob("red-*"))
    _rewritten(lambda arrays, _: arrays["0/item_activity"].fill(np.nan))(file)
    again = load_pretrained(recbole_universal.pretrain(config_dict={**keys, "pretrain_dir": str(tmp_path / "again")}))
    assert str(file) in caplog.text and "computed again" in caplog.text
    for name, value in expected.items():
        torch.testing.assert_close(again.state_dict[name], value, rtol=0, atol=0)


def test_sources_that_are_missing_are_named_before_any_is_read(keys, monkeypatch):
    monkeypatch.setattr(pretrain, "source_lists", lambda *_: pytest.fail("a source was read"))
    with pytest.raises(
        ValueError, match=r"pretrain_sources: there are no folders .*nowhere\], .*none\].*set data_path"
    ):
        recbole_universal.pretrain(config_dict={**keys, "pretrain_sources": ["red", "nowhere", "none", "blue"]})


def test_a_source_without_lists_is_named(keys, tmp_path):
    write_atomic(tmp_path / "data", "single", [(f"u{n}", f"i{n % 3}") for n in range(9)])
    sources = ["red", "single", "blue"]
    with pytest.raises(ValueError, match=r"pretrain_sources: dataset \[single\] is too small"):
        recbole_universal.pretrain(config_dict={**keys, "pretrain_sources": sources})


def test_a_folder_that_cannot_be_made_is_named(keys):
    Path("file").write_text("")
    with pytest.raises(ValueError, match=r"pretrain_dir: cannot make the folder"):
        recbole_universal.pretrain(config_dict={**keys, "pretrain_dir": "file/folder"})


def test_held_out_sources_are_a_list_of_names(keys):
    with pytest.raises(ValueError, match="pretrain_held_out: must be a list"):
        recbole_universal.pretrain(config_dict={**keys, "pretrain_held_out": 5})
