"""Pre-training of UniversalSASRec: contrast of users, sources in turn, task masks."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from conftest import write_atomic

from recbole_universal import UniversalSASRec, pretrain
from recbole_universal.app import cli, pretrain_sasrec
from recbole_universal.checkpoint import load_pretrained
from recbole_universal.sequential.task_masks import TaskMasks

FIELDS = "user_id:token\titem_id:token\ttimestamp:float"
WORDS = ["tea cup kettle", "steel bolt drill", "rose garden seed"]


@pytest.fixture
def keys(tmp_path) -> dict:
    """Config keys of a pre-training on three tiny sources."""
    for seed, name in enumerate("abc"):
        generator = np.random.default_rng(seed)
        rows = []
        for user in range(18):
            items = generator.permutation(np.arange(6) + 6 * (user % 3))[:5]
            rows += [(f"u{user}", f"i{item}", time) for time, item in enumerate(items)]
        write_atomic(tmp_path, name, rows, FIELDS)
        lines = [f"i{item}\t{WORDS[(item // 6 + seed) % 3]} {item}" for item in range(18)]
        (tmp_path / name / f"{name}.item").write_text("\n".join(["item_id:token\ttitle:token_seq", *lines]) + "\n")
    return {
        "pretrain_sources": ["a", "b", "c"],
        "pretrain_dir": str(tmp_path / "out"),
        "data_path": str(tmp_path),
        "load_col": {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id", "title"]},
        "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full"},
        "hidden_size": 8,
        "inner_size": 8,
        "n_layers": 1,
        "MAX_ITEM_LIST_LENGTH": 5,
        "epochs": 2,
        "learning_rate": 0.01,
        "train_batch_size": 16,
        "show_progress": False,
        "state": "ERROR",
        "gpu_id": "",
    }


def weights(folder) -> dict[str, torch.Tensor]:
    return load_pretrained(folder, sequence_model=True).state_dict


def same(one, other) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_no_source_changes_what_an_earlier_one_reads(keys, tmp_path, monkeypatch):
    """The model of a source is, to the bit, what it was when its training ended."""
    ended: list[dict[str, torch.Tensor]] = []
    end = TaskMasks.end

    def recorded(masks: TaskMasks) -> None:
        end(masks)
        ended.append({name: one.detach().clone() for name, one in masks._parameters.items()})

    monkeypatch.setattr(TaskMasks, "end", recorded)
    folder = pretrain(None, {**keys, "pretrain_order": "task_masks"}, "UniversalSASRec")
    assert len(ended) == 3
    for name, end_of_task in zip("abc", ended, strict=True):
        assert same(weights(tmp_path / "out" / "tasks" / name), end_of_task)
    assert same(weights(folder), ended[2]) and not same(ended[0], ended[1])
    assert load_pretrained(tmp_path / "out" / "tasks" / "b", sequence_model=True).card["sources"] == ["a", "b"]


def test_in_turn_is_one_training_after_another(keys, tmp_path):
    folder = pretrain(None, {**keys, "pretrain_order": "in_turn"}, "UniversalSASRec")
    tasks = [weights(tmp_path / "out" / "tasks" / name) for name in "abc"]
    assert same(tasks[2], weights(folder))
    assert not torch.equal(
        tasks[0]["trm_encoder.layer.0.feed_forward.dense_1.weight"],
        tasks[2]["trm_encoder.layer.0.feed_forward.dense_1.weight"],
    )
    alone = pretrain(
        None, {**keys, "pretrain_order": "in_turn", "pretrain_sources": ["a"], "pretrain_dir": "one"}, "UniversalSASRec"
    )
    assert same(tasks[0], weights(alone))


def test_contrast_trains_other_weights_and_is_judged_by_its_loss(keys):
    seen = []
    value = pretrain_sasrec._value

    def recorded(*arguments):
        seen.append(value(*arguments))
        return seen[-1]

    pretrain_sasrec._value, restored = recorded, value
    try:
        folder = pretrain(None, {**keys, "pretrain_objective": "user_contrast", "epochs": 6}, "UniversalSASRec")
    finally:
        pretrain_sasrec._value = restored
    by_epoch = np.array(seen).reshape(-1, 3).mean(axis=1)
    assert (by_epoch < 0).all() and by_epoch.max() > by_epoch[0]
    card = load_pretrained(folder, sequence_model=True).card
    judged = [value for name, value in card["metrics"].items() if name.startswith("minus user_contrast, validation")]
    assert np.mean(judged) == pytest.approx(by_epoch.max(), abs=1e-3)
    next_item = pretrain(None, {**keys, "pretrain_dir": "next"}, "UniversalSASRec")
    assert not same(weights(folder), weights(next_item))


def test_contrast_compares_means_over_disjoint_halves(keys, monkeypatch):
    read, original = [], UniversalSASRec.mean_vectors

    def recorded(self, items, lengths):
        read.append((items, lengths))
        return original(self, items, lengths)

    monkeypatch.setattr(UniversalSASRec, "mean_vectors", recorded)
    pretrain(None, {**keys, "pretrain_objective": "user_contrast", "epochs": 1}, "UniversalSASRec")
    assert read
    for (first, n_first), (second, n_second) in zip(read[::2], read[1::2], strict=True):
        assert ((n_first == n_second) | (n_first == n_second + 1)).all()
        assert not ((first[:, :, None] == second[:, None, :]) & (first[:, :, None] > 0)).any()


@pytest.mark.parametrize("n_items", [3, 4])
def test_contrast_needs_histories_of_two_items(keys, tmp_path, n_items):
    """Of four items one is tested and one validates, so training has one item before the second."""
    rows = [(f"u{user}", f"i{item}", item) for user in range(6) for item in range(n_items)]
    write_atomic(tmp_path, "a", rows, FIELDS)
    with pytest.raises(ValueError, match=r"pretrain_objective: no batch of \['a'\] has two users"):
        pretrain(None, {**keys, "pretrain_objective": "user_contrast", "pretrain_sources": ["a"]}, "UniversalSASRec")
    assert not (tmp_path / "out" / "model").exists()


@pytest.mark.parametrize(
    ("extra", "message"),
    [
        ({"pretrain_objective": "words"}, "pretrain_objective: .*next_item.*user_contrast.*'words'"),
        ({"pretrain_order": "later"}, "pretrain_order: .*mixed.*in_turn.*task_masks.*'later'"),
        ({"task_share": 1.0}, r"task_share: must be a share in \(0, 1\)"),
        ({"pretrain_order": "in_turn", "pretrain_held_out": ["a"]}, "pretrain_held_out: must be empty"),
        ({"pretrain_order": "task_masks", "weight_decay": 0.1}, "weight_decay: must be 0"),
    ],
)
def test_bad_values_are_named_before_any_training(keys, tmp_path, extra, message):
    with pytest.raises(ValueError, match=message):
        pretrain(None, {**keys, **extra}, "UniversalSASRec")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(("command", "stage"), [("run", ["--train_stage=pretrain"]), ("pretrain", [])])
@pytest.mark.parametrize("named_by", ["file", "option"])
def test_the_keys_work_on_the_command_line(keys, tmp_path, monkeypatch, command, stage, named_by):
    lines = [f"{key}: {value}" for key, value in keys.items() if key != "gpu_id"]
    if named_by == "file":
        lines.append("model: UniversalSASRec")
    else:
        stage = [*stage, "--model=UniversalSASRec"]
    (tmp_path / "keys.yaml").write_text("\n".join(lines) + "\n")
    words = [command, "--config_files=keys.yaml", "--pretrain_order=in_turn", *stage]
    monkeypatch.setattr("sys.argv", ["recbole-universal", *words])
    assert cli.main(words) == 0
    assert sorted(path.name for path in (tmp_path / "out" / "tasks").iterdir()) == ["a", "b", "c"]
