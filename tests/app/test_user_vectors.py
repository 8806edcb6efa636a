"""Vectors of users of checkpoints, in Python and on the command line."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch
from conftest import write_atomic
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.model.sequential_recommender.sasrec import SASRec
from recbole.utils import get_model, get_trainer, init_seed

from recbole_universal import user_vectors
from recbole_universal.app import cli
from recbole_universal.app.user_vectors import write_user_vectors
from recbole_universal.content.arrays import item_vectors
from recbole_universal.plugin.trained_model import TrainedModel

FIELDS = "user_id:token\titem_id:token\ttimestamp:float"
IN_ORDER = {"eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full"}}


def trained(folder, model, **keys):
    """A checkpoint of a model after one epoch, and the model."""
    rows = [(f"u{user}", f"i{(user + 3 * time) % 11}", time) for user in range(9, -1, -1) for time in range(6)]
    path = write_atomic(folder, "small", rows, FIELDS)
    keys = {"data_path": path, "load_col": {"inter": ["user_id", "item_id", "timestamp"]}, "epochs": 1, **keys}
    keys |= {"show_progress": False, "state": "ERROR", "gpu_id": "", "checkpoint_dir": str(folder / "saved")}
    keys |= {"eval_batch_size": 4}
    config = Config(model, "small", config_dict=keys)
    init_seed(config["seed"], True)
    train, valid, _ = data_preparation(config, create_dataset(config))
    network = get_model(config["model"])(config, train._dataset)
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, network)
    trainer.fit(train, valid, verbose=False, show_progress=False)
    network.load_state_dict(torch.load(trainer.saved_model_file, weights_only=False)["state_dict"])
    return trainer.saved_model_file, network.eval(), train._dataset


@pytest.mark.parametrize("model", ["UniversalSASRec", "SASRec"])
def test_a_sequential_model_reads_the_latest_items_of_all_parts(tmp_path, model):
    keys = {"item_encoder": "id", "train_stage": "in_domain"} if model == "UniversalSASRec" else {}
    keys |= {"train_neg_sample_args": None, "MAX_ITEM_LIST_LENGTH": 4, **IN_ORDER}
    file, network, dataset = trained(tmp_path, model, **keys)
    vectors = user_vectors(file)
    assert sorted(vectors.index) == sorted(f"u{user}" for user in range(10))
    assert vectors.shape == (10, 64) and vectors.to_numpy().dtype == np.float32
    items = dataset.token2id("item_id", [f"i{(3 + 3 * time) % 11}" for time in range(2, 6)])
    with torch.no_grad():
        expected = network(torch.from_numpy(items)[None], torch.tensor([4]))[0].numpy()
    assert vectors.loc["u3"].to_numpy() == pytest.approx(expected, abs=1e-5)


def test_the_mean_is_that_of_the_vectors_after_each_item(tmp_path):
    keys = {"item_encoder": "id", "train_stage": "in_domain", "MAX_ITEM_LIST_LENGTH": 9, **IN_ORDER}
    file, network, dataset = trained(tmp_path, "UniversalSASRec", train_neg_sample_args=None, **keys)
    vectors = user_vectors(file, pooling="mean")
    items = torch.zeros(6, 9, dtype=torch.int64)  # the beginnings of a history of six items
    for n in range(1, 7):
        items[n - 1, :n] = torch.from_numpy(
            dataset.token2id("item_id", [f"i{(3 + 3 * time) % 11}" for time in range(n)])
        )
    with torch.no_grad():
        expected = network(items, torch.arange(1, 7)).mean(dim=0).numpy()
    assert vectors.loc["u3"].to_numpy() == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize(
    ("pooling", "message"), [("mean", "needs UniversalSASRec.*BPR"), ("median", "one of last, mean")]
)
def test_a_pooling_that_a_model_has_not_is_refused(tmp_path, pooling, message):
    file, _, _ = trained(tmp_path, "BPR")
    with pytest.raises(SystemExit, match=message):
        options = ["--checkpoint", str(file), "--pooling", pooling, "--output", str(tmp_path / "users.npz")]
        cli.main(["user-vectors", *options])


def test_an_embedding_of_users_is_taken_by_id(tmp_path):
    file, network, dataset = trained(tmp_path, "BPR")
    vectors = user_vectors(file)
    rows = network.user_embedding.weight[dataset.token2id("user_id", list(vectors.index))].detach().numpy()
    assert np.array_equal(vectors.to_numpy(), rows)  # of more users than a batch has


@pytest.mark.parametrize("model", ["ItemKNN", "RepeatNet"])
def test_models_without_user_vectors_are_named(tmp_path, model):
    """``forward`` of RepeatNet returns chances of items."""
    keys = {} if model == "ItemKNN" else {"train_neg_sample_args": None, **IN_ORDER}
    file, _, _ = trained(tmp_path, model, **keys)
    with pytest.raises(ValueError, match=f"{model} has no vectors of users"):
        user_vectors(file)


def test_vectors_of_each_item_of_a_history_are_none_of_a_user(tmp_path, monkeypatch):
    """``forward`` of SASRecCPR, which needs a hundred items, returns such."""
    file, _, _ = trained(tmp_path, "SASRec", train_neg_sample_args=None, **IN_ORDER)
    monkeypatch.setattr(SASRec, "forward", lambda self, item_seq, item_seq_len: torch.zeros(len(item_seq), 5, 8))
    with pytest.raises(ValueError, match="SASRec has no vectors of users"):
        user_vectors(file)


def test_vectors_that_are_not_finite_are_refused(tmp_path, monkeypatch):
    file, _, _ = trained(tmp_path, "BPR")
    monkeypatch.setattr(TrainedModel, "_vectors", lambda self, batch: torch.full((len(batch), 2), torch.nan))
    with pytest.raises(ValueError, match="not finite"):
        user_vectors(file)


@pytest.mark.parametrize("ending", ["npz", "parquet"])
def test_the_command_writes_what_python_returns(tmp_path, ending, capsys):
    file, _, _ = trained(tmp_path, "BPR")
    output = tmp_path / f"users.{ending}"
    assert cli.main(["user-vectors", "--checkpoint", str(file), "--output", str(output)]) == 0
    assert "10 vectors of 64 numbers" in capsys.readouterr().out
    vectors = user_vectors(file)
    assert np.array_equal(item_vectors(output, vectors.index), vectors.to_numpy())
    if ending == "parquet":
        assert list(pd.read_parquet(output).columns) == ["user_id", "vector"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--output", "users.csv"], "must end in one of .npz, .parquet"),
        (["--output", "nowhere/users.npz"], "there is no folder"),
        (["--checkpoint", "missing.pth", "--output", "users.npz"], "missing.pth"),
        (["--data-path", "nowhere", "--output", "users.npz"], "there is no folder"),
    ],
)
def test_mistakes_end_with_one_line_and_no_file(tmp_path, arguments, message):
    file, _, _ = trained(tmp_path, "BPR")
    with pytest.raises(SystemExit, match=message):
        cli.main(["user-vectors", "--checkpoint", str(file), *arguments])
    assert not list(tmp_path.glob("users.*"))


def test_ids_of_a_frame_are_written_as_text(tmp_path):
    frame = pd.DataFrame(np.ones((2, 3), dtype=np.float32), index=pd.Index([1, 2]))
    write_user_vectors(frame, tmp_path / "users.npz")
    with np.load(tmp_path / "users.npz") as file:
        assert file["ids"].tolist() == ["1", "2"]
