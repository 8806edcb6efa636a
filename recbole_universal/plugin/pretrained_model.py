"""The pre-trained model of a run, which several parts of the plugin ask for."""

from __future__ import annotations

import os

from recbole_universal.checkpoint import Pretrained, load_pretrained, model_folder

# The last model, by the state of its files.
_last: tuple[tuple, Pretrained] | None = None


def pretrained_model(name_or_path: str | os.PathLike[str], sequence_model: bool = False) -> Pretrained:
    """As :func:`load_pretrained`, but files that have not changed since the last call are not read again.

    The caller must not change the returned model.
    """
    global _last
    folder = model_folder(name_or_path).resolve()
    state = (
        folder,
        sequence_model,
        *sorted((file.name, *_state(file)) for file in os.scandir(folder) if file.is_file()),
    )
    if _last is None or _last[0] != state:
        _last = state, load_pretrained(name_or_path, sequence_model)
    return _last[1]


def _state(file: os.DirEntry[str]) -> tuple[int, ...]:
    status = file.stat()
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
