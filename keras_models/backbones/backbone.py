"""What every backbone is, and what it gives."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, NamedTuple

import tensorflow as tf
import tf_keras as keras

from keras_models.gate_axes import Axes


class BackboneOutput(NamedTuple):
    """What a backbone makes of B examples for K tasks.

    Args:
      hidden: float32 [B, K, H], what the tasks' towers read; None where the backbone scores by
        itself.
      logits: float32 [B, K], added to the towers' logits, or the scores themselves where there is
        no `hidden`; None where there is nothing to add.
      intermediates: Named insides, such as gate weights, each [B, ...].
    """

    hidden: tf.Tensor | None
    logits: tf.Tensor | None
    intermediates: dict[str, tf.Tensor]


class Backbone(keras.layers.Layer):
    """A layer from an example's vector and scenario to what the tasks read of it.

    `call(inputs: float32 [B, I], scenario: int64 [B], training: bool = False) -> BackboneOutput`.
    The constructor takes `num_tasks`, and, by these names, what else it needs to know of the model:
    `num_scenarios` and `field_dims`, the widths of the embedded fields, which come first in
    `inputs`. All other arguments are the user's, and have defaults.

    Attributes:
      supports_xla: Whether XLA can compile it. It cannot where shapes depend on values.
      scores: Whether it scores by itself, so that there are no towers.
      min_scenarios: Scenarios that it needs to make sense.
      reads_split_columns: Whether its inputs may come as `keras_models.split_columns.SplitColumns`,
        of which a ranking request's user is one row: true where it hands them to layers that take
        such, as `StackedDense` does, and looks at them in no other way.
    """

    supports_xla: ClassVar[bool] = True
    scores: ClassVar[bool] = False
    min_scenarios: ClassVar[int] = 1
    reads_split_columns: ClassVar[bool] = False

    def gate_axes(self, tasks: Sequence[str], scenarios: Sequence[str]) -> dict[str, Axes]:
        """Which intermediates are gates to look at; the report draws these and no others.

        Args:
          tasks: Names of the K tasks.
          scenarios: Names of the M scenarios.

        Returns:
          What lies along the axes of each, by the intermediate's name.
        """
        del tasks, scenarios
        return {}
