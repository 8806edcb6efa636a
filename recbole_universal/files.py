"""Writing files whole or not at all, and without harm to others; imports no RecBole."""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from recbole_universal.io.paths import walk

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

# Linux knows files without a name, which disappear with the process that writes them.
_NAMELESS = getattr(os, "O_TMPFILE", None)


@contextmanager
def atomic_write(path: str | os.PathLike[str], nameless: bool = True) -> Iterator[IO[bytes]]:
    """Open a file for writing that takes its place when the ``with`` block ends without an error.

    A reader sees the old file or the new one, never a part. The content is on the disk before the name changes, so a
    power cut leaves one of the two as well. A new file gets the permissions of the umask. A replaced file keeps its
    owner, its group, its permissions and its access list; where the group cannot be kept, it loses its rights.
    A symbolic link stays a link: its target is replaced. The temporary file is in the target's folder. It has no name
    where the file system supports this (Linux ``O_TMPFILE``), so that a killed process leaves nothing behind; elsewhere
    it has a random name and is removed on any Python exception.

    Args:
        path: the file; ``~`` is expanded.
        nameless: whether the temporary file may have no name.

    Yields:
        The open binary file.

    Raises:
        PermissionError: if the file is write-protected.
        OSError: if the folder is missing or cannot be written, or the path is no regular file.
    """
    target = Path(os.path.realpath(os.path.expanduser(path)))
    try:
        old = _replaceable(target)
        handle, temporary = _open_temporary(target, 0o666 if old is None else 0o600, nameless)
    except OSError as error:
        error.filename = str(path)  # the one that the user knows
        raise
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            if old is not None:
                _take_rights(file.fileno(), temporary, target, old)
            os.fsync(file.fileno())
            if temporary is None:
                temporary = _give_name(file.fileno(), target)
            if temporary is None:
                with atomic_write(path, nameless=False) as copy, open(os.dup(file.fileno()), "rb") as content:
                    content.seek(0)
                    shutil.copyfileobj(content, copy)
                return
        os.replace(temporary, target)
        temporary = None
        _sync_folder(target.parent)
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def write_text(path: str | os.PathLike[str], text: str) -> None:
    """Write a text file in UTF-8 by :func:`atomic_write`."""
    with atomic_write(path) as file:
        file.write(text.encode())


def would_replace(output: str | os.PathLike[str], given: str | os.PathLike[str]) -> bool:
    """Whether writing ``output`` replaces the file ``given``, or changes what is in the folder ``given``.

    Links, ``~``, and different spellings of one path are seen through.

    Args:
        output: the file to be written.
        given: a file or folder that must stay as it is; it may be missing.

    Raises:
        OSError: if a folder in ``given`` cannot be read.
    """
    output, given = os.path.realpath(os.path.expanduser(output)), os.path.expanduser(given)
    if not os.path.isdir(given):
        return _same(output, given)
    for folder, _, names in walk(given):
        if any(_same(parent, folder) for parent in Path(output).parents):
            return True
        if any(_same(output, os.path.join(folder, name)) for name in names):  # a link to the output
            return True
    return False


def _same(one: str | os.PathLike[str], other: str | os.PathLike[str]) -> bool:
    return os.path.exists(one) and os.path.exists(other) and os.path.samefile(one, other)


@contextmanager
def locked_folder(folder: str | os.PathLike[str], wait: bool = False) -> Iterator[None]:
    """Hold a folder for one process at a time; the lock ends with the process and leaves no file.

    Where the system or the file system has no such locks (Windows, some network file systems), nothing is locked.

    Args:
        folder: an existing folder.
        wait: whether to wait for another process that holds the folder.

    Raises:
        BlockingIOError: if another process holds the folder.
    """
    if fcntl is None:
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            raise BlockingIOError(errno.EAGAIN, "another process works in this folder", str(folder)) from None
        except OSError:  # this file system knows no locks
            pass
        yield
    finally:
        os.close(handle)


def _replaceable(target: Path) -> os.stat_result | None:
    """What is known of a file that may be replaced; ``None`` if there is no file."""
    try:
        found = target.stat()
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(found.st_mode):
        raise OSError(errno.EINVAL, "not a regular file", str(target))
    # Replacing a file needs no permission on the file itself, so the protection is checked here, for root too.
    if not found.st_mode & 0o222:
        raise PermissionError(errno.EACCES, "the file is write-protected", str(target))
    return found


def _take_rights(handle: int, temporary: Path | None, target: Path, old: os.stat_result) -> None:
    """Give the open new file the owner, group, access list and permissions of the file that it replaces."""
    mode = stat.S_IMODE(old.st_mode)
    if not hasattr(os, "fchown"):  # Windows
        os.chmod(temporary or target, mode)
        return
    with suppress(PermissionError):  # only root gives files away
        os.fchown(handle, old.st_uid, -1)
    try:
        os.fchown(handle, -1, old.st_gid)
    except PermissionError:
        mode &= ~(stat.S_IRWXG | stat.S_ISGID)
    if hasattr(os, "setxattr"):
        access_list = "system.posix_acl_access"
        try:
            os.setxattr(handle, access_list, os.getxattr(target, access_list))
        except OSError:  # the old file has none, so the new one must have none from its folder
            with suppress(OSError):
                os.removexattr(handle, access_list)
    os.fchmod(handle, mode)


def _temporary_name(target: Path) -> Path:
    # Without the target's name, which may be as long as a name can be.
    return target.with_name(f".recbole_universal-{secrets.token_hex(8)}.tmp")


def _open_temporary(target: Path, mode: int, nameless: bool) -> tuple[int, Path | None]:
    """A new file in the folder of ``target``: handle, and name if it has one."""
    if nameless and _NAMELESS is not None and os.path.isdir("/proc/self/fd"):
        with suppress(OSError):  # a kernel or a file system without such files
            return os.open(target.parent, _NAMELESS | os.O_RDWR, mode), None
    name = _temporary_name(target)
    return os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0), mode), name


def _give_name(handle: int, target: Path) -> Path | None:
    """Give a file without a name a temporary one, since a link cannot take the place of a file.

    Returns:
        The name; ``None`` where the system forbids such links.
    """
    name = _temporary_name(target)
    try:
        # Python follows the link in /proc only in the call that takes a folder's handle; an absolute path ignores it.
        os.link(f"/proc/self/fd/{handle}", name, src_dir_fd=handle, follow_symlinks=True)
    except OSError:
        return None
    return name


def _sync_folder(folder: Path) -> None:
    """Put the new name on the disk too, where folders can be opened."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
