"""Checks of a run before it starts: names, folders, files, processes."""

from __future__ import annotations

import difflib
import errno
import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import recbole
import yaml
from recbole.config import Config

from recbole_universal.plugin.atomic_file import check_header
from recbole_universal.plugin.base_model import model_named

_TABLE_ENDINGS = (".csv", ".tsv", ".txt", ".gz", ".parquet", ".inter")


def check_names(model: str | None, dataset: str | None) -> None:
    """Check the names of the model and the dataset.

    Raises:
        ValueError: If RecBole has no such model, or the dataset is the name of a file.
    """
    try:
        if model is not None:
            model_named(model)
    except LookupError as error:
        # RecBole searches LightGBM's models for an unknown name, and fails because that library is missing.
        near = difflib.get_close_matches(str(model), _model_names(), 1)
        hint = f"; did you mean {near[0]}?" if near else ", or a library that it needs is not installed."
        raise ValueError(f"--model: there is no RecBole model [{model}]{hint}") from error
    if dataset is not None and Path(dataset).suffix in _TABLE_ENDINGS:
        raise ValueError(
            f"--dataset: [{dataset}] is a file; RecBole wants the name of a dataset, a folder of atomic files in "
            "data_path. The commands recommend and analyze of recbole-universal take a CSV file."
        )


def _model_names() -> list[str]:
    """Names of RecBole's models and of the plugin's."""
    import recbole.model

    names = ["UniversalMLP", "UniversalSequential", "UniversalSASRec", "UniversalInterpolation"]
    for file in Path(recbole.model.__file__).parent.glob("*_recommender/*.py"):
        classes = re.findall(r"^class (\w+)\(", file.read_text(encoding="utf-8"), re.MULTILINE)
        names += [name for name in classes if name.lower() == file.stem]
    return names


def check_folder(config: Config) -> None:
    """Check that the dataset is a folder of atomic files, or that RecBole downloads it.

    Raises:
        ValueError: If it is neither, or its files are not valid.
    """
    if not Path(config["data_path"]).is_dir() and not is_downloaded(config["dataset"]):
        raise ValueError(
            f"--dataset: there is no folder [{config['data_path']}] of RecBole atomic files (data_path/dataset). The "
            "commands recommend and analyze of recbole-universal take a CSV file; docs/stages.md makes atomic files of "
            "one."
        )
    check_files(config)


def check_files(config: Config) -> None:
    """Check that the ``.inter`` files exist and that each names its columns.

    Raises:
        ValueError: If a file is missing, or its first row is no header.
    """
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


def is_downloaded(dataset: str) -> bool:
    """Whether RecBole downloads a dataset of this name."""
    urls = Path(recbole.__file__).parent / "properties" / "dataset" / "url.yaml"
    return dataset in yaml.safe_load(urls.read_text(encoding="utf-8"))


def check_writable(config: Config) -> None:
    """Check the folders that RecBole writes. RecBole itself fails after the training.

    Raises:
        OSError: If a folder cannot be made or written.
    """
    for folder in ("log", "log_tensorboard", config["checkpoint_dir"]):
        os.makedirs(folder, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), folder)


def check_processes(distributed: dict[str, Any]) -> None:
    """Check the number of processes.

    Raises:
        ValueError: If it is less than 1.
    """
    nproc = distributed.get("nproc", 1)
    if not isinstance(nproc, int) or nproc < 1:
        raise ValueError(f"nproc: must be a number of processes of at least 1, got {nproc!r}.")


def keys_in_files(files: Sequence[str] | None) -> set[str]:
    """Config keys that yaml files set.

    Raises:
        ValueError: If a file cannot be read, or is no mapping of config keys.
    """
    keys: set[str] = set()
    for file in files or ():
        try:
            with open(file, encoding="utf-8") as stream:
                content = yaml.load(stream, Loader=yaml.FullLoader)  # the loader that RecBole uses later
        except OSError as error:
            raise ValueError(f"--config_files: cannot read [{file}]: {error.strerror}.") from error
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            reason = " ".join(str(error).split())
            raise ValueError(f"--config_files: [{file}] is not valid yaml: {reason}.") from error
        if not isinstance(content, dict):
            held = "nothing" if content is None else f"a {type(content).__name__}"
            raise ValueError(f"--config_files: [{file}] must hold config keys, such as epochs: 20, but holds {held}.")
        keys |= set(content)
    return keys
