"""Plain float64 pieces of the equations, and what has to hold for each backbone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import tensorflow as tf
import tf_keras as keras

from keras_models.backbones.backbone import BackboneOutput
from keras_models.precision import precision

Backbone = keras.layers.Layer


def softmax(z: np.ndarray) -> np.ndarray:
    e = np.exp(z - z.max())
    return e / e.sum()


def mlp(weights: dict[str, np.ndarray], prefix: str, n: int, z: np.ndarray) -> np.ndarray:
    """The n-th of the MLPs side by side whose layers are `prefix`1, `prefix`2, ...; all ReLU."""
    layer = 1
    while f"{prefix}{layer}/kernel" in weights:
        kernel, bias = (weights[f"{prefix}{layer}/{name}"] for name in ("kernel", "bias"))
        z = np.maximum(z @ kernel[:, n] + bias[n], 0)
        layer += 1
    return z


def randomize(backbone: Backbone, inputs: np.ndarray, scenario: np.ndarray) -> None:
    """Builds it and draws all weights, biases too."""
    backbone(inputs, scenario)
    rng = np.random.default_rng(1)
    for weight in backbone.trainable_weights:
        weight.assign(rng.normal(size=weight.shape) * 0.7)


def weights_of(backbone: Backbone) -> dict[str, np.ndarray]:
    """Its weights in float64, by name without the backbone's own."""
    return {
        weight.name.partition("/")[2].removesuffix(":0"): weight.numpy().astype(np.float64)
        for weight in backbone.weights
    }


def tensors_of(output: BackboneOutput) -> dict[str, tf.Tensor]:
    named = {"hidden": output.hidden, "logits": output.logits, **output.intermediates}
    return {name: tensor for name, tensor in named.items() if tensor is not None}


def every_weight_gets_a_gradient(backbone: Backbone, inputs: int, scenarios: int) -> None:
    """Each expert's, gate's and scenario's share of each weight: a wrong index leaves one out."""
    rng = np.random.default_rng(3)
    batch = rng.uniform(size=[64, inputs]).astype(np.float32)
    scenario = rng.integers(scenarios, size=64)
    randomize(backbone, batch, scenario)
    # Nothing negative and nothing large: no unit is dead and no gate shut, so that a gradient of
    # zero is a mistake.
    for weight in backbone.trainable_weights:
        weight.assign(0.3 * tf.abs(weight))
    with tf.GradientTape() as tape:
        output = backbone(batch, scenario)
        made = output.logits if output.hidden is None else output.hidden
        loss = tf.reduce_sum(made**2)
    gradients = tape.gradient(loss, backbone.trainable_weights)
    for weight, gradient in zip(backbone.trainable_weights, gradients, strict=True):
        assert gradient is not None, weight.name
        shares = np.moveaxis(np.atleast_2d(gradient), -2, 0)
        assert np.abs(shares).reshape(len(shares), -1).max(axis=1).min() > 0, weight.name


def matrices_start_different(backbone: Backbone, inputs: int) -> None:
    """The kernels side by side in a weight, and those of one shape in different weights."""
    backbone(tf.zeros([1, inputs]), tf.zeros([1], tf.int64))
    drawn = [
        kernel
        for weight in backbone.trainable_weights
        if np.ptp(weight.numpy()) > 0
        for kernel in (np.moveaxis(weight.numpy(), 1, 0) if weight.shape.rank == 3 else [weight])
    ]
    for n, kernel in enumerate(drawn):
        for other in drawn[:n]:
            if kernel.shape == other.shape:
                assert np.abs(kernel - other).max() > 1e-4


def an_example_stands_alone(backbone: Backbone, inputs: np.ndarray, scenario: np.ndarray) -> None:
    together = tensors_of(backbone(inputs, scenario))
    for b in range(len(inputs)):
        alone = tensors_of(backbone(inputs[b : b + 1], scenario[b : b + 1]))
        for name, tensor in alone.items():
            np.testing.assert_allclose(tensor[0], together[name][b], atol=1e-5, rtol=1e-5)


def compiles(backbone: Backbone, inputs: np.ndarray, scenario: np.ndarray) -> None:
    """Outputs and gradients: traced with an unknown batch size, and by XLA."""

    def run(inputs: tf.Tensor, scenario: tf.Tensor) -> tuple[list[tf.Tensor], list[tf.Tensor]]:
        with tf.GradientTape() as tape:
            outputs = tensors_of(backbone(inputs, scenario, training=True))
            loss = tf.reduce_sum(outputs["hidden" if "hidden" in outputs else "logits"] ** 2)
        return list(outputs.values()), tape.gradient(loss, backbone.trainable_weights)

    expected = run(inputs, scenario)
    unknown = [tf.TensorSpec([None, inputs.shape[1]]), tf.TensorSpec([None], tf.int64)]
    for compiled in (tf.function(run, unknown), tf.function(run, jit_compile=True)):
        results = compiled(tf.constant(inputs), tf.constant(scenario))
        for result, value in zip(tf.nest.flatten(results), tf.nest.flatten(expected), strict=True):
            scale = 1 + np.abs(value).max()
            np.testing.assert_allclose(result / scale, value / scale, atol=1e-5)


def runs_in_bfloat16(
    make: Callable[[], Backbone], inputs: np.ndarray, scenario: np.ndarray
) -> None:
    """Computes in bfloat16 on float32 weights, and gives about what float32 gives."""
    reference = make()
    randomize(reference, inputs, scenario)
    with precision("mixed_bfloat16"):
        backbone = make()
    backbone(inputs, scenario)
    backbone.set_weights(reference.get_weights())
    with tf.GradientTape() as tape:
        outputs = tensors_of(backbone(inputs, scenario))
        loss = tf.add_n([tf.reduce_sum(tf.cast(t, tf.float32)) for t in outputs.values()])
    expected = tensors_of(reference(inputs, scenario))
    for name, tensor in outputs.items():
        # A tower gives its logits in float32.
        assert tensor.dtype == tf.bfloat16 or name == "logits", name
        scale = np.abs(expected[name]).max()
        # 8 bits a number, through a few layers.
        np.testing.assert_allclose(tf.cast(tensor, tf.float32), expected[name], atol=0.05 * scale)
    for weight, gradient in zip(
        backbone.trainable_weights,
        tape.gradient(loss, backbone.trainable_weights),
        strict=True,
    ):
        assert weight.dtype == gradient.dtype == tf.float32
        assert np.isfinite(gradient).all(), weight.name


def round_trips(backbone: Backbone) -> None:
    config = backbone.get_config()
    assert type(backbone).from_config(config).get_config() == config
