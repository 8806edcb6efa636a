"""Patches that new versions of NumPy, pandas, SciPy, PyTorch, hyperopt and ray need.

They become superfluous with a RecBole release that supports these versions.
"""

from __future__ import annotations

import importlib
import sys
import types
from collections.abc import Iterable
from typing import Any

from recbole_universal.plugin.compat.patch import Edit, Patch
from recbole_universal.plugin.compat.versions import release

_QUICK_START = "recbole.quick_start.quick_start"


def _numpy_2() -> bool:
    return release("numpy") >= (2,)


def _numpy_without_names() -> bool:
    return release("numpy") >= (1, 24)


def _safe_torch_load() -> bool:
    return release("torch") >= (2, 6)


def _dok_without_update() -> bool:
    return release("scipy") >= (1, 13)


def _pandas_3() -> bool:
    return release("pandas") >= (3,)


def _hyperopt_generator() -> bool:
    return release("hyperopt") >= (0, 2, 6)


def _load_edits() -> Iterable[Edit]:
    """``torch.load`` of RecBole's own checkpoints: they hold a pickled ``Config``, which the safe mode refuses."""
    trainer, models = "recbole.trainer.trainer", "recbole.model"
    for module, function, call in (
        (trainer, "Trainer.resume_checkpoint", "torch.load(resume_file, map_location=self.device)"),
        (trainer, "Trainer.evaluate", "torch.load(checkpoint_file, map_location=self.device)"),
        ("recbole.quick_start.quick_start", "load_data_and_model", "torch.load(model_file)"),
        (
            f"{models}.general_recommender.neumf",
            "NeuMF.load_pretrain",
            'torch.load(self.mf_pretrain_path, map_location="cpu")',
        ),
        (
            f"{models}.general_recommender.neumf",
            "NeuMF.load_pretrain",
            'torch.load(self.mlp_pretrain_path, map_location="cpu")',
        ),
        (f"{models}.general_recommender.convncf", "ConvNCF.__init__", "torch.load(self.pre_model_path)"),
        (f"{models}.general_recommender.nais", "NAIS._load_pretrain", "torch.load(self.pretrain_path)"),
        (f"{models}.general_recommender.ract", "RaCT.__init__", "torch.load(self.pre_model_path)"),
        (f"{models}.sequential_recommender.s3rec", "S3Rec.__init__", "torch.load(self.pre_model_path)"),
        (f"{models}.context_aware_recommender.kd_dagfm", "KD_DAGFM.__init__", 'torch.load(config["warm_up"])'),
    ):
        yield Edit(module, function, call, f"{call[:-1]}, weights_only=False)")


def _numpy_edits() -> Iterable[Edit]:
    """Names that NumPy has removed, where RecBole uses them, and their replacements of the same meaning."""
    metrics, data, model = "recbole.evaluator.metrics", "recbole.data", "recbole.model"
    for function in ("MRR.metric_info", "MAP.metric_info", "NDCG.metric_info"):
        yield Edit(metrics, function, "np.float)", "np.float64)")
    yield Edit(metrics, "GAUC.metric_info", "dtype=np.bool)", "dtype=np.bool_)")
    yield Edit(f"{data}.interaction", "_convert_to_tensor", "np.float,", "np.float64,")
    yield Edit(f"{data}.dataset.dataset", "Dataset._fill_nan", "else np.float\n", "else np.float64\n")
    yield Edit("recbole.trainer.hyper_tuning", "HyperTuning.plot_hyper", "dtype=np.str)", "dtype=np.str_)")
    for module, function in (
        (f"{model}.abstract_recommender", "ContextRecommender.__init__"),
        (f"{model}.layers", "FMFirstOrderLinear.__init__"),
        (f"{model}.layers", "ContextSeqEmbAbstractLayer.get_embedding"),
        (f"{model}.context_aware_recommender.ffm", "FieldAwareFactorizationMachine.__init__"),
    ):
        yield Edit(module, function, "dtype=np.long\n", "dtype=np.int_\n")


def _dok_edits() -> Iterable[Edit]:
    general, knowledge = "recbole.model.general_recommender", "recbole.model.knowledge_aware_recommender"
    for module, function in (
        (f"{general}.lightgcn", "LightGCN.get_norm_adj_mat"),
        (f"{general}.ngcf", "NGCF.get_norm_adj_mat"),
        (f"{general}.ncl", "NCL.get_norm_adj_mat"),
        (f"{general}.gcmc", "GCMC.get_norm_adj_mat"),
        (f"{general}.spectralcf", "SpectralCF.get_laplacian_matrix"),
        (f"{knowledge}.kgin", "KGIN.get_norm_inter_matrix"),
        (f"{knowledge}.mcclk", "MCCLK.get_norm_inter_matrix"),
    ):
        # The dictionary that ``_update`` filled is still there; the public way in is a loop over all entries.
        yield Edit(module, function, "A._update(data_dict)", "A._dict.update(data_dict)")


def _agg_edits() -> Iterable[Edit]:
    dataset, kg = "recbole.data.dataset.dataset", "recbole.data.dataset.kg_dataset"
    for module, function in (
        (dataset, "Dataset._normalize"),
        (dataset, "Dataset._discretization"),
        (dataset, "Dataset._remap"),
        (kg, "KnowledgeBasedDataset._reset_ent_remapID"),
        ("recbole.data.dataset.sequential_dataset", "SequentialDataset._benchmark_presets"),
    ):
        yield Edit(module, function, ".agg(len)", ".map(len)")


def _fillna_edits() -> Iterable[Edit]:
    module = "recbole.data.dataset.dataset"
    for function, column, value in (
        ("Dataset._load_feat", "df[field]", '""'),
        ("Dataset._fill_nan", "feat[field]", "0"),
        ("Dataset._fill_nan", "feat[field]", "feat[field].mean()"),
    ):
        old = f"{column}.fillna(value={value}, inplace=True)"
        yield Edit(module, function, old, f"{column} = {column}.fillna(value={value})")


#: In the order in which `doctor` lists them.
PATCHES: tuple[Patch, ...] = (
    Patch(
        "ray",
        "importing recbole.quick_start imports ray.tune: slow, and an error with setuptools >= 81, NumPy 2 or without "
        "ray. It is imported when ray is really used.",
        ("#2155", "#2084", "#2078"),
        (
            Edit(_QUICK_START, "", "from ray import tune", f"from {__name__} import ray_tune as tune"),
            Edit(
                _QUICK_START,
                "objective_function",
                "tune.report(**test_result)",
                f"from {__name__} import report_to_ray; report_to_ray(test_result)",
            ),
        ),
    ),
    Patch(
        "numpy_aliases",
        "Every Config adds np.float, np.int and others to NumPy itself, from names that NumPy 2 no longer has. Nothing "
        "is added any more.",
        ("#1604", "#2203"),
        (
            Edit(
                "recbole.config.configurator",
                "Config.compatibility_settings",
                "import numpy as np",
                "return  # NumPy is left as it is",
            ),
        ),
        _numpy_2,
    ),
    Patch(
        "numpy_names",
        "np.float, np.bool, np.long, np.str, gone since NumPy 1.24, in metrics, Interaction, datasets and models. "
        "Needed with NumPy 1 too: load_data_and_model in a fresh process makes no Config that would add them.",
        ("#1604", "#2203"),
        tuple(_numpy_edits()),
        _numpy_without_names,
    ),
    Patch(
        "torch_load",
        "torch.load refuses RecBole's own checkpoints by default: every run that saves, load_data_and_model, "
        "pretrained parts. weights_only=False for these calls alone: load only checkpoints that you trust.",
        ("#2155", "#2212", "#2215"),
        tuple(_load_edits()),
        _safe_torch_load,
    ),
    Patch(
        "dok_update",
        "dok_matrix._update is gone: LightGCN, NGCF, NCL, GCMC, SpectralCF, KGIN, MCCLK.",
        ("#2185", "#2090", "#2034"),
        tuple(_dok_edits()),
        _dok_without_update,
    ),
    Patch(
        "agg_len",
        "Series.agg(len) gives one number: every dataset with sequence fields.",
        (),
        tuple(_agg_edits()),
        _pandas_3,
    ),
    Patch(
        "fillna",
        "Chained fillna(inplace=True) has no effect: float features keep NaN, missing tokens become the "
        "least int64, missing sequences end in an error.",
        (),
        tuple(_fillna_edits()),  # right with and without copy-on-write, an option that may be set at any time
    ),
    Patch(
        "hyperopt_generator",
        "hyperopt >= 0.2.6 samples from a Generator, RecBole's exhaustive search gives it a RandomState.",
        (),
        (
            Edit(
                "recbole.trainer.hyper_tuning",
                "exhaustive_search",
                "np.random.RandomState(seed)",
                "np.random.default_rng(seed)",
            ),
        ),
        _hyperopt_generator,
    ),
)


class _Late(types.ModuleType):
    """Stands for a module, which is imported at its first use."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # asked by inspect, doctest and others of anything they see
            raise AttributeError(name)
        return getattr(importlib.import_module(self.__name__), name)


ray_tune = _Late("ray.tune")


def report_to_ray(metrics: dict[str, Any]) -> None:
    """Report one trial's metrics to ray, if ray is what runs it; ray 2.7 and later want one dictionary."""
    if "ray.tune" not in sys.modules:
        return
    if release("ray") >= (2, 7):
        ray_tune.report(dict(metrics))
    else:
        ray_tune.report(**metrics)
