"""UniversalSASRec: RecBole's SASRec by ids, permutation of items, stages and ways in, bad keys."""

from __future__ import annotations

import json
from pathlib import Path

import fresh
import numpy as np
import pytest
import torch
from conftest import write_atomic
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.model.sequential_recommender.sasrec import SASRec
from recbole.quick_start import load_data_and_model, run_recbole
from recbole.utils import get_trainer, init_seed

from recbole_universal import UniversalSASRec, pretrain
from recbole_universal.checkpoint import load_pretrained
from recbole_universal.files import locked_folder

N_ITEMS, N_USERS = 24, 40
COLOURS = ("red", "green", "blue", "black")
THINGS = ("car", "river", "garden", "piano", "bread", "coat")


def write_shop(folder: Path, name: str, seed: int, order: np.ndarray | None = None) -> None:
    """Users buy things of one colour. ``order`` exchanges the ids of the items."""
    rng = np.random.default_rng(seed)
    ids = np.arange(N_ITEMS) if order is None else order
    rows = []
    for user in range(N_USERS):
        chosen = rng.permutation(np.arange(user % 4, N_ITEMS, 4))[:5]
        rows += [(f"u{user:02d}", f"{name[0]}{ids[item]:02d}", time) for time, item in enumerate(chosen)]
    write_atomic(folder, name, rows, "user_id:token\titem_id:token\ttimestamp:float")
    lines = [f"{name[0]}{ids[item]:02d}\t{COLOURS[item % 4]} {THINGS[item // 4]}" for item in range(N_ITEMS)]
    text = "\n".join(["item_id:token\ttitle:token_seq", *lines]) + "\n"
    (folder / name / f"{name}.item").write_text(text, encoding="utf-8")


@pytest.fixture
def shop(tmp_path) -> dict:
    for name, seed in (("alpha", 0), ("beta", 1), ("gamma", 2)):
        write_shop(tmp_path / "data", name, seed)
    return {
        **{"data_path": str(tmp_path / "data"), "checkpoint_dir": str(tmp_path / "saved"), "universal_cache_dir": None},
        "load_col": {"inter": ["user_id", "item_id", "timestamp"], "item": ["item_id", "title"]},
        **{"hidden_size": 8, "inner_size": 8, "n_layers": 1, "MAX_ITEM_LIST_LENGTH": 5, "epochs": 2},
        **{"metrics": ["NDCG", "Recall"], "topk": [3], "valid_metric": "NDCG@3", "learning_rate": 0.01},
        **{"show_progress": False, "state": "ERROR", "hidden_dropout_prob": 0.1, "attn_dropout_prob": 0.1},
    }


def tuning(shop: dict, **keys) -> dict:
    """Keys of a run that takes its architecture from a pre-trained model."""
    architecture = ("hidden_size", "inner_size", "n_layers", "MAX_ITEM_LIST_LENGTH")
    return {**{key: value for key, value in shop.items() if key not in architecture}, **keys}


def built(keys: dict, name: str = "alpha", model: type = UniversalSASRec):
    config = Config(model.__name__, name, config_dict=dict(keys))
    init_seed(config["seed"], config["reproducibility"])
    loaders = data_preparation(config, create_dataset(config))
    init_seed(config["seed"], config["reproducibility"])
    return model(config, loaders[0].dataset), loaders, config


@pytest.fixture
def source(shop) -> str:
    folder = pretrain(
        config_dict={**shop, "pretrain_sources": ["alpha", "beta"], "pretrain_dir": "pre"}, model="UniversalSASRec"
    )
    return str(folder)


def test_by_ids_it_is_recboles_sasrec_to_the_bit(shop):
    ours, (train, _, test), _ = built({**shop, "item_encoder": "id"})
    theirs, _, _ = built({**shop, "train_neg_sample_args": None}, model=SASRec)
    batch = next(iter(train))
    init_seed(1, True)
    loss = ours.calculate_loss(batch)
    init_seed(1, True)
    expected = theirs.calculate_loss(batch)
    assert torch.equal(loss, expected)
    loss.backward()
    expected.backward()
    grads = [(weights.grad, other.grad) for weights, other in zip(ours.parameters(), theirs.parameters(), strict=True)]
    grads.sort(key=lambda pair: pair[0].numel())
    assert all(torch.equal(one, other) for one, other in grads)
    ours.eval(), theirs.eval()
    batch = next(iter(test))[0]
    scores, stock = ours.full_sort_predict(batch), theirs.full_sort_predict(batch)
    own = torch.zeros_like(scores, dtype=torch.bool).scatter(1, batch["item_id_list"], True)
    assert torch.equal(scores[~own], stock[~own]) and (scores[own] == -torch.inf).all()


@pytest.mark.parametrize("encoder", ["content", "id_plus_content", "words", "id"])
def test_predict_equals_full_sort(shop, encoder):
    model, (_, _, test), _ = built({**shop, "item_encoder": encoder})
    model.eval()
    batch = next(iter(test))[0]
    full = model.full_sort_predict(batch)
    assert full.shape == (len(batch), model.n_items) and model.user_vectors(batch).shape == (len(batch), 8)
    pairs = batch.repeat_interleave(model.n_items)
    pairs["item_id"] = torch.arange(model.n_items).repeat(len(batch))
    torch.testing.assert_close(model.predict(pairs).view(full.shape)[:, 1:], full[:, 1:])
    products = model.user_vectors(batch) @ model.item_embedding.weight.T
    torch.testing.assert_close(products[full > -torch.inf], full[full > -torch.inf])


@pytest.mark.parametrize("encoder", ["content", "words"])
def test_no_weight_belongs_to_an_item_and_other_ids_give_the_same_scores(shop, encoder, tmp_path):
    write_shop(tmp_path / "data", "aleph", 0, np.random.default_rng(5).permutation(N_ITEMS))
    scores = []
    for name in ("alpha", "aleph"):
        model, (_, _, test), _ = built({**shop, "item_encoder": encoder}, name)
        assert model.n_items not in {size for weights in model.parameters() for size in weights.shape}
        model.eval()
        batch = next(iter(test))[0]
        full = model.full_sort_predict(batch)
        users = test.dataset.id2token("user_id", batch["user_id"])
        title = test.dataset.item_feat["title"][:, 0] * 100 + test.dataset.item_feat["title"][:, 1]
        words = test.dataset.field2id_token["title"][test.dataset.item_feat["title"]]
        assert len(title.unique()) == model.n_items
        by_title = np.argsort([" ".join(row) for row in words])
        scores.append(full[np.argsort(users)][:, by_title])
    torch.testing.assert_close(scores[0], scores[1], rtol=1e-4, atol=1e-5)


def test_repeated_items_stay_candidates(shop, tmp_path):
    rows = [(f"u{user}", f"a{item:02d}", time) for user in range(9) for time, item in enumerate((1, 2, 1, 3, 2, 1))]
    write_atomic(tmp_path / "data", "alpha", rows, "user_id:token\titem_id:token\ttimestamp:float")
    model, (_, _, test), _ = built(shop)
    scores = model.full_sort_predict(next(iter(test))[0])
    assert torch.isfinite(scores[:, 1:]).all() and (scores[:, 0] == -torch.inf).all()


def test_the_padding_id_is_no_candidate_of_a_history_of_full_length(shop):
    model, (_, _, test), _ = built({**shop, "MAX_ITEM_LIST_LENGTH": 4})
    batch = next(iter(test))[0]
    assert (batch["item_id_list"] > 0).all()
    assert (model.full_sort_predict(batch)[:, 0] == -torch.inf).all()


def test_training_learns_what_the_titles_say(shop):
    keys = {**shop, "hidden_size": 16, "epochs": 30, "stopping_step": 30}
    result = run_recbole("UniversalSASRec", "alpha", config_dict=keys)
    assert result["test_result"]["ndcg@3"] > 0.3  # one of two items that are left of the colour, among 20 candidates


def test_pretrained_weights_transfer_to_a_dataset_that_shares_no_id(shop, source):
    assert sorted(path.suffix for path in Path(source).iterdir()) == [".json", ".md", ".safetensors"]
    weights = load_pretrained(source, sequence_model=True).state_dict
    model, _, _ = built(tuning(shop, train_stage="zero_shot", pretrained=source), "gamma")
    assert weights and all(torch.equal(weights[name], value) for name, value in model.transferable().items())
    with pytest.raises(ValueError, match="describes a model of UniversalSASRec"):
        load_pretrained(source)
    with pytest.raises(ValueError, match="a model of UniversalSASRec is needed"):
        built(tuning(shop, train_stage="zero_shot", pretrained="universal-base"), "gamma")


def test_pretraining_again_gives_the_same_weights(shop, source):
    again = pretrain(
        config_dict={**shop, "pretrain_sources": ["alpha", "beta"], "pretrain_dir": "again"}, model="UniversalSASRec"
    )
    first, second = (load_pretrained(folder, sequence_model=True) for folder in (source, again))
    assert all(torch.equal(first.state_dict[name], value) for name, value in second.state_dict.items())
    assert first.card["sources"] == ["alpha", "beta"]


def test_zero_shot_in_a_fresh_process(shop, source, tmp_path):
    keys = tuning(shop, train_stage="zero_shot", pretrained=source)
    here = run_recbole("UniversalSASRec", "gamma", config_dict=dict(keys))["test_result"]
    code = (
        "from recbole.quick_start import run_recbole\n"
        f"result = run_recbole('UniversalSASRec', 'gamma', config_dict={keys!r})\n"
        "print(dict((name, float(value)) for name, value in result['test_result'].items()))"
    )
    done = fresh.run("-c", code)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str({name: float(value) for name, value in here.items()})


@pytest.mark.parametrize("kind", ["adapters", "lora", "head", "all"])
def test_fine_tuning_starts_from_the_pretrained_scores_and_its_checkpoint_is_loaded_again(shop, source, kind):
    keys = tuning(shop, pretrained=source)
    start, (_, _, test), _ = built({**keys, "train_stage": "zero_shot"}, "gamma")
    model, (train, valid, test), config = built(
        {**keys, "train_stage": "finetune", "finetune_parameters": kind, "weight_decay": 0.1}, "gamma"
    )
    start.eval(), model.eval()
    batch = next(iter(test))[0]
    assert torch.equal(model.full_sort_predict(batch), start.full_sort_predict(batch))
    frozen = {name: value.clone() for name, value in model.named_parameters() if not value.requires_grad}
    assert (model.n_trained < model.n_weights) == bool(frozen) == (kind != "all")
    trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
    trainer.fit(train, valid, verbose=False)
    assert all(torch.equal(value, frozen[name]) for name, value in model.named_parameters() if name in frozen)
    assert not torch.equal(model.full_sort_predict(batch), start.full_sort_predict(batch))
    result = trainer.evaluate(test, load_best_model=True)
    _, loaded, _, _, _, test_again = load_data_and_model(trainer.saved_model_file)
    again = get_trainer(config["MODEL_TYPE"], config["model"])(config, loaded)
    assert again.evaluate(test_again, load_best_model=False) == result
    folder = Path(trainer.saved_model_file).with_suffix("")
    assert folder.is_dir() == (kind in ("all", "head"))
    if folder.is_dir():
        other = run_recbole(
            "UniversalSASRec", "gamma", config_dict={**keys, "train_stage": "zero_shot", "pretrained": str(folder)}
        )
        assert other["test_result"] == result


def test_ids_beside_pretrained_content_start_at_zero_and_are_trained(shop, source):
    keys = tuning(shop, pretrained=source)
    start, (_, _, test), _ = built({**keys, "train_stage": "zero_shot"}, "gamma")
    both = {"item_encoder": "id_plus_content", "train_stage": "finetune", "finetune_parameters": "head"}
    model, _, _ = built({**keys, **both}, "gamma")
    start.eval(), model.eval()
    batch = next(iter(test))[0]
    torch.testing.assert_close(model.full_sort_predict(batch), start.full_sort_predict(batch))
    assert model.item_embedding.ids.weight.requires_grad


def test_a_file_of_vectors_is_a_modality(shop, tmp_path):
    rng = np.random.default_rng(0)
    np.savez(
        tmp_path / "image.npz", ids=[f"a{item:02d}" for item in range(0, N_ITEMS, 2)], feat=rng.normal(size=(12, 6))
    )
    keys = {**shop, "content_files": {"image": str(tmp_path / "image.npz")}}
    model, _, _ = built(keys)
    vectors = model.item_embedding._catalogue.vectors
    assert {name: rows.shape[1] for name, rows in vectors.items()} == {"distil": 64, "image": 6}
    assert int(vectors["image"].any(dim=1).sum()) == 12 and not vectors["image"][0].any()
    with pytest.raises(ValueError, match=r"content_files.*\[distil\]"):
        built({**shop, "content_files": {"distil": str(tmp_path / "image.npz")}})
    with pytest.raises(FileNotFoundError, match="content_files, image"):
        built({**shop, "content_files": {"image": "nowhere.npz"}})


def test_files_of_vectors_have_ids(shop, tmp_path):
    """The order of the items is RecBole's, so rows without ids could be anybody's."""
    np.save(tmp_path / "rows.npy", np.eye(N_ITEMS + 1))
    with pytest.raises(ValueError, match=r"content_files, image.*has no ids of the items"):
        built({**shop, "content_files": {"image": str(tmp_path / "rows.npy")}})
    np.savez(tmp_path / "other.npz", ids=["x"], feat=np.ones((1, 2)))
    with pytest.raises(ValueError, match=r"no id is an item of the interactions, such as \[a\d\d\]"):
        built({**shop, "content_files": {"image": str(tmp_path / "other.npz")}})


def test_a_quote_in_a_title_is_a_character(shop, tmp_path):
    """RecBole's reader takes all rows up to the next quote as one title."""
    path = tmp_path / "data" / "alpha" / "alpha.item"
    lines = path.read_text(encoding="utf-8").splitlines()
    lines[2] = lines[2].replace("\t", '\t"')
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    model, _, _ = built(shop)
    assert int(model.item_embedding._catalogue.vectors["distil"].any(dim=1).sum()) == N_ITEMS


@pytest.mark.parametrize(("key", "value"), [("MAX_ITEM_LIST_LENGTH", 7), ("hidden_size", 16), ("loss_type", "BPR")])
def test_a_source_has_no_model_of_its_own(shop, key, value):
    own = {"dataset": "beta", key: value, "train_neg_sample_args": {"distribution": "uniform", "sample_num": 1}}
    keys = {**shop, "pretrain_sources": ["alpha", own if key == "loss_type" else {"dataset": "beta", key: value}]}
    with pytest.raises(ValueError, match=rf"pretrain_sources: \[beta\] sets {key} to {value!r}"):
        pretrain(config_dict={**keys, "pretrain_dir": "own"}, model="UniversalSASRec")
    assert not Path("own").exists()


def test_two_pretrainings_do_not_share_a_folder(shop, tmp_path):
    keys = {**shop, "pretrain_sources": ["alpha"], "pretrain_dir": str(tmp_path / "one")}
    (tmp_path / "one").mkdir()
    with locked_folder(tmp_path / "one"), pytest.raises(ValueError, match="pretrain_dir: another pre-training works"):
        pretrain(config_dict=keys, model="UniversalSASRec")


def test_a_folder_with_more_weights_than_it_describes_is_refused(shop):
    two = {**shop, "n_layers": 2, "pretrain_sources": ["alpha"], "pretrain_dir": "two", "epochs": 1}
    path = pretrain(config_dict=two, model="UniversalSASRec") / "model.json"
    content = json.loads(path.read_text(encoding="utf-8"))
    content["schema"]["sequence_model"]["arguments"]["n_layers"] = 1
    path.write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ValueError, match=r"does not describe the weights \['trm_encoder.layer.1"):
        built(tuning(shop, train_stage="zero_shot", pretrained=str(path.parent)), "gamma")


def test_a_model_that_is_not_pretrained_is_named(shop):
    with pytest.raises(ValueError, match=r"model: must be one of .*UniversalSASRec.*got 'BPR'"):
        pretrain(config_dict={**shop, "pretrain_sources": ["alpha"]}, model="BPR")


def test_config_file_and_command_line(shop, source, tmp_path):
    keys = tuning(shop, train_stage="zero_shot", pretrained=str(Path(source).resolve()))
    expected = run_recbole("UniversalSASRec", "gamma", config_dict=dict(keys))["test_result"]
    import yaml

    Path("keys.yaml").write_text(yaml.safe_dump({**keys, "model": "UniversalSASRec", "dataset": "gamma"}))
    assert run_recbole(config_file_list=["keys.yaml"])["test_result"] == expected
    done = fresh.run("-m", "recbole_universal", "run", "--config_files=keys.yaml", "--universal_baselines=[]")
    assert done.returncode == 0, done.stderr
    assert "UniversalSASRec" in done.stdout and f"{expected['ndcg@3']:.4f}" in done.stdout
    Path("pre.yaml").write_text(yaml.safe_dump({**shop, "model": "UniversalSASRec", "train_stage": "pretrain"}))
    words = ["--pretrain_sources=['alpha','beta']", "--pretrain_dir=by_command"]
    done = fresh.run("-m", "recbole_universal", "run", "--config_files=pre.yaml", *words)
    assert done.returncode == 0, done.stderr
    first, second = (load_pretrained(folder, sequence_model=True) for folder in (source, "by_command/model"))
    assert all(torch.equal(first.state_dict[name], value) for name, value in second.state_dict.items())


@pytest.mark.parametrize(
    ("keys", "named"),
    [
        ({"item_encoder": "text"}, "item_encoder"),
        ({"content_fields": None}, "item_encoder: dataset"),
        ({"content_encoders": ["bert"]}, "content_encoders"),
        ({"content_encoders": []}, "content_encoders"),
        ({"content_fields": ["plot"]}, r"^content_fields: \[plot\] is no field .*, \[title\]; loaded"),
        ({"content_files": {"x": "x.npz"}, "item_encoder": "words"}, "content_files: item_encoder: words reads no"),
        ({"loss_type": "BPR"}, "loss_type: BPR.*train_neg_sample_args"),
        ({"loss_type": "BPR", "train_neg_sample_args": {"distribution": "none"}}, "loss_type: BPR"),
        ({"load_col": {"inter": ["user_id", "item_id"], "item": ["item_id", "title"]}}, r"eval_args.*\[timestamp\]"),
        ({"content_files": ["image.npz"]}, "content_files"),
        ({"finetune_parameters": "patches"}, "finetune_parameters"),
        ({"adapter_size": 0}, "adapter_size"),
        ({"lora_rank": 1.5}, "lora_rank"),
        ({"train_stage": "zero_shot"}, "pretrained"),
        ({"train_stage": "pretrain", "item_encoder": "id"}, "item_encoder"),
        ({"train_stage": "pretrain", "content_encoders": ["tfidf"]}, "content_encoders"),
        ({"train_stage": "pretrain"}, "train_stage"),
        ({"n_heads": 3}, "n_heads"),
        ({"load_col": {"inter": ["user_id", "item_id", "timestamp"]}}, "item_encoder"),
        ({"item_encoder": "words", "load_col": {"inter": ["user_id", "item_id", "timestamp"]}}, "item_encoder"),
        ({"item_encodr": "id"}, "item_encoder"),
    ],
)
def test_bad_keys(shop, keys, named):
    with pytest.raises(ValueError, match=named):
        built({**shop, **keys})


def test_keys_against_the_pretrained_model(shop, source, tmp_path):
    keys = tuning(shop, train_stage="finetune", pretrained=source)
    for key, value in (("hidden_size", 16), ("n_layers", 2), ("item_encoder", "words"), ("MAX_ITEM_LIST_LENGTH", 9)):
        with pytest.raises(ValueError, match=f"^{key}"):
            built({**keys, key: value}, "gamma")
    with pytest.raises(ValueError, match="content_encoders"):
        built({**keys, "content_encoders": ["tfidf"]}, "gamma")
    np.savez(tmp_path / "image.npz", ids=[f"g{item:02d}" for item in range(N_ITEMS)], feat=np.eye(N_ITEMS))
    more = {"content_files": {"image": str(tmp_path / "image.npz")}, "content_join_z": None}
    with pytest.raises(ValueError, match=r"\['image'\] are unknown"):
        built({**keys, **more, "train_stage": "zero_shot"}, "gamma")
    model, _, _ = built({**keys, **more, "finetune_parameters": "lora"}, "gamma")
    assert model.get_parameter("item_embedding.content.projections.image.weight").requires_grad
    with pytest.raises(FileNotFoundError, match="pretrained"):
        built({**keys, "pretrained": "nowhere"}, "gamma")
    with pytest.raises(ValueError, match="pretrain_sources"):
        pretrain(config_dict={**shop, "pretrain_sources": ["alpha", "omega"]}, model="UniversalSASRec")


def test_a_pretraining_that_diverges_saves_nothing(shop, monkeypatch):
    monkeypatch.setattr(UniversalSASRec, "calculate_loss", lambda self, batch: torch.tensor(torch.nan))
    with pytest.raises(ValueError, match="learning_rate"):
        pretrain(config_dict={**shop, "pretrain_sources": ["alpha"], "pretrain_dir": "bad"}, model="UniversalSASRec")
    assert not Path("bad/model").exists()
