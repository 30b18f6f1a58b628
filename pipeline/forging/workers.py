"""Worker processes that share out the clips of a data set."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from typing import Any, TypeVar

import cv2

from data.processes import end_with_parent

Result = TypeVar("Result")

_TASK: list[Callable[[int], Any]] = []
"""What a worker process does: a plan of many sources is too large to be sent with each number."""


def in_workers(task: Callable[[int], Result], numbers: Sequence[int], workers: int) -> Iterator[Result]:
    """`task` of each of `numbers`, in any order, by that many spawned processes; a single worker is this process.

    The first error of a task is raised, and what has not begun by then is not done.
    """
    if workers == 1:
        _prepare()
        yield from map(task, numbers)
        return
    with ProcessPoolExecutor(workers, get_context("spawn"), _start, (task,)) as pool:
        jobs = [pool.submit(_do, number) for number in numbers]
        try:
            yield from (job.result() for job in as_completed(jobs))
        except BaseException:
            # The rest would fail likewise (a full disk) or is not wanted any more.
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _start(task: Callable[[int], Any]) -> None:
    end_with_parent()
    _prepare()
    _TASK.append(task)


def _prepare() -> None:
    # One thread each: OpenCV's own threads would fight over the cores that the workers already fill.
    cv2.setNumThreads(1)
    os.environ.setdefault("SVT_LOG", "1")  # the AV1 encoder tells its version to every clip


def _do(number: int) -> Any:
    return _TASK[0](number)
