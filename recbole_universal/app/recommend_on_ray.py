"""Recommendations of a saved recommender for many users, by workers on one or several machines."""

from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Hashable
from pathlib import Path
from typing import Any

from tqdm import tqdm

from recbole_universal import arguments
from recbole_universal.app.output_columns import output_columns
from recbole_universal.app.part_writer import PartSettings, PartWriter
from recbole_universal.app.ray_engine import checked_ray, in_actors, ray_cluster
from recbole_universal.app.recommendation_parts import Part, PartsFolder, description_of_run
from recbole_universal.app.recommender_files import check_saved_matrix, is_recommender, recommender_digest
from recbole_universal.app.recommender_job import RecommenderJob
from recbole_universal.io.source import Report

#: Users of a part. A worker that dies loses the work on one part. Blocks of a part are those of a single process.
PART_USERS = 8192


def recommend_on_ray(
    folder: str | os.PathLike[str],
    output: str | os.PathLike[str],
    *,
    top_k: int = 10,
    users: Any = None,
    user_column: Hashable | None = None,
    include_seen: bool = False,
    items: Any = None,
    where: str | None = None,
    fast: bool = False,
    workers: int | None = None,
    address: str | None = None,
    part_users: int = PART_USERS,
    show_progress: bool = True,
) -> list[Path]:
    """Write recommendations of a saved recommender as Parquet parts, by workers of Ray (docs/engines.md).

    The lists are those of :func:`~recbole_universal.recommend` for the same folder. A call with the same arguments goes
    on with the missing parts. A part appears when it is complete. A worker that dies is started again.

    Args:
        folder: a folder that :meth:`Recommender.save` wrote, at the same path on all machines of a cluster.
        output: folder for the parts, likewise.
        top_k: as of :func:`~recbole_universal.recommend`, like the next arguments.
        users: ids, or a file or a folder of Parquet parts that holds them; ``None``: all users.
        user_column: name of the user column of that file.
        include_seen: whether to recommend items that the user has interacted with, too.
        items: an item table for ``where``, in the place of the saved one.
        where: a rule on the columns of the item table.
        fast: whether to rank by the item-item matrix, which the folder must hold (``fit --fast``).
        workers: number of workers, each with one core; ``None``: all cores that Ray has.
        address: address of a running cluster, such as ``auto``; ``None``: this machine, or the cluster to which this
            process is connected already.
        part_users: users of a part. With a multiple of 2,048, scores equal those of a single process to the last bit.
        show_progress: whether to draw a progress bar on stderr.

    Returns:
        The parts in the order of the users: Parquet files with the columns of :func:`~recbole_universal.recommend`.

    Raises:
        ValueError: naming the argument and the valid values; if ``output`` holds parts of another run; if the folder is
            saved again in the meantime.
        OSError: if a file cannot be read or written, or workers die again and again.
        ImportError: without Ray or pyarrow.
    """
    messages: dict[str, None] = {}
    try:
        run = RayRun(
            messages.setdefault,
            folder,
            output,
            top_k=top_k,
            users=users,
            user_column=user_column,
            include_seen=include_seen,
            items=items,
            where=where,
            fast=fast,
            part_users=part_users,
            show_progress=show_progress,
        )
        run.write(workers, address)
    finally:
        for message in messages:
            warnings.warn(message, UserWarning, stacklevel=2)
    return [part.path for part in run.output.parts]


class RayRun:
    """One run: its arguments, checked, and its output folder.

    Attributes:
        job: who is asked about.
        output: the output folder.
    """

    def __init__(
        self,
        report: Report,
        folder: Any,
        output: Any,
        *,
        top_k: Any,
        users: Any,
        user_column: Any,
        include_seen: Any,
        items: Any,
        where: Any,
        fast: Any,
        part_users: Any,
        show_progress: Any,
    ) -> None:
        if not is_recommender(folder):
            raise ValueError(
                f"folder (INTERACTIONS): the engine ray reads a folder that fit or Recommender.save wrote, got "
                f"{arguments.shown(folder)}."
            )
        part_users = arguments.integer("recommend_on_ray", "part_users", part_users, 1)
        folder, self._output = os.path.realpath(os.path.expanduser(folder)), _folder(output)
        digest = recommender_digest(folder)
        self._report, self._show_progress = report, show_progress
        self.job = job = RecommenderJob(
            report, show_progress, top_k, include_seen, folder, fast, "cpu", users, user_column, items, where
        )
        if fast:
            check_saved_matrix(job.ranker, folder)
        settings = {"top_k": int(top_k), "include_seen": include_seen, "fast": fast}
        self._top_k = int(top_k)
        self._settings = PartSettings(
            folder, digest, **settings, allowed=job.allowed, columns=output_columns(job.users, job.items)
        )
        run = description_of_run(digest, job.users, job.rows, job.allowed, settings)
        self.output = PartsFolder(self._output, run, len(job.users), part_users)

    def write(self, workers: Any, address: Any) -> int:
        """Write the missing parts; returns the number of rows of all parts."""
        checked_ray(workers, address)  # a wrong argument leaves no folder behind
        with self.output.opened() as missing:
            done = len(self.job.users) - sum(part.stop - part.start for part in missing)
            if done:
                self._report(f"{done} of {len(self.job.users)} users have lists in [{self._output}] already.")
            if missing:
                self._write_parts(missing, workers, address, done)
            n_rows = self.output.n_rows()
        most = len(self.job.users) * self._top_k
        if n_rows < most:
            self._report(
                f"Some users have fewer than {self._top_k} items that they have not seen and that the filters allow, "
                f"so they get fewer recommendations: {n_rows} of {most} in all."
            )
        return n_rows

    def _write_parts(self, missing: list[Part], workers: Any, address: Any, done: int) -> None:
        users = self.job.users

        def arguments_of(part: Part) -> tuple:
            return part, users[part.start : part.stop], self.job.rows[part.start : part.stop]

        calls = [functools.partial(arguments_of, part) for part in missing]
        bar = tqdm(total=len(users), initial=done, desc="recommending", unit="user", disable=not self._show_progress)
        with bar, ray_cluster(workers, address) as (ray, n_workers):
            for n_users, messages in in_actors(ray, PartWriter, "write", self._settings, calls, n_workers):
                bar.update(n_users)
                for message in messages:
                    self._report(message)


def _folder(output: Any) -> Path:
    """The path of the output folder.

    Raises:
        ValueError: if it is none.
    """
    if not isinstance(output, (str, os.PathLike)) or not os.fspath(output):
        raise ValueError(f"output (--output): must be the path of a folder, got {arguments.shown(output)}.")
    path = Path(os.path.realpath(os.path.expanduser(output)))
    if path.is_file():
        raise ValueError(f"output (--output): [{path}] is a file; the engine ray writes a folder of parts.")
    return path
