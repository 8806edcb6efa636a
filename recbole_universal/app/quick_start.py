"""What a user calls: one model beside those it should be compared with, and pre-training on many data sets."""

from __future__ import annotations

import contextlib
import copy
import difflib
import errno
import logging
import os
import re
import sys
import time
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import recbole
import torch
import yaml
from recbole.config import Config
from recbole.data import create_dataset
from recbole.model.abstract_recommender import AbstractRecommender
from recbole.quick_start import run as recbole_run
from recbole.utils import ModelType, get_model, get_tensorboard, init_logger, init_seed
from recbole.utils.argument_list import dataset_arguments, evaluation_arguments, general_arguments
from tqdm import tqdm

import recbole_universal
from recbole_universal.array_store import array_digest
from recbole_universal.checkpoint import check_model_folder, save_pretrained
from recbole_universal.features.computation import CACHE_VERSION, library_versions
from recbole_universal.files import locked_folder
from recbole_universal.plugin.atomic_file import check_header, reading_as_text
from recbole_universal.plugin.base_model import base_class
from recbole_universal.plugin.dataset import pipeline_from_config, training_matrix
from recbole_universal.plugin.dataset_hooks import checking_all_models
from recbole_universal.plugin.settings import DATA_KEYS, OWN_KEYS, check_run
from recbole_universal.plugin.universal_mlp import NETWORK_KEYS
from recbole_universal.ranking.candidate_lists import (
    Block,
    CandidateLists,
    blocks_from_arrays,
    blocks_to_arrays,
    list_store,
    make_candidate_lists,
)
from recbole_universal.ranking.network import UniversalNetwork
from recbole_universal.ranking.pretraining import Pretrainer
from recbole_universal.signals import one_line_when_stopped

logger = logging.getLogger(__name__)

# A comparison nobody configured: RecBole's defaults have these two among their metrics.
_TABLE_METRICS = ("recall@10", "ndcg@10")


def run(
    model: str | type | None = None,
    dataset: str | None = None,
    config_file_list: Sequence[str] | None = None,
    config_dict: dict[str, Any] | None = None,
    saved: bool = True,
    **distributed: Any,
) -> list[dict[str, Any]]:
    """Train and evaluate a model, then its baselines (key ``universal_peers``) on the same split.

    A baseline gets the keys about data, split and evaluation; all else is its own default.

    Args:
        model: Name or class of any RecBole model, or ``None`` to take it from the config files.
        dataset: Name of the data set, or ``None`` to take it from the config files.
        config_file_list: Paths of yaml files, as for RecBole.
        config_dict: Parameters, as for RecBole; it is not changed.
        saved: Whether to save the best checkpoint.
        **distributed: ``nproc``, ``world_size``, ``ip``, ``port``, ``group_offset`` of RecBole's ``run``. Baselines run
            in one process.

    Returns:
        One dict a model, the chosen one first: ``model``, ``seconds`` (loading, training and evaluation) and the keys
        of RecBole's result (``best_valid_score``, ``valid_score_bigger``, ``best_valid_result``, ``test_result``).
    """
    files = list(config_file_list) if config_file_list else None
    config = Config(model, dataset, files, dict(config_dict or {}))
    check_run(config.final_config_dict, config["model"])
    _check_processes(distributed)
    baselines = _checked_baselines(config)
    with checking_all_models():
        results = [_timed(config["model"], model, config["dataset"], files, config_dict, saved, **distributed)]
    # They read the files as the model does, or the split would be another one.
    reader = reading_as_text if config["universal_features"] else contextlib.nullcontext
    for baseline, keys in baselines.items():
        try:
            with _no_arguments(), checking_all_models(), reader():
                results.append(_timed(baseline, baseline, config["dataset"], None, keys, saved=False))
        except Exception:
            logger.warning("The baseline [%s] failed. Results until then:\n%s", baseline, table(results))
            raise
    return results


def pretrain(config_file_list: Sequence[str] | None = None, config_dict: dict[str, Any] | None = None) -> Path:
    """Pre-train a model on many source data sets and save it (``train_stage: pretrain``).

    Each source is loaded, filtered and split by RecBole; candidate lists are made from its training part and kept in
    ``pretrain_lists``, the state of the training in ``pretrain_dir``. Called again after a kill, it goes on to the
    same weights.

    Args:
        config_file_list: Paths of yaml files, as for RecBole.
        config_dict: Parameters, as for RecBole. ``pretrain_sources`` is a list of data set names, or of dicts with a
            key ``dataset`` and config keys of that source alone.

    Returns:
        Folder of the model, which the key ``pretrained`` of other runs takes.

    Raises:
        ValueError: If no source is named, a source is named twice, a held-out one is no source, or another
            pre-training works in ``pretrain_dir``.
        FileExistsError: If ``pretrain_dir/model`` is a model of another program.
    """
    files = list(config_file_list) if config_file_list else None
    config = Config("UniversalMLP", "ml-100k", files, {**(config_dict or {}), "train_stage": "pretrain"})
    init_logger(config)
    sources = _checked_sources(config)
    _check_folders({n: _source_config(n, files, {**(config_dict or {}), **keys}) for n, keys in sources.items()})
    folder = Path(os.path.expanduser(config["pretrain_dir"]))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"pretrain_dir: cannot make the folder ({error}).") from error
    check_model_folder(folder / "model")
    try:
        with locked_folder(folder):
            return _pretrain(config, files, config_dict, sources, folder)
    except BlockingIOError as error:
        raise ValueError(
            f"pretrain_dir: another pre-training works in [{folder}]; name another folder, or wait for its end."
        ) from error


def _pretrain(config, files, config_dict, sources: dict[str, dict[str, Any]], folder: Path) -> Path:
    store = list_store(os.path.expanduser(config["pretrain_lists"]))
    pipeline = pipeline_from_config(config)
    lists = {}
    bar = tqdm(sources.items(), desc="sources", unit="data set", disable=not config["show_progress"])
    for name, keys in bar:
        bar.set_postfix_str(name)
        lists[name] = source_lists(name, files, {**(config_dict or {}), **keys}, config, pipeline, store)
        if not lists[name]:
            raise ValueError(
                f"pretrain_sources: data set [{name}] is too small, no hidden interaction is among any user's "
                "candidates; leave it out."
            )
    init_seed(config["seed"], config["reproducibility"])
    scorer = UniversalNetwork(pipeline.dims, *(config[key] for key in NETWORK_KEYS))
    held_out = {name: CandidateLists(lists[name]) for name in config["pretrain_held_out"] or ()}
    trainer = Pretrainer(
        scorer,
        folder,
        seed=config["seed"],
        learning_rate=config["learning_rate"],
        epochs=config["epochs"],
        stopping_step=config["stopping_step"],
        batch_size=config["list_batch_size"],
        loss=config["list_loss"],
        device=config["device"],
        show_progress=config["show_progress"],
        tensorboard=get_tensorboard(logging.getLogger()),
        described={"package": recbole_universal.__version__, "features": pipeline.schema, "sources": list(lists)},
    )
    metrics = trainer.fit(CandidateLists([b for name in lists if name not in held_out for b in lists[name]]), held_out)
    card = {
        "name": config["pretrain_name"],
        "description": "A recommender made of universal statistics of interactions, which ranks items of data sets it "
        "was not trained on.",
        "sources": [name for name in lists if name not in held_out],
        "metrics": {f"NDCG@10 of hidden interactions, {name}": round(value, 4) for name, value in metrics.items()},
        "versions": {
            "recbole_universal": recbole_universal.__version__,
            "torch": torch.__version__,
            "recbole": recbole.__version__,
        },
        "seed": config["seed"],
        "command": config["pretrain_command"] or "recbole_universal.pretrain",
    }
    return save_pretrained(
        folder / "model", scorer.state_dict(), {"features": pipeline.schema, "network": scorer.arguments}, card
    )


def _checked_sources(config) -> dict[str, dict[str, Any]]:
    """Config keys of each source by its name."""
    given = config["pretrain_sources"]
    if not isinstance(given, (list, tuple)) or not given:
        raise ValueError(f"pretrain_sources: must be a list of data sets, e.g. [ml-1m, lastfm-2k], got {given!r}.")
    sources: dict[str, dict[str, Any]] = {}
    for source in given:
        keys = {"dataset": source} if isinstance(source, str) else source
        if not isinstance(keys, dict) or not isinstance(keys.get("dataset"), str):
            raise ValueError(
                f"pretrain_sources: each must be a name or a mapping with the key dataset, got {source!r}."
            )
        name = keys["dataset"]
        if name in sources:
            raise ValueError(f"pretrain_sources: data set [{name}] is named twice.")
        sources[name] = {key: value for key, value in keys.items() if key != "dataset"}
    held_out = config["pretrain_held_out"] or []
    if not isinstance(held_out, (list, tuple)) or not all(isinstance(name, str) for name in held_out):
        raise ValueError(f"pretrain_held_out: must be a list of names among pretrain_sources, got {held_out!r}.")
    strangers = [name for name in held_out if name not in sources]
    if strangers:
        raise ValueError(f"pretrain_held_out: {strangers} are not among pretrain_sources {list(sources)}.")
    if set(sources) == set(held_out):
        raise ValueError("pretrain_held_out: holds out every source; at least one must be left to train on.")
    return sources


def _source_config(name: str, files, keys: dict[str, Any]) -> Config:
    """RecBole's ``Config`` of a source: of a model without universal columns, as its lists need none."""
    source = Config("BPR", name, files, {**keys, "show_progress": False})
    source["universal_features"] = None  # whatever the command line says
    return source


def _check_folders(configs: dict[str, Config]) -> None:
    """Refuse sources that are neither on disk nor fetched by RecBole, before any is read."""
    missing = [name for name, config in configs.items() if not (Path(config["data_path"]).is_dir() or _fetched(name))]
    if missing:
        folders = ", ".join(f"[{configs[name]['data_path']}]" for name in missing)
        raise ValueError(
            f"pretrain_sources: there are no folders {folders} of RecBole atomic files (data_path/dataset); set "
            "data_path to the folder that holds the data sets, or leave these sources out."
        )
    for config in configs.values():
        _check_files(config)


def source_lists(name, files, keys, config, pipeline, store) -> list[Block]:
    """Blocks of candidate lists of one source data set, from ``store`` or made and put there.

    Args:
        name: The data set.
        files: Paths of yaml files, as for RecBole.
        keys: Config keys of the source.
        config: RecBole ``Config`` of the pre-training, which says how many lists and how they are drawn.
        pipeline: What computes the features.
        store: Where they are kept, see :func:`list_store`.
    """
    source = _source_config(name, files, keys)
    init_seed(source["seed"], source["reproducibility"])  # RecBole splits by the global random state
    with checking_all_models(), reading_as_text():  # as a model with universal columns reads it
        matrix = training_matrix(create_dataset(source).build()[0])
    settings = {"n_users": config["query_users"], "held_out_share": config["query_share"], "seed": config["seed"]}
    arrays = {"indptr": matrix.indptr.astype(np.int64), "indices": matrix.indices.astype(np.int64)}
    key = {
        "matrix": array_digest(arrays),
        "schema": pipeline.schema,
        "version": CACHE_VERSION,
        "pipeline_seed": pipeline.seed,
        "device": pipeline.device.type,
        "libraries": library_versions(),
        **settings,
    }
    arrays = store.get(name, key, lambda: blocks_to_arrays(make_candidate_lists(matrix, pipeline, **settings)))
    return blocks_from_arrays(arrays)


def _checked_baselines(config) -> dict[str, dict[str, Any]]:
    """Config keys of each model of ``universal_peers`` but the chosen one.

    A mistake shows here, not after the model was trained.
    """
    names = [name for name in config["universal_peers"] if name != config["model"]]
    if names and {config["eval_users"], config["eval_items"]} - {None, "all"}:
        logger.warning(
            "eval_users, eval_items: only UniversalMLP is tested on a part of the test interactions, so "
            "there is no row of %s.",
            names,
        )
        return {}
    baselines = {}
    for name in names:
        try:
            model = get_model(name)
        except (ImportError, AttributeError, ValueError) as error:
            raise ValueError(f"universal_peers: there is no model [{name}], or it cannot be imported.") from error
        baselines[name] = _baseline_keys(config, model)
        try:
            with _no_arguments():
                settings = Config(name, config["dataset"], config_dict=dict(baselines[name]))
        except (ValueError, NotImplementedError, TypeError) as error:
            raise ValueError(f"universal_peers: [{name}] cannot be run on this data and split: {error}") from error
        if settings["MODEL_TYPE"] == ModelType.SEQUENTIAL and settings["eval_args"]["order"] != "TO":
            raise ValueError(
                f"universal_peers: the sequential model [{name}] needs a split in time, and eval_args has order: "
                f"{settings['eval_args']['order']}; set order: TO, or leave the model out."
            )
    return baselines


def _baseline_keys(config, model: type[AbstractRecommender]) -> dict[str, Any]:
    """What a baseline has in common with the chosen model: data, split and evaluation, and where it runs.

    All else, such as its training, is its own default. UniversalMLP takes over which pre-trained model is meant.
    """
    given = config.external_config_dict
    if config["model"] == "UniversalInterpolation" and model is base_class(config["base_model"]):
        alone = {key: value for key, value in given.items() if key not in {*OWN_KEYS, "model", "dataset"}}
        return copy.deepcopy(alone)  # the base as it is trained for the mixture
    shared = [*dataset_arguments, *("eval_args", "metrics", "topk", "valid_metric", "metric_decimal_place")]
    keys = {key: config[key] for key in shared if key not in DATA_KEYS and config[key] is not None}
    of_the_run = {*general_arguments, *evaluation_arguments, *dataset_arguments, "encoding", "benchmark_filename"}
    own = {*DATA_KEYS, "save_dataset", "dataset_save_path", "save_dataloaders", "dataloaders_save_path"}
    if model.__name__ == "UniversalMLP":
        of_the_run |= {"pretrained", "universal_cache_dir"}
    keys |= {key: value for key, value in given.items() if key in of_the_run - own}
    if model.type == ModelType.SEQUENTIAL and not hasattr(model, "input_type"):
        keys["train_neg_sample_args"] = None  # what RecBole demands with the loss CE, their default
    return copy.deepcopy(keys)


@contextlib.contextmanager
def _no_arguments() -> Iterator[None]:
    """RecBole reads every ``--key=value`` of the process for each config, also those of another model."""
    arguments = sys.argv
    sys.argv = arguments[:1]
    try:
        yield
    finally:
        sys.argv = arguments


def _timed(name, model, dataset, files, config_dict, saved, **distributed) -> dict[str, Any]:
    start = time.perf_counter()
    result = recbole_run(
        model=model,
        dataset=dataset,
        config_file_list=files,
        config_dict=dict(config_dict or {}),
        saved=saved,
        **distributed,
    )
    return {"model": name, "seconds": time.perf_counter() - start, **(result or {})}


def table(results: Sequence[dict[str, Any]]) -> str:
    """A Markdown table of test results.

    Args:
        results: What :func:`run` returns.

    Returns:
        One row a model: Recall@10 and NDCG@10 where they were computed, else all metrics; seconds.
    """
    evaluated = [result for result in results if result.get("test_result")]
    if not evaluated:
        return "No test result: the run made no evaluation in this process."
    names = list(evaluated[0]["test_result"])
    names = [name for name in names if name in _TABLE_METRICS] or names
    lines = [
        "| " + " | ".join(["model", *map(_title, names), "seconds"]) + " |",
        "|" + "---|" * (len(names) + 2),
    ]
    for result in evaluated:
        values = [f"{result['test_result'].get(name, float('nan')):.4f}" for name in names]
        lines.append("| " + " | ".join([result["model"], *values, f"{result['seconds']:.1f}"]) + " |")
    return "\n".join(lines)


def _title(metric: str) -> str:
    name, at, k = metric.partition("@")
    return {"recall": "Recall", "ndcg": "NDCG"}.get(name, name) + at + k


def main(arguments: Sequence[str] | None = None) -> None:
    """The command line of ``run_recbole_universal.py``.

    Args:
        arguments: Command-line arguments; ``None`` takes those of the process. RecBole itself reads every
            ``--key=value`` of the process, so only those can set config keys.
    """
    import argparse

    parser = argparse.ArgumentParser(
        prog="run_recbole_universal.py",
        description="Train and evaluate a model with RecBole, with the universal features and models of "
        "recbole_universal registered. Takes what RecBole's run_recbole.py takes.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=_EPILOG,
    )
    add = parser.add_argument
    add(
        "--model",
        "-m",
        help="any RecBole model, or UniversalMLP (default: UniversalMLP, unless a config file names one)",
    )
    add("--dataset", "-d", help="a data set in data_path (default: ml-100k, which RecBole ships)")
    add("--config_files", help="yaml files, separated by blanks; later ones win")
    add("--nproc", type=int, default=1, help="processes on this machine (default: 1); without a GPU they use gloo")
    add("--ip", default="localhost", help="address of the master node (default: localhost)")
    add("--port", default="5678", help="port of the master node (default: 5678)")
    add("--world_size", type=int, default=-1, help="processes on all machines (default: nproc)")
    add("--group_offset", type=int, default=0, help="rank of this machine's first process (default: 0)")
    known, _ = parser.parse_known_args(arguments)

    files = known.config_files.strip().split(" ") if known.config_files else None
    named = _named_in(files)
    distributed = {}
    if known.nproc != 1 or known.world_size > 0:
        names = ("nproc", "world_size", "ip", "port", "group_offset")
        distributed = {name: getattr(known, name) for name in names}
    model = known.model or (None if "model" in named else "UniversalMLP")
    dataset = known.dataset or (None if "dataset" in named else "ml-100k")
    try:
        with one_line_when_stopped("run_recbole_universal.py"):
            _run_named(model, dataset, files, distributed)
    except Exception as error:
        explanation = str(error) if _explains_itself(error) else explain_file_error(error)
        if explanation is None:
            raise  # where it comes from matters
        raise SystemExit(f"run_recbole_universal.py: {explanation}") from error


def _run_named(model, dataset, files, distributed) -> None:
    _check_names(model, dataset)
    _check_processes(distributed)
    config = Config(model, dataset, files)
    check_run(config.final_config_dict, config["model"])
    _check_written(config)
    if config["model"] == "UniversalMLP" and config["train_stage"] == "pretrain":
        print(f"\nThe model is in [{pretrain(files)}]; give this folder to the key pretrained.")
        return
    _check_folder(config)
    results = run(model, dataset, files, **distributed)
    logging.getLogger().handlers.clear()  # the table is the last thing on the screen
    print("\n" + table(results))


def _check_names(model: str | None, dataset: str | None) -> None:
    from recbole.utils import get_model

    try:
        if model is not None:
            get_model(model)
    except (ImportError, ValueError, AttributeError) as error:
        # RecBole looks a name that it does not know up among LightGBM's models, and misses that library.
        near = difflib.get_close_matches(str(model), _model_names(), 1)
        hint = f"; did you mean {near[0]}?" if near else ", or a library that it needs is not installed."
        raise ValueError(f"--model: there is no RecBole model [{model}]{hint}") from error
    if dataset is not None and Path(dataset).suffix in (".csv", ".tsv", ".txt", ".gz", ".parquet", ".inter"):
        raise ValueError(
            f"--dataset: [{dataset}] is a file; RecBole wants the name of a data set, a folder of atomic files in "
            "data_path. A CSV file is what python -m recbole_universal recommend and analyze take."
        )


def _model_names() -> list[str]:
    """Names of RecBole's models and ours."""
    import recbole.model

    names = ["UniversalMLP", "UniversalInterpolation"]
    for file in Path(recbole.model.__file__).parent.glob("*_recommender/*.py"):
        found = re.findall(r"^class (\w+)\(", file.read_text(encoding="utf-8"), re.MULTILINE)
        names += [name for name in found if name.lower() == file.stem]
    return names


def _check_folder(config) -> None:
    """A data set that is no RecBole atomic file on disk, nor one that RecBole fetches, is refused in one line."""
    if not Path(config["data_path"]).is_dir() and not _fetched(config["dataset"]):
        raise ValueError(
            f"--dataset: there is no folder [{config['data_path']}] of RecBole atomic files (data_path/dataset). A CSV "
            "file is what python -m recbole_universal recommend and analyze take; docs/stages.md makes atomic files of "
            "one."
        )
    _check_files(config)


def _check_files(config) -> None:
    """The files of interactions that RecBole will read are there, and each names its columns."""
    folder = Path(config["data_path"])
    parts = [f"{config['dataset']}.{part}" for part in config["benchmark_filename"] or ()]
    for name in (parts or [config["dataset"]]) if folder.is_dir() else ():
        file = folder / f"{name}.inter"
        if not file.is_file():
            key = "benchmark_filename" if parts else "dataset"
            raise ValueError(
                f"{key}: there is no file [{file}]; the folder holds "
                f"{sorted(other.name for other in folder.glob('*.inter'))[:10]} of interactions."
            )
        check_header(file, config)


def _fetched(dataset: str) -> bool:
    """Whether RecBole fetches a data set from the network."""
    urls = Path(recbole.__file__).parent / "properties" / "dataset" / "url.yaml"
    return dataset in yaml.safe_load(urls.read_text(encoding="utf-8"))


def _check_written(config) -> None:
    """RecBole finds out after the training that it cannot write the checkpoint, and in its child processes at all."""
    for folder in ("log", "log_tensorboard", config["checkpoint_dir"]):
        os.makedirs(folder, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), folder)


def _check_processes(distributed: dict[str, Any]) -> None:
    nproc = distributed.get("nproc", 1)
    if not isinstance(nproc, int) or nproc < 1:
        raise ValueError(f"nproc: must be a number of processes of at least 1, got {nproc!r}.")


def _explains_itself(error: Exception) -> bool:
    """Whether an error needs no traceback: a sentence of this package, or that RecBole raises itself."""
    frames = traceback.extract_tb(error.__traceback__)
    if not frames or not str(error):
        return False
    file = Path(frames[-1].filename).resolve()
    if file.is_relative_to(Path(recbole_universal.__file__).resolve().parent):
        return isinstance(error, (ValueError, OSError, NotImplementedError))
    said = (frames[-1].line or "").startswith("raise ")  # not what Python says of an operation there
    return said and file.is_relative_to(Path(recbole.__file__).resolve().parent)


def explain_file_error(error: BaseException) -> str | None:
    """One sentence about a file or folder that RecBole or this package could not use; ``None`` for other errors."""
    if not isinstance(error, OSError) or error.strerror is None:
        return None
    packages = [Path(package).resolve().parent for package in (recbole_universal.__file__, recbole.__file__)]
    command = Path(recbole_universal.__file__).with_name("__main__.py").resolve()  # it runs the scripts of others
    files = (Path(frame.f_code.co_filename).resolve() for frame, _ in traceback.walk_tb(error.__traceback__))
    if not any(file != command and file.is_relative_to(package) for file in files for package in packages):
        return None
    if error.filename is None:
        return f"{error.strerror}."
    file = os.fsdecode(error.filename)
    if (
        error.errno == errno.ENOENT
        and Path(file).suffix == ".pth"
        and any(frame.f_code.co_name == "evaluate" for frame, _ in traceback.walk_tb(error.__traceback__))
    ):
        return (
            f"no epoch had a validation score that is a number (key valid_metric), so there is no checkpoint [{file}]; "
            "AUC needs held-out rows of both labels."
        )
    text = f"cannot use [{file}]: {error.strerror}."
    if Path(os.path.relpath(file)).parts[0] in ("log", "log_tensorboard", "saved"):
        text += (
            " RecBole writes log/ and log_tensorboard/ into the current folder, and checkpoints into checkpoint_dir "
            "(default: saved): start it in a folder that can be written."
        )
    return text


def _named_in(files: Sequence[str] | None) -> set[str]:
    """Keys of ``model`` and ``dataset`` that config files set."""
    keys: set[str] = set()
    for file in files or ():
        try:
            with open(file, encoding="utf-8") as stream:
                content = yaml.load(stream, Loader=yaml.FullLoader)  # as RecBole, which reads the file after this
        except OSError as error:
            raise SystemExit(f"--config_files: cannot read [{file}]: {error.strerror}.") from error
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            reason = " ".join(str(error).split())
            raise SystemExit(f"--config_files: [{file}] is not valid yaml: {reason}.") from error
        if not isinstance(content, dict):
            found = "nothing" if content is None else f"a {type(content).__name__}"
            raise SystemExit(f"--config_files: [{file}] must hold config keys, such as epochs: 20, but holds {found}.")
        keys |= set(content)
    return keys


_EPILOG = """
any config key:
  --key=value        e.g. --learning_rate=0.01 --epochs=20 --universal_features="['activity']"
                     RecBole's keys: https://recbole.io/docs/user_guide/config_settings.html
                     our keys:       properties/overall_universal.yaml, properties/model/UniversalMLP.yaml

examples:
  run_recbole_universal.py                                      the shipped model, zero-shot, and two baselines
  run_recbole_universal.py --train_stage=in_domain              the same model, trained on ml-100k itself
  run_recbole_universal.py --config_files=properties/quick_start_config/pretrain.yaml --data_path=../data
                                                                a model of your own, pre-trained on many data sets
  run_recbole_universal.py -d yelp2018 --data_path=../data      on a data set of yours, as RecBole atomic files
  run_recbole_universal.py -m LightGCN                          a stock model
  run_recbole_universal.py -m DeepFM --config_files=fm.yaml     a stock model with universal columns
  run_recbole_universal.py --universal_peers="['EASE']"         other baselines; [] for none
  run_recbole_universal.py --nproc=2                            two processes
"""
