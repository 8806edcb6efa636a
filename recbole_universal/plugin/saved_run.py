"""A run that RecBole saved: its checkpoint, and its data built again."""

from __future__ import annotations

import contextlib
import copy
import os
import pickle
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from recbole.utils import init_seed

# Errors of a damaged pickle.
_UNREADABLE = (
    RuntimeError,
    OSError,
    pickle.UnpicklingError,
    EOFError,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    ImportError,
)


def read_checkpoint(file: Any, where: str, **arguments: Any) -> dict[str, Any]:
    """Read a checkpoint that RecBole saved.

    RecBole's checkpoints are pickles, which run code when they are opened.

    Args:
        file: path of the checkpoint.
        where: the argument or key that names the file, for messages.
        **arguments: arguments of ``torch.load``.

    Raises:
        FileNotFoundError: if there is no such file.
        ValueError: if the file is not a checkpoint of a RecBole model.
    """
    if not isinstance(file, (str, os.PathLike)) or not Path(file).is_file():
        raise FileNotFoundError(f"{where}: there is no file [{file}].")
    try:
        checkpoint = torch.load(file, weights_only=False, **arguments)
        checkpoint["config"]["model"], checkpoint["state_dict"]
    except _UNREADABLE as error:
        raise ValueError(f"{where}: [{file}] is no checkpoint of a RecBole model ({error}).") from error
    return checkpoint


def changed_config(config: Any, settings: dict[str, Any]) -> Any:
    """A copy of a RecBole ``Config`` with other values of some keys."""
    config = copy.copy(config)
    config.final_config_dict = {**config.final_config_dict, **settings}
    return config


@contextlib.contextmanager
def random_state_of_run(config: Any) -> Iterator[None]:
    """In the ``with`` block random numbers are those at the start of a run; after it the process has its own again."""
    with torch.random.fork_rng(devices=[]):
        states = np.random.get_state(), random.getstate()
        init_seed(config["seed"], config["reproducibility"])
        try:
            yield
        finally:
            np.random.set_state(states[0])
            random.setstate(states[1])
