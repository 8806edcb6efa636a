"""Every way to use the plugin: stock RecBole, config files, stock scripts, new processes, checkpoints."""

from __future__ import annotations

import pickle
import subprocess
import sys
import textwrap
import threading
import types

import fresh
import pytest
import torch
import yaml
from conftest import meet_in_a_file
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.quick_start import load_data_and_model, run_recbole
from recbole.utils import get_model, get_trainer, init_seed

import recbole_universal
from recbole_universal import UniversalMLP
from recbole_universal.plugin import config_hooks, registration
from recbole_universal.plugin.swapped import swapped


def python(code: str, *arguments: str, **settings) -> subprocess.CompletedProcess:
    result = fresh.run("-c", textwrap.dedent(code), *arguments, **settings)
    assert result.returncode == 0, result.stdout + result.stderr
    return result


def test_registering_twice_changes_nothing():
    update = Config._update_internal_config_dict
    registration.register()
    assert Config._update_internal_config_dict is update
    assert get_model("UniversalMLP") is UniversalMLP


def test_stock_run_by_name(tiny, small_config):
    result = run_recbole("UniversalMLP", "tiny", config_dict={**tiny, **small_config})
    assert 0 < result["test_result"]["ndcg@10"] <= 1


def test_stock_run_by_class(tiny, small_config):
    by_class = run_recbole(UniversalMLP, "tiny", config_dict={**tiny, **small_config}, saved=False)
    by_name = run_recbole("UniversalMLP", "tiny", config_dict={**tiny, **small_config}, saved=False)
    assert by_class["test_result"] == by_name["test_result"]


def test_defaults_stand_between_recbole_overall_and_the_user(tiny):
    config = Config("UniversalMLP", "tiny", config_dict={**tiny, "train_stage": "in_domain", "embedding_size": 5})
    assert config["embedding_size"] == 5
    assert config["valid_metric"] == "NDCG@10"  # ours wins over overall.yaml
    assert config["topk"] == [10]  # overall.yaml's stands
    assert Config("BPR", "tiny", config_dict=tiny)["universal_features"] is None


def test_config_file_names_the_model(tiny, small_config, tmp_path):
    file = tmp_path / "universal.yaml"
    file.write_text(yaml.safe_dump({"model": "UniversalMLP", "dataset": "tiny", **tiny, **small_config}))
    assert run_recbole(config_file_list=[str(file)], saved=False)["test_result"]["recall@10"] > 0


def test_module_runs_a_stock_script(tiny, small_config, tmp_path):
    file = tmp_path / "universal.yaml"
    file.write_text(yaml.safe_dump({**tiny, **small_config}))
    script = tmp_path / "stock.py"
    script.write_text(
        "import argparse\nfrom recbole.quick_start import run\n"
        "parser = argparse.ArgumentParser()\nparser.add_argument('--model')\nparser.add_argument('--config_files')\n"
        "args, _ = parser.parse_known_args()\n"
        "if __name__ == '__main__':\n"
        "    print(run(args.model, 'tiny', config_file_list=[args.config_files], saved=False)['test_result'])\n"
    )
    result = fresh.run("-m", "recbole_universal", script, "--model=UniversalMLP", f"--config_files={file}")
    assert result.returncode == 0, result.stderr
    assert "ndcg@10" in result.stdout


def test_module_without_a_script_says_so(tmp_path):
    result = fresh.run("-m", "recbole_universal", "nowhere.py")
    assert result.returncode == 2 and "there is no script [nowhere.py]" in result.stderr


def two_processes(keys: dict, tmp_path) -> str:
    """A script that runs UniversalMLP in two processes, which meet in ``tmp_path``."""
    file = tmp_path / "universal.yaml"
    file.write_text(yaml.safe_dump(keys))
    return (
        "import sys\nimport recbole_universal\nfrom recbole.quick_start import run\n"
        + meet_in_a_file(tmp_path)
        + "if __name__ == '__main__':\n"
        f"    print(run('UniversalMLP', 'tiny', [{str(file)!r}], nproc=2)['test_result'])\n"
    )


def test_two_spawned_processes(tiny, small_config, tmp_path):
    script = tmp_path / "two.py"
    script.write_text(two_processes({**tiny, **small_config}, tmp_path))
    result = subprocess.run([sys.executable, str(script)], capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr
    assert "ndcg@10" in result.stdout


def test_two_processes_zero_shot(tiny, tmp_path):
    """They have the results of one process."""
    keys = {**tiny, "show_progress": False, "gpu_id": "", "state": "ERROR"}
    found = python(fresh.PROCESSES_FORK + two_processes(keys, tmp_path)).stdout
    alone = run_recbole("UniversalMLP", "tiny", config_dict=dict(keys), saved=False)["test_result"]
    assert str(float(alone["ndcg@10"])) in found


def test_notebook_like_command(tiny, small_config):
    code = f"""
        import recbole_universal
        from recbole.quick_start import run_recbole
        print(run_recbole("UniversalMLP", "tiny", config_dict={ ({**tiny, **small_config})!r})["test_result"])
    """
    assert "ndcg@10" in python(code).stdout


@pytest.mark.parametrize("combination", ["concatenation", "interpolation"])
def test_checkpoint_reloads_in_a_fresh_process(tiny, small_config, tmp_path, combination):
    config = {**tiny, **small_config, "feature_combination": combination}
    run_recbole("UniversalMLP", "tiny", config_dict=config)
    checkpoint = next((tmp_path / "saved").glob("UniversalMLP-*.pth"))
    _, model, _, _, _, test_data = load_data_and_model(str(checkpoint))
    users = test_data._dataset.inter_feat[:3]
    torch.save(model.eval().full_sort_predict(users), tmp_path / "scores.pt")
    python(
        """
        import sys, torch
        import recbole_universal
        from recbole.quick_start import load_data_and_model
        checkpoint, scores = sys.argv[1:]
        sys.argv = sys.argv[:1]
        _, model, _, _, _, test_data = load_data_and_model(checkpoint)
        again = model.eval().full_sort_predict(test_data._dataset.inter_feat[:3])
        assert torch.equal(again, torch.load(scores)), (again, torch.load(scores))
        """,
        str(checkpoint),
        str(tmp_path / "scores.pt"),
    )


def test_hyper_tuning(tiny, small_config, tmp_path):
    pytest.importorskip("hyperopt")
    from recbole.quick_start import objective_function
    from recbole.trainer import HyperTuning

    fixed = tmp_path / "fixed.yaml"
    fixed.write_text(yaml.safe_dump({"model": "UniversalMLP", "dataset": "tiny", **tiny, **small_config}))
    params = tmp_path / "params.hyper"
    params.write_text("embedding_size choice [4,8]\n")
    tuning = HyperTuning(
        objective_function,
        algo="exhaustive",
        params_file=str(params),
        fixed_config_file_list=[str(fixed)],
        display_file=None,
    )
    tuning.run()
    assert tuning.best_params["embedding_size"] in (4, 8)
    assert len(tuning.params2result) == 2


@pytest.mark.parametrize("model", ["BPR", "LightGCN", "SASRec", "FM"])
def test_stock_results_are_equal_to_the_last_bit(model, tiny, tmp_path):
    """The stock side gets the patches of compat, without which RecBole cannot be imported, and no registration."""
    package = config_hooks.properties_dir().parent / "recbole_universal"
    without = textwrap.dedent(f"""
        import sys, types
        package = types.ModuleType("recbole_universal")
        package.__path__ = [{str(package)!r}]
        sys.modules["recbole_universal"] = package
        from recbole_universal.plugin import compat
        compat.apply()
        assert "recbole_universal.plugin.registration" not in sys.modules
    """)
    code = """
        import sys
        model, sys.argv = sys.argv[1], sys.argv[:1]
        from recbole.config import Config
        from recbole.data import create_dataset, data_preparation
        from recbole.utils import get_model, get_trainer, init_seed
        import torch
        settings = {**TINY, "epochs": 2, "show_progress": False, "gpu_id": ""}
        if model == "SASRec":
            settings |= {"train_neg_sample_args": None, "eval_args": {"split": {"LS": "valid_and_test"}, "order": "TO"}}
        if model == "FM":
            settings |= {"threshold": {"rating": 3}}
        config = Config(model, "tiny", config_dict=settings)
        init_seed(config["seed"], True)
        train, valid, test = data_preparation(config, create_dataset(config))
        init_seed(config["seed"], True)
        net = get_model(model)(config, train._dataset).to(config["device"])
        trainer = get_trainer(config["MODEL_TYPE"], model)(config, net)
        trainer.fit(train, valid, saved=False, verbose=False)
        result = trainer.evaluate(test, load_best_model=False)
        weights = sum(float(p.double().abs().sum()) for p in net.parameters())
        print(dict(result), weights.hex())
    """.replace("TINY", repr(tiny))
    outputs = [
        python(code, model, cwd=tmp_path, preamble=preamble).stdout.splitlines()[-1]
        for preamble in (fresh.PLUGIN, without)
    ]
    assert outputs[0] == outputs[1]


def test_import_is_lean():
    """Importing the plugin must not import what only node2vec or tuning needs."""
    code = """
        import sys
        import recbole_universal
        heavy = [name for name in ("ray", "torch_geometric", "plotly") if name in sys.modules]
        assert not heavy, heavy
    """
    python(code)


def test_saved_dataset_is_rebuilt_when_the_features_change(tiny, small_config):
    settings = {**tiny, **small_config, "save_dataset": True}
    run_recbole("UniversalMLP", "tiny", config_dict=dict(settings), saved=False)
    loaded = create_dataset(Config("UniversalMLP", "tiny", config_dict=dict(settings)))
    assert list(loaded.universal_pipeline.dims) == ["activity", "cooccurrence", "interaction"]
    changed = create_dataset(
        Config("UniversalMLP", "tiny", config_dict={**settings, "universal_features": ["activity"]})
    )
    assert list(changed.universal_pipeline.dims) == ["activity"]


def test_saved_dataset_is_rebuilt_when_the_form_of_the_columns_changes(tiny, small_config):
    settings = {**tiny, **small_config, "save_dataset": True, "threshold": {"rating": 3}}
    run_recbole("UniversalMLP", "tiny", config_dict=dict(settings), saved=False)
    columns = {"universal_features": ["activity", "cooccurrence", "interaction"], "transform": "universal"}
    for numerical in (["user_activity"], ["item_activity", "pair_interaction"]):
        keys = {**settings, **columns, "numerical_features": numerical}
        result = run_recbole("FM", "tiny", config_dict=dict(keys), saved=False)
        assert result == run_recbole("FM", "tiny", config_dict={**keys, "save_dataset": False}, saved=False)


def test_saved_dataloaders(tiny, small_config):
    settings = {**tiny, **small_config, "save_dataloaders": True}
    # The first run draws what it saves, and so trains with other random numbers than those that load it.
    first, again = (run_recbole("UniversalMLP", "tiny", config_dict=dict(settings), saved=False) for _ in range(2))
    assert run_recbole("UniversalMLP", "tiny", config_dict=dict(settings), saved=False) == again
    assert set(first) == set(again)


def test_same_split_as_a_stock_model(tiny, small_config):
    def test_items(model):
        config = Config(model, "tiny", config_dict={**tiny, **small_config})
        init_seed(config["seed"], True)
        _, _, test = data_preparation(config, create_dataset(config))
        inter = test._dataset.inter_feat
        return sorted(zip(inter["user_id"].tolist(), inter["item_id"].tolist(), strict=True))

    assert test_items("UniversalMLP") == test_items("Pop") != []


def test_public_names():
    for name in set(recbole_universal.__all__) - {"__version__"}:
        found = getattr(recbole_universal, name)
        assert found.__name__ == name and found.__module__.startswith("recbole_universal."), name
    assert {"UniversalRanker", "pretrain"} <= set(dir(recbole_universal))  # which wait for their first use
    with pytest.raises(AttributeError, match="has no attribute 'unheard_of'"):
        recbole_universal.unheard_of  # noqa: B018
    assert get_trainer(None, "UniversalMLP").__name__ == "UniversalMLPTrainer"


def test_a_function_that_a_release_lacks_is_named(monkeypatch):
    monkeypatch.setitem(registration.HOOKS, "recbole.data.utils", ("dataset_hooks", ("make_dataset",)))
    with pytest.raises(ImportError, match=r"\[recbole.data.utils\] has no make_dataset. Install recbole>=1.2,<1.3"):
        registration._hook(sys.modules["recbole.data.utils"])


def test_a_config_of_texts_is_pickled_as_recbole_pickles_it(tiny):
    given = {**tiny, "universal_features": "['activity']"}
    config = Config("BPR", "tiny", config_dict=given)
    assert config["universal_features"] == ["activity"] and type(given["universal_features"]) in (str, list)
    assert b"recbole_universal" not in pickle.dumps(config)


def test_threads_replace_a_name_one_after_the_other():
    module = types.ModuleType("module")
    module.name = "stock"
    entered, leave, seen = threading.Event(), threading.Event(), []

    def first() -> None:
        with swapped(module, "name", "first"):
            entered.set()
            leave.wait()

    def second() -> None:
        with swapped(module, "name", "second"):
            seen.append(module.name)

    threads = [threading.Thread(target=first), threading.Thread(target=second)]
    threads[0].start()
    entered.wait()
    threads[1].start()
    leave.set()
    for thread in threads:
        thread.join()
    assert seen == ["second"] and module.name == "stock"
    with swapped(module, "new", None):
        assert module.new is None
    assert not hasattr(module, "new")
