"""Requests that wait are worked on together, since a ranking of many users takes less time a user than one of one."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

#: Requests of one batch, requests that may wait, and seconds that one may wait.
MOST_IN_BATCH, MOST_WAITING, MOST_SECONDS = 64, 500, 20.0


class Busy(Exception):
    """Too many requests wait."""


class _Job(NamedTuple):
    key: Hashable
    argument: Any
    answer: asyncio.Future


class Batches:
    """Works on requests in one thread. Requests that arrive in the meantime form the next batch.

    A request that comes alone is worked on alone and at once, so nothing waits for a batch to fill.

    Args:
        work: takes the key and the arguments of some requests, and returns a result or an exception for each.
        most_waiting: number of requests that may wait.
    """

    def __init__(
        self,
        work: Callable[[Hashable, list[Any]], Sequence[Any]],
        most_waiting: int = MOST_WAITING,
    ) -> None:
        self._work, self._most_waiting = work, most_waiting
        self._executor = ThreadPoolExecutor(1)
        self._waiting: deque[_Job] = deque()
        self._task: asyncio.Task | None = None

    async def result(self, key: Hashable, argument: Any) -> Any:
        """The result of one request.

        Args:
            key: requests of one key may form a batch.
            argument: what ``work`` takes.

        Raises:
            Busy: if too many requests wait, or this one waits too long.
        """
        if len(self._waiting) >= self._most_waiting:
            raise Busy
        loop = asyncio.get_running_loop()
        job = _Job(key, argument, loop.create_future())
        self._waiting.append(job)
        if self._task is None or self._task.done():
            self._task = loop.create_task(self._run())
        try:
            return await asyncio.wait_for(job.answer, MOST_SECONDS)
        except asyncio.TimeoutError:
            raise Busy from None

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        while self._waiting:
            jobs = self._next()
            if not jobs:
                continue
            try:
                arguments = [job.argument for job in jobs]
                results = await loop.run_in_executor(self._executor, self._work, jobs[0].key, arguments)
            except Exception as error:
                results = [error] * len(jobs)
            for job, result in zip(jobs, results, strict=True):
                if job.answer.done():  # the client has gone
                    continue
                if isinstance(result, Exception):
                    job.answer.set_exception(result)
                else:
                    job.answer.set_result(result)

    def _next(self) -> list[_Job]:
        """The oldest request, and others of its key; requests whose clients have gone are left out."""
        jobs: list[_Job] = []
        others: deque[_Job] = deque()
        while self._waiting and len(jobs) < MOST_IN_BATCH:
            job = self._waiting.popleft()
            if job.answer.done():
                continue
            (jobs if not jobs or job.key == jobs[0].key else others).append(job)
        self._waiting.extendleft(reversed(others))
        return jobs
