"""The sources of a pre-training: the key ``pretrain_sources`` and the folders of the datasets."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from recbole.config import Config

from recbole_universal.app.checks import check_files, is_downloaded
from recbole_universal.checkpoint import check_model_folder
from recbole_universal.files import locked_folder


def checked_sources(config: Config) -> dict[str, dict[str, Any]]:
    """Config keys of each source of ``pretrain_sources``, by its name.

    Raises:
        ValueError: If a source is not valid or named twice, or a held-out dataset is no source.
    """
    given = config["pretrain_sources"]
    if not isinstance(given, (list, tuple)) or not given:
        raise ValueError(f"pretrain_sources: must be a list of datasets, e.g. [ml-1m, lastfm-2k], got {given!r}.")
    sources: dict[str, dict[str, Any]] = {}
    for source in given:
        keys = {"dataset": source} if isinstance(source, str) else source
        if not isinstance(keys, dict) or not isinstance(keys.get("dataset"), str):
            raise ValueError(
                f"pretrain_sources: each must be a name or a mapping with the key dataset, got {source!r}."
            )
        name = keys["dataset"]
        if name in sources:
            raise ValueError(f"pretrain_sources: dataset [{name}] is named twice.")
        sources[name] = {key: value for key, value in keys.items() if key != "dataset"}
    _check_held_out(config["pretrain_held_out"] or [], sources)
    return sources


def _check_held_out(held_out: Any, sources: dict[str, dict[str, Any]]) -> None:
    if not isinstance(held_out, (list, tuple)) or not all(isinstance(name, str) for name in held_out):
        raise ValueError(f"pretrain_held_out: must be a list of names among pretrain_sources, got {held_out!r}.")
    strangers = [name for name in held_out if name not in sources]
    if strangers:
        raise ValueError(f"pretrain_held_out: {strangers} are not among pretrain_sources {list(sources)}.")
    if set(sources) == set(held_out):
        raise ValueError("pretrain_held_out: holds out every source; at least one must be left to train on.")


def check_source_folders(sources: dict[str, Config]) -> None:
    """Check that each source is on disk or downloaded by RecBole, before any is read.

    Raises:
        ValueError: If one is missing, or its files are not valid.
    """
    missing = [n for n, source in sources.items() if not (Path(source["data_path"]).is_dir() or is_downloaded(n))]
    if missing:
        folders = ", ".join(f"[{sources[name]['data_path']}]" for name in missing)
        raise ValueError(
            f"pretrain_sources: there are no folders {folders} of RecBole atomic files (data_path/dataset); set "
            "data_path to the folder that holds the datasets, or leave these sources out."
        )
    for source in sources.values():
        check_files(source)


@contextlib.contextmanager
def pretraining_folder(config: Config) -> Iterator[Path]:
    """The folder ``pretrain_dir``, made and locked for this pre-training.

    Raises:
        ValueError: If it cannot be made, or another pre-training works in it.
        FileExistsError: If it holds a model of another program.
    """
    folder = Path(os.path.expanduser(config["pretrain_dir"]))
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(f"pretrain_dir: cannot make the folder ({error}).") from error
    check_model_folder(folder / "model")
    try:
        with locked_folder(folder):
            yield folder
    except BlockingIOError as error:
        raise ValueError(
            f"pretrain_dir: another pre-training works in [{folder}]; name another folder, or wait for its end."
        ) from error
