"""The plugin in RecBole: every key has one form, however and whenever it is given."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import textwrap
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import write_atomic
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.data.interaction import Interaction
from recbole.quick_start import run_recbole

from recbole_universal import UniversalMLP
from recbole_universal.app import cli, pretrain, quick_start
from recbole_universal.features import FAMILIES
from recbole_universal.plugin import compat, settings
from recbole_universal.plugin.compat import engine
from recbole_universal.plugin.dataset import pipeline_from_config
from recbole_universal.plugin.loader import CandidateListDataLoader

PROXIMITY = {"universal_features": ["proximity"], "universal_feature_args": {}}
SEQUENTIAL = {
    "train_neg_sample_args": None,
    "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "full"},
}


def loaders(model, config_dict, name="tiny"):
    config = Config(model, name, config_dict=config_dict)
    dataset = create_dataset(config)
    return config, dataset, data_preparation(config, dataset)


# ---- one form of every key


@pytest.mark.parametrize("families", ["proximity", ("proximity",), ["proximity"]])
def test_families_are_a_list_however_they_are_given(tiny, small_config, families):
    keys = {**tiny, **small_config, **PROXIMITY, "universal_features": families}
    config, _, (train, _, _) = loaders("UniversalMLP", keys)
    assert config["universal_features"] == ["proximity"] and isinstance(train, CandidateListDataLoader)
    with pytest.raises(ValueError, match="proximity has no columns"):
        create_dataset(Config("FM", "tiny", config_dict={**tiny, "universal_features": families}))


def test_the_form_of_the_families_changes_no_metric(tiny, small_config):
    results = [
        run_recbole("UniversalMLP", "tiny", config_dict={**tiny, **small_config, **PROXIMITY, **form}, saved=False)
        for form in ({}, {"universal_features": "proximity"})
    ]
    assert results[0]["test_result"] == results[1]["test_result"]


def test_a_config_that_was_changed_afterwards_is_read_again(tiny, small_config):
    config = Config("UniversalMLP", "tiny", config_dict={**tiny, **small_config})
    config["universal_features"] = "activity"  # as in a checkpoint of 0.1.0
    assert list(create_dataset(config).universal_pipeline.dims) == ["activity"]
    config["universal_features"] = 7
    with pytest.raises(ValueError, match="universal_features: must be a list"):
        create_dataset(config)


@pytest.mark.parametrize("model", ["BPR", "FM", "UniversalMLP"])
@pytest.mark.parametrize(
    ("given", "message"),
    [
        (3, "must be a list of families, .*got 3"),
        ({"activity": 1}, "must be a list"),
        (["activity", None], "must be a list"),
        ("activty", r"no family 'activty'; did you mean activity"),
        (["activity", "activity"], "given twice"),
    ],
)
def test_wrong_families_are_refused_where_they_are_given(tiny, model, given, message):
    with pytest.raises(ValueError, match=f"universal_features: .*{message}"):
        Config(model, "tiny", config_dict={**tiny, "universal_features": given})


@pytest.mark.parametrize(
    ("key", "given"),
    [
        ("universal_features", 3),
        ("universal_features", ["activty"]),
        ("universal_feature_args", {"activty": {}}),
        ("universal_feature_args", {3: {}}),
    ],
)
def test_the_message_names_the_families_that_are_registered_now(monkeypatch, key, given):
    monkeypatch.setitem(FAMILIES, "recency", FAMILIES["activity"])
    with pytest.raises(ValueError, match=f"^{key}: .*activity, .*, recency; register_family adds"):
        settings.value(key, given)


@pytest.mark.parametrize(
    ("key", "given", "message"),
    [
        ("train_stage", "fine-tune", "must be one of .*did you mean finetune"),
        ("n_networks", 10**9, "from 1 to 100"),
        ("mlp_hidden_size", [64, True], "a list of 1 to 16 integers"),
        ("learning_rate", float("nan"), "a number above 0"),
        ("learning_rate", 10**400, "a number above 0"),
        ("finetune_interactions", 1.5, "a share in .0, 1., a number of interactions"),
        ("pretrain_dir", "a\nb", "the path of a folder"),
        ("pretrain_sources", [{"name": "ml-1m"}], "each a name or a mapping with the key dataset"),
        ("valid_metric", "MRR@7", "is not computed"),
        ("metrics", ["LogLoss"], "read a score as a probability"),
        ("universal_feature_args", {"activity": {"n_bins": 1}}, "n_bins"),
        ("universal_feature_args", {"colour": {}}, "no family 'colour'"),
    ],
)
def test_a_wrong_value_is_refused_before_any_data_is_read(tiny, key, given, message):
    metric = {"valid_metric": "AUC"} if key == "metrics" else {}
    with pytest.raises(ValueError, match=f"(?s)^{key}: .*{message}"):
        Config("UniversalMLP", "nowhere", config_dict={**metric, key: given})


def test_forms_that_stand_for_others(tiny):
    given = {"unseen_users": None, "eval_items": None, "finetune_interactions": 500.0, "query_users": np.int64(7)}
    config = Config("UniversalMLP", "tiny", config_dict={**tiny, **given, "universal_baselines": "Pop"})
    assert config["unseen_users"] == 0.0 and config["eval_items"] == "all" and config["universal_baselines"] == ["Pop"]
    assert config["finetune_interactions"] == 500 and isinstance(config["finetune_interactions"], int)
    assert type(config["query_users"]) is int


def test_texts_of_the_plugin_s_keys_are_not_run(tiny, tmp_path, monkeypatch):
    code = f"__import__('pathlib').Path({str(tmp_path / 'ran')!r}).touch()"
    monkeypatch.setattr("sys.argv", ["x", "--universal_baselines=['Pop']", "--pretrain_held_out=None"])
    config = Config("UniversalMLP", "tiny", config_dict={**tiny, "pretrain_name": code, "query_users": "2"})
    assert config["pretrain_name"] == code and not (tmp_path / "ran").exists()
    assert Config("UniversalMLP", "tiny", config_dict={**tiny, "pretrain_name": "2024"})["pretrain_name"] == "2024"
    assert config["universal_baselines"] == ["Pop"] and config["pretrain_held_out"] == [] and config["query_users"] == 2


@pytest.mark.parametrize("key", sorted(settings.PLUGIN_KEYS))
@pytest.mark.parametrize("model", ["UniversalMLP", "UniversalInterpolation"])
def test_texts_of_all_keys_of_the_plugin_are_not_run(key, model):
    given = {"base_model": "BPR"} if model == "UniversalInterpolation" else {}
    with contextlib.suppress(ValueError, OSError):
        Config(model, "ml-100k", config_dict={**given, key: "__import__('os').mkdir('executed')"})
    assert not Path("executed").exists()


def test_a_key_like_ours_keeps_recbole_s_meaning_for_other_models(tiny, monkeypatch):
    monkeypatch.setattr("sys.argv", ["x", "--pretrained=False", "--n_networks=2*3"])
    config = Config(
        "BPR", "tiny", config_dict={**tiny, "pretrain_name": "[1, 2]", "universal_features": "['activity']"}
    )
    assert config["pretrained"] is False and config["n_networks"] == 6 and config["pretrain_name"] == [1, 2]
    assert config["universal_features"] == ["activity"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        Config("BPR", "tiny", config_dict={**tiny, "pretrained_dir": "x"})


def test_a_source_of_pre_training_is_read_as_text(tmp_path, monkeypatch):
    rows = [(f"u{n % 20}", ["NA", "null", '"x', "b", "c", "d"][(n * 7 + n // 20) % 6]) for n in range(120)]
    path = write_atomic(tmp_path / "data", "words", sorted(set(rows)))
    seen = []
    monkeypatch.setattr(pretrain, "make_candidate_lists", lambda matrix, *_, **__: seen.append(matrix.shape) or [])
    config = Config("UniversalMLP", "words", config_dict={"data_path": path, "train_stage": "pretrain"})
    store = type("Store", (), {"get": staticmethod(lambda name, key, make, convert: convert(make()))})
    source = Config("BPR", "words", config_dict={"data_path": path})
    pretrain.source_lists(source, config, pipeline_from_config(config), store)
    assert seen == [(21, 7)]  # with the padding


def test_every_key_of_the_properties_is_in_the_table():
    from recbole_universal.plugin.config_hooks import _plugin_keys

    tables = {**settings.KEYS, **{key: form for keys in settings.MODEL_KEYS.values() for key, form in keys.items()}}
    assert _plugin_keys() <= {*tables, "base_model"}  # which base_class reads


# ---- baselines of the table


def test_baselines_get_the_keys_of_data_split_and_evaluation_alone(tiny, small_config, monkeypatch):
    configs = {}

    def run_recbole(config, saved):
        configs[config["model"]] = config
        return {"test_result": {}}

    monkeypatch.setattr(quick_start, "run_recbole", run_recbole)
    arguments = ["run", "--train_stage=in_domain", "--universal_features=['proximity']", "--topk=[3]", "--epochs=7"]
    monkeypatch.setattr("sys.argv", arguments)
    keys = {**tiny, **small_config, "learning_rate": 0.5, "train_batch_size": 3, "valid_metric": "NDCG@3"}
    keys |= {"universal_baselines": ["Pop", "BPR"], "val_interval": {"rating": "[2,inf)"}, "seed": 5}
    results = quick_start.run("UniversalMLP", "tiny", config_dict=keys, saved=False)
    assert [result["model"] for result in results] == ["UniversalMLP", "Pop", "BPR"] and sys.argv == arguments
    config = configs["BPR"]
    monkeypatch.setattr("sys.argv", ["x"])
    stock = Config("BPR", "tiny", config_dict=dict(tiny))
    for key in ("learning_rate", "epochs", "train_batch_size", "train_stage", "universal_features", "stopping_step"):
        assert config[key] == stock[key], key
    assert config["topk"] == [3] and config["valid_metric"] == "NDCG@3" and config["seed"] == 5
    assert config["val_interval"] == {"rating": "[2,inf)"} and config["data_path"] == stock["data_path"]


def test_an_in_domain_run_with_proximity_ends_with_the_table(tiny, small_config, monkeypatch, capsys, tmp_path):
    given = {**tiny, **small_config, **PROXIMITY, "epochs": 1, "dataset": "tiny"}
    (tmp_path / "tiny.yaml").write_text(__import__("yaml").safe_dump(given))
    arguments = ["run", "--train_stage=in_domain", "--universal_features=['proximity']", "--config_files=tiny.yaml"]
    monkeypatch.setattr("sys.argv", arguments)
    cli.run_script()
    rows = [line.split("|")[1].strip() for line in capsys.readouterr().out.splitlines() if line.startswith("|")]
    assert rows[2:] == ["UniversalMLP", "Pop", "ItemKNN"]


@pytest.mark.parametrize(
    ("name", "message"),
    [("SASRec", "needs a split in time"), ("UniversalInterpolation", "base_model"), ("XGBoost", "cannot be")],
)
def test_a_baseline_that_cannot_run_is_refused_before_training(tiny, small_config, monkeypatch, name, message):
    monkeypatch.setattr(quick_start, "run_recbole", lambda *_: pytest.fail("a model was trained"))
    with pytest.raises(ValueError, match=f"universal_baselines: .*{message}"):
        quick_start.run("UniversalMLP", "tiny", config_dict={**tiny, **small_config, "universal_baselines": name})


def test_a_baseline_reads_the_file_as_the_model_does(small_config, tmp_path):
    """An item called NA, or one with a quote, must not give the baseline another split."""
    rng = np.random.default_rng(1)
    names = ['"Heroes', "NA", "null", *(f"i{i}" for i in range(17))]
    rows = [(f"u{u}", names[i]) for u in range(40) for i in rng.choice(20, 8, replace=False)]
    path = write_atomic(tmp_path / "data", "odd", rows)
    keys = {
        "data_path": path,
        **small_config,
        "train_stage": "zero_shot",
        "universal_baselines": ["Pop", "UniversalMLP"],
    }
    keys = {key: value for key, value in keys.items() if key not in ("universal_features", "universal_feature_args")}
    keys["topk"], keys["valid_metric"] = [20], "Recall@20"  # every item: each model finds all
    results = quick_start.run("UniversalMLP", "odd", config_dict=keys, saved=False)
    assert [result["test_result"]["recall@20"] for result in results] == [1.0, 1.0]


# ---- binding order


def test_names_that_were_imported_before_the_plugin(tiny, small_config, tmp_path):
    code = """
        import sys
        from recbole.config import Config
        from recbole.data import create_dataset, data_preparation
        from recbole.data.utils import create_samplers, get_dataloader
        from recbole.data.transform import construct_transform
        from recbole.utils import get_model, get_trainer
        import recbole_universal
        assert "recbole.quick_start" not in sys.modules
        import inspect
        assert list(inspect.signature(create_dataset).parameters) == ["config"]

        keys = KEYS
        columns = {"universal_features": ["activity", "interaction"], "transform": "universal",
                   "numerical_features": ["user_activity", "pair_interaction"], "threshold": {"rating": 3}}
        config = Config("FM", "tiny", config_dict={**keys, **columns})
        dataset = create_dataset(config)
        train, _, _ = data_preparation(config, dataset)
        assert "user_activity" in dataset.field2type, list(dataset.field2type)
        assert "pair_interaction" in next(iter(train))
        assert type(construct_transform(config)).__name__ == "UniversalTransform"
        ours = Config("UniversalMLP", "tiny", config_dict={**keys, "universal_feature_args": None})
        assert get_dataloader(ours, "train").__name__ == "CandidateListDataLoader"
        assert get_model("UniversalMLP").__name__ == "UniversalMLP"
        assert get_trainer(None, "UniversalMLP").__name__ == "UniversalMLPTrainer"

        # A checkpoint of a model that reads universal columns is rebuilt and mixed.
        from recbole.quick_start import run_recbole
        import pathlib
        run_recbole("FM", "tiny", config_dict={**keys, **columns, "epochs": 1})
        file = str(next(pathlib.Path("saved").glob("FM-*.pth")))
        ranking = {"metrics": ["NDCG"], "valid_metric": "NDCG@10", "eval_args": {"split": {"RS": [0.8, 0.1, 0.1]},
                   "order": "RO", "group_by": None, "mode": "full"}, "show_progress": False, "gpu_id": ""}
        result = run_recbole("UniversalInterpolation", None, config_dict={"base_checkpoint": file, **ranking})
        assert 0 < result["test_result"]["ndcg@10"] <= 1, result
        print("all is well")
    """
    keys = {
        **tiny,
        "show_progress": False,
        "gpu_id": "",
        "universal_feature_args": small_config["universal_feature_args"],
    }
    code = textwrap.dedent(code).replace("KEYS", repr(keys))
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=tmp_path)
    assert result.returncode == 0 and "all is well" in result.stdout, result.stdout + result.stderr


def test_a_dataset_saved_by_stock_settings_is_used_again(tiny, monkeypatch):
    """Without universal keys a saved dataset has none, and fits."""
    keys = {**tiny, "save_dataset": True, "gpu_id": ""}
    config = Config("BPR", "tiny", config_dict=dict(keys))
    for key in (*settings.KEYS, "unseen_users", "unseen_items", "eval_users", "eval_items"):
        config.final_config_dict.pop(key, None)  # stock RecBole knows no such keys
    saved = create_dataset(config)
    from recbole.data.dataset import Dataset

    monkeypatch.setattr(Dataset, "_from_scratch", lambda self: pytest.fail("the saved dataset was not used"))
    again = create_dataset(Config("BPR", "tiny", config_dict=dict(keys)))
    assert again.inter_num == saved.inter_num == 480


# ---- several processes


def _rank(rank: int, folder: str, results) -> None:
    from recbole_universal.plugin.shared_features import shared_features

    torch.distributed.init_process_group("gloo", init_method=f"file://{folder}/meeting", rank=rank, world_size=2)
    for fails_on in (0, 1, None):
        for cache_dir in (folder, None):

            def pipeline(matrix, fails_on=fails_on):
                if rank == fails_on:
                    raise ValueError("no disk left")
                return "features"

            try:
                found = shared_features(pipeline, None, {"local_rank": rank, "universal_cache_dir": cache_dir})
            except Exception as error:
                found = f"{type(error).__name__}: {error}"
            results.put((fails_on, found))
    torch.distributed.destroy_process_group()


def test_a_failure_on_one_rank_is_raised_on_all(tmp_path):
    results = torch.multiprocessing.get_context("spawn").SimpleQueue()
    torch.multiprocessing.spawn(_rank, (str(tmp_path), results), nprocs=2)
    found = [results.get() for _ in range(12)]
    for fails_on, result in found:
        assert result == ("features" if fails_on is None else "ValueError: no disk left"), found


# ---- patches


def test_a_needed_patch_with_a_missing_text_warns_once(monkeypatch):
    edit = compat.Edit("recbole.utils.utils", "ensure_dir", "a text of another release", "ours")
    patch = compat.Patch("odd", "Folders race.", (), (edit,))
    monkeypatch.setattr(engine, "_done", {})
    with pytest.warns(UserWarning, match=r"\[recbole.utils.utils.ensure_dir\] of recbole 1\.2.*\[odd\].*Folders race"):
        assert engine._change("def ensure_dir(): ...", [(patch, edit)]) == "def ensure_dir(): ..."
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        engine._change("def ensure_dir(): ...", [(patch, edit)])
    assert engine._report(patch).state == "not found"


# ---- what a model reads


def test_a_model_that_reads_no_columns_says_so(tiny, small_config, caplog):
    columns = {**tiny, **small_config, "universal_features": ["activity"]}
    for model, extra in (("BPR", {}), ("LightGCN", {}), ("SASRec", SEQUENTIAL), ("SASRecF", SEQUENTIAL)):
        caplog.clear()
        create_dataset(Config(model, "tiny", config_dict={**columns, **extra}))
        (record,) = [r for r in caplog.records if "universal_features" in r.message]
        assert f"[{model}] reads no columns" in record.message and "numerical_features" in record.message
    caplog.clear()
    create_dataset(Config("FM", "tiny", config_dict={**columns, "threshold": {"rating": 3}}))
    assert "[FM] reads none of the columns ['item_activity', 'user_activity']" in caplog.text
    caplog.clear()
    labels = {"threshold": {"rating": 3}, "numerical_features": ["user_activity"]}
    create_dataset(Config("FM", "tiny", config_dict={**columns, **labels}))
    create_dataset(Config("BPR", "tiny", config_dict=dict(tiny)))
    create_dataset(Config("UniversalMLP", "tiny", config_dict={**tiny, **small_config}))
    assert "universal_features" not in caplog.text


@pytest.mark.parametrize(
    ("model", "extra"),
    [
        ("SASRecF", {"selected_features": ["item_activity"]}),
        ("GRU4RecF", {"selected_features": ["item_activity"], "numerical_features": ["item_activity"]}),
        ("FDSA", {"selected_features": ["item_activity"]}),
        ("S3Rec", {"item_attribute": "item_activity", "train_stage": "pretrain"}),
    ],
)
def test_a_sequential_model_that_would_misread_columns_refuses_them(tiny, small_config, model, extra):
    keys = {**tiny, **small_config, "universal_features": ["activity"], **SEQUENTIAL, **extra}
    key = next(iter(extra))
    with pytest.raises(ValueError, match=rf"{key}: \['item_activity'\] are universal columns.*\[{model}\] cannot read"):
        create_dataset(Config(model, "tiny", config_dict=keys))


def test_sequential_models_with_context_read_columns(tiny, small_config, model="DIN"):
    keys = {**tiny, **small_config, "universal_features": ["activity"], "epochs": 1}
    keys |= {
        "threshold": {"rating": 3},
        "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO", "mode": "uni20"},
    }
    keys |= {"metrics": ["AUC"], "valid_metric": "AUC", "train_neg_sample_args": {"distribution": "uniform"}}
    plain = run_recbole(model, "tiny", config_dict=dict(keys), saved=False)
    keys["numerical_features"] = ["item_activity", "user_activity"]
    read = run_recbole(model, "tiny", config_dict=dict(keys), saved=False)
    assert plain["best_valid_result"] != read["best_valid_result"]


# ---- labels, times, metrics, ids


@pytest.mark.parametrize("model", ["UniversalMLP", "UniversalInterpolation"])
def test_a_threshold_that_drops_no_row_warns(tiny, small_config, model, caplog):
    keys = {**tiny, **small_config, "base_model": "BPR", "threshold": {"rating": 4}}
    if model == "UniversalInterpolation":
        keys["universal_features"] = None
    dataset = create_dataset(Config(model, "tiny", config_dict=keys))
    assert dataset.inter_num == 480 and "threshold: {'rating': 4}" in caplog.text and "val_interval" in caplog.text
    caplog.clear()
    kept = {**keys, "threshold": None, "val_interval": {"rating": "[4,inf)"}}
    assert create_dataset(Config(model, "tiny", config_dict=kept)).inter_num < 480
    labeled = {**keys, "eval_args": {"mode": "labeled"}, "metrics": ["AUC"], "valid_metric": "AUC"}
    create_dataset(Config(model, "tiny", config_dict=labeled))
    context = {
        **keys,
        "base_model": "FM",
        "metrics": ["NDCG"],
        "valid_metric": "NDCG@10",
        "eval_args": {"mode": "full"},
    }
    if model == "UniversalInterpolation":
        create_dataset(Config(model, "tiny", config_dict=context))
    assert "threshold" not in caplog.text


@pytest.mark.parametrize("model", ["UniversalMLP", "UniversalInterpolation"])
@pytest.mark.parametrize(
    ("extra", "field"),
    [({"threshold": {"rating": 4}}, "rating"), ({"eval_args": {"order": "TO"}}, "timestamp")],
    ids=["threshold", "order"],
)
def test_a_field_that_is_not_loaded_is_named(tiny, small_config, model, extra, field):
    keys = {**tiny, **small_config, "base_model": "BPR", **extra, "load_col": {"inter": ["user_id", "item_id"]}}
    load = rf"load_col: {{inter: \[user_id, item_id, {field}\]}}"
    with pytest.raises(ValueError, match=rf"{next(iter(extra))}: .* needs the field \[{field}\].*{load}"):
        create_dataset(Config(model, "tiny", config_dict=keys))


def test_ids_out_of_range_are_refused(tiny, small_config):
    config, dataset, (train, _, _) = loaders("UniversalMLP", {**tiny, **small_config})
    model = UniversalMLP(config, train._dataset).eval()
    for user in (-1, dataset.user_num):
        wrong = Interaction({"user_id": torch.tensor([1, user]), "item_id": torch.tensor([1, 1])})
        for ask in (model.full_sort_predict, model.predict):
            with pytest.raises(
                ValueError, match=f"user_id: internal ids go from 0 .* to {dataset.user_num - 1}, got {user}"
            ):
                ask(wrong)
    with pytest.raises(ValueError, match=r"item_id: internal ids .*got -1"):
        model.predict(Interaction({"user_id": torch.tensor([1]), "item_id": torch.tensor([-1])}))


def test_dense_data_run_through_zero_shot(tmp_path, small_config):
    """Users with all items. No negative item is drawn, so RecBole's sampler must not refuse them."""
    path = write_atomic(tmp_path / "data", "dense", [(f"u{u}", f"i{i}") for u in range(5) for i in range(4)])
    keys = {"data_path": path, "show_progress": False, "gpu_id": "", "topk": [4], "valid_metric": "NDCG@4"}
    keys["eval_args"] = {"split": {"LS": "valid_and_test"}, "order": "RO", "group_by": "user", "mode": "full"}
    result = run_recbole("UniversalMLP", "dense", config_dict=dict(keys), saved=False)
    assert result["test_result"]["recall@4"] == 1.0
    with pytest.raises(ValueError, match="interacted with all items"):
        run_recbole("BPR", "dense", config_dict=dict(keys), saved=False)
    sampled = {**keys, "eval_args": {**keys["eval_args"], "mode": "uni2"}}
    with pytest.raises(ValueError, match="interacted with all items"):
        run_recbole("UniversalMLP", "dense", config_dict=sampled, saved=False)


def test_histories_of_held_out_rows_are_no_repeated_pairs(tmp_path, small_config, caplog):
    """RecBole's own pre-split sequences: the history of a held-out row holds training items."""
    fields = "user_id:token\titem_id_list:token_seq\titem_id:token"
    rng = np.random.default_rng(0)
    orders = {u: [f"i{i}" for i in rng.permutation(12)[:6]] for u in range(20)}
    for part, n in {"train": 4, "valid": 5, "test": 6}.items():
        rows = [(f"u{u}", " ".join(items[: n - 1]), items[n - 1]) for u, items in orders.items()]
        path = write_atomic(tmp_path, "steps", rows, fields)
        (tmp_path / "steps" / "steps.inter").rename(tmp_path / "steps" / f"steps.{part}.inter")
    keys = {"data_path": path, **small_config, **PROXIMITY, "benchmark_filename": ["train", "valid", "test"]}
    keys |= {"load_col": None, "alias_of_item_id": ["item_id_list"], "train_stage": "in_domain"}
    _, _dataset, (train, _, _) = loaders("UniversalMLP", keys, "steps")
    assert "another one" not in caplog.text
    assert train.matrix.nnz == 80  # histories count in training
    orders[0][5] = orders[0][0]  # a target that the user has
    rows = [(f"u{u}", " ".join(items[:5]), items[5]) for u, items in orders.items()]
    write_atomic(tmp_path, "steps", rows, fields)
    (tmp_path / "steps" / "steps.inter").rename(tmp_path / "steps" / "steps.test.inter")
    loaders("UniversalMLP", keys, "steps")
    assert "1 pairs" in caplog.text or "1 pair " in caplog.text
