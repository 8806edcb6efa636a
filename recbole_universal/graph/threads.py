"""Threads: runs parts of a computation in parallel, without a change to the limits of other threads.

``torch.set_num_threads`` also sets the default of threads that start later. Here a limit holds for the calling thread
alone: OpenMP and MKL, on which PyTorch runs, keep a limit per thread.
"""

from __future__ import annotations

import ctypes
import functools
import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

import torch
from threadpoolctl import ThreadpoolController

_Argument = TypeVar("_Argument")
_Result = TypeVar("_Result")


class lazy_property(functools.cached_property):
    """An attribute that is computed on first access, without the lock of Python before 3.12.

    All objects of a class share that lock. A process that is forked while another thread holds it waits for ever.
    Two threads may both compute the value at the same time, with the same result.
    """

    def __get__(self, instance, owner=None):
        """Compute the value and store it in the object under the attribute's name."""
        if instance is None:
            return self
        value = instance.__dict__[self.attrname] = self.func(instance)
        return value


@functools.cache
def _openmp() -> ThreadpoolController:
    """The OpenMP libraries of this process."""
    return ThreadpoolController().select(user_api="openmp")


@functools.cache
def _set_mkl() -> Callable[[int], int]:
    """MKL's setter of the calling thread's limit (0: no limit), which returns the previous limit."""
    for path in sorted(Path(torch.__file__).with_name("lib").glob("*torch_cpu.*")):
        try:
            return ctypes.CDLL(str(path)).MKL_Set_Num_Threads_Local
        except (OSError, AttributeError):
            continue
    return lambda n_threads: 0  # PyTorch without MKL


@contextmanager
def one_thread() -> Iterator[None]:
    """Run PyTorch's operations on the CPU in the calling thread alone; other threads are not affected."""
    torch.get_num_threads()  # PyTorch sets up a thread at its first use, which must come before the limit
    with _openmp().limit(limits=1):
        before = _set_mkl()(1)
        try:
            yield
        finally:
            _set_mkl()(before)


def stay_on_one_thread() -> None:
    """As :func:`one_thread`, until the calling thread ends; the initializer of a thread pool."""
    torch.get_num_threads()
    _openmp().limit(limits=1)
    _set_mkl()(1)


def in_threads(
    function: Callable[[_Argument], _Result],
    arguments: Iterable[_Argument],
    initializer: Callable[[], None] | None = None,
) -> list[_Result]:
    """Results of a function for each argument, computed in threads; a single argument runs in the calling thread.

    A product of sparse SciPy matrices uses one core and releases the interpreter lock.
    """
    arguments = list(arguments)
    n_threads = min(len(arguments), torch.get_num_threads())
    if n_threads <= 1:
        return [function(argument) for argument in arguments]
    with ThreadPoolExecutor(n_threads, initializer=initializer) as executor:
        return list(executor.map(function, arguments))


def in_torch_threads(function: Callable[[_Argument], _Result], arguments: Iterable[_Argument]) -> list[_Result]:
    """As :func:`in_threads`, with PyTorch on one core in each thread, in the caller's gradient and inference mode."""
    arguments = list(arguments)
    if len(arguments) > 1:
        # Both modes hold for the calling thread alone. Only inference mode may change the caller's inference tensors.
        with_gradients, inference = torch.is_grad_enabled(), torch.is_inference_mode_enabled()

        def as_caller(argument: _Argument) -> _Result:
            with torch.inference_mode(inference), torch.set_grad_enabled(with_gradients):
                return function(argument)

        return in_threads(as_caller, arguments, stay_on_one_thread)
    with one_thread():
        return [function(argument) for argument in arguments]


@functools.cache
def register_fork_hook() -> None:
    """From now on, a forked process runs PyTorch on one thread.

    The forked process lacks the threads for which OpenMP would wait. The hook is registered only in a process that uses
    a pipeline or a ranker.
    """
    if os.getpid() != _IMPORTED_IN:
        _after_fork()
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(after_in_child=_after_fork)


def _after_fork() -> None:
    if torch.get_num_threads() > 1:
        torch.set_num_threads(1)


_IMPORTED_IN = os.getpid()
