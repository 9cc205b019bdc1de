"""What the workers of a multi-worker strategy tell each other between training steps.

They have to take the same number of steps and stop after the same epoch: each step waits for all.
With one worker all of this does nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import tensorflow as tf


class Workers:
    """The workers of the strategy in whose scope it is made.

    Attributes:
      index: Its number, from 0.
      count: How many there are.
    """

    def __init__(self) -> None:
        self._strategy = tf.distribute.get_strategy()
        resolver = getattr(self._strategy, "cluster_resolver", None)
        self._several = resolver is not None and bool(resolver.cluster_spec())
        self.index, self.count = 0, 1
        if resolver is not None and self._several:
            self.index = resolver.task_id
            self.count = resolver.cluster_spec().num_tasks("worker")
        self._sum = tf.function(self._sum_of_all, [tf.TensorSpec([], tf.float64)], autograph=False)

    @property
    def is_chief(self) -> bool:
        """Whether this is the one that keeps what is written."""
        return self.index == 0

    def in_step(self, batches: tf.data.Dataset) -> Iterator[Any]:
        """This worker's batches, then empty ones until every worker is done."""
        if not self._several:
            yield from batches
            return
        empty = tf.nest.map_structure(
            lambda spec: tf.zeros([0, *spec.shape[1:]], spec.dtype), batches.element_spec
        )
        own = iter(batches)
        while True:
            batch = next(own, None)
            if not self._total(0.0 if batch is None else 1.0):
                return
            yield empty if batch is None else batch

    def agreed(self, values: Mapping[str, float | None]) -> dict[str, float | None]:
        """The chief's values: other workers' may differ by the order of a sum, and decide else."""
        if not self._several:
            return dict(values)
        return {
            name: None if value is None else self._total(value if self.is_chief else 0.0)
            for name, value in values.items()
        }

    def wait(self) -> None:
        """Until all workers are here."""
        if self._several:
            self._total(0.0)

    def _total(self, value: float) -> float:
        return float(self._sum(tf.constant(value, tf.float64)))

    def _sum_of_all(self, value: tf.Tensor) -> tf.Tensor:
        def in_replica(value: tf.Tensor) -> tf.Tensor:
            context = tf.distribute.get_replica_context()
            # One replica speaks for its worker.
            here = len(self._strategy.extended.worker_devices)
            first = tf.equal(context.replica_id_in_sync_group % here, 0)
            return context.all_reduce(tf.distribute.ReduceOp.SUM, tf.where(first, value, 0.0))

        found = self._strategy.run(in_replica, args=(value,))
        return self._strategy.experimental_local_results(found)[0]
