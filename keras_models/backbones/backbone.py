"""What every backbone gives."""

from __future__ import annotations

from typing import NamedTuple

import tensorflow as tf


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
