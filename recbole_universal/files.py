"""Atomic writes, which files a write replaces, and locks of folders; imports no RecBole."""

from __future__ import annotations

import errno
import fnmatch
import os
import secrets
import shutil
import stat
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from recbole_universal.io.paths import matches, walk

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

# Linux has files without a name, which disappear with the process that writes them.
_NAMELESS = getattr(os, "O_TMPFILE", None)


@contextmanager
def atomic_write(path: str | os.PathLike[str], nameless: bool = True) -> Iterator[IO[bytes]]:
    """Open a file for writing; it replaces ``path`` when the ``with`` block ends without an error.

    A reader sees the old file or the new file, never a partial one. The content is on the disk before the name changes,
    so this also holds after a power cut. A new file gets the permissions of the umask. A replaced file keeps its owner,
    group, permissions and access list; if the group cannot be kept, it loses the rights of the group. The target of a
    symbolic link is replaced, and the link stays.

    The temporary file is in the folder of the target. It has no name if the file system supports this (Linux
    ``O_TMPFILE``), so a killed process leaves no file. Otherwise it has a random name and is removed on any Python
    exception.

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
        error.filename = str(path)  # not its resolved form
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
    """Write a text file in UTF-8 by :func:`atomic_write`.

    Args:
        path: the file; ``~`` is expanded.
        text: the content.

    Raises:
        OSError: as :func:`atomic_write`.
    """
    with atomic_write(path) as file:
        file.write(text.encode())


@contextmanager
def replaced_folder(folder: Path, names: Collection[str], replace: bool) -> Iterator[Path]:
    """A new folder to write into, which takes the place of ``folder`` when the ``with`` block ends without an error.

    A reader sees all old files, all new files or, for a moment or after a power cut in it, no folder and the old files
    beside it in a folder ``.recbole_universal-...tmp``. A new folder of a failed or killed process is never seen.

    Args:
        folder: the folder; folders above it are created.
        names: names of the only files that may be replaced.
        replace: whether files may be replaced at all.

    Yields:
        The new folder.

    Raises:
        FileExistsError: if files exist that may not be replaced.
        OSError: if the folder cannot be written.
    """
    folder = Path(os.path.realpath(folder))
    old = sorted(os.listdir(folder)) if folder.exists() else []
    if others := [name for name in old if name not in names]:
        raise FileExistsError(f"[{folder}] holds other files, such as [{others[0]}]; name a new folder.")
    if old and not replace:
        raise FileExistsError(f"[{folder}] exists; overwrite (--overwrite) replaces it.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    new, aside = _temporary_name(folder), _temporary_name(folder)
    new.mkdir()
    try:
        yield new
        _sync_folder(new)
        if old:
            os.rename(folder, aside)
        try:
            os.rename(new, folder)
        except OSError:
            if old:
                os.rename(aside, folder)
            raise
        _sync_folder(folder.parent)
        shutil.rmtree(aside, ignore_errors=True)
    finally:
        shutil.rmtree(new, ignore_errors=True)


def would_replace(output: str | os.PathLike[str], protected: str | os.PathLike[str]) -> bool:
    """Whether a write to ``output`` replaces the file ``protected``, or a file in the folder or of the pattern.

    A new file in the folder, or one that fits the pattern, counts too.

    Links, ``~`` and different spellings of a path are resolved.

    Args:
        output: the file to be written.
        protected: a file, a folder or a pattern of input files that must not change; it may be missing.

    Raises:
        OSError: if a folder in ``protected`` cannot be read.
    """
    if found := matches(protected):
        path, pattern = (Path(os.path.realpath(os.path.expanduser(each))) for each in (output, protected))
        new = any(_fits(parent.parts, pattern.parts) for parent in (path, *path.parents))  # the next run would read it
        return new or any(would_replace(output, each) for each in found)
    output, protected = os.path.realpath(os.path.expanduser(output)), os.path.expanduser(protected)
    if not os.path.isdir(protected):
        return _same(output, protected)
    for folder, _, names in walk(protected):
        if any(_same(parent, folder) for parent in Path(output).parents):
            return True
        if any(_same(output, os.path.join(folder, name)) for name in names):  # a link to the output
            return True
    return False


def _fits(path: Sequence[str], pattern: Sequence[str]) -> bool:
    """Whether the parts of a path fit those of a pattern, in which ``**`` is any number of folders."""
    if not pattern:
        return not path
    if pattern[0] == "**":
        return _fits(path, pattern[1:]) or (bool(path) and _fits(path[1:], pattern))
    return bool(path) and fnmatch.fnmatchcase(path[0], pattern[0]) and _fits(path[1:], pattern[1:])


def _same(one: str | os.PathLike[str], other: str | os.PathLike[str]) -> bool:
    return os.path.exists(one) and os.path.exists(other) and os.path.samefile(one, other)


@contextmanager
def locked_folder(folder: str | os.PathLike[str], wait: bool = False) -> Iterator[None]:
    """Lock a folder for one process at a time; the lock ends with the process and leaves no file.

    Without support of the system or the file system (Windows, some network file systems), nothing is locked.

    Args:
        folder: an existing folder.
        wait: whether to wait for another process that holds the lock.

    Raises:
        BlockingIOError: if another process holds the lock and ``wait`` is false.
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
        except OSError:  # this file system has no locks
            pass
        yield
    finally:
        os.close(handle)


def _replaceable(target: Path) -> os.stat_result | None:
    """Status of a file after a check that it may be replaced; ``None`` if there is no file."""
    try:
        status = target.stat()
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "not a regular file", str(target))
    # Replacing a file needs no permission on the file itself, so the protection is checked here, for root too.
    if not status.st_mode & 0o222:
        raise PermissionError(errno.EACCES, "the file is write-protected", str(target))
    return status


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
    """Give a file without a name a temporary name, since a new link cannot replace a file.

    Returns:
        The name; ``None`` if the system forbids such links.
    """
    name = _temporary_name(target)
    try:
        # Python follows the link in /proc only in the call that takes a folder's handle; an absolute path ignores it.
        os.link(f"/proc/self/fd/{handle}", name, src_dir_fd=handle, follow_symlinks=True)
    except OSError:
        return None
    return name


def _sync_folder(folder: Path) -> None:
    """Put the new name on the disk too, if the system can open folders."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
