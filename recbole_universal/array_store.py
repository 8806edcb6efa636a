"""A cache of named arrays on disk, one safetensors file for each key; imports no RecBole.

The header of a file holds the key in clear text, a description, and a checksum. A truncated, damaged or foreign file
is noticed, and its entry is computed again. Nothing in a file can be executed.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import re
import stat
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from recbole_universal.files import atomic_write

logger = logging.getLogger(__name__)

#: Default size limit of a folder, in units of 10^9 bytes.
DEFAULT_GB = 4.0

_DTYPES = {
    **{"<f2": "F16", "<f4": "F32", "<f8": "F64", "|i1": "I8", "<i2": "I16", "<i4": "I32", "<i8": "I64"},
    **{"|b1": "BOOL", "|u1": "U8", "<u2": "U16", "<u4": "U32", "<u8": "U64"},
}
# Temporary files of killed processes: of version 0.1.0, and of atomic_write where files need a name.
_TEMPORARY = re.compile(r"\.(.+-[0-9a-f]{32}-[a-z0-9_]{8}|recbole_universal-[0-9a-f]{16})\.tmp")
_DAY = 24 * 60 * 60
# Errors of a full disk or quota, and all errors of a folder in which no file can be written.
_FULL = {errno.ENOSPC, errno.EDQUOT}
_FOLDER_ERRORS = _FULL | {errno.EROFS, errno.EACCES, errno.EPERM}
# Limit on the bytes of the label in a file name. File systems allow 255 bytes a name, eCryptfs 143.
_LABEL_BYTES = 80


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


def _as_stored(arrays: Mapping[str, NDArray]) -> Mapping[str, NDArray]:
    return arrays


class ArrayStore:
    """A folder of entries, each a group of named arrays under a key.

    Several processes may use one folder at the same time. A folder that cannot be written causes one warning, and the
    program continues without storing. A single file that cannot be written causes a warning about this file. When an
    entry is stored and the entries of the same namespace exceed the limit, the least recently used ones are removed.
    On a full disk they are removed too, unless there is no limit. So are temporary files older than a day.

    Args:
        folder: the folder, created with the first entry; ``None`` stores nothing.
        config_key: configuration key that sets the folder, named in the warning.
        limit_gb: size limit of all entries of this namespace, in 10^9 bytes; ``None`` sets no limit.
        namespace: part of the file names, such as "features". Stores of different namespaces may share a folder.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str] | None,
        config_key: str = "universal_cache_dir",
        limit_gb: float | None = DEFAULT_GB,
        namespace: str = "features",
    ) -> None:
        self.folder = None if folder is None else Path(folder)
        self.config_key = config_key
        self.limit_gb = limit_gb
        self.namespace = namespace
        # Version 0.1.0 wrote .npz files. They are not read any more, count for the limit and are removed in turn.
        self._entry = re.compile(rf"[^.].*-[0-9a-f]{{32}}\.{re.escape(namespace)}\.(safetensors|npz)")
        self._writable = True

    def path(self, label: str, key: Mapping[str, Any]) -> Path:
        """File of an entry, ``<label>-<hash of the key>.<namespace>.safetensors``.

        Args:
            label: readable start of the file name. Unusual characters become ``_``, and a long label is cut.
            key: everything that the arrays depend on, as JSON.
        """
        assert self.folder is not None
        digest = hashlib.sha256(canonical_json(key).encode()).hexdigest()
        readable = re.sub(r"[^\w.-]", "_", label).encode()[:_LABEL_BYTES].decode(errors="ignore")
        return self.folder / f"{readable}-{digest[:32]}.{self.namespace}.safetensors"

    def load(self, label: str, key: Mapping[str, Any], convert: Callable[[Any], Any] = _as_stored) -> Any:
        """What is stored under a key; ``None`` for a missing entry, and, with a warning, for a damaged one.

        Args:
            label: as in :meth:`path`.
            key: as in :meth:`path`.
            convert: makes the content from the arrays by name; an error in it means that the entry is damaged.
        """
        if self.folder is None:
            return None
        path = self.path(label, key)
        try:
            content = convert(read_arrays(path, key)[0])
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, ValueError, TypeError, LookupError, RuntimeError) as error:
            reason = error if isinstance(error, (OSError, ValueError)) else f"its arrays have another form: {error!r}"
            logger.warning("Cache file %s cannot be used (%s); its content is computed again.", path, reason)
            return None
        with suppress(OSError):  # eviction needs the time of last use, which mounts with noatime do not record
            os.utime(path, ns=(time.time_ns(), path.stat().st_mtime_ns))
        return content

    def store(self, label: str, key: Mapping[str, Any], arrays: Mapping[str, NDArray]) -> None:
        """Store arrays under a key. Another process reads the whole entry or none, never a partial one.

        Args:
            label: as in :meth:`path`.
            key: as in :meth:`path`.
            arrays: arrays by name, of any numeric or boolean type and any shape.

        Raises:
            ValueError: if an array is of another type.
        """
        if self.folder is None or not self._writable:
            return
        size = sum(array.nbytes for array in arrays.values())
        if self.limit_gb is not None and size > self.limit_gb * 10**9:
            logger.info("An entry of %.1f GB is above the limit of %s and is not stored.", size / 10**9, self.folder)
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            self._disable(error)
            return
        path = self.path(label, key)
        try:
            self._write(path, key, arrays, size)
        except OSError as error:
            if error.errno in _FOLDER_ERRORS and not _is_protected(path):
                self._disable(error)
            else:
                advice = " Remove what is in its place." if _is_protected(path) else ""
                logger.warning("Cannot write the cache file %s (%s). The run continues.%s", path, error, advice)
            return
        with suppress(OSError):  # another process has removed the new entry
            self._evict(path)

    def _write(self, path: Path, key: Mapping[str, Any], arrays: Mapping[str, NDArray], size: int) -> None:
        """Write an entry. On a full disk, remove the least recently used entries and try once more."""
        try:
            write_arrays(path, key, arrays)
        except OSError as error:
            if error.errno not in _FULL or self.limit_gb is None or not self._free(size):
                raise
            write_arrays(path, key, arrays)

    def _disable(self, error: OSError) -> None:
        self._writable = False
        logger.warning(
            "Cannot write to the cache folder %s (%s). The run continues and stores nothing. Set the config key "
            "%s to a writable folder with free space, or leave it empty for no cache.",
            self.folder,
            error,
            self.config_key,
        )

    def get(
        self,
        label: str,
        key: Mapping[str, Any],
        compute: Callable[[], Mapping[str, NDArray]],
        convert: Callable[[Any], Any] = _as_stored,
    ) -> Any:
        """What is stored under a key; missing and damaged arrays are computed and stored.

        Args:
            label: as in :meth:`path`.
            key: as in :meth:`path`.
            compute: function without arguments that returns arrays by name.
            convert: as in :meth:`load`.
        """
        content = self.load(label, key, convert)
        if content is None:
            arrays = compute()
            content = convert(arrays)
            self.store(label, key, arrays)
        return content

    def _entries(self) -> list[tuple[int, int, Path]]:
        """Time of last use, size and file of each entry, most recently used first. Removes old temporary files."""
        assert self.folder is not None
        entries: list[tuple[int, int, Path]] = []
        for path in self.folder.iterdir():
            with suppress(OSError):  # another process has removed it, or has it open (Windows)
                if _TEMPORARY.fullmatch(path.name) and time.time() - path.stat().st_mtime > _DAY:
                    path.unlink()
                elif self._entry.fullmatch(path.name):
                    status = path.stat()
                    entries.append((status.st_atime_ns, status.st_size, path))
        return sorted(entries, reverse=True)

    def _evict(self, new: Path) -> None:
        """Remove the least recently used entries above the limit, except the new one."""
        entries = [(size, path) for _, size, path in self._entries() if path != new]
        if self.limit_gb is None:
            return
        total = new.stat().st_size
        for size, path in entries:
            total += size
            if total > self.limit_gb * 10**9:
                with suppress(OSError):
                    path.unlink()

    def _free(self, size: int) -> bool:
        """Remove the least recently used entries until ``size`` bytes are free; whether any was removed."""
        freed = 0
        for _, entry_size, path in reversed(self._entries()):
            if freed >= size:
                break
            with suppress(OSError):
                path.unlink()
                freed += entry_size
        return freed > 0


def _is_protected(path: Path) -> bool:
    """Whether something is in the place of a file that :func:`write_arrays` does not replace."""
    try:
        mode = path.stat().st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) or not mode & 0o222


def read_arrays(path: Path, key: Mapping[str, Any], mapped: bool = False) -> tuple[dict[str, NDArray], Any]:
    """Read what :func:`write_arrays` wrote.

    Args:
        path: the file.
        key: the key that it was written with.
        mapped: whether the arrays are views of the file in memory. Processes that read one file then share its memory.
            A change of an array stays in the process.

    Returns:
        Arrays by name, and the description.

    Raises:
        FileNotFoundError: if there is no such file.
        OSError: if the file cannot be read.
        ValueError: if the file is damaged or belongs to another key.
    """
    if not stat.S_ISREG(path.stat().st_mode):  # to open a named pipe waits for a writer
        raise ValueError("it is no regular file")
    with path.open("rb"):  # raises the errors of the system, which safe_open rewords
        pass
    try:
        with safe_open(path, framework="pt" if mapped else "numpy") as file:
            header = file.metadata() or {}
            if header.get("key") != canonical_json(key):
                raise ValueError("it belongs to other data or arguments")
            arrays = {name: _read_array(file, name) for name in file.keys()}
    except SafetensorError as error:
        raise ValueError(f"it is no safetensors file: {error}") from error
    if "description" not in header:
        raise ValueError("it has no description")
    if header.get("checksum") != _checksum(header["key"], header["description"], arrays):
        raise ValueError("its checksum does not match")
    try:
        return arrays, json.loads(header["description"])
    except RecursionError as error:
        raise ValueError("its description is nested too deeply") from error


def _read_array(file: safe_open, name: str) -> NDArray:
    """An array of an open file. The header is not trusted: safetensors has types that NumPy lacks."""
    dtype = file.get_slice(name).get_dtype()
    if dtype not in _DTYPES.values():
        raise ValueError(f"its array {name!r} has the type {dtype}, which no cache file has")
    return np.asarray(file.get_tensor(name))


def write_arrays(path: Path, key: Mapping[str, Any], arrays: Mapping[str, NDArray], description: Any = None) -> None:
    """Write arrays by name, their key, a description and a checksum into a safetensors file.

    A symbolic link in its place is replaced, and the target of the link stays as it is.

    The arrays are written one after another: ``safetensors.numpy.save`` would hold two more copies of all of them.

    Args:
        path: the file; its folder exists.
        key: everything that the arrays depend on, as JSON.
        arrays: arrays by name, of any numeric or boolean type and any shape.
        description: anything else, as JSON.

    Raises:
        ValueError: if an array is of another type.
        OSError: if the file cannot be written.
    """
    texts = {"key": canonical_json(key), "description": canonical_json(description)}
    header: dict[str, Any] = {"__metadata__": {**texts, "checksum": _checksum(**texts, arrays=arrays)}}
    names = sorted(arrays, key=lambda name: (-arrays[name].itemsize, name))  # so that each array is aligned
    offset = 0
    for name in names:
        array = arrays[name]
        if array.dtype.str not in _DTYPES:
            raise ValueError(f"the array {name!r} of type {array.dtype} cannot be stored in a safetensors file")
        header[name] = {
            "dtype": _DTYPES[array.dtype.str],
            "shape": list(array.shape),
            "data_offsets": [offset, offset + array.nbytes],
        }
        offset += array.nbytes
    content = canonical_json(header).encode()
    content += b" " * (-len(content) % 8)
    if path.is_symlink():
        path.unlink(missing_ok=True)
    with atomic_write(path) as file:
        file.write(len(content).to_bytes(8, "little") + content)
        for block in _bytes_of(arrays[name] for name in names):
            file.write(block)


def _bytes_of(arrays: Iterator[NDArray]) -> Iterator[memoryview]:
    for array in arrays:
        if array.size:
            yield np.ascontiguousarray(array).data.cast("B")


def _checksum(key: str, description: str, arrays: Mapping[str, NDArray]) -> str:
    return hashlib.sha256("\n".join([key, description, array_digest(arrays)]).encode()).hexdigest()
