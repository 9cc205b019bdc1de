"""DCN-v2 against its equations in float64."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from keras_models.backbones.dcn_v2 import DcnV2

from . import checks

# Sizes that differ, so that no axis is taken for another.
B, IN, K, M, R, L = 7, 6, 3, 2, 4, 3
UNITS = [8, 5]
RNG = np.random.default_rng(0)
INPUTS = RNG.normal(size=(B, IN)).astype(np.float32)
SCENARIO = RNG.integers(M, size=B)

every_form = pytest.mark.parametrize(
    ("rank", "structure"),
    [(None, "stacked"), (None, "parallel"), (R, "stacked"), (R, "parallel")],
)


def _make(rank: int | None, structure: str) -> DcnV2:
    return DcnV2(K, cross_layers=L, rank=rank, units=UNITS, structure=structure)


def _made(rank: int | None, structure: str) -> DcnV2:
    backbone = _make(rank, structure)
    checks.randomize(backbone, INPUTS, SCENARIO)
    return backbone


def _reference(weights: dict[str, np.ndarray], structure: str) -> np.ndarray:
    """The equations one example and one component at a time."""
    outputs = []
    for x in INPUTS.astype(np.float64):
        crossed = x
        for i in range(1, L + 1):
            if f"cross_{i}_kernel" in weights:
                matrix = weights[f"cross_{i}_kernel"]
            else:
                matrix = weights[f"cross_{i}_down"] @ weights[f"cross_{i}_up"]
            crossed = np.array(
                [
                    x[j] * (crossed @ matrix[:, j] + weights[f"cross_{i}_bias"][j]) + crossed[j]
                    for j in range(IN)
                ]
            )
        if structure == "stacked":
            outputs.append(checks.mlp(weights, "deep/layer_", 0, crossed))
        else:
            deep = checks.mlp(weights, "deep/layer_", 0, x)
            outputs.append(np.concatenate([crossed, deep]))
    return np.array(outputs)


@every_form
def test_equals_the_equations(rank: int | None, structure: str) -> None:
    backbone = _made(rank, structure)
    output = backbone(INPUTS, SCENARIO)
    expected = np.repeat(_reference(checks.weights_of(backbone), structure)[:, None], K, axis=1)
    width = UNITS[-1] + (IN if structure == "parallel" else 0)
    assert output.hidden.shape == (B, K, width)
    # Three products of the input: outputs reach the hundreds.
    np.testing.assert_allclose(output.hidden, expected, atol=1e-5, rtol=1e-5)
    assert output.logits is None
    assert output.intermediates == {}


def test_a_layer_by_hand() -> None:
    backbone = DcnV2(1, cross_layers=1, units=[1], structure="parallel")
    inputs = tf.constant([[2.0, 3.0]])
    backbone(inputs, [0])
    weights = {weight.name.partition("/")[2]: weight for weight in backbone.weights}
    weights["cross_1_kernel:0"].assign([[1.0, 10.0], [100.0, 1000.0]])
    weights["cross_1_bias:0"].assign([7.0, 0.5])
    # 2 (2 * 1 + 3 * 100 + 7) + 2 and 3 (2 * 10 + 3 * 1000 + 0.5) + 3
    np.testing.assert_allclose(backbone(inputs, [0]).hidden[0, 0, :2], [620.0, 9064.5])


@every_form
def test_weight_count(rank: int | None, structure: str) -> None:
    cross = L * (IN * IN if rank is None else 2 * IN * R) + L * IN
    assert _made(rank, structure).count_params() == cross + IN * 8 + 8 + 8 * 5 + 5


def test_refuses_bad_arguments() -> None:
    with pytest.raises(ValueError, match="`cross_layers` should be at least 1. Received: .*=0"):
        DcnV2(K, cross_layers=0)
    with pytest.raises(ValueError, match="`rank` should be at least 1, or None. Received: .*=0"):
        DcnV2(K, rank=0)
    with pytest.raises(ValueError, match="`structure` should be .* Received: structure=beside"):
        DcnV2(K, structure="beside")
