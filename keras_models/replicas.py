"""What the replicas of `tf.distribute` tell each other in a training step.

Every replica holds the whole model, its embedding tables too. In a step each gathers the keys of
all (8 bytes a key), and does the same with them: count, admit, evict. So all agree on every slot
without a word more. Each then embeds and scores its own examples; the logits of all are gathered,
so that the loss is that of the global batch whatever it is made of; and the gradients of the dense
weights, and of the step's distinct rows, are summed over all (4 bytes a number each) before every
replica applies them.

Without replicas all of this does nothing.
"""

from __future__ import annotations

import tensorflow as tf


def gather_batch(local: tf.Tensor) -> tf.Tensor:
    """Examples of all replicas, [B, ...], from the b of this one, [b, ...]."""
    context = _context()
    return local if context is None else context.all_gather(local, axis=0)


def first_example(local: tf.Tensor) -> tf.Tensor:
    """Position of this replica's first example among those of all: int32 []."""
    context = _context()
    if context is None:
        return tf.constant(0)
    sizes = context.all_gather(tf.shape(local)[:1], axis=0)
    before = tf.range(tf.size(sizes)) < context.replica_id_in_sync_group
    return tf.reduce_sum(tf.where(before, sizes, 0))


def sum_over_replicas(local: tf.Tensor) -> tf.Tensor:
    """The sum of a tensor that has the same shape everywhere."""
    context = _context()
    return local if context is None else context.all_reduce(tf.distribute.ReduceOp.SUM, local)


def replica_number() -> tf.Tensor:
    """Number of this replica among all, from 0: int32 []."""
    context = _context()
    number = 0 if context is None else context.replica_id_in_sync_group
    return tf.cast(number, tf.int32)


def share_of_replica(examples: tf.Tensor) -> slice:
    """Which of this worker's examples are this replica's.

    Args:
      examples: How many this worker has, int32 [].
    """
    extended = tf.distribute.get_strategy().extended
    here = len(extended.worker_devices)
    own = replica_number() % here
    return slice(own * examples // here, (own + 1) * examples // here)


def _context() -> tf.distribute.ReplicaContext | None:
    context = tf.distribute.get_replica_context()
    return context if context is not None and context.num_replicas_in_sync > 1 else None
