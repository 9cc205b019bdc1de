"""The examples of a batch by scenario."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf


class ScenarioGroups:
    """Brings the examples of each scenario together, and back into their order.

    With weights of its own for each scenario, a layer is then one product a scenario, of as many
    rows as the scenario has in the batch: all products together are as large as one for the whole
    batch, however many scenarios there are, and no example's weights are copied.

    How many examples a scenario has is known only when the batch is there, so XLA, which wants
    fixed shapes, cannot compile this. Blocks of a fixed size and one scenario each, which it can,
    were slower: small ones for the weights that are copied, large ones for their padding.

    Args:
      scenario: int64 [B], each from 0 to M - 1.
      num_scenarios: M.
    """

    def __init__(self, scenario: tf.Tensor, num_scenarios: int):
        positions = tf.range(tf.size(scenario, tf.int64))
        groups = tf.dynamic_partition(positions, tf.cast(scenario, tf.int32), num_scenarios)
        self._sizes = tf.stack([tf.size(group) for group in groups])
        self._order = tf.concat(groups, axis=0)
        self._inverse = tf.scatter_nd(
            self._order[:, tf.newaxis], positions, tf.shape(scenario, tf.int64)
        )

    def group(self, examples: tf.Tensor) -> list[tf.Tensor]:
        """The examples of each scenario, in their order.

        Args:
          examples: [B, ...].

        Returns:
          M tensors [b, ...], whose b differ and add up to B.
        """
        in_order = _permuted(examples, self._order, self._inverse)
        return tf.split(in_order, self._sizes, num=self._sizes.shape[0])

    def ungroup(self, groups: Sequence[tf.Tensor]) -> tf.Tensor:
        """The examples in the order of the batch.

        Args:
          groups: M tensors [b, ...], as `group` gives them.

        Returns:
          [B, ...].
        """
        return _permuted(tf.concat(groups, axis=0), self._inverse, self._order)


def _permuted(examples: tf.Tensor, order: tf.Tensor, inverse: tf.Tensor) -> tf.Tensor:
    """The examples in another order; so is the gradient, where `gather`'s own would add it up."""

    @tf.custom_gradient
    def permute(examples: tf.Tensor) -> tuple[tf.Tensor, Callable[[tf.Tensor], tf.Tensor]]:
        return tf.gather(examples, order), lambda gradient: tf.gather(gradient, inverse)

    return permute(examples)
