"""The models of a service. A folder that is saved again replaces its model without a gap."""

from __future__ import annotations

import logging
import os
import threading
import time
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from recbole_universal.app.recommender_files import load_recommender
from recbole_universal.app.recommender_state import RecommenderState
from recbole_universal.app.service.appended import AppendedInteractions
from recbole_universal.app.service.loaded import Loaded
from recbole_universal.io.item_table import read_items

# Seconds between two looks at a folder.
_PERIOD = 1.0
_log = logging.getLogger("recbole_universal.service")


class Model:
    """The recommender of one folder.

    Args:
        name: its name.
        folder: its folder.
        items: file of the item table; ``None``: that of the folder, if it has one.
        appended: interactions that arrived after the fit.
        fast: whether to compute the item-item matrix at once.

    Raises:
        ValueError, OSError: as of :func:`~recbole_universal.app.recommender_files.load_recommender`.
    """

    def __init__(self, name: str, folder: Path, items: str | None, appended: AppendedInteractions, fast: bool) -> None:
        self.name, self._folder, self._items, self._appended, self._fast = name, folder, items, appended, fast
        self._lock, self._next_look = threading.Lock(), 0.0
        self._seen = self._signature()
        self.current = self._loaded()

    def watch(self) -> bool:
        """Whether the folder was saved again since the last look; looks once a second."""
        now = time.monotonic()
        if now < self._next_look:
            return False
        self._next_look = now + _PERIOD
        return self._signature() != self._seen

    def reload(self) -> None:
        """Load the folder if it was saved again. Until then, and if that fails, the old recommender stays."""
        with self._lock:
            signature = self._signature()
            if signature == self._seen:
                return
            self._seen = signature
            try:
                self.current = self._loaded()
                _log.info("[%s] was saved again and is loaded.", self._folder)
            except Exception:
                _log.exception("[%s] was saved again and cannot be loaded; the old recommender stays.", self._folder)

    def _loaded(self) -> Loaded:
        state = loaded_state(self._folder, self._items)
        made = Loaded(self.name, state, self._appended)
        if self._fast and made.has_fast:
            state.ranker.prepare_fast()
        return made

    def _signature(self) -> tuple[int, ...]:
        """What changes when the folder is saved; zeros while there is no recommender."""
        try:
            status = os.stat(self._folder / "recommender.json")
        except OSError:
            return (0, 0, 0)
        return status.st_mtime_ns, status.st_ino, status.st_size

    def described(self) -> dict[str, Any]:
        """Name, sizes, time of the save and columns for rules, as JSON."""
        state = self.current.state
        saved = datetime.fromtimestamp(self._seen[0] / 1e9, timezone.utc).isoformat(timespec="seconds")
        sizes = {"users": len(state.users), "items": len(state.items), "interactions": state.ranker.matrix.nnz}
        columns = [] if state.columns is None else state.columns.names
        return {"name": self.name, **sizes, "saved": saved, "columns": columns}


def loaded_state(folder: Path | str, items: str | None) -> RecommenderState:
    """The recommender of a folder, with another item table if a file of one is given.

    Raises:
        ValueError, OSError: if the folder or the file cannot be read.
    """
    state = load_recommender(folder, "cpu")
    if items is None:
        return state
    return state.with_item_table(read_items(items, state.items.name, _log.warning), _log.info)


def model_names(folders: tuple[str, ...]) -> list[str]:
    """The last part of each folder.

    Raises:
        ValueError: if two are equal.
    """
    names = [Path(os.path.abspath(os.path.expanduser(folder))).name for folder in folders]
    if len(set(names)) < len(names):
        raise ValueError(
            f"folders: their last parts are the names of the models and must differ, got {', '.join(names)}."
        )
    return names
