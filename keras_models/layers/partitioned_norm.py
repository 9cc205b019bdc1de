"""Normalisation by scenario."""

from __future__ import annotations

from typing import Any

import tensorflow as tf
import tf_keras as keras

from keras_models.replicas import sum_over_replicas


class PartitionedNorm(keras.layers.Layer):
    """Batch normalisation with each scenario's own moments, scale and shift.

        y = (gamma * gamma_i) z + (beta + beta_i),  z = (x - mu_i) / sqrt(var_i + epsilon)

    for x of scenario i. In training mu_i and var_i are the mean and the variance (over n, not
    n - 1) of the scenario's examples in the batch, and their moving averages follow; at inference
    they are the moving averages. A scenario with fewer than 2 examples in a training batch has no
    moments there: it uses its moving averages, which stay as they are.

    The t-th batch of a scenario moves its averages by max(1 - momentum, 1 / t) of the way, so that
    they are plain means at first. Moved by 1 - momentum alone, those of a scenario seen in 50
    batches would still be for the most part the 0 and 1 that they start from.

    Args:
      num_scenarios: M.
      momentum: Share of the moving averages that a batch leaves as it is.
      epsilon: Added to the variance.

    Reference: Sheng et al., "One Model to Serve All: Star Topology Adaptive Recommender for
    Multi-Domain CTR Prediction", CIKM 2021.
    """

    def __init__(
        self, num_scenarios: int, momentum: float = 0.99, epsilon: float = 1e-3, **kwargs: Any
    ):
        super().__init__(**kwargs)
        self.num_scenarios = num_scenarios
        self.momentum = momentum
        self.epsilon = epsilon

    def build(self, input_shape: tf.TensorShape) -> None:
        """Makes the weights and the moving averages.

        Args:
          input_shape: [B, I].
        """
        scenarios, width = self.num_scenarios, input_shape[-1]
        # Moments and what is multiplied with them stay float32 under a mixed precision policy.
        keep = {"dtype": tf.float32, "experimental_autocast": False}
        self.gamma = self.add_weight("gamma", [width], initializer="ones", **keep)
        self.scenario_gammas = self.add_weight(
            "scenario_gammas", [scenarios, width], initializer="ones", **keep
        )
        self.beta = self.add_weight("beta", [width], initializer="zeros", **keep)
        self.scenario_betas = self.add_weight(
            "scenario_betas", [scenarios, width], initializer="zeros", **keep
        )
        moving = {
            "trainable": False,
            "synchronization": tf.VariableSynchronization.ON_READ,
            # Replicas share the moments, so their averages are equal.
            "aggregation": tf.VariableAggregation.ONLY_FIRST_REPLICA,
            **keep,
        }
        self.moving_mean = self.add_weight(
            "moving_mean", [scenarios, width], initializer="zeros", **moving
        )
        self.moving_variance = self.add_weight(
            "moving_variance", [scenarios, width], initializer="ones", **moving
        )
        self.batches = self.add_weight("batches", [scenarios], initializer="zeros", **moving)
        super().build(input_shape)

    def call(self, inputs: tf.Tensor, scenario: tf.Tensor, training: bool = False) -> tf.Tensor:
        """Normalises examples.

        Args:
          inputs: float32 [B, I].
          scenario: int64 [B].
          training: Whether to use the batch's moments, and to move the averages.

        Returns:
          float32 [B, I].
        """
        x = tf.cast(inputs, tf.float32)
        mean, variance = tf.identity(self.moving_mean), tf.identity(self.moving_variance)
        if training:
            mean, variance = self._moments(x, scenario, mean, variance)
        gamma = self.gamma * self.scenario_gammas * tf.math.rsqrt(variance + self.epsilon)
        beta = self.beta + self.scenario_betas
        outputs = (x - tf.gather(mean, scenario)) * tf.gather(gamma, scenario)
        return tf.cast(outputs + tf.gather(beta, scenario), self.compute_dtype)

    def _moments(
        self, x: tf.Tensor, scenario: tf.Tensor, moving_mean: tf.Tensor, moving_variance: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """The moments to use in training, float32 [M, I] each, after which the averages moved."""
        examples = self._sum_by_scenario(tf.ones_like(x[:, :1]), scenario)
        at_least_one = tf.maximum(examples, 1.0)
        mean = self._sum_by_scenario(x, scenario) / at_least_one
        deviation = x - tf.gather(mean, scenario)
        variance = self._sum_by_scenario(deviation**2, scenario) / at_least_one

        has_moments = examples >= 2.0
        self.batches.assign_add(tf.cast(has_moments[:, 0], tf.float32))
        share = tf.maximum(1.0 - self.momentum, 1.0 / tf.maximum(self.batches, 1.0))
        share = tf.where(has_moments, share[:, tf.newaxis], 0.0)
        self.moving_mean.assign_add(share * (mean - moving_mean))
        self.moving_variance.assign_add(share * (variance - moving_variance))
        return (
            tf.where(has_moments, mean, moving_mean),
            tf.where(has_moments, variance, moving_variance),
        )

    def _sum_by_scenario(self, x: tf.Tensor, scenario: tf.Tensor) -> tf.Tensor:
        return sum_over_replicas(tf.math.unsorted_segment_sum(x, scenario, self.num_scenarios))

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "num_scenarios": self.num_scenarios,
            "momentum": self.momentum,
            "epsilon": self.epsilon,
        }
