"""Errors that need no traceback, as one sentence each."""

from __future__ import annotations

import builtins
import errno
import os
import re
import traceback
from pathlib import Path

import recbole

import recbole_universal

_OURS = Path(recbole_universal.__file__).resolve().parent
_RECBOLE = Path(recbole.__file__).resolve().parent
# These run a script of the user, whose errors keep their traceback.
_RUNNERS = (_OURS / "__main__.py", _OURS / "app" / "cli.py", _OURS / "app" / "commands" / "script.py")
_EXPLAINED = (ValueError, OSError, NotImplementedError)


def explain(error: BaseException) -> str | None:
    """The sentence of an error that this package or RecBole raised on purpose; ``None`` for a fault in the code."""
    if type(error).__name__ == "ProcessRaisedException":
        return explain_process_error(str(error))
    explanation = explain_file_error(error) or explain_import_error(error)
    frames = traceback.extract_tb(error.__traceback__)
    if explanation or not frames or not _is_on_purpose(frames[-1].filename, frames[-1].line or "", type(error)):
        return explanation
    return str(error) or None


def _is_on_purpose(file: str, line: str, kind: type[BaseException]) -> bool:
    path = Path(file).resolve()
    if path.is_relative_to(_OURS):
        return issubclass(kind, _EXPLAINED)
    # Python raises other errors inside an operation.
    return path.is_relative_to(_RECBOLE) and line.startswith("raise ")


def explain_process_error(text: str) -> str | None:
    """The sentence of an error in a process of ``--nproc``, which PyTorch hands over as the text of its traceback."""
    frames = list(re.finditer(r'^  File "(.+)", line \d+, in .+\n(?:    (.*)\n)?', text, re.MULTILINE))
    if not frames:
        return None
    match = re.search(r"^(?:\w+\.)*(\w+): (.+)", text[frames[-1].end() :], re.MULTILINE | re.DOTALL)
    kind = getattr(builtins, match[1], None) if match else None
    if not match or not isinstance(kind, type) or not issubclass(kind, Exception):
        return None
    return match[2].strip() if _is_on_purpose(frames[-1][1], frames[-1][2] or "", kind) else None


def explain_import_error(error: BaseException) -> str | None:
    """One sentence about a saved dataset or model that names a module of another version; ``None`` otherwise."""
    if not isinstance(error, ModuleNotFoundError) or not (error.name or "").startswith("recbole_universal."):
        return None
    return (
        f"a file that was read was saved by another version of recbole_universal (it names [{error.name}]); remove the "
        "saved dataset, data loaders or checkpoint and make it again."
    )


def explain_file_error(error: BaseException) -> str | None:
    """One sentence about a file or folder that RecBole or this package could not use; ``None`` for other errors."""
    if not isinstance(error, OSError) or error.strerror is None:
        return None
    files = {Path(frame.f_code.co_filename).resolve() for frame, _ in traceback.walk_tb(error.__traceback__)}
    if not any(file.is_relative_to(package) for file in files - {*_RUNNERS} for package in (_OURS, _RECBOLE)):
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
