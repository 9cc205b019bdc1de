from __future__ import annotations

import pytest
import tensorflow as tf

from keras_models.layers import Cgc, ExpertBank

B, K, P, S, IN, H = 6, 3, 2, 1, 5, 4


@pytest.mark.parametrize("one_input", [True, False])
@pytest.mark.parametrize("shared_gate", [True, False])
def test_shapes_weights_and_gates(one_input: bool, shared_gate: bool) -> None:
    layer = Cgc(K, P, S, [7, H], shared_gate)
    outputs, gates = layer(tf.random.normal([B, IN] if one_input else [B, K + 1, IN]))
    experts = K * P + S
    assert outputs.shape == (B, K + shared_gate, H)
    shapes = {"task_gates": (B, K, P + S)}
    if shared_gate:
        shapes["shared_gate"] = (B, experts)
    assert {name: tuple(gate.shape) for name, gate in gates.items()} == shapes
    expert_weights = experts * (IN * 7 + 7 + 7 * H + H)
    gate_weights = K * IN * (P + S) + shared_gate * IN * experts
    assert layer.count_params() == expert_weights + gate_weights


def test_an_expert_bank_needs_widths() -> None:
    with pytest.raises(ValueError, match="at least one width"):
        ExpertBank(2, [])


@pytest.mark.parametrize(
    "layer", [Cgc(K, P, S, [H], True), ExpertBank(3, [5, 4], [2, 1])], ids=lambda x: x.name
)
def test_config_round_trip(layer: tf.Module) -> None:
    assert type(layer).from_config(layer.get_config()).get_config() == layer.get_config()
