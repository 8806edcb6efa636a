"""Counters of all workers in one file that they map into memory, as text for Prometheus."""

from __future__ import annotations

import mmap
import os
import struct
import threading
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows, where one process counts
    fcntl = None  # type: ignore[assignment]

#: The paths that are counted apart; all others are counted together.
PATHS = ("/recommend", "/similar", "/explain", "/interactions", "/items", "/users", "/models", "/health", "/metrics")
_OTHER = "other"
_STATUSES = (200, 201, 400, 401, 403, 404, 405, 413, 422, 429, 500, 503)
#: Upper bounds of the histogram of seconds.
BOUNDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
_PREFIX = "recbole_universal"


class Counters:
    """Counts requests by path and status, their seconds, and appended interactions.

    Args:
        file: file that all workers share; ``None``: this process counts alone.
    """

    def __init__(self, file: str | os.PathLike[str] | None = None) -> None:
        names = [(path, status) for path in (*PATHS, _OTHER) for status in (*_STATUSES, _OTHER)]
        keys: list[tuple] = [("requests", *name) for name in names] + [("seconds",), ("appended",)]
        keys += [("bucket", bound) for bound in (*BOUNDS, float("inf"))]
        self._place = {key: 8 * index for index, key in enumerate(keys)}
        self._thread_lock = threading.Lock()
        size = 8 * len(keys)
        self._handle = -1
        if file is None:
            self._memory: mmap.mmap | bytearray = bytearray(size)
        else:
            self._handle = os.open(Path(file), os.O_RDWR | os.O_CREAT, 0o600)
            os.ftruncate(self._handle, size)
            self._memory = mmap.mmap(self._handle, size)

    def request(self, path: str, status: int, seconds: float) -> None:
        """Count a request."""
        path = path if path in PATHS else _OTHER
        bucket = next((bound for bound in BOUNDS if seconds <= bound), float("inf"))
        by_status = ("requests", path, status if status in _STATUSES else _OTHER)
        self._add({by_status: 1.0, ("seconds",): seconds, ("bucket", bucket): 1.0})

    def appended(self, n: int) -> None:
        """Count appended interactions."""
        self._add({("appended",): float(n)})

    def text(self) -> str:
        """All counters in the text format of Prometheus."""
        values = {key: struct.unpack_from("d", self._memory, place)[0] for key, place in self._place.items()}
        lines = [
            f"# HELP {_PREFIX}_requests_total Requests by path and status.",
            f"# TYPE {_PREFIX}_requests_total counter",
        ]
        for key, value in values.items():
            if key[0] == "requests" and value:
                lines.append(f'{_PREFIX}_requests_total{{path="{key[1]}",status="{key[2]}"}} {value:.0f}')
        name = f"{_PREFIX}_request_seconds"
        lines += [f"# HELP {name} Seconds that requests took.", f"# TYPE {name} histogram"]
        total = 0.0
        for bound in (*BOUNDS, float("inf")):
            total += values["bucket", bound]
            label = "+Inf" if bound == float("inf") else f"{bound:g}"
            lines.append(f'{name}_bucket{{le="{label}"}} {total:.0f}')
        lines += [f"{name}_sum {values[('seconds',)]:.6f}", f"{name}_count {total:.0f}"]
        name = f"{_PREFIX}_appended_interactions_total"
        lines += [f"# HELP {name} Interactions that were stored.", f"# TYPE {name} counter"]
        lines.append(f"{name} {values[('appended',)]:.0f}")
        return "\n".join(lines) + "\n"

    def _add(self, amounts: dict[tuple, float]) -> None:
        with self._thread_lock:
            locked = fcntl is not None and self._handle >= 0
            if locked:
                fcntl.flock(self._handle, fcntl.LOCK_EX)
            try:
                for key, amount in amounts.items():
                    place = self._place[key]
                    value = struct.unpack_from("d", self._memory, place)[0]
                    struct.pack_into("d", self._memory, place, value + amount)
            finally:
                if locked:
                    fcntl.flock(self._handle, fcntl.LOCK_UN)
