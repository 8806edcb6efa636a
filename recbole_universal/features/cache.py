"""A folder of computed arrays that survives crashes, concurrent writers and foreign files.

One ``.npz`` file an entry. Its JSON metadata hold the key in clear and a checksum of the arrays, so that a truncated,
corrupt or mismatching file is noticed and computed anew instead of believed.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

logger = logging.getLogger(__name__)

#: Name of the metadata among the arrays of a file.
METADATA = "metadata"


def canonical_json(value: Any) -> str:
    """JSON text that is the same for equal values."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def array_digest(arrays: Mapping[str, NDArray]) -> str:
    """SHA-256 over names, types, shapes and contents of arrays, in hexadecimal."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(canonical_json([name, array.dtype.str, list(np.shape(arrays[name]))]).encode())
        digest.update(array.data if array.size else b"")
    return digest.hexdigest()


class ArrayCache:
    """Reads and writes named groups of arrays in one folder.

    A folder that cannot be written costs one warning and the time to compute, nothing else.

    Args:
        folder: the folder, made when first needed; None: no cache.
        config_key: configuration key that sets the folder, named in the warning.
    """

    def __init__(self, folder: str | os.PathLike[str] | None, config_key: str = "universal_cache_dir") -> None:
        self.folder = None if folder is None else Path(folder)
        self.config_key = config_key
        self._writable = True

    def path(self, kind: str, key: Mapping[str, Any]) -> Path:
        """File of an entry.

        Args:
            kind: what it holds; the readable part of the file name.
            key: everything that the arrays depend on; can be written as JSON.
        """
        assert self.folder is not None
        return self.folder / f"{kind}-{hashlib.sha256(canonical_json(key).encode()).hexdigest()[:32]}.npz"

    def load(self, kind: str, key: Mapping[str, Any]) -> dict[str, NDArray] | None:
        """Arrays stored under a key, or None if there are none that can be trusted."""
        if self.folder is None:
            return None
        path = self.path(kind, key)
        try:
            return _read(path, key) if path.is_file() else None
        except Exception as error:  # the bytes of a damaged file may raise anything on their way through NumPy
            logger.warning("Cache file %s cannot be used (%s); its content is computed anew.", path, error)
            return None

    def store(self, kind: str, key: Mapping[str, Any], arrays: Mapping[str, NDArray]) -> None:
        """Store arrays under a key; readers see the whole file or none of it."""
        if self.folder is None or not self._writable:
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            _write(self.path(kind, key), key, arrays)
        except OSError as error:
            self._writable = False
            logger.warning(
                "Cannot write to the cache folder %s (%s); going on without storing, nothing else is lost. Set the "
                "config key %s to a writable folder with free space, or leave it empty for no cache.",
                self.folder,
                error,
                self.config_key,
            )


def _read(path: Path, key: Mapping[str, Any]) -> dict[str, NDArray]:
    # allow_pickle=False: a foreign file must not run code.
    file = np.load(path, allow_pickle=False)
    if not isinstance(file, np.lib.npyio.NpzFile):
        raise ValueError("it is not an .npz file")
    with file:
        metadata = json.loads(str(file[METADATA][()]))
        if not isinstance(metadata, dict) or metadata.get("key") != json.loads(canonical_json(key)):
            raise ValueError("it belongs to other data or arguments")
        arrays = {name: file[name] for name in file.files if name != METADATA}
    if metadata.get("checksum") != array_digest(arrays):
        raise ValueError("its checksum does not match")
    return arrays


def _write(path: Path, key: Mapping[str, Any], arrays: Mapping[str, NDArray]) -> None:
    metadata = canonical_json({"key": key, "checksum": array_digest(arrays)})
    entries: dict[str, Any] = {METADATA: np.array(metadata), **arrays}
    # In the same folder, so that the replacement is one atomic rename.
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.stem}-", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            np.savez(file, **entries)
        umask = os.umask(0)
        os.umask(umask)
        os.chmod(temporary, 0o666 & ~umask)  # a temporary file is its owner's alone; a cache may be shared
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
