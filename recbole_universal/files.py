"""Writing files whole or not at all; imports no RecBole."""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

# Linux knows files without a name, which disappear with the process that writes them.
_NAMELESS = getattr(os, "O_TMPFILE", None)


@contextmanager
def atomic_write(path: str | os.PathLike[str]) -> Iterator[IO[bytes]]:
    """Open a file for writing that takes its place when the ``with`` block ends without an error.

    A reader sees the old file or the new one, never a part. The content is on the disk before the name changes, so a
    power cut leaves one of the two as well. A new file gets the permissions of the umask, a replaced one keeps its own.
    A symbolic link stays a link: its target is replaced. The temporary file is in the target's folder. It has no name
    where the file system supports this (Linux ``O_TMPFILE``), so that a killed process leaves nothing behind; elsewhere
    it has a random name and is removed on any Python exception.

    Args:
        path: the file; ``~`` is expanded.

    Yields:
        The open binary file.

    Raises:
        PermissionError: if the file is write-protected.
        OSError: if the folder is missing or cannot be written, or the path is no regular file.
    """
    target = Path(os.path.realpath(Path(path).expanduser()))
    mode = _mode_of(target)
    handle, temporary = _open_temporary(target)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            if mode is not None:
                os.chmod(file.fileno() if os.chmod in os.supports_fd else temporary or target, mode)
            os.fsync(file.fileno())
            if temporary is None:
                temporary = _named(file.fileno(), target)
        os.replace(temporary, target)
        temporary = None
        _sync_folder(target.parent)
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def _mode_of(target: Path) -> int | None:
    """Permissions of a file that may be replaced; ``None`` if there is no file."""
    try:
        found = target.stat()
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "not a regular file", str(target))
    # Replacing a file needs no permission on the file itself, so the protection is checked here, for root too.
    if not found.st_mode & 0o222:
        raise PermissionError(errno.EACCES, "the file is write-protected", str(target))
    return stat.S_IMODE(found.st_mode)


def _temporary_name(target: Path) -> Path:
    return target.with_name(f".{target.name[:200]}.{secrets.token_hex(8)}.tmp")


def _open_temporary(target: Path) -> tuple[int, Path | None]:
    """A new file in the folder of ``target``: handle, and name if it has one."""
    if _NAMELESS is not None and os.path.isdir("/proc/self/fd"):
        with suppress(OSError):  # a kernel or a file system without such files
            return os.open(target.parent, _NAMELESS | os.O_WRONLY, 0o666), None
    name = _temporary_name(target)
    return os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), 0o666), name


def _named(handle: int, target: Path) -> Path:
    """Give a file without a name a temporary one, since a link cannot take the place of a file."""
    name = _temporary_name(target)
    # Python follows the link in /proc only in the call that takes a folder's handle, which an absolute path ignores.
    os.link(f"/proc/self/fd/{handle}", name, src_dir_fd=handle, follow_symlinks=True)
    return name


def _sync_folder(folder: Path) -> None:
    """Put the new name on the disk too, where folders can be opened."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
