"""UniversalSequential: equal scores by every method, every stage and way in, errors."""

from __future__ import annotations

from pathlib import Path

import fresh
import numpy as np
import pytest
import torch
import yaml
from conftest import write_atomic
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.data.interaction import Interaction
from recbole.quick_start import load_data_and_model, run_recbole
from recbole.utils import get_trainer, init_seed

from recbole_universal import UniversalSequential

N_ITEMS = 24


@pytest.fixture
def ring(tmp_path) -> dict:
    """Config keys of a dataset whose users walk along a ring of items, with a clock."""
    rng = np.random.default_rng(0)
    rows = []
    for user in range(60):
        length = int(rng.integers(6, 12))
        first, when = int(rng.integers(N_ITEMS)), int(rng.integers(10**6))
        rows += [(f"u{user}", f"i{(first + step) % N_ITEMS}", when + 60 * step) for step in range(length)]
    fields = "user_id:token\titem_id:token\ttimestamp:float"
    data_path = write_atomic(tmp_path / "data", "ring", rows, fields)
    return {
        **{"data_path": data_path, "checkpoint_dir": str(tmp_path / "saved"), "universal_cache_dir": None},
        **{"load_col": {"inter": ["user_id", "item_id", "timestamp"]}, "MAX_ITEM_LIST_LENGTH": 5},
        **{"metrics": ["NDCG", "Recall"], "topk": [3], "valid_metric": "NDCG@3", "show_progress": False},
        **{"state": "ERROR", "query_users": 30, "epochs": 2, "train_stage": "zero_shot"},
    }


def built(settings):
    config = Config("UniversalSequential", "ring", config_dict=dict(settings))
    init_seed(config["seed"], config["reproducibility"])
    dataset = create_dataset(config)
    loaders = data_preparation(config, dataset)
    return UniversalSequential(config, loaders[0].dataset), dataset, loaders


def batch_of(lists, **columns) -> Interaction:
    longest = max(map(len, lists))
    padded = torch.zeros(len(lists), longest, dtype=torch.int64)
    for row, items in enumerate(lists):
        padded[row, : len(items)] = torch.tensor(items, dtype=torch.int64)
    lengths = torch.tensor([len(items) for items in lists])
    return Interaction({"item_id_list": padded, "item_length": lengths, **columns})


def item_ids(dataset, positions) -> list[int]:
    return [int(dataset.token2id("item_id", f"i{position % N_ITEMS}")) for position in positions]


def test_the_next_item_of_a_walk_comes_first(ring):
    model, dataset, _ = built(ring)
    model.eval()
    walks = [item_ids(dataset, range(start, start + 4)) for start in range(N_ITEMS)]
    scores = model.full_sort_predict(batch_of(walks)).view(N_ITEMS, -1)
    following = torch.tensor(item_ids(dataset, range(4, N_ITEMS + 4)))
    assert (scores.argmax(dim=1) == following).float().mean() > 0.9
    result = run_recbole("UniversalSequential", "ring", config_dict=dict(ring))
    assert result["test_result"]["ndcg@3"] > 0.9  # without order, the items on both sides are equally near


def test_predict_equals_full_sort_equals_one_by_one(ring):
    model, dataset, _ = built(ring)
    model.eval()
    lists = [item_ids(dataset, range(start, start + 1 + start % 5)) for start in range(12)]
    full = model.full_sort_predict(batch_of(lists)).view(12, -1)
    assert torch.isfinite(full).all()
    for row, items in enumerate(lists):
        alone = model.full_sort_predict(batch_of([items]))
        torch.testing.assert_close(alone, full[row], rtol=1e-4, atol=1e-4)
        candidates = torch.arange(dataset.item_num)
        repeated = batch_of([items] * dataset.item_num, item_id=candidates)
        torch.testing.assert_close(model.predict(repeated), full[row], rtol=1e-4, atol=1e-4)
        assert (full[row][items] < full[row].max()).all()  # nothing repeats here


def test_no_user_id_is_needed_and_a_long_list_is_completed_by_it(ring):
    model, _, (_, _, test) = built(ring)
    model.eval()
    batch = next(iter(test))[0]
    with_users = model.full_sort_predict(batch).view(len(batch), -1)
    without = Interaction({name: batch[name] for name in ("item_id_list", "item_length")})
    strangers = model.full_sort_predict(without).view(len(batch), -1)
    assert strangers.shape == with_users.shape and torch.isfinite(strangers).all()
    histories = model._histories(batch, False)
    cut = batch["item_length"].numpy() == 5
    assert cut.any() and (histories.lengths[cut] >= 5).all() and histories.lengths.max() > 5
    lists = np.split(histories.items, histories.indptr[1:-1])
    for items, row in zip(lists, batch["item_id_list"].numpy(), strict=True):
        known = row[row > 0]
        assert items[-len(known) :].tolist() == known.tolist() and len(set(items)) == len(items)


def test_no_weight_belongs_to_a_user_or_an_item(ring):
    model, dataset, _ = built(ring)
    sizes = {size for weight in model.parameters() for size in weight.shape}
    assert dataset.user_num not in sizes and dataset.item_num not in sizes


@pytest.mark.parametrize("stage", ["finetune", "in_domain"])
def test_stages_train_and_their_models_are_loaded_again(ring, stage, tmp_path):
    config = Config("UniversalSequential", "ring", config_dict={**ring, "train_stage": stage})
    init_seed(config["seed"], config["reproducibility"])
    train, valid, test = data_preparation(config, create_dataset(config))
    model = UniversalSequential(config, train.dataset)
    before = {name: weight.clone() for name, weight in model.named_parameters()}
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    trainer.fit(train, valid, verbose=False, show_progress=False)
    assert any(not torch.equal(before[name], weight) for name, weight in model.named_parameters())
    result = trainer.evaluate(test, load_best_model=True, show_progress=False)
    _, loaded, _, _, _, test_again = load_data_and_model(trainer.saved_model_file)
    again = get_trainer(config["MODEL_TYPE"], config["model"])(config, loaded)
    assert again.evaluate(test_again, load_best_model=False, show_progress=False) == result
    folder = trainer.saved_model_file.removesuffix(".pth")
    other = run_recbole("UniversalSequential", "ring", config_dict={**ring, "pretrained": folder})
    assert other["test_result"] == result


def test_training_lists_hold_out_the_last_training_item(ring):
    model, _, (train, _, _) = built({**ring, "train_stage": "in_domain"})
    loss = model.calculate_loss(next(iter(train)))
    assert loss.requires_grad and torch.isfinite(loss)
    with pytest.raises(ValueError, match="candidate lists"):
        model.calculate_loss(batch_of([[1, 2]]))


def test_command_line_and_fresh_process(ring, tmp_path):
    file = tmp_path / "run.yaml"
    file.write_text(yaml.safe_dump(ring))
    script = Path(__file__).parents[2] / "run_recbole_universal.py"
    done = fresh.run(script, "--model=UniversalSequential", "--dataset=ring", f"--config_files={file}", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "UniversalSequential" in done.stdout


@pytest.mark.parametrize("base", ["SASRec", "GRU4Rec"])
def test_interpolation_around_a_sequential_model(ring, base):
    keys = {key: value for key, value in ring.items() if key not in ("train_stage", "query_users")}
    keys |= {"base_model": base, "pretrained": "universal-sequential", "train_neg_sample_args": None, "epochs": 1}
    mixed = run_recbole("UniversalInterpolation", "ring", config_dict={**keys, "interpolation_weight": 1.0})
    alone = run_recbole("UniversalSequential", "ring", config_dict=dict(ring))
    assert mixed["test_result"] == alone["test_result"]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"universal_features": ["proximity"], "train_stage": "in_domain"}, "reads the family"),
        ({"load_col": {"inter": ["user_id", "item_id"]}}, "timestamp"),
        ({"query_users": 0}, "query_users"),
        ({"metrics": ["RMSE"]}, "RMSE"),
    ],
)
def test_wrong_keys_are_refused(ring, changed, message):
    with pytest.raises(ValueError, match=message):
        run_recbole("UniversalSequential", "ring", config_dict={**ring, **changed})


def test_the_family_is_for_the_sequential_model_alone(ring):
    for model in ("UniversalMLP", "FM"):
        keys = {**ring, "universal_features": ["sequence"], "train_stage": "in_domain"}
        with pytest.raises(ValueError, match="sequence"):
            run_recbole(model, "ring", config_dict=keys)


@pytest.mark.parametrize(
    ("lists", "columns", "message"),
    [
        ([[1, 99]], {}, "item_id_list"),
        ([[1, 2]], {"user_id": torch.tensor([999])}, "user_id"),
        ([[1, 2]], {"item_length": torch.tensor([7])}, "item_length"),
    ],
)
def test_wrong_batches_are_refused(ring, lists, columns, message):
    model, _, _ = built(ring)
    batch = batch_of(lists)
    batch.update(Interaction(columns)) if columns else None
    with pytest.raises(ValueError, match=message):
        model.eval().full_sort_predict(batch)
    with pytest.raises(ValueError, match="lacks the field"):
        model.full_sort_predict(Interaction({"user_id": torch.tensor([1])}))
