"""Mends RecBole 1.2 for today's NumPy, pandas, SciPy, PyTorch and Python. The only file that does.

How it works. A patch is a list of small changes of text (:class:`Edit`), each inside one RecBole function: the same
one-line change that a pull request to RecBole would make. When the module is imported, the function's own source is
read, the text changed, the function compiled again and its ``__code__`` exchanged. Nothing outside that function sees
a difference: NumPy, PyTorch and SciPy themselves are left as they are, ``torch.load`` keeps its safe default for
everyone but the RecBole calls that are named here. A module that is never imported is never touched, and a text that a
later RecBole release no longer contains is left alone, with a warning.

``apply()`` starts it, ``applied()`` says what was done. Every patch names the RecBole functions it rests on (its
edits), the upstream issues it answers and when it is needed.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import re
import secrets
import sys
import textwrap
import types
import warnings
import weakref
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from importlib.metadata import PackageNotFoundError
from importlib.metadata import version as installed_version
from typing import Any

__all__ = [
    "PATCHES",
    "Edit",
    "Patch",
    "PatchReport",
    "applied",
    "apply",
    "objective_function",
    "ray_runtime_env",
    "run_recboles",
]


@dataclass(frozen=True)
class Edit:
    """One change of text inside one RecBole function.

    Attributes:
        module: Full name of the RecBole module.
        function: ``function`` or ``Class.method``; empty for the top level of the module, which can only be changed
            while the module has not been imported yet.
        old: The text of RecBole 1.2.0 and 1.2.1. Every occurrence in the function is replaced.
        new: What stands there instead. It has as many lines as ``old``, so that tracebacks stay right.
    """

    module: str
    function: str
    old: str
    new: str


@dataclass(frozen=True)
class Patch:
    """A named group of edits that mends one thing.

    Attributes:
        name: Short name, unique.
        mends: What breaks without it, and where.
        upstream: Issues of github.com/RUCAIBox/RecBole that report it; empty if nobody has.
        edits: The changes.
        needed: Whether the installed libraries need it. Asked when a module of the patch is imported.
        rebinds: ``(module, name)`` pairs whose value becomes this module's function of the same name.
    """

    name: str
    mends: str
    upstream: tuple[str, ...]
    edits: tuple[Edit, ...] = ()
    needed: Callable[[], bool] = lambda: True
    rebinds: tuple[tuple[str, str], ...] = ()

    def modules(self) -> set[str]:
        """Full names of the RecBole modules that the patch changes."""
        return {edit.module for edit in self.edits} | {module for module, _ in self.rebinds}


@dataclass(frozen=True)
class PatchReport:
    """What has become of one patch in this process.

    Attributes:
        name: The patch's name.
        state: ``applied``; ``waiting`` (none of its modules is imported yet); ``not needed`` (with the installed
            libraries); ``not found`` (this RecBole release has another text there, or its source cannot be read).
        mends: What the patch mends.
        rests_on: The RecBole functions it rests on.
        upstream: The upstream issues it answers.
        detail: Functions changed so far, and texts that were not found.
    """

    name: str
    state: str
    mends: str
    rests_on: tuple[str, ...]
    upstream: tuple[str, ...]
    detail: str


def apply() -> list[PatchReport]:
    """Mend what is imported of RecBole now, and the rest when it is imported. Calling it again changes nothing.

    Returns:
        One report a patch, as of now; :func:`applied` gives the same later.
    """
    if not any(isinstance(finder, _Finder) for finder in sys.meta_path):
        sys.meta_path.insert(0, _Finder())
    for name in _modules():
        module = sys.modules.get(name)
        if module is not None:
            _mend(module)
    return applied()


def applied() -> list[PatchReport]:
    """What has become of each patch in this process, in the order of :data:`PATCHES`."""
    return [_report(patch) for patch in PATCHES]


def _release(package: str) -> tuple[int, ...]:
    """Release number of an installed package, ``(2, 13, 0)``; empty if it is not installed."""
    try:
        return _numbers(installed_version(package))
    except PackageNotFoundError:
        return ()


def _numbers(version: str) -> tuple[int, ...]:
    match = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in match.group().split(".")) if match else ()


def _recbole_version() -> str:
    import recbole  # a source tree on the path has no metadata, but always this number

    return recbole.__version__


def _recbole_1_2_0() -> bool:
    return _numbers(_recbole_version()) < (1, 2, 1)


def _numpy_2() -> bool:
    return _release("numpy") >= (2,)


def _numpy_without_names() -> bool:
    return _release("numpy") >= (1, 24)


def _safe_torch_load() -> bool:
    return _release("torch") >= (2, 6)


def _dok_without_update() -> bool:
    return _release("scipy") >= (1, 13)


def _pandas_3() -> bool:
    return _release("pandas") >= (3,)


def _copy_on_write() -> bool:
    import pandas as pd

    # pandas 2 has it as an option, off by default; "warn" is not on.
    return _pandas_3() or pd.options.mode.copy_on_write is True


def _hyperopt_generator() -> bool:
    return _release("hyperopt") >= (0, 2, 6)


def _no_faiss() -> bool:
    return importlib.util.find_spec("faiss") is None


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
    """Names that NumPy no longer has, where RecBole uses them; what stands instead is what RecBole means by them."""
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


def _cpu_group_edits() -> Iterable[Edit]:
    """What several processes do with CUDA stays; without CUDA they use gloo and the CPU."""
    config, cuda = "recbole.config.configurator", "torch.cuda.is_available()"
    rank = 'self.final_config_dict["local_rank"]'
    for old, new in (
        ("assert len(gpu_id", f"assert not {cuda} or len(gpu_id"),
        ('backend="nccl",', f'backend="nccl" if {cuda} else "gloo",'),
        (f'"cuda", {rank}\n', f'*(("cuda", {rank}) if {cuda} else ("cpu",))\n'),
        (f"torch.cuda.set_device({rank})", f"{cuda} and torch.cuda.set_device({rank})"),
    ):
        yield Edit(config, "Config._init_device", old, new)
    yield Edit(
        "recbole.trainer.trainer",
        "AbstractTrainer.__init__",
        'device_ids=[config["local_rank"]]',
        'device_ids=[config["local_rank"]] if config["device"].type == "cuda" else None',
    )


def _checkpoint_edits() -> Iterable[Edit]:
    name = "os.path.join(self.checkpoint_dir, saved_model_file)"
    yield Edit(
        "recbole.trainer.trainer",
        "Trainer.__init__",
        f"self.saved_model_file = {name}",
        f"from {__name__} import one_name_a_node; self.saved_model_file = one_name_a_node({name}, config)",
    )
    # All ranks come through evaluate() together, rank 0 after it has written the file.
    read = "checkpoint_file = model_file or self.saved_model_file"
    wait = 'self.config["single_spec"] or torch.distributed.barrier()'
    yield Edit("recbole.trainer.trainer", "Trainer.evaluate", read, f"{wait}; {read}")


def _own_name_edits() -> Iterable[Edit]:
    """RecBole names checkpoints, logs and event folders by the second."""
    own = f"__import__({__name__!r}, fromlist=['time_of_run']).time_of_run()"
    for module, function in (
        ("recbole.trainer.trainer", "Trainer.__init__"),
        ("recbole.trainer.trainer", "DecisionTreeTrainer.__init__"),
        ("recbole.utils.logger", "init_logger"),
        ("recbole.utils.utils", "get_tensorboard"),
    ):
        yield Edit(module, function, "get_local_time()", own)
    # The folder's name is the log's up to the first dot, and a data set's name may hold one.
    yield Edit("recbole.utils.utils", "get_tensorboard", '.split(".")[0]', '.removesuffix(".log")')


def _whole_file_edits() -> Iterable[Edit]:
    """Files that RecBole finds again by a fixed name, or that a killed run leaves in part."""
    trainer, data = "recbole.trainer.trainer", "recbole.data"
    save = f"__import__({__name__!r}, fromlist=['save_whole']).save_whole("
    for function in (
        "Trainer._save_checkpoint",
        "PretrainTrainer.save_pretrained_model",
        "DecisionTreeTrainer._save_checkpoint",
    ):
        yield Edit(trainer, function, "torch.save(", save)
    write = "__import__('recbole_universal.files', fromlist=['atomic_write']).atomic_write("
    yield Edit(f"{data}.dataset.dataset", "Dataset.save", 'open(file, "wb")', f"{write}file)")
    yield Edit(f"{data}.utils", "save_split_dataloaders", 'open(file_path, "wb")', f"{write}file_path)")


_QUICK_START = "recbole.quick_start.quick_start"
_DATASET = "recbole.data.dataset.dataset"

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
        "kmeans_pytorch",
        "recbole 1.2.0 imports kmeans_pytorch, which it does not declare, with every general model; only LDiffRec "
        "with n_cate > 1 uses it. It is imported there, as in 1.2.1.",
        (),
        (
            Edit(
                "recbole.model.general_recommender.ldiffrec",
                "",
                "\nfrom kmeans_pytorch import kmeans",
                f"\nfrom {__name__} import late_kmeans as kmeans",
            ),
        ),
        _recbole_1_2_0,
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
        "np.float, np.bool, np.long, np.str, gone since NumPy 1.24, in metrics, Interaction, data sets and models. "
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
        "Series.agg(len) gives one number: every data set with sequence fields.",
        (),
        tuple(_agg_edits()),
        _pandas_3,
    ),
    Patch(
        "fillna",
        "Chained fillna(inplace=True) is lost without a word: float features keep NaN, missing tokens become the "
        "least int64, missing sequences end in an error.",
        (),
        tuple(_fillna_edits()),
        _copy_on_write,
    ),
    Patch(
        "rows_without_ids",
        "Rows without a user or item are dropped by their labels taken as positions: once a row is gone, a row of "
        "another user is deleted in place of the one that the log names, or the run ends in an IndexError.",
        (),
        (
            Edit(_DATASET, "Dataset._filter_nan_user_or_item", "feat.index[dropped_feat]", "dropped_feat"),
            Edit(_DATASET, "Dataset._filter_nan_user_or_item", "self.inter_feat.index[dropped_inter]", "dropped_inter"),
        ),
    ),
    Patch(
        "collector_cpu",
        "recbole 1.2.1 calls .cpu() on plain numbers: ItemCoverage, AveragePopularity, GiniIndex, TailPercentage.",
        ("#2191",),
        (
            Edit(
                "recbole.evaluator.collector",
                "Collector.get_data_struct",
                "self.data_struct._data_dict[key].cpu()",
                f"__import__({__name__!r}, fromlist=['to_cpu']).to_cpu(self.data_struct._data_dict[key])",
            ),
        ),
        lambda: not _recbole_1_2_0(),
    ),
    Patch(
        "gloo",
        "Several processes (--nproc) demand CUDA: the gpu_id assertion, the nccl backend, the device, DDP's ids.",
        (),
        tuple(_cpu_group_edits()),
    ),
    Patch(
        "checkpoint_of_ranks",
        "Several processes: each rank names the checkpoint by its own clock, and reads it while rank 0 writes.",
        ("#1811", "#2173"),
        tuple(_checkpoint_edits()),
    ),
    Patch(
        "own_names",
        "Two runs that start in one second share a checkpoint, a log and a folder of TensorBoard events: one of the "
        "models is lost, and each run tests the one that is there. Each run's names end at random.",
        (),
        tuple(_own_name_edits()),
    ),
    Patch(
        "whole_files",
        "A checkpoint, a saved data set or saved data loaders can be read by another run while they are written, and "
        "a killed run leaves a part. They take their place when they are complete.",
        (),
        tuple(_whole_file_edits()),
    ),
    Patch(
        "ensure_dir",
        "Several processes: two ranks make the same folder at the same time (FileExistsError).",
        (),
        (Edit("recbole.utils.utils", "ensure_dir", "os.makedirs(dir_path)", "os.makedirs(dir_path, exist_ok=True)"),),
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
    Patch(
        "ncl_clusters",
        "NCL clusters with faiss, which RecBole does not declare. Without faiss scikit-learn's k-means does it.",
        (),
        (
            Edit(
                "recbole.model.general_recommender.ncl",
                "NCL.run_kmeans",
                "import faiss",
                f"from {__name__} import sklearn_as_faiss as faiss",
            ),
        ),
        _no_faiss,
    ),
    Patch(
        "child_processes",
        "Spawned processes and ray's workers start from stock RecBole, without these patches and without the plugin. "
        "The functions that are sent to them are ours, which makes them import the plugin.",
        ("#1820",),
        rebinds=tuple(
            (module, name)
            for name in ("run_recboles", "objective_function")
            for module in (_QUICK_START, "recbole.quick_start")
        ),
    ),
)


class _Late(types.ModuleType):
    """Stands for a module that is imported when something of it is first used."""

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):  # asked by inspect, doctest and others of anything they see
            raise AttributeError(name)
        return getattr(importlib.import_module(self.__name__), name)


ray_tune = _Late("ray.tune")


def report_to_ray(metrics: dict[str, Any]) -> None:
    """Report one trial's metrics to ray, if ray is what runs it; ray 2.7 and later want one dictionary."""
    if "ray.tune" not in sys.modules:
        return
    if _release("ray") >= (2, 7):
        ray_tune.report(dict(metrics))
    else:
        ray_tune.report(**metrics)


def late_kmeans(*args: Any, **kwargs: Any) -> Any:
    """``kmeans_pytorch.kmeans``, imported when it is called."""
    return importlib.import_module("kmeans_pytorch").kmeans(*args, **kwargs)


class _Kmeans:
    """The part of ``faiss.Kmeans`` that NCL uses, by scikit-learn, with faiss's defaults (25 rounds, seed 1234)."""

    def __init__(self, d: int, k: int, gpu: bool = False) -> None:
        from sklearn.cluster import KMeans

        self._kmeans = KMeans(n_clusters=k, init="random", n_init=1, max_iter=25, random_state=1234)
        self.index = self

    def train(self, x: Any) -> None:
        self._kmeans.fit(x)
        self.centroids = self._kmeans.cluster_centers_

    def search(self, x: Any, k: int) -> tuple[None, Any]:
        return None, self._kmeans.predict(x)[:, None]


sklearn_as_faiss = types.SimpleNamespace(Kmeans=_Kmeans)


def to_cpu(value: Any) -> Any:
    """A tensor's copy on the CPU; anything else as it is."""
    return value.cpu() if hasattr(value, "cpu") else value


def one_name_a_node(path: str, config: Any) -> str:
    """The checkpoint's name that the first process of this node has chosen; every process has to call it.

    RecBole makes a trainer in every process anyway: the constructor of DistributedDataParallel waits for all of them.

    Args:
        path: The name that this process would use.
        config: RecBole's ``Config``; with one process the name is returned as it is.

    Returns:
        The same name on every rank of the node, which is the rank that writes the file (``local_rank`` 0).
    """
    if config["single_spec"]:
        return path
    import torch.distributed

    names: list[Any] = [None] * torch.distributed.get_world_size()
    torch.distributed.all_gather_object(names, (config["offset"], config["local_rank"], path))
    return next(name for offset, rank, name in names if offset == config["offset"] and rank == 0)


def time_of_run() -> str:
    """RecBole's local time, which it names files by, with an ending of this call's own."""
    utils = importlib.import_module("recbole.utils.utils")
    return f"{utils.get_local_time()}-{secrets.token_hex(4)}"


def save_whole(state: Any, path: str, **options: Any) -> None:
    """``torch.save`` into a file that takes its place when it is complete."""
    import torch

    from recbole_universal.files import atomic_write

    with atomic_write(path) as file:
        torch.save(state, file, **options)


_stock: dict[str, Callable[..., Any]] = {}


def run_recboles(rank: int, *args: Any) -> None:
    """RecBole's ``run_recboles``, sent to a spawned process by reference, so that it imports the plugin there."""
    importlib.import_module(_QUICK_START)
    _stock["run_recboles"](rank, *args)


def objective_function(
    config_dict: dict[str, Any] | None = None, config_file_list: list[str] | None = None, saved: bool = True
) -> dict[str, Any]:
    """RecBole's ``objective_function``, sent to ray's workers by reference, so that they import the plugin there."""
    importlib.import_module(_QUICK_START)
    return _stock["objective_function"](config_dict, config_file_list, saved)


def ray_runtime_env() -> dict[str, Any]:
    """Argument ``runtime_env`` for ``ray.init`` when the objective is your own function: workers import the plugin."""
    return {"worker_process_setup_hook": apply}


# What was done: patch name -> text of one edit -> whether its old text was there.
_done: dict[str, dict[str, bool]] = {}
_not_needed: set[str] = set()
_mended: weakref.WeakSet[types.ModuleType] = weakref.WeakSet()


def _modules() -> set[str]:
    return {name for patch in PATCHES for name in patch.modules()}


def _is_needed(patch: Patch) -> bool:
    needed = patch.needed()
    if not needed:
        _not_needed.add(patch.name)
    return needed


def _record(patch: Patch, what: str, found: bool) -> None:
    done = _done.setdefault(patch.name, {})
    if not found and done.get(what, True):
        warnings.warn(
            f"[{what}] of recbole {_recbole_version()} does not hold the text that the patch [{patch.name}] changes. "
            f"So this stays as it is: {patch.mends} python -m recbole_universal doctor lists all patches; install "
            "recbole>=1.2,<1.3.",
            UserWarning,
            stacklevel=2,
        )
    done[what] = done.get(what, True) and found


class _Loader(SourceFileLoader):
    """Loads a RecBole module as Python does, and mends it right after."""

    def get_code(self, fullname: str) -> types.CodeType | None:
        edits = [(p, e) for p in PATCHES for e in p.edits if e.module == fullname and not e.function]
        edits = [(patch, edit) for patch, edit in edits if _is_needed(patch)]
        source = self.get_source(fullname) if edits else None
        if source is None:
            return super().get_code(fullname)
        return compile(_change(source, edits), self.get_filename(fullname), "exec", dont_inherit=True)

    def exec_module(self, module: types.ModuleType) -> None:
        super().exec_module(module)
        _mended.discard(module)  # importlib.reload brings the stock functions back
        _mend(module)


class _Finder:
    """Finds the RecBole modules that have patches, and gives them :class:`_Loader`."""

    def find_spec(
        self, fullname: str, path: Sequence[str] | None = None, target: types.ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname not in _modules():
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        if spec is None or type(spec.loader) is not SourceFileLoader:
            return None  # another loader, for example from a zip file: left alone, and reported as not found
        spec.loader = _Loader(spec.loader.name, spec.loader.path)
        return spec


def _mend(module: types.ModuleType) -> None:
    """Apply all patches of an imported module, once."""
    if module in _mended:
        return
    _mended.add(module)
    name = module.__name__
    by_function: dict[str, list[tuple[Patch, Edit]]] = {}
    for patch in PATCHES:
        if name not in patch.modules() or not _is_needed(patch):
            continue
        for edit in patch.edits:
            if edit.module == name and edit.function:
                by_function.setdefault(edit.function, []).append((patch, edit))
    for function, edits in by_function.items():
        _edit_function(module, function, edits)
    for patch in PATCHES:
        for _, attribute in (pair for pair in patch.rebinds if pair[0] == name):
            _rebind(patch, module, attribute)


def _rebind(patch: Patch, module: types.ModuleType, attribute: str) -> None:
    current, ours = getattr(module, attribute, None), globals()[attribute]
    if current is not None and current is not ours:
        _stock.setdefault(attribute, current)
        setattr(module, attribute, ours)
    _record(patch, f"{module.__name__}.{attribute}", current is not None)


def _change(source: str, edits: Iterable[tuple[Patch, Edit]]) -> str:
    for patch, edit in edits:
        found = edit.old in source
        _record(patch, f"{edit.module}.{edit.function}" if edit.function else edit.module, found)
        source = source.replace(edit.old, edit.new)
    return source


def _edit_function(module: types.ModuleType, name: str, edits: list[tuple[Patch, Edit]]) -> None:
    """Exchange the code of one function for its own source with the edits made."""
    try:
        function: Any = module
        for part in name.split("."):
            function = inspect.getattr_static(function, part)
        function = inspect.unwrap(function)
        lines, first = inspect.getsourcelines(function)
    except (AttributeError, OSError, TypeError):
        lines, first = [], 1
    source = "".join(lines)
    changed = _change(source, edits)
    if changed != source:
        function.__code__ = _compile(changed, function, first)


def _compile(source: str, function: types.FunctionType, first: int) -> types.CodeType:
    """Code of one function from its source, with the file name, line numbers and closure of the original."""
    owner = function.__qualname__.rpartition(".")[0]
    if owner:  # inside a class of that name, so that super() and private names compile as they did
        source = f"class {owner}:\n{source}"
    else:
        source = textwrap.dedent(source)
    blank = "\n" * (first - (2 if owner else 1))
    code = compile(blank + source, function.__code__.co_filename, "exec", dont_inherit=True)
    scope = next(part for part in code.co_consts if isinstance(part, types.CodeType)) if owner else code
    return next(
        part
        for part in scope.co_consts
        if isinstance(part, types.CodeType) and part.co_name == function.__code__.co_name
    )


def _report(patch: Patch) -> PatchReport:
    done = _done.get(patch.name, {})
    found = [what for what, was_there in done.items() if was_there]
    missing = [what for what, was_there in done.items() if not was_there]
    if found:
        state = "applied"
    elif missing:
        state = "not found"
    else:
        state = "not needed" if patch.name in _not_needed else "waiting"
    detail = ", ".join(found) + ("; not found: " + ", ".join(missing) if missing else "")
    rests_on = [f"{e.module}.{e.function}" if e.function else e.module for e in patch.edits]
    rests_on += [f"{module}.{name}" for module, name in patch.rebinds]
    return PatchReport(
        patch.name, state, patch.mends, tuple(dict.fromkeys(rests_on)), patch.upstream, detail.lstrip("; ")
    )
