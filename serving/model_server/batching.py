"""Merges concurrent requests into one run of the graph."""

from __future__ import annotations

import math
import os
import threading
import time
from collections.abc import Hashable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import grpc
import numpy as np

from serving.model_server.metrics import Metrics
from serving.model_server.request_error import RequestError
from serving.model_server.servable import Servable


@dataclass(frozen=True)
class BatchingParameters:
    """TensorFlow Serving's parameters of the same names, with its defaults.

    Args:
      max_batch_size: Rows of a batch; a request of more runs alone.
      batch_timeout_micros: How long a batch waits for more rows, in microseconds.
      max_enqueued_batches: Batches that may wait; a request beyond them is UNAVAILABLE.
      num_batch_threads: Batches that run at once.
      allowed_batch_sizes: A batch is padded to the next of these sizes; none of them, no padding.

    Raises:
      ValueError: if one is out of its range.
    """

    max_batch_size: int = 1000
    batch_timeout_micros: int = 0
    max_enqueued_batches: int = 10
    num_batch_threads: int = field(default_factory=lambda: os.cpu_count() or 1)
    allowed_batch_sizes: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        for name, least in (
            ("max_batch_size", 1),
            ("batch_timeout_micros", 0),
            ("max_enqueued_batches", 1),
            ("num_batch_threads", 1),
        ):
            if getattr(self, name) < least:
                raise ValueError(f"{name}: found {getattr(self, name)}; expected at least {least}")
        sizes = self.allowed_batch_sizes
        if sizes and (list(sizes) != sorted({*sizes}) or sizes[-1] != self.max_batch_size):
            raise ValueError(
                f"allowed_batch_sizes: found {list(sizes)}; expected growing sizes up to "
                f"max_batch_size, {self.max_batch_size}"
            )


@dataclass(eq=False)
class _Task:
    feeds: Mapping[str, np.ndarray]
    rows: int
    deadline: float
    answer: Future[list[np.ndarray]] = field(default_factory=Future)


@dataclass(eq=False)
class _Batch:
    key: Hashable
    servable: Servable
    fetches: Sequence[str]
    due: float
    tasks: list[_Task] = field(default_factory=list)
    rows: int = 0


class Batcher:
    """Runs requests together whose model, inputs' shapes and outputs are the same.

    Only signatures whose inputs and outputs all have the batch as their first dimension; others run
    alone. If a batch fails, each of its requests is run alone, so that none fails for another's
    sake. A request whose deadline has passed while it waited is not run.

    Args:
      parameters: How much is merged and for how long a request waits for it.
      metrics: Learns the size of each batch.
    """

    def __init__(self, parameters: BatchingParameters, metrics: Metrics):
        self._parameters = parameters
        self._metrics = metrics
        self._waiting: list[_Batch] = []
        self._open: dict[Hashable, _Batch] = {}
        self._changed = threading.Condition()
        self._stopping = False
        self._threads = [
            threading.Thread(target=self._work, name=f"batch-{number}", daemon=True)
            for number in range(parameters.num_batch_threads)
        ]

    def start(self) -> None:
        """Begins to run batches."""
        for thread in self._threads:
            thread.start()

    def run(
        self,
        servable: Servable,
        signature: Any,
        feeds: Mapping[str, np.ndarray],
        fetches: Sequence[str],
        deadline: float = math.inf,
    ) -> list[np.ndarray]:
        """Runs a graph, with other requests where that is possible.

        Args:
          servable: The model.
          signature: The SignatureDef.
          feeds: Values by tensor name.
          fetches: Tensor names.
          deadline: When the answer is worth nothing any more, on time.monotonic's clock.

        Returns:
          The values of `fetches`.

        Raises:
          RequestError: UNAVAILABLE, if too many batches wait; DEADLINE_EXCEEDED.
          tf.errors.OpError: if an op fails.
        """
        rows = _rows(signature, feeds)
        if rows is None or rows > self._parameters.max_batch_size or self._stopping:
            return servable.run(feeds, fetches)
        task = _Task(feeds, rows, deadline)
        shapes = tuple((name, v.dtype.str, v.shape[1:]) for name, v in feeds.items())
        with self._changed:
            self._add(task, (servable, shapes, tuple(fetches)), servable, fetches)
            self._changed.notify()
        return task.answer.result()

    def close(self) -> None:
        """Runs what waits, and ends."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()
        for thread in self._threads:
            if thread.ident is not None:
                thread.join()

    def _add(self, task: _Task, key: Hashable, servable: Servable, fetches: Sequence[str]) -> None:
        most, now = self._parameters.max_batch_size, time.monotonic()
        batch = self._open.get(key)
        if batch is not None and batch.rows + task.rows > most:
            batch.due = now
            batch = None
        if batch is None:
            if len(self._waiting) >= self._parameters.max_enqueued_batches:
                raise RequestError(
                    grpc.StatusCode.UNAVAILABLE,
                    "The batch scheduling queue to which this task was submitted is full",
                )
            due = now + self._parameters.batch_timeout_micros / 1e6
            batch = self._open[key] = _Batch(key, servable, fetches, due)
            self._waiting.append(batch)
        batch.tasks.append(task)
        batch.rows += task.rows
        if batch.rows == most:
            batch.due = now

    def _work(self) -> None:
        while (batch := self._next()) is not None:
            now = time.monotonic()
            late = [task for task in batch.tasks if task.deadline <= now]
            for task in late:
                task.answer.set_exception(
                    RequestError(grpc.StatusCode.DEADLINE_EXCEEDED, "Deadline Exceeded")
                )
            tasks = [task for task in batch.tasks if task not in late]
            if len(tasks) == 1 or (tasks and not self._run_merged(batch, tasks)):
                for task in tasks:
                    _run_alone(batch, task)

    def _next(self) -> _Batch | None:
        """Waits for a batch that is full, or has waited long enough; None at the end."""
        with self._changed:
            while True:
                now = time.monotonic()
                for batch in self._waiting:
                    if batch.due <= now or self._stopping:
                        self._waiting.remove(batch)
                        if self._open.get(batch.key) is batch:
                            del self._open[batch.key]
                        return batch
                if self._stopping:
                    return None
                due = min((batch.due for batch in self._waiting), default=None)
                self._changed.wait(None if due is None else due - now)

    def _run_merged(self, batch: _Batch, tasks: Sequence[_Task]) -> bool:
        """Whether it worked; the tasks then have their answers."""
        rows = sum(task.rows for task in tasks)
        sizes = self._parameters.allowed_batch_sizes
        padding = next((size - rows for size in sizes if size >= rows), 0)
        try:
            feeds = {}
            for name in tasks[0].feeds:
                parts = [task.feeds[name] for task in tasks]
                # A row that is there already: the model takes it, or refuses it anyway.
                parts.extend([parts[0][:1]] * padding)
                feeds[name] = np.concatenate(parts)
            values = batch.servable.run(feeds, batch.fetches)
        except Exception:  # Whatever it was, each request gets its own answer.
            return False
        if any(not value.shape or len(value) != rows + padding for value in values):
            return False
        self._metrics.batch(rows + padding)
        start = 0
        for task in tasks:
            task.answer.set_result([value[start : start + task.rows] for value in values])
            start += task.rows
        return True


def _run_alone(batch: _Batch, task: _Task) -> None:
    try:
        task.answer.set_result(batch.servable.run(task.feeds, batch.fetches))
    except BaseException as error:
        task.answer.set_exception(error)


def _rows(signature: Any, feeds: Mapping[str, np.ndarray]) -> int | None:
    """Rows of a request that may be merged with others; None if it may not."""
    infos = [*signature.inputs.values(), *signature.outputs.values()]
    if not feeds or not all(_has_batch_dimension(info.tensor_shape) for info in infos):
        return None
    counts = {len(value) for value in feeds.values()}
    return counts.pop() if len(counts) == 1 and 0 not in counts else None


def _has_batch_dimension(shape: Any) -> bool:
    return not shape.unknown_rank and len(shape.dim) > 0 and shape.dim[0].size == -1
