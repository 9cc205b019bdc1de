"""Losses of the order of the examples of one request, of those that lie in the batch."""

from __future__ import annotations

import tensorflow as tf

_FAR = 1e30
"""Beyond every logit and label, and finite: it takes an example out of a maximum or minimum."""


def pairwise_logistic(
    labels: tf.Tensor, logits: tf.Tensor, request: tf.Tensor, inside: tf.Tensor, weights: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Mean over pairs of one request that differ in their labels.

        L = sum_ij v_i log(1 + exp(z_j - z_i)) / number of pairs (i, j), y_i > y_j, both inside

    Work and memory grow with B^2: some matrices of 4 B^2 bytes, 64 MiB each at B = 4096. Where that
    is too much, take the listwise loss.

    Args:
      labels: y, float32 [B].
      logits: z, float32 [B].
      request: int64 [B].
      inside: float32 [B], 1 where an example counts, else 0.
      weights: v, float32 [B].

    Returns:
      The loss, 0 where there is no pair, and whether there is one, 1 or 0: float32 scalars.

    Reference: Burges et al., "Learning to Rank using Gradient Descent", ICML 2005.
    """
    both = inside[:, tf.newaxis] * inside[tf.newaxis, :]
    together = (request[:, tf.newaxis] == request[tf.newaxis, :]) & (both > 0)
    is_pair = tf.cast(together & (labels[:, tf.newaxis] > labels[tf.newaxis, :]), tf.float32)
    losses = is_pair * tf.math.softplus(logits[tf.newaxis, :] - logits[:, tf.newaxis])
    pairs = tf.reduce_sum(is_pair)
    summed = tf.reduce_sum(weights * tf.reduce_sum(losses, axis=1))
    return tf.math.divide_no_nan(summed, pairs), tf.minimum(pairs, 1.0)


def listwise_softmax(
    labels: tf.Tensor, logits: tf.Tensor, request: tf.Tensor, inside: tf.Tensor, weights: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Mean over requests of the cross-entropy between relevance and the softmax of the logits.

        L = sum_r sum_(i in r) v_i (y_i / sum_(j in r) y_j) (logsumexp_(j in r) z_j - z_i)
            / number of requests r with unequal labels

    over requests with unequal labels and examples inside. Work grows with B log B, for a sort.

    Args:
      labels: y, float32 [B], at least 0.
      logits: z, float32 [B].
      request: int64 [B].
      inside: float32 [B], 1 where an example counts, else 0.
      weights: v, float32 [B].

    Returns:
      The loss, 0 where there is no such request, and whether there is one, 1 or 0: float32 scalars.

    Reference: Cao et al., "Learning to Rank: From Pairwise Approach to Listwise Approach", ICML
    2007, the top-one probabilities.
    """
    # As int64, for gradients of gathers reshape it, and TensorFlow keeps int32 on the host.
    order = tf.cast(tf.argsort(request), tf.int64)
    labels, logits, request, inside, weights = (
        tf.gather(values, order) for values in (labels, logits, request, inside, weights)
    )
    is_next = tf.cast(request[1:] != request[:-1], tf.float32)
    # Exact in float32 up to 2^24 examples.
    of = tf.cast(tf.cumsum(tf.concat([tf.zeros([1]), is_next], axis=0)), tf.int64)
    size = tf.shape(logits)[0]
    is_inside = inside > 0

    highest = tf.math.unsorted_segment_max(tf.where(is_inside, labels, -_FAR), of, size)
    lowest = tf.math.unsorted_segment_min(tf.where(is_inside, labels, _FAR), of, size)
    counts = tf.cast(highest > lowest, tf.float32)
    relevance = tf.math.unsorted_segment_sum(inside * labels, of, size)
    target = tf.math.divide_no_nan(inside * labels, tf.gather(relevance, of))

    held = tf.where(is_inside, logits, -_FAR)
    top = tf.stop_gradient(tf.gather(tf.math.unsorted_segment_max(held, of, size), of))
    total = tf.gather(tf.math.unsorted_segment_sum(tf.exp(held - top), of, size), of)
    losses = tf.gather(counts, of) * target * (tf.math.log(total) + top - held)
    requests = tf.reduce_sum(counts)
    return (
        tf.math.divide_no_nan(tf.reduce_sum(weights * losses), requests),
        tf.minimum(requests, 1.0),
    )
