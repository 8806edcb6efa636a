"""RecBole on today's NumPy, pandas, SciPy and PyTorch: every patch works and changes nothing else."""

from __future__ import annotations

import contextlib
import functools
import importlib
import inspect
import logging
import os
import pickle
import subprocess
import sys
import textwrap
import types
from pathlib import Path

import by_hand
import fresh
import numpy as np
import pandas as pd
import pytest
import recbole
import torch
import yaml
from conftest import meet_in_a_file
from recbole.config import Config
from recbole.data import create_dataset, data_preparation
from recbole.quick_start import load_data_and_model, objective_function, run, run_recbole
from recbole.utils import get_model, get_trainer, init_seed, list_to_latex

from recbole_universal.plugin import compat
from recbole_universal.plugin.compat import bug_fixes, engine, library_patches, versions

QUIET = {"epochs": 1, "show_progress": False, "state": "error", "train_batch_size": 4096}


@pytest.fixture
def gappy(tmp_path):
    """Configuration of a dataset of 30 users and 20 items, in which every kind of value is missing somewhere."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "data" / "tiny"
    folder.mkdir(parents=True)
    pairs = [(user, item) for user in range(30) for item in rng.choice(20, 8, replace=False)]
    rows = [f"u{user}\ti{item}\t{rng.integers(1, 6)}\t{1000 + n}" for n, (user, item) in enumerate(pairs)]
    head = "user_id:token\titem_id:token\trating:float\ttimestamp:float"
    (folder / "tiny.inter").write_text("\n".join([head, *rows]) + "\n")
    head = "item_id:token\tprice:float\tbrand:token\ttags:token_seq\tvector:float_seq"
    rows = [
        f"i{item}\t{'' if item == 3 else item}\t{'' if item == 4 else f'b{item % 3}'}"
        f"\t{'' if item == 5 else f't{item % 4} t{item % 5}'}\t{item}.5 {item % 2}"
        for item in range(20)
    ]
    (folder / "tiny.item").write_text("\n".join([head, *rows]) + "\n")
    return {
        **QUIET,
        "data_path": str(tmp_path / "data"),
        "load_col": {
            "inter": ["user_id", "item_id", "rating", "timestamp"],
            "item": ["item_id", "price", "brand", "tags", "vector"],
        },
        "metrics": ["Recall", "MRR", "NDCG", "MAP", "GAUC"],
        "topk": [5],
        "valid_metric": "NDCG@5",
        "eval_batch_size": 4096,
    }


def _prepared(model, config_dict, dataset="tiny"):
    config = Config(model=model, dataset=dataset, config_dict=dict(config_dict))
    init_seed(config["seed"], config["reproducibility"])
    data = create_dataset(config)
    return config, data, data_preparation(config, data)


def _run_python(text, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(text))
    root = str(Path(compat.__file__).resolve().parents[3])
    done = subprocess.run(
        [sys.executable, "-W", "ignore", str(script)],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([root, *sys.path]), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


class TestMachinery:
    def test_apply_twice_changes_nothing(self):
        before = compat.applied()
        code = Config._init_device.__code__
        assert compat.apply() == before
        assert Config._init_device.__code__ is code
        assert sum(isinstance(finder, engine._Finder) for finder in sys.meta_path) == 1

    def test_every_patch_has_a_description(self):
        names = [patch.name for patch in compat.PATCHES]
        assert len(set(names)) == len(names)
        for report in compat.applied():
            assert report.fixes and report.rests_on
            assert report.state in {"applied", "waiting", "not needed", "not found"}
            assert all(issue.startswith("#") for issue in report.upstream)

    @pytest.mark.skipif(versions.numbers(recbole.__version__) > (1, 2, 1), reason="another RecBole")
    def test_every_text_occurs_in_recbole(self):
        for name in engine._modules():
            importlib.import_module(name)
        for report in compat.applied():
            assert report.state in {"applied", "not needed"}, report
            assert "not found" not in report.detail, report

    def test_edited_functions_stay_themselves(self):
        from recbole.trainer.trainer import Trainer

        function = inspect.unwrap(Trainer.evaluate)
        assert function.__code__.co_filename == inspect.getsourcefile(Trainer)
        lines, first = inspect.getsourcelines(function)
        assert function.__code__.co_firstlineno == first
        last = max(line for *_, line in function.__code__.co_lines() if line)
        assert first < last < first + len(lines)
        assert inspect.signature(Trainer.evaluate).parameters["load_best_model"].default is True

    def _module(self, tmp_path, monkeypatch, *edits, needed=True):
        source = """
        import functools
        LIMIT = 3
        def outside(x):
            return x + 1

        def plain(x, y=2):
            return x * y

        class Base:
            def value(self): return 10

        class Child(Base):
            def value(self):
                return super().value() + 1

            @functools.lru_cache(None)
            def cached(self, x):
                return [x * k for k in range(LIMIT)]
        """
        (tmp_path / "edited_module.py").write_text(textwrap.dedent(source))
        monkeypatch.syspath_prepend(tmp_path)
        patch = compat.Patch("test", "a test", (), tuple(edits), lambda: needed)
        monkeypatch.setattr(engine, "PATCHES", (patch,))
        monkeypatch.setattr(engine, "_done", {})
        monkeypatch.setattr(engine, "_not_needed", set())
        monkeypatch.delitem(sys.modules, "edited_module", raising=False)
        return "edited_module"

    def test_edits_reach_functions_methods_and_the_top_level(self, tmp_path, monkeypatch):
        name = self._module(
            tmp_path,
            monkeypatch,
            compat.Edit("edited_module", "", "LIMIT = 3", "LIMIT = 2"),
            compat.Edit("edited_module", "plain", "x * y", "x - y"),
            compat.Edit("edited_module", "Child.value", "+ 1", "+ 5"),
            compat.Edit("edited_module", "Child.cached", "x * k", "x + k"),
        )
        module = importlib.import_module(name)
        child = module.Child()
        assert (module.plain(7), child.value(), child.cached(1), module.outside(1)) == (5, 15, [1, 2], 2)
        assert compat.applied()[0].state == "applied"
        assert importlib.reload(module).plain(7) == 5
        assert pickle.loads(pickle.dumps(module.plain)) is module.plain

    def test_a_module_imported_earlier_is_patched_in_place(self, tmp_path, monkeypatch):
        name = self._module(tmp_path, monkeypatch)
        module = importlib.import_module(name)
        plain = module.plain
        edit = compat.Edit("edited_module", "plain", "x * y", "x - y")
        monkeypatch.setattr(engine, "PATCHES", (compat.Patch("test", "a test", (), (edit,)),))
        assert compat.applied()[0].state == "waiting"
        compat.apply()
        assert module.plain is plain and plain(7) == 5

    @pytest.mark.parametrize("function", ["plain", "Child.value", "absent", "Child.absent", "LIMIT"])
    def test_an_unknown_text_is_left_alone_and_reported(self, tmp_path, monkeypatch, function):
        name = self._module(tmp_path, monkeypatch, compat.Edit("edited_module", function, "no such text", "1 / 0"))
        module = importlib.import_module(name)
        assert (module.plain(7), module.Child().value()) == (14, 11)
        assert compat.applied()[0].state == "not found"

    def test_nothing_is_done_where_it_is_not_needed(self, tmp_path, monkeypatch):
        edit = compat.Edit("edited_module", "plain", "x * y", "x - y")
        top = compat.Edit("edited_module", "", "LIMIT = 3", "LIMIT = 2")
        module = importlib.import_module(self._module(tmp_path, monkeypatch, edit, top, needed=False))
        assert (module.plain(7), module.LIMIT) == (14, 3)
        assert compat.applied()[0].state == "not needed"

    def test_release_numbers(self, monkeypatch):
        monkeypatch.setattr(versions, "installed_version", lambda package: "2.13.0+cpu")
        assert versions.release("torch") == (2, 13, 0)
        assert library_patches._safe_torch_load() and library_patches._numpy_2() and not versions.numbers("unknown")
        monkeypatch.setattr(versions, "installed_version", lambda package: "1.12rc1")
        assert not library_patches._dok_without_update() and not library_patches._safe_torch_load()
        assert versions.release("no-such-package") == (1, 12)
        monkeypatch.undo()
        assert versions.release("no-such-package") == ()


def test_import_is_lazy_and_patches_imported_modules(tmp_path):
    _run_python(
        """
        import sys
        import recbole.config.configurator as early, recbole.trainer, recbole.data.interaction
        import recbole_universal
        from recbole_universal.plugin import compat
        import recbole.quick_start
        assert "ray" not in sys.modules and "hyperopt" not in sys.modules
        assert "recbole.model.general_recommender.lightgcn" not in sys.modules
        states = {report.name: report.state for report in compat.applied()}
        assert states["dok_update"] in ("waiting", "not needed"), states
        sys.argv = ["x"]
        config = early.Config(model="BPR", dataset="ml-100k")
        recbole.data.interaction.Interaction({"a": [1.0, 2.0]})
        assert states["gloo"] == states["checkpoint_of_ranks"] == states["ray"] == "applied", states
        """,
        tmp_path,
    )


class TestOthersAreLeftAlone:
    def test_torch_load_keeps_its_default(self, tmp_path):
        torch.save({"config": types.SimpleNamespace(a=1)}, tmp_path / "pickled.pth")
        if library_patches._safe_torch_load():
            with pytest.raises(pickle.UnpicklingError):
                torch.load(tmp_path / "pickled.pth")
        import recbole.trainer.trainer

        assert recbole.trainer.trainer.torch is torch

    def test_numpy_gets_no_aliases(self):
        Config(model="BPR", dataset="ml-100k")
        if library_patches._numpy_2():
            assert not any(hasattr(np, name) for name in ("float_", "unicode_", "float", "int", "object", "unicode"))

    def test_pandas_and_scipy_are_themselves(self):
        import scipy.sparse

        assert pd.Series.agg.__module__.startswith("pandas")
        assert hasattr(scipy.sparse.dok_matrix, "_update") is not library_patches._dok_without_update()


class TestDatasets:
    def test_missing_values_are_filled(self, gappy):
        _, dataset, _ = _prepared("BPR", gappy)
        feat, row = dataset.item_feat, dataset.token2id("item_id", [f"i{k}" for k in range(20)])
        price = feat["price"][row].numpy()
        rest = np.delete(np.arange(20.0), 3)
        assert price[3] == pytest.approx(rest.mean(), rel=1e-2)  # RecBole's mean counts its padding item
        assert np.array_equal(np.delete(price, 3), rest)
        brand = feat["brand"][row].numpy()
        assert brand[4] == 0 and (np.delete(brand, 4) > 0).all()
        assert (feat["tags"][row[5]] == 0).all()
        assert torch.isfinite(feat["vector"]).all()

    def test_sequence_fields_normalised_and_discretised(self, gappy):
        _, dataset, _ = _prepared("BPR", {**gappy, "normalize_all": True})
        assert float(dataset.item_feat["vector"].max()) == 1.0
        assert int((dataset.item_feat["tags"] > 0).sum(1).max()) == 2
        _, dataset, _ = _prepared("FM", {**gappy, "discretization": None, "numerical_features": ["vector", "price"]})
        assert dataset.item_feat["vector"].shape[-1] == 2

    def test_saved_dataset_and_loaders(self, gappy):
        keep = {**gappy, "save_dataset": True, "save_dataloaders": True}
        results = [run_recbole("BPR", "tiny", config_dict=dict(keep), saved=False) for _ in range(3)]
        assert results[1]["test_result"] == results[2]["test_result"]
        config = Config(model="BPR", dataset="tiny", config_dict=dict(keep))
        data = create_dataset(config)
        assert isinstance(data.inter_feat, pd.DataFrame) or len(data.inter_feat) == 240

    @pytest.mark.parametrize("features", [None, ["activity"]], ids=["stock", "universal"])
    @pytest.mark.parametrize("position", [0, 50, 100], ids=["start", "middle", "end"])
    def test_rows_without_ids_go_and_no_others(self, tmp_path, position, features):
        good = [f"u{k % 20}\ti{k % 13}" for k in range(100)]
        bad = ["\ti1", "u1\t", "ONLYHERE\ti3", "\ti2", "u2\t"]
        rows = [*good[:position], *bad, *good[position:]]
        (tmp_path / "odd").mkdir()
        (tmp_path / "odd" / "odd.inter").write_text("\n".join(["user_id:token\titem_id:token", *rows]) + "\n")
        (tmp_path / "odd" / "odd.user").write_text("user_id:token\tage:token\nu1\t1\nu1\t2\n\t3\nu2\t4\n")
        keys = {"data_path": str(tmp_path), "universal_features": features, "load_col": None}
        keys["filter_inter_by_user_or_item"] = False
        data = create_dataset(Config("BPR", "odd", config_dict=keys))
        rows_left = zip(
            data.id2token("user_id", data.inter_feat["user_id"]),
            data.id2token("item_id", data.inter_feat["item_id"]),
            strict=True,
        )
        assert ["\t".join(pair) for pair in rows_left] == [*good[:position], "ONLYHERE\ti3", *good[position:]]
        ages = dict(zip(data.id2token("user_id", data.user_feat["user_id"]), data.user_feat["age"], strict=True))
        assert {user for user, age in ages.items() if age} == {"u1", "u2"}

    @pytest.mark.parametrize(
        "eval_args",
        [
            {"split": {"RS": [0.8, 0.1, 0.1]}, "order": "RO", "group_by": "user", "mode": "uni10"},
            {"split": {"RS": [0.8, 0.1, 0.1]}, "order": "TO", "group_by": "user", "mode": "full"},
            {"split": {"LS": "valid_and_test"}, "order": "TO", "group_by": "user", "mode": "full"},
        ],
    )
    def test_splits_and_samples(self, gappy, eval_args):
        config, _, (train, valid, test) = _prepared("BPR", {**gappy, "eval_args": eval_args})
        model = get_model("BPR")(config, train._dataset)
        trainer = get_trainer(config["MODEL_TYPE"], "BPR")(config, model)
        trainer.fit(train, valid, saved=False, verbose=False)
        init_seed(1, True)  # sampled negatives are the same twice
        result = trainer.evaluate(test, load_best_model=False)
        init_seed(1, True)
        by_hand.assert_ndcg(result["ndcg@5"], model, test, 5)


class TestModels:
    def test_checkpoint_reloads_with_the_same_metrics(self, gappy, tmp_path):
        result = run_recbole("BPR", "tiny", config_dict=dict(gappy))
        (file,) = (tmp_path / "saved").glob("BPR-*.pth")
        config, model, _, _, _, test_data = load_data_and_model(str(file))
        trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
        assert trainer.evaluate(test_data, load_best_model=False) == result["test_result"]
        assert trainer.evaluate(test_data, model_file=str(file)) == result["test_result"]
        trainer.resume_checkpoint(str(file))
        assert trainer.start_epoch == 1

    def test_checkpoint_reloads_in_a_fresh_process(self, gappy, tmp_path):
        """There RecBole makes no ``Config``, which is where it adds missing names to NumPy."""
        labels = {"threshold": {"rating": 3}, "eval_args": {"mode": "labeled"}, "train_neg_sample_args": None}
        scores = {"metrics": ["AUC"], "valid_metric": "AUC"}
        result = run_recbole("FM", "tiny", config_dict={**gappy, **labels, **scores})
        done = fresh.run(
            "-c",
            """if True:
            import pathlib, sys
            from recbole.quick_start import load_data_and_model
            from recbole.utils import get_trainer
            sys.argv = ["x"]
            (file,) = pathlib.Path("saved").glob("FM-*.pth")
            config, model, _, _, _, test_data = load_data_and_model(str(file))
            trainer = get_trainer(config["MODEL_TYPE"], config["model"])(config, model)
            print("AUC", trainer.evaluate(test_data, load_best_model=False)["auc"])
            """,
        )
        assert done.returncode == 0, done.stderr
        assert float(done.stdout.split("AUC")[-1]) == result["test_result"]["auc"]

    @pytest.mark.parametrize("name", ["LightGCN", "NGCF", "GCMC", "SpectralCF"])
    def test_graph_models_know_every_interaction(self, gappy, name):
        config, _, (train_data, _, _) = _prepared(name, gappy)
        model = get_model(name)(config, train_data.dataset)
        matrix = model.get_laplacian_matrix() if name == "SpectralCF" else model.get_norm_adj_mat()
        n_inter = len(train_data.dataset.inter_feat)
        assert matrix.coalesce().values().count_nonzero() >= 2 * n_inter

    def test_ncl_clusters_without_faiss(self, gappy, monkeypatch):
        points = np.random.default_rng(0).normal(size=(40, 4)).astype(np.float32)
        kmeans = bug_fixes.sklearn_as_faiss.Kmeans(d=4, k=5, gpu=True)
        kmeans.train(points)
        _, labels = kmeans.index.search(points, 1)
        distances = ((points[:, None] - kmeans.centroids[None]) ** 2).sum(-1)
        assert labels.shape == (40, 1) and np.array_equal(labels[:, 0], distances.argmin(1))
        config, _, (train_data, _, _) = _prepared("NCL", {**gappy, "num_clusters": 5})
        model = get_model("NCL")(config, train_data.dataset)
        model.e_step()
        assert model.user_2cluster.shape == (31,) and int(model.user_2cluster.max()) < 5

    def test_pretrained_parts_load(self, gappy, tmp_path):
        gappy = {**gappy, "mf_embedding_size": 4, "mlp_embedding_size": 4, "mlp_hidden_size": [4]}
        files = {}
        for part, other in (("mf", "mlp"), ("mlp", "mf")):
            folder = str(tmp_path / part)
            keep = {**gappy, f"{part}_train": True, f"{other}_train": False, "checkpoint_dir": folder}
            run_recbole("NeuMF", "tiny", config_dict=keep)
            (files[part],) = map(str, Path(folder).glob("NeuMF-*.pth"))
        parts = {"use_pretrain": True, "mf_pretrain_path": files["mf"], "mlp_pretrain_path": files["mlp"]}
        config, _, (train_data, _, _) = _prepared("NeuMF", {**gappy, **parts})
        model = get_model("NeuMF")(config, train_data.dataset)
        state = torch.load(files["mf"], weights_only=False)["state_dict"]
        assert torch.equal(model.user_mf_embedding.weight, state["user_mf_embedding.weight"])

    def test_metrics_over_items(self):
        metrics = ["NDCG", "ItemCoverage", "AveragePopularity", "GiniIndex", "ShannonEntropy", "TailPercentage"]
        keep = {**QUIET, "metrics": metrics, "valid_metric": "NDCG@10", "eval_batch_size": 10**6}
        result = run_recbole("Pop", "ml-100k", config_dict=keep)["test_result"]
        assert set(result) == {f"{name.lower()}@10" for name in metrics}
        assert 0 < result["itemcoverage@10"] < 0.1 and 0.9 < result["giniindex@10"] < 1
        assert result["averagepopularity@10"] > 100 and result["tailpercentage@10"] == 0

    def test_a_group_of_models_in_one_table(self, gappy):
        """What RecBole's run_recbole_group.py does; the script itself is not in RecBole's package."""
        rows = [
            {"Model": name, **run(name, "tiny", config_dict=dict(gappy))["test_result"]} for name in ("Pop", "ItemKNN")
        ]
        frame, tex = list_to_latex(rows, bigger_flag=True, subset_columns=["ndcg@5", "mrr@5"])
        assert list(frame["Model"]) == ["Pop", "ItemKNN"] and "ItemKNN" in tex and "bfseries" in tex


class TestTuning:
    @pytest.mark.parametrize("algo", ["exhaustive", "bayes"])
    def test_hyper_tuning(self, gappy, algo, tmp_path, monkeypatch):
        pytest.importorskip("hyperopt")
        plots = []
        monkeypatch.setattr("plotly.offline.plot", lambda figure, filename: plots.append(filename))
        from recbole.trainer import HyperTuning

        fixed = tmp_path / "fixed.yaml"
        keep = {**gappy, "model": "BPR", "dataset": "tiny"}
        fixed.write_text(yaml.safe_dump(keep))
        tuning = HyperTuning(
            objective_function,
            algo=algo,
            params_dict={"choice": {"embedding_size": [4, 8]}},
            fixed_config_file_list=[str(fixed)],
            max_evals=2,
            display_file="plot.html",
        )
        tuning.run()
        assert tuning.best_params["embedding_size"] in (4, 8)
        assert len(tuning.score_list) == 2
        assert len(tuning.params2result) == 2 or algo != "exhaustive"
        assert plots == ["plot.html"] and "ray" not in sys.modules

    @pytest.mark.parametrize(("release", "by_name"), [((2, 6, 3), True), ((2, 40, 0), False)])
    def test_reports_to_ray_when_ray_runs_it(self, monkeypatch, release, by_name):
        seen = []
        fake = types.ModuleType("ray.tune")
        fake.report = lambda *args, **kwargs: seen.append((args, kwargs))
        monkeypatch.setattr(library_patches, "release", lambda package: release)
        monkeypatch.delitem(sys.modules, "ray.tune", raising=False)
        library_patches.report_to_ray({"recall@10": 0.5})
        assert seen == []
        monkeypatch.setitem(sys.modules, "ray.tune", fake)
        library_patches.report_to_ray({"recall@10": 0.5})
        assert seen == [((), {"recall@10": 0.5}) if by_name else (({"recall@10": 0.5},), {})]

    def test_ray_is_late(self):
        with pytest.raises(AttributeError):
            _ = library_patches.ray_tune.__wrapped__
        assert compat.ray_runtime_env()["worker_process_setup_hook"] is compat.apply


class TestProcesses:
    @pytest.mark.parametrize("name", ["run_recboles", "objective_function"])
    def test_what_is_sent_to_a_process_imports_the_plugin(self, name, tmp_path):
        import recbole.quick_start
        import recbole.quick_start.quick_start as module

        function = getattr(module, name)
        assert getattr(recbole.quick_start, name) is function is pickle.loads(pickle.dumps(function))
        assert b"recbole_universal.plugin.compat.bug_fixes" in pickle.dumps(function)
        (tmp_path / "sent").write_bytes(pickle.dumps(function))
        _run_python(
            f"""
            import pickle, sys, types
            sys.modules["ray"] = types.ModuleType("ray")  # an old one cannot be imported with a new setuptools
            sys.modules["ray"].tune = sys.modules["ray.tune"] = types.ModuleType("ray.tune")
            from recbole.quick_start.quick_start import {name} as early
            import recbole_universal
            assert pickle.loads(pickle.dumps(early)) is early
            for module in [m for m in sys.modules if m.startswith("recbole")]:
                del sys.modules[module]
            function = pickle.load(open("sent", "rb"))
            assert "recbole.quick_start" not in sys.modules  # what the process needs is imported when it is called
            import recbole.quick_start
            assert recbole.quick_start.{name} is sys.modules["recbole_universal.plugin.compat.bug_fixes"].{name}
            """,
            tmp_path,
        )

    def test_a_single_process_names_its_checkpoint(self):
        assert bug_fixes.one_name_a_node("a.pth", {"single_spec": True}) == "a.pth"

    def test_runs_that_start_in_the_same_second_share_no_name(self, gappy, tmp_path, monkeypatch):
        """With a clock that stands still, checkpoints, logs and folders of events must still differ."""
        import recbole.trainer.trainer as trainer_module
        import recbole.utils.logger as logger_module
        import recbole.utils.utils as utils_module

        for module in (trainer_module, logger_module, utils_module):
            monkeypatch.setattr(module, "get_local_time", lambda: "Jan-01-2026_00-00-00")
        config, _, (train_data, _, _) = _prepared("BPR", gappy)
        model = get_model("BPR")(config, train_data.dataset)
        config["dataset"] = "ml-1.0"  # a dot is no end of a name
        files = []
        for _ in range(2):
            root = logging.getLogger()
            monkeypatch.setattr(root, "handlers", [])
            logger_module.init_logger(config)
            files.append(get_trainer(config["MODEL_TYPE"], "BPR")(config, model).saved_model_file)
            trees = object.__new__(trainer_module.DecisionTreeTrainer)
            with contextlib.suppress(AttributeError, KeyError):  # further down it wants a tree model
                trainer_module.DecisionTreeTrainer.__init__(trees, config, model)
            files += [trees.saved_model_file, trees.temp_file, trees.temp_best_file]
            for handler in root.handlers:
                handler.close()
        assert len(set(files)) == 8
        assert all("Jan-01-2026_00-00-00-" in file for file in files)
        for folder in ("log/BPR", "log_tensorboard"):
            assert len(list((tmp_path / folder).iterdir())) == 2, folder

    @pytest.mark.parametrize("what", ["checkpoint", "pre-trained model", "tree model", "data set", "data loaders"])
    def test_a_file_that_is_half_written_is_not_seen(self, gappy, tmp_path, monkeypatch, what):
        import recbole.data.dataset.dataset as dataset_module
        import recbole.data.utils as data_module
        from recbole.trainer.trainer import DecisionTreeTrainer, PretrainTrainer

        config, data, loaders = _prepared("BPR", gappy)
        model = get_model("BPR")(config, loaders[0].dataset)
        trainer = get_trainer(config["MODEL_TYPE"], "BPR")(config, model)
        trainer.temp_best_file = ""
        file = Path(trainer.saved_model_file)
        if what == "data set":
            file, write = file.with_name("tiny-Dataset.pth"), data.save
        elif what == "data loaders":
            file = file.with_name("tiny-for-BPR-dataloader.pth")
            write = functools.partial(data_module.save_split_dataloaders, config, loaders)
        elif what == "pre-trained model":
            write = functools.partial(PretrainTrainer.save_pretrained_model, trainer, 0, str(file))
        else:
            kind = DecisionTreeTrainer if what == "tree model" else type(trainer)
            write = functools.partial(kind._save_checkpoint, trainer, 0)

        def broken(content, stream, *_, **__):
            stream = open(stream, "wb") if isinstance(stream, str) else stream
            stream.write(b"half")
            stream.flush()
            raise OSError("full")

        for module, name in ((torch, "save"), (dataset_module.pickle, "dump"), (data_module.pickle, "dump")):
            monkeypatch.setattr(module, name, broken)
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(b"old")
        with pytest.raises(OSError, match="full"):
            write()
        assert file.read_bytes() == b"old" and len(list(file.parent.iterdir())) == 1

    def test_folder_made_by_another_rank(self, tmp_path, monkeypatch):
        from recbole.utils import ensure_dir

        monkeypatch.setattr("os.path.exists", lambda path: False)
        ensure_dir(tmp_path)

    def test_sequential_models_do_not_turn_on_anomaly_detection(self):
        code = "import torch; from recbole.model.sequential_recommender import SINE; print(torch.is_anomaly_enabled())"
        assert fresh.run("-c", code).stdout.strip() == "False"

    def test_late_kmeans(self, monkeypatch):
        fake = types.ModuleType("kmeans_pytorch")
        fake.kmeans = lambda **kwargs: kwargs
        monkeypatch.setitem(sys.modules, "kmeans_pytorch", fake)
        assert bug_fixes.late_kmeans(X=1) == {"X": 1}

    def test_two_processes_without_a_gpu(self, gappy, tmp_path):
        out = _run_python(
            meet_in_a_file(tmp_path)
            + f"""
import sys
if __name__ == "__main__":
    import recbole_universal
    from recbole.quick_start import run
    sys.argv = ["x"]
    result = run("BPR", "tiny", config_dict={{**{gappy!r}, "gpu_id": ""}}, nproc=2)
    print("NDCG", result["test_result"]["ndcg@5"])
""",
            tmp_path,
        )
        (file,) = (tmp_path / "saved").glob("BPR-*.pth")
        config, _, (train, _, test) = _prepared("BPR", {**gappy, "gpu_id": ""})
        model = get_model("BPR")(config, train._dataset)
        model.load_state_dict(torch.load(file, weights_only=False)["state_dict"])
        by_hand.assert_ndcg(float(out.split("NDCG")[-1]), model, test, 5)
