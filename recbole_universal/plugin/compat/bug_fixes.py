"""Bug fixes of RecBole 1.2, which are needed with all versions of other libraries."""

from __future__ import annotations

import importlib
import importlib.util
import secrets
import types
from collections.abc import Iterable
from typing import Any

from recbole_universal.plugin.compat.patch import Edit, Patch
from recbole_universal.plugin.compat.versions import recbole_1_2_0

_QUICK_START = "recbole.quick_start.quick_start"
_DATASET = "recbole.data.dataset.dataset"


def _no_faiss() -> bool:
    return importlib.util.find_spec("faiss") is None


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
    """RecBole's local time, by which it names files, with a random ending."""
    utils = importlib.import_module("recbole.utils.utils")
    return f"{utils.get_local_time()}-{secrets.token_hex(4)}"


def save_whole(state: Any, path: str, **options: Any) -> None:
    """``torch.save`` into a file that takes its place when it is complete."""
    import torch

    from recbole_universal.files import atomic_write

    with atomic_write(path) as file:
        torch.save(state, file, **options)


def run_recboles(rank: int, *args: Any) -> None:
    """RecBole's ``run_recboles`` in a spawned process. The import of RecBole puts its function in this place."""
    importlib.import_module(_QUICK_START)
    globals()["run_recboles"](rank, *args)


def objective_function(*args: Any, **kwargs: Any) -> dict[str, Any]:
    """RecBole's ``objective_function`` in a worker of ray, as :func:`run_recboles`."""
    importlib.import_module(_QUICK_START)
    return globals()["objective_function"](*args, **kwargs)


def _cpu_group_edits() -> Iterable[Edit]:
    """Without CUDA several processes use gloo and the CPU. With CUDA nothing changes."""
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


def _unique_name_edits() -> Iterable[Edit]:
    """RecBole names checkpoints, logs and event folders by the second."""
    name = f"__import__({__name__!r}, fromlist=['time_of_run']).time_of_run()"
    for module, function in (
        ("recbole.trainer.trainer", "Trainer.__init__"),
        ("recbole.trainer.trainer", "DecisionTreeTrainer.__init__"),
        ("recbole.utils.logger", "init_logger"),
        ("recbole.utils.utils", "get_tensorboard"),
    ):
        yield Edit(module, function, "get_local_time()", name)
    # The folder's name is the log's up to the first dot, and a dataset's name may hold one.
    yield Edit("recbole.utils.utils", "get_tensorboard", '.split(".")[0]', '.removesuffix(".log")')


def _whole_file_edits() -> Iterable[Edit]:
    """Files that RecBole finds again by a fixed name, or that a killed run leaves incomplete."""
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


#: In the order in which `doctor` lists them.
PATCHES: tuple[Patch, ...] = (
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
        recbole_1_2_0,
    ),
    Patch(
        "anomaly_detection",
        "SINE turns on autograd's search for NaN in all of the process when it is imported, as it is with every "
        "sequential model. Training then takes up to twice the time. RecBole checks the losses for NaN by itself.",
        (),
        (
            Edit(
                "recbole.model.sequential_recommender.sine",
                "",
                "torch.autograd.set_detect_anomaly(True)",
                "pass",
            ),
        ),
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
        lambda: not recbole_1_2_0(),
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
        tuple(_unique_name_edits()),
    ),
    Patch(
        "whole_files",
        "A checkpoint, a saved dataset or saved data loaders can be read by another run while they are written, and "
        "a killed run leaves an incomplete file. They take their place when they are complete.",
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
        "The functions that are sent to them are pickled as functions of this package, whose import brings both.",
        ("#1820",),
        sent=((_QUICK_START, "run_recboles"), (_QUICK_START, "objective_function")),
    ),
)
