"""Ctrl-C, SIGTERM and SIGHUP end a command with one line and its exit status; imports nothing that takes time."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

_SIGNALS = tuple(getattr(signal, name) for name in ("SIGINT", "SIGTERM", "SIGHUP") if hasattr(signal, name))
_PACKAGE, _CONSOLE_SCRIPT = "recbole_universal", "recbole-universal"
#: The script of the repository, which is the command ``run``.
REPOSITORY_SCRIPT = "run_recbole_universal.py"


def stop_while_importing() -> None:
    """Let the signals end the process at once, with one line, if this process is a command of the package.

    PyTorch and RecBole take seconds to import. A traceback from inside them would help nobody. There is nothing to
    clean up yet.
    """
    name = _command()
    if name is None:
        return

    def end(number: int, frame: Any) -> None:
        with suppress(OSError):
            os.write(2, f"{name}: stopped.\n".encode())
        os._exit(128 + number)

    _install(end)


def default_signals() -> None:
    """Undo :func:`stop_while_importing`, before a script of the user runs."""
    for number in _SIGNALS:
        if getattr(signal.getsignal(number), "__module__", None) == __name__:
            signal.signal(number, signal.default_int_handler if number == signal.SIGINT else signal.SIG_DFL)


@contextmanager
def one_line_when_stopped(name: str) -> Iterator[None]:
    """End the process with one line and the status 128 + signal when a signal comes in the ``with`` block.

    The first signal raises ``KeyboardInterrupt``, a second one of the same kind has its usual effect.

    Args:
        name: the command, which begins the line.

    Raises:
        SystemExit: with the status, when a signal came.
    """
    came: list[int] = []

    def stop(number: int, frame: Any) -> None:
        came.append(number)
        signal.signal(number, signal.SIG_DFL)
        raise KeyboardInterrupt  # an exception, so that open files are closed and temporary ones removed

    before = _install(stop)
    try:
        yield
    except KeyboardInterrupt:
        _end_children()
        print(f"{name}: stopped.", file=sys.stderr)
        raise SystemExit(128 + (came or [signal.SIGINT])[0]) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _command() -> str | None:
    """Name of the command of this package that the process runs; ``None`` if it runs something else."""
    words = sys.orig_argv
    module = _words_of_module(words[1:])
    if module[:1] == [_PACKAGE]:
        return (module[1:] or [_PACKAGE])[0]
    # A process that multiprocessing has spawned takes over sys.argv before it imports the package.
    if not sys.argv or sys.argv[0] not in words:
        return None
    script = Path(sys.argv[0])
    if script.name == REPOSITORY_SCRIPT:
        return REPOSITORY_SCRIPT
    return (sys.argv[1:] or [_CONSOLE_SCRIPT])[0] if script.stem == _CONSOLE_SCRIPT else None


def _words_of_module(words: list[str]) -> list[str]:
    """The module that the option ``-m`` of Python names, and its arguments; empty if a script or a text is run."""
    while words and words[0].startswith("-") and words[0] != "-c":
        if words[0] == "-m":
            return words[1:]
        words = words[2:] if words[0] in ("-W", "-X") else words[1:]
    return []


def _install(handler: Callable[[int, Any], None]) -> dict[int, Any]:
    """Install a handler for each signal that is not ignored (nohup); returns the handlers before."""
    before = {}
    with suppress(ValueError):  # only the main thread may
        for number in _SIGNALS:
            if signal.getsignal(number) is not signal.SIG_IGN:
                before[number] = signal.signal(number, handler)
    return before


def _end_children() -> None:
    """End the processes of ``--nproc``: Python waits for them at its end, and they would train on."""
    if "multiprocessing" in sys.modules:
        import multiprocessing

        for child in multiprocessing.active_children():
            child.terminate()
