"""Compares two runs of RecBole user by user."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from recbole_universal.app.run_results import FORMAT
from recbole_universal.io.paths import existing_path


@dataclass(frozen=True)
class Comparison:
    """The first run minus the second one, paired over the users.

    Attributes:
        names: the models.
        table: a row per metric: the means of both, ``difference``, its ``standard error``, the ends ``low`` and
            ``high`` of its 95 % confidence interval, and ``p`` of the paired t-test.
        n_users: number of users.
        seeds: seeds of both runs. A user's value is the mean over them.
    """

    names: tuple[str, str]
    table: pd.DataFrame
    n_users: int
    seeds: list[int]

    def __str__(self) -> str:
        first, second = self.names
        seeds = f"; seeds {', '.join(map(str, self.seeds))}, a user's value is the mean over them" * (
            len(self.seeds) > 1
        )
        return f"{first} minus {second}, paired over {self.n_users} users{seeds}.\n\n" + self.table.to_string(
            float_format=lambda value: f"{value:.4f}"
        )


def compare(run: str | os.PathLike[str], other: str | os.PathLike[str]) -> Comparison:
    """Compare the chosen models of two runs by a paired t-test over the users.

    Args:
        run: the file of ``run --output run.json``.
        other: the file of another run with the same dataset, split, seeds, users and metrics.

    Raises:
        ValueError: if a file is no such file, or the runs differ in more than the model and its settings.
        OSError: if a file cannot be read.
    """
    files = [_read(path) for path in (run, other)]
    for key, what in (("dataset", "datasets"), ("seeds", "seeds")):
        _same([file[key] for file in files], what)
    chosen = [next(iter(file["models"].items())) for file in files]
    (first, one), (second, two) = chosen
    if one["test_hash"] != two["test_hash"]:
        listed = " and ".join(json.dumps(file["eval_args"]) for file in files)
        raise ValueError(
            f"The runs hold out different interactions, so no user can be compared. Their eval_args: {listed}. Filters "
            "and the reading of the files count, too."
        )
    frames = [_mean_over_seeds(model, str(path)) for (_, model), path in zip(chosen, (run, other), strict=True)]
    _same([list(frame) for frame in frames], "metrics")
    if not frames[0].index.equals(frames[1].index):
        raise ValueError(f"The runs have different users: {len(frames[0])} and {len(frames[1])}.")
    if len(frames[0]) < 2:
        raise ValueError("A paired test needs at least two users.")
    names = (first, second) if first != second else (f"{first} (1)", f"{second} (2)")
    rows = {metric: _paired(names, *(frame[metric].to_numpy() for frame in frames)) for metric in frames[0]}
    return Comparison(names, pd.DataFrame(rows).T, len(frames[0]), files[0]["seeds"])


def _paired(names: tuple[str, str], one: np.ndarray, two: np.ndarray) -> dict[str, float]:
    """The figures of one metric."""
    difference = one - two
    mean, error = float(difference.mean()), float(stats.sem(difference))
    # Without any spread the t-test is not defined: no difference at all, or one that is certain.
    p_value = float(stats.ttest_rel(one, two).pvalue) if error > 0 else float(mean == 0)
    half = error * float(stats.t.ppf(0.975, len(difference) - 1))
    return {
        names[0]: float(one.mean()),
        names[1]: float(two.mean()),
        "difference": mean,
        "standard error": error,
        "low": mean - half,
        "high": mean + half,
        "p": p_value,
    }


def _read(path: str | os.PathLike[str]) -> dict[str, Any]:
    file = existing_path(path, "run")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        is_run = content["format"] == FORMAT and {"dataset", "seeds", "eval_args"} <= set(content)
        is_run &= {"test_hash", "by_user"} <= set(next(iter(content["models"].values())))
        is_run &= isinstance(content["seeds"], list)
    except (ValueError, TypeError, KeyError, AttributeError, StopIteration, RecursionError, IsADirectoryError):
        is_run = False
    if not is_run:
        raise ValueError(f"[{file}] is no result of a run; run --output RUN.json writes one.")
    return content


def _mean_over_seeds(model: dict[str, Any], where: str) -> pd.DataFrame:
    """The mean of each user's values over the seeds, by user."""
    frames = []
    for by_user in model["by_user"]:
        if by_user is None:
            raise ValueError(f"[{where}] has no values of single users: several processes, or metrics without a @K.")
        try:
            frames.append(pd.DataFrame(by_user["metrics"], index=by_user["users"]).astype(float))
        except (TypeError, ValueError, KeyError) as error:
            raise ValueError(f"[{where}] is damaged: {error}. Run it again.") from error
    values = pd.concat(frames).groupby(level=0).mean()
    if not np.isfinite(values.to_numpy()).all():
        raise ValueError(f"[{where}] has values of users that are no finite numbers, so no test is possible.")
    return values


def _same(values: list[Any], what: str) -> None:
    if values[0] != values[1]:
        raise ValueError(f"The runs have different {what}: {values[0]} and {values[1]}.")
