"""A folder of computed arrays that survives crashes, concurrent writers and foreign files.

One ``.npz`` file an entry. Its JSON metadata hold the key in clear and a checksum of the arrays, so that a truncated,
corrupt or mismatching file is noticed and computed anew instead of believed.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from recbole_universal.files import atomic_write

logger = logging.getLogger(__name__)

#: Name of the metadata among the arrays of a file.
METADATA = "metadata"
#: Bytes of a folder by default, in units of 10^9.
DEFAULT_GB = 4.0

# What a killed process has left: of version 0.1.0, and of atomic_write where files must have a name.
_TEMPORARY = re.compile(r"\.(.+-[0-9a-f]{32}-[a-z0-9_]{8}|recbole_universal-[0-9a-f]{16})\.tmp")
_DAY = 24 * 60 * 60


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

    A folder that cannot be written costs one warning and the time to compute, nothing else. When an entry is stored,
    those of the same suffix that were not used for the longest time are removed until all fit into the limit, and so
    are temporary files that are older than a day. Whoever misses a removed entry computes it again.

    Args:
        folder: the folder, made when first needed; None: no cache.
        config_key: configuration key that sets the folder, named in the warning.
        limit_gb: size of all entries at most, in 10^9 bytes; None: no limit.
        suffix: how the names of the entries end, which sets them apart from other files in the folder.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str] | None,
        config_key: str = "universal_cache_dir",
        limit_gb: float | None = DEFAULT_GB,
        suffix: str = ".features.npz",
    ) -> None:
        self.folder = None if folder is None else Path(folder)
        self.config_key = config_key
        self._limit = None if limit_gb is None else limit_gb * 10**9
        self._suffix = suffix
        self._entry = re.compile(r"[^.].*-[0-9a-f]{32}" + re.escape(suffix))
        self._writable = True

    def path(self, kind: str, key: Mapping[str, Any]) -> Path:
        """File of an entry.

        Args:
            kind: what it holds; the readable part of the file name.
            key: everything that the arrays depend on; can be written as JSON.
        """
        assert self.folder is not None
        digest = hashlib.sha256(canonical_json(key).encode()).hexdigest()
        return self.folder / f"{kind}-{digest[:32]}{self._suffix}"

    def load(self, kind: str, key: Mapping[str, Any]) -> dict[str, NDArray] | None:
        """Arrays stored under a key, or None if there are none that can be trusted."""
        if self.folder is None:
            return None
        path = self.path(kind, key)
        try:
            arrays = read_arrays(path, key)
            with suppress(OSError):  # the time of use, which eviction goes by, whatever the mount options say
                os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))
            return arrays
        except (FileNotFoundError, NotADirectoryError):
            return None
        except Exception as error:  # the bytes of a damaged file may raise anything on their way through NumPy
            logger.warning("Cache file %s cannot be used (%s); its content is computed anew.", path, error)
            return None

    def store(self, kind: str, key: Mapping[str, Any], arrays: Mapping[str, NDArray]) -> None:
        """Store arrays under a key; readers see the whole file or none of it."""
        if self.folder is None or not self._writable:
            return
        size = sum(array.nbytes for array in arrays.values())
        if self._limit is not None and size > self._limit:
            logger.info("An entry of %.1f GB is above the limit of %s and is not stored.", size / 10**9, self.folder)
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            path = self.path(kind, key)
            write_arrays(path, key, arrays)
            with suppress(OSError):  # another process has removed the new entry
                self._tidy(path)
        except OSError as error:
            self._writable = False
            logger.warning(
                "Cannot write to the cache folder %s (%s); going on without storing, nothing else is lost. Set the "
                "config key %s to a writable folder with free space, or leave it empty for no cache.",
                self.folder,
                error,
                self.config_key,
            )

    def _tidy(self, new: Path) -> None:
        """Remove old temporary files, and the entries that are too many; other processes may do the same."""
        assert self.folder is not None
        entries: list[tuple[int, int, Path]] = []
        for path in self.folder.iterdir():
            with suppress(OSError):  # it is gone already, or in use (Windows)
                if _TEMPORARY.fullmatch(path.name) and time.time() - path.stat().st_mtime > _DAY:
                    path.unlink()
                elif path != new and self._entry.fullmatch(path.name):
                    found = path.stat()
                    entries.append((found.st_atime_ns, found.st_size, path))
        if self._limit is None:
            return
        total = new.stat().st_size
        for _, size, path in sorted(entries, reverse=True):  # the newest first
            total += size
            if total > self._limit:
                with suppress(OSError):
                    path.unlink()


def read_arrays(path: Path, key: Mapping[str, Any]) -> dict[str, NDArray]:
    """What :func:`write_arrays` wrote.

    Raises:
        FileNotFoundError: if there is no such file.
        Exception: of any kind, if the file is damaged or belongs to another key.
    """
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


def write_arrays(path: Path, key: Mapping[str, Any], arrays: Mapping[str, NDArray]) -> None:
    """Write arrays by name, with their key and a checksum, into a file.

    Args:
        path: the file; its folder exists.
        key: everything that the arrays depend on, as JSON.
        arrays: by name, which is not :data:`METADATA`.
    """
    metadata = canonical_json({"key": key, "checksum": array_digest(arrays)})
    entries: dict[str, Any] = {METADATA: np.array(metadata), **arrays}
    with atomic_write(path) as file:
        np.savez(file, **entries)
