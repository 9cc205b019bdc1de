"""Hybrid of implicit and explicit Mixture-of-Experts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from keras_models.backbones.backbone import Backbone, BackboneOutput
from keras_models.gate_axes import Axes, numbered
from keras_models.layers.expert_bank import ExpertBank
from keras_models.layers.gate_softmax import gate_softmax
from keras_models.layers.stacked_dense import StackedDense
from keras_models.split_columns import Columns


class Hmoe(Backbone):
    """Every scenario scores every example; an example's scenario mixes these scores.

    The implicit part mixes E shared experts f with one gate a scenario, m = 1 .. M, and a tower a
    scenario and task makes z_m,k of the mix:

        h_m = sum_e softmax(x W_m)_e f_e(x)
        z_m,k = tower_m,k(h_m)

    The explicit part mixes in the label space, that is, probabilities. For an example of scenario i

        p_k = sum_m g_i,m(x) sigmoid(z_m,k),  g_i = softmax(x V_i) over the M scenarios

    where no gradient flows through z_m,k of m != i, so that an example trains the gates and towers
    of its own scenario only, and the experts through its own scenario's score only.

    The output is the logit log p_k - log(1 - p_k), by two log-sum-exps: both 1 - p_k and p_k are
    mixtures, of sigmoid(-z) and sigmoid(z), so neither is a difference.

    The paper has one task a scenario. Here the gates are the scenario's and shared by its K tasks.
    That a mix is of probabilities follows the paper's title; that g is one linear map without bias
    and a softmax follows the implicit gates.

    Args:
      num_tasks: K.
      num_scenarios: M, at least 2: the softmax over a single scenario is 1 whatever the gate says.
      num_experts: E, at least 2 for the same reason.
      expert_units: Layer widths of an expert.
      tower_units: Hidden layer widths of a tower; none makes it linear.

    Reference: Li et al., "Improving Multi-Scenario Learning to Rank in E-commerce by Exploiting
    Task Relationships in the Label Space", CIKM 2020.
    """

    scores = True
    min_scenarios = 2
    reads_split_columns = True

    def __init__(
        self,
        num_tasks: int,
        *,
        num_scenarios: int,
        num_experts: int = 8,
        expert_units: Sequence[int] = (64,),
        tower_units: Sequence[int] = (32,),
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        if num_scenarios < 2:
            raise ValueError(
                f"`num_scenarios` should be at least 2. Received: num_scenarios={num_scenarios}"
            )
        if num_experts < 2:
            raise ValueError(
                f"`num_experts` should be at least 2. Received: num_experts={num_experts}"
            )
        self.num_tasks = num_tasks
        self.num_scenarios = num_scenarios
        self.num_experts = num_experts
        self.expert_units = list(expert_units)
        self.tower_units = list(tower_units)
        self._experts = ExpertBank(num_experts, expert_units, name="experts")
        self._expert_gates = StackedDense(
            num_scenarios, num_experts, use_bias=False, name="expert_gates"
        )
        self._scenario_gates = StackedDense(
            num_scenarios, num_scenarios, use_bias=False, name="scenario_gates"
        )
        self._towers = [
            StackedDense(
                num_scenarios * num_tasks,
                width,
                "relu" if i <= len(tower_units) else None,
                # The K towers of a scenario read its one mix; further layers read their own output.
                readers=[num_tasks] * num_scenarios if i == 1 else None,
                name=f"towers_{i}",
            )
            for i, width in enumerate([*tower_units, 1], start=1)
        ]

    def call(self, inputs: Columns, scenario: tf.Tensor, training: bool = False) -> BackboneOutput:
        """Scores examples.

        Args:
          inputs: float32 [B, I], or split columns.
          scenario: int64 [B], each below M.
          training: Not read; training and inference are alike.

        Returns:
          `logits` float32 [B, K]; named insides `expert_gates` float32 [B, M, E], `scenario_gate`
          float32 [B, M], that of the example's scenario, and `scenario_scores` float32 [B, M, K],
          the logits z.
        """
        own = tf.one_hot(scenario, self.num_scenarios, dtype=self.compute_dtype)[:, :, tf.newaxis]
        expert_gates = gate_softmax(self._expert_gates(inputs))
        outputs = tf.matmul(expert_gates, self._experts(inputs))
        for layer in self._towers:
            outputs = layer(outputs)
        scores = tf.reshape(outputs, [-1, self.num_scenarios, self.num_tasks])
        constrained = tf.where(own > 0, scores, tf.stop_gradient(scores))

        gate_logits = tf.reduce_sum(own * self._scenario_gates(inputs), axis=1)
        log_gate = tf.nn.log_softmax(gate_logits, axis=-1)[:, :, tf.newaxis]
        # [log sigmoid(z) ; log sigmoid(-z)]; Softplus, for the same, has no bfloat16 GPU kernel.
        log_both = tf.nn.log_softmax(tf.stack([constrained, tf.zeros_like(scores)], axis=3), axis=3)
        log_mixed = tf.reduce_logsumexp(log_gate[:, :, tf.newaxis] + log_both, axis=1)
        return BackboneOutput(
            None,
            log_mixed[:, :, 0] - log_mixed[:, :, 1],
            {
                "expert_gates": expert_gates,
                "scenario_gate": tf.exp(log_gate[:, :, 0]),
                "scenario_scores": scores,
            },
        )

    def gate_axes(self, tasks: Sequence[str], scenarios: Sequence[str]) -> dict[str, Axes]:
        """The implicit gates over the experts and the explicit ones over the scenarios' scores."""
        return {
            "expert_gates": {
                "gate of scenario": scenarios,
                "expert": numbered("expert", self.num_experts),
            },
            "scenario_gate": {"score of scenario": scenarios},
        }

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "num_tasks": self.num_tasks,
            "num_scenarios": self.num_scenarios,
            "num_experts": self.num_experts,
            "expert_units": self.expert_units,
            "tower_units": self.tower_units,
        }
