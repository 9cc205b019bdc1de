"""Probabilities of events and of their opposites, both as logarithms, so that neither is lost."""

from __future__ import annotations

import tensorflow as tf

LogProbabilities = tuple[tf.Tensor, tf.Tensor]
"""log p and log (1 - p), float32, of one shape."""


def log_probabilities(logits: tf.Tensor) -> LogProbabilities:
    """Of p = sigmoid(z): ls(z) and ls(-z), ls = log-sigmoid."""
    return tf.math.log_sigmoid(logits), tf.math.log_sigmoid(-logits)


def log_product(first: LogProbabilities, second: LogProbabilities) -> LogProbabilities:
    """Of p q: log p + log q, and, as 1 - p q = (1 - p) + p (1 - q), a log-sum-exp of the rest.

    Args:
      first: Of p.
      second: Of q.
    """
    (is_first, is_not_first), (is_second, is_not_second) = first, second
    # Max, exp and log: right also where both terms are equal, and where one is lost in the other.
    is_not = tf.reduce_logsumexp(tf.stack([is_not_first, is_first + is_not_second]), axis=0)
    return is_first + is_second, is_not
