"""A recommender on disk: arrays as safetensors, ids as Parquet, the rest as JSON. Nothing is executable.

``recommender.json`` names a subfolder ``state-<random>``, which holds all other files. It is replaced last and in one
step, so a reader sees the old recommender or the new one. It has the size of each file and a hash of the ids. The file
of the arrays has a checksum.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import secrets
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy.sparse as sp
from numpy.typing import NDArray

import recbole_universal
from recbole_universal import arguments
from recbole_universal.app.arrow_tables import id_column, import_pyarrow
from recbole_universal.app.new_catalogue import NewCatalogue
from recbole_universal.app.recommender_state import FitSettings, RecommenderState
from recbole_universal.array_store import read_arrays, write_arrays
from recbole_universal.checkpoint import load_pretrained, save_pretrained
from recbole_universal.content.new_item_lists import NEW_ITEMS_VERSION
from recbole_universal.features.computation import CACHE_VERSION
from recbole_universal.features.registry import FAMILIES
from recbole_universal.files import atomic_write, locked_folder, write_text
from recbole_universal.graph.histories import Histories
from recbole_universal.graph.sparse_sums import arrays_under, check_indices
from recbole_universal.io.item_table import read_items
from recbole_universal.ranking.ranker import UniversalRanker

FORMAT = 2
_JSON, _ARRAYS, _MODEL = "recommender.json", "arrays.safetensors", "model"
_IDS = ("users.parquet", "items.parquet")
_TABLE, _EXCLUDED, _NEW = "item_table.parquet", "excluded.parquet", "new_items.parquet"  # only where there are any
_KEY = {"content": "recommender"}
_STATE = re.compile("state-[0-9a-f]{16}")
_MOST_JSON_BYTES = 2**16


def save_recommender(folder: str | os.PathLike[str], recommender: RecommenderState) -> None:
    """Write a recommender into a folder, and replace the recommender that is there.

    Args:
        folder: the folder; it is created if it is missing.
        recommender: its state.

    Raises:
        ValueError: if ids are neither all integers nor all texts, or ``folder`` is no path; nothing is written.
        FileExistsError: if the folder holds a ``recommender.json`` of another program.
        OSError: if a file cannot be written.
        ImportError: without pyarrow.
    """
    folder = _path(folder)
    users, items = recommender.users, recommender.items
    files = {name: _parquet_of_ids(name, values) for name, values in zip(_IDS, (users, items), strict=True)}
    if recommender.item_table is not None:
        files[_TABLE] = _parquet(import_pyarrow().Table.from_pandas(recommender.item_table.frame, preserve_index=False))
    if recommender.excluded:
        files[_EXCLUDED] = _parquet_of_ids(_EXCLUDED, pd.Index([str(name) for name in recommender.excluded]))
    if recommender.catalogue is not None:
        files[_NEW] = _parquet_of_ids(_NEW, recommender.catalogue.ids)
    folder.mkdir(parents=True, exist_ok=True)
    with locked_folder(folder, wait=True):
        _remove_unused(folder)  # what a killed save left; refuses a folder of another program
        state = folder / f"state-{secrets.token_hex(8)}"
        state.mkdir()
        try:
            model, settings = recommender.ranker.pretrained, recommender.settings
            save_pretrained(state / _MODEL, model.state_dict, model.schema, model.card)
            arrays = recommender.ranker.arrays() | _history_arrays(recommender.histories)
            if recommender.amounts is not None:
                arrays["amounts"] = recommender.amounts.data
            if recommender.catalogue is not None:
                arrays |= {f"new.{name}": array for name, array in recommender.catalogue.arrays().items()}
            write_arrays(state / _ARRAYS, _KEY, arrays, None if settings is None else settings.described())
            for name, content in files.items():
                with atomic_write(state / name) as file:
                    file.write(content)
            described = {
                "format": FORMAT,
                "version": recbole_universal.__version__,
                "features": _feature_versions(model.families, _NEW in files),
                "state": state.name,
                "n_users": len(users),
                "n_items": len(items),
                "columns": [name if isinstance(name, str) else None for name in (users.name, items.name)],
                "bytes": {name: (state / name).stat().st_size for name in (_ARRAYS, *files)},
                "sha256": {name: hashlib.sha256(content).hexdigest() for name, content in files.items()},
                "appended": recommender.appended,
            }
            write_text(folder / _JSON, json.dumps(described, indent=1) + "\n")
        finally:
            _remove_unused(folder)


def load_recommender(folder: str | os.PathLike[str], device: str) -> RecommenderState:
    """The recommender that :func:`save_recommender` wrote.

    Raises:
        FileNotFoundError: if the folder holds no complete recommender.
        ValueError: if a file is damaged, or of another version of the package, or there is no such device.
        ImportError: without pyarrow.
    """
    folder, device = _path(folder), str(arguments.device(device))
    described = _described(folder)
    try:
        return _load(folder / described["state"], described, device)
    except FileNotFoundError as error:
        if _described(folder)["state"] == described["state"]:
            raise FileNotFoundError(
                f"[{folder}] is incomplete: [{error.filename}] is missing. Save it again."
            ) from error
        return load_recommender(folder, device)  # another process has saved a new one in the meantime


def _load(state: Path, described: dict[str, Any], device: str) -> RecommenderState:
    for name, size in described["bytes"].items():
        found = (state / name).stat().st_size
        if found != size:
            raise ValueError(f"[{state / name}] has {found} bytes instead of {size}: it is damaged. Save it again.")
    (state / _MODEL).stat()  # an error of its own if the folder is missing
    model = load_pretrained(state / _MODEL)
    if described["features"] != _feature_versions(model.families, _NEW in described["sha256"]):
        raise ValueError(
            f"[{state.parent}] was saved by recbole_universal {described['version']}, whose features have other "
            f"numbers than those of {recbole_universal.__version__}. Fit it again."
        )
    users, items = (
        _read_ids(state / name, described["sha256"][name]).rename(column)
        for name, column in zip(_IDS, described["columns"], strict=True)
    )
    try:
        arrays, described_fit = read_arrays(state / _ARRAYS, _KEY, mapped=True)
        settings = None if described_fit is None else FitSettings.of_description(described_fit)
        histories = _read_histories(arrays, len(items))
        ranker = UniversalRanker.from_arrays(arrays, model, device=device)
        amounts = None
        if "amounts" in arrays:
            entries = (arrays["amounts"], ranker.matrix.indices, ranker.matrix.indptr)
            amounts = sp.csr_matrix(entries, shape=ranker.matrix.shape)
        catalogue = None
        if _NEW in described["sha256"]:
            new = _read_ids(state / _NEW, described["sha256"][_NEW]).rename(items.name)
            of_new = arrays_under("new.", arrays)
            catalogue = NewCatalogue.from_arrays(new, of_new)
            if catalogue.lists.n_known != len(items):
                raise ValueError("the new items belong to other known items")
    except (ValueError, TypeError, LookupError, RuntimeError) as error:
        raise ValueError(f"[{state / _ARRAYS}] is damaged: {error}. Save it again.") from error
    if not ranker.matrix.shape == (len(users), len(items)) == (described["n_users"], described["n_items"]):
        raise ValueError(
            f"[{state}] is damaged: it has {len(users)} users and {len(items)} items, a matrix of "
            f"{list(ranker.matrix.shape)}, and {_JSON} says [{described['n_users']}, {described['n_items']}]."
        )
    appended = described.get("appended", 0)
    loaded = RecommenderState(ranker, users, items, settings, histories, amounts, appended).with_catalogue(catalogue)
    if _TABLE in described["sha256"]:
        frame = _read_parquet(state / _TABLE, described["sha256"][_TABLE]).to_pandas()
        loaded = loaded.with_item_table(read_items(frame, frame.columns[0], _ignore), _ignore)
    if _EXCLUDED in described["sha256"]:
        excluded = _read_ids(state / _EXCLUDED, described["sha256"][_EXCLUDED])
        loaded = loaded.with_excluded(tuple(excluded.tolist()))
    return loaded


def recommender_digest(folder: str | os.PathLike[str]) -> str:
    """A digest of the recommender of a folder, in hexadecimal. Each save makes another one, and a copy has the same.

    Raises:
        FileNotFoundError: if the folder holds no recommender.
        ValueError: if its description is damaged.
    """
    path = _path(folder)
    return hashlib.sha256(json.dumps(_described(path), sort_keys=True).encode()).hexdigest()


@contextmanager
def unchanged(folder: str, digest: str) -> Iterator[None]:
    """Make sure that what the ``with`` block reads is the recommender of a :func:`recommender_digest`.

    Raises:
        ValueError: if the folder has been saved again.
        FileNotFoundError: if it holds no recommender.
    """
    before = recommender_digest(folder)
    yield
    if not before == digest == recommender_digest(folder):
        raise ValueError(f"[{folder}] has been saved again since the run began: start a new run.")


def check_saved_matrix(ranker: UniversalRanker, folder: str | os.PathLike[str]) -> None:
    """Refuse a recommender without the item-item matrix, which each worker of an engine would have to compute.

    Raises:
        ValueError: if the matrix is missing.
    """
    if not ranker.has_item_item:
        raise ValueError(
            f"fast (--fast): [{folder}] holds no item-item matrix; make it with fit --fast, or with "
            "rec.ranker.item_item() before rec.save."
        )


def _ignore(_: str) -> None:
    """Receives messages that the fit has reported."""


def is_recommender(path: Any) -> bool:
    """Whether a path is a folder that :func:`save_recommender` wrote."""
    return isinstance(path, (str, os.PathLike)) and (Path(os.path.expanduser(path)) / _JSON).is_file()


def _history_arrays(histories: Histories | None) -> dict[str, NDArray]:
    """The arrays of the histories of all users."""
    if histories is None:
        return {}
    arrays = {"histories.items": histories.items, "histories.indptr": histories.indptr}
    further = {"histories.times": histories.times, "histories.weights": histories.weights}
    return arrays | {name: values for name, values in further.items() if values is not None}


def _read_histories(arrays: Mapping[str, NDArray], n_items: int) -> Histories | None:
    """The histories of :func:`_history_arrays`.

    Raises:
        ValueError: if an item is out of range.
    """
    if "histories.items" not in arrays:
        return None
    check_indices("histories.items", arrays["histories.items"], n_items)
    indptr = arrays["histories.indptr"]
    users = np.arange(len(indptr) - 1)
    times, weights = arrays.get("histories.times"), arrays.get("histories.weights")
    return Histories(arrays["histories.items"], indptr, users, times, weights=weights)


def _path(folder: Any) -> Path:
    """The path of a folder.

    Raises:
        ValueError: if it is none.
    """
    if not isinstance(folder, (str, os.PathLike)) or not os.fspath(folder):
        raise ValueError(f"folder: must be the path of a folder, got {arguments.shown(folder)}.")
    path = Path(os.path.expanduser(folder))
    if path.is_file():
        raise ValueError(f"folder: [{path}] is a file; name a folder.")
    return path


def _described(folder: Path) -> dict[str, Any]:
    """Content of the ``recommender.json`` of a folder.

    Raises:
        FileNotFoundError: if there is none.
        ValueError: if it is damaged or of another format.
    """
    file = folder / _JSON
    try:
        with open(file, "rb") as stream:
            described = json.loads(stream.read(_MOST_JSON_BYTES))
        form, state, version = (described[name] for name in ("format", "state", "version"))
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"[{folder}] holds no recommender: there is no {_JSON}. Recommender.save writes it last, so a save that "
            "was stopped leaves none."
        ) from error
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise ValueError(f"[{file}] is no description of a recommender: {error!r}.") from error
    if form != FORMAT:
        raise ValueError(
            f"[{file}] is of format {form!r}, written by recbole_universal {version!r}; this version reads format "
            f"{FORMAT}. Fit and save it again with this version."
        )
    sizes, hashes, counts = described.get("bytes"), described.get("sha256"), [described.get("n_users")]
    columns = described.get("columns")
    counts += [described.get("n_items"), described.get("appended", 0)]
    if (
        not (isinstance(state, str) and _STATE.fullmatch(state))
        or not (isinstance(hashes, dict) and set(_IDS) <= set(hashes) <= {*_IDS, _TABLE, _EXCLUDED, _NEW})
        or not (isinstance(sizes, dict) and set(sizes) == {_ARRAYS, *hashes})
        or not all(isinstance(count, int) for count in [*counts, *sizes.values()])
        or "features" not in described
        or not (
            isinstance(columns, list) and len(columns) == 2 and {type(name) for name in columns} <= {str, type(None)}
        )
    ):
        raise ValueError(f"[{file}] is damaged: entries are missing or of another type. Save it again.")
    return described


def _remove_unused(folder: Path) -> None:
    """Remove all states that ``recommender.json`` does not name.

    Raises:
        FileExistsError: if it is a file of another program.
    """
    try:
        named = json.loads((folder / _JSON).read_text(encoding="utf-8"))["state"]
    except FileNotFoundError:
        named = None
    except (ValueError, LookupError, TypeError, RecursionError) as error:
        raise FileExistsError(
            f"[{folder / _JSON}] is not that of a recommender and would be replaced; name another folder."
        ) from error
    for path in folder.iterdir():
        if _STATE.fullmatch(path.name) and path.name != named and path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)


def _feature_versions(families: list[str], has_new_items: bool) -> dict[str, Any]:
    """Versions of the numbers of the features, and of new items where there are any, as JSON."""
    versions = {"all": CACHE_VERSION, **{name: FAMILIES[name].version for name in families}}
    return versions | ({"new_items": NEW_ITEMS_VERSION} if has_new_items else {})


def _parquet_of_ids(name: str, ids: pd.Index) -> bytes:
    """Content of a Parquet file of ids.

    Raises:
        ValueError: if a file cannot hold these ids.
    """
    column = id_column(name.removesuffix(".parquet"), ids)
    return _parquet(import_pyarrow().table({"id": column}))


def _parquet(table: Any) -> bytes:
    """Content of a Parquet file of an Arrow table."""
    stream = io.BytesIO()
    import_pyarrow().parquet.write_table(table, stream)
    return stream.getvalue()


def _read_ids(file: Path, sha256: str) -> pd.Index:
    """The ids of a file of :func:`_parquet_of_ids`.

    Raises:
        ValueError: if it is damaged.
    """
    return pd.Index(_read_parquet(file, sha256).column("id").to_pylist(), tupleize_cols=False)


def _read_parquet(file: Path, sha256: str) -> Any:
    """The Arrow table of a file.

    Raises:
        ValueError: if it is damaged.
    """
    content = file.read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ValueError(f"[{file}] is damaged: its hash is not that of {_JSON}. Save it again.")
    return import_pyarrow().parquet.read_table(io.BytesIO(content))
