"""DUPN's behaviour sequence against its equations in float64."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from keras_models.layers.behaviour_sequence import BehaviourSequence
from keras_models.precision import precision

# Sizes that differ, so that no axis is taken for another.
B, T, D, P, Q, H, A = 6, 9, 5, 3, 4, 7, 8
Inputs = tuple[tuple[tf.Tensor, tf.Tensor, tf.Tensor], tf.Tensor]


def _mask() -> np.ndarray:
    """Full, padded in front, padded behind, with gaps, one behaviour, none."""
    mask = np.ones((B, T), bool)
    mask[1, :4] = mask[2, 6:] = mask[3, [0, 2, 3, 7]] = False
    mask[4, :-1] = mask[5] = False
    return mask


def _inputs(dtype: str = "float32") -> Inputs:
    rng = np.random.default_rng(0)
    items, properties, query = (
        tf.constant(rng.normal(size=shape), dtype) for shape in ([B, T, D], [B, T, P], [B, Q])
    )
    return (items, properties, tf.constant(_mask())), query


def _made(dtype: str = "float32", scale: float = 0.7) -> BehaviourSequence:
    """A layer with all weights random, biases too."""
    rng = np.random.default_rng(1)
    with precision(dtype):
        layer = BehaviourSequence(units=H, attention_units=A, name="dupn")
    layer(*_inputs(dtype))
    for weight in layer.trainable_weights:
        weight.assign(rng.normal(size=weight.shape) * scale)
    return layer


def _sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


def _reference(layer: BehaviourSequence, inputs: Inputs) -> tuple[np.ndarray, np.ndarray]:
    """The equations, one user and one behaviour at a time; what is masked is left out."""
    weights = {w.name.removeprefix("dupn/"): w.numpy().astype(np.float64) for w in layer.weights}
    columns = dict(zip("ifog", np.split(np.arange(4 * H), 4), strict=True))
    (items, properties, mask), query = inputs
    users, attention = np.zeros((B, H)), np.zeros((B, T))
    for b in range(B):
        state = cell = np.zeros(H)
        states, scores = [], []
        steps = np.flatnonzero(mask[b])
        for t in steps:
            item, kind = np.float64(items[b, t]), np.float64(properties[b, t])

            def total(gate: str, item: np.ndarray = item, state: np.ndarray = state) -> np.ndarray:
                own = columns[gate]
                from_item = item @ weights["item_kernel:0"][:, own]
                from_state = state @ weights["recurrent_kernel:0"][:, own]
                return from_item + from_state + weights["bias:0"][own]

            take, keep, show = (
                _sigmoid(total(gate) + kind @ weights["property_kernel:0"][:, columns[gate]])
                for gate in "ifo"
            )
            cell = keep * cell + take * np.tanh(total("g"))
            state = show * np.tanh(cell)
            states.append(state)
            hidden = (
                state @ weights["of_states/kernel:0"] + kind @ weights["of_properties/kernel:0"]
            )
            hidden = hidden + np.float64(query[b]) @ weights["of_query/kernel:0"]
            hidden = np.maximum(hidden + weights["of_query/bias:0"], 0)
            scores.append(hidden @ weights["score/kernel:0"][:, 0])
        if len(steps):
            shares = np.exp(np.array(scores) - max(scores))
            attention[b, steps] = shares / shares.sum()
            users[b] = attention[b, steps] @ np.array(states)
    return users, attention


def test_equals_the_equations() -> None:
    layer, inputs = _made(), _inputs()
    user, attention = layer(*inputs)
    expected, expected_attention = _reference(layer, inputs)
    assert user.shape == (B, H) and attention.shape == (B, T)
    np.testing.assert_allclose(user, expected, atol=1e-5)
    np.testing.assert_allclose(attention, expected_attention, atol=1e-5)


def _gradients(layer: BehaviourSequence, inputs: Inputs) -> dict[str, tf.Tensor]:
    """Of some function of the user's vector, to all weights and inputs."""
    (items, properties, mask), query = inputs
    with tf.GradientTape() as tape:
        tape.watch([items, properties, query])
        user, _ = layer((items, properties, mask), query)
        loss = tf.reduce_sum(user * tf.cast(tf.reshape(tf.range(B * H), [B, H]), user.dtype))
    to = {weight.name: weight for weight in layer.trainable_weights}
    return tape.gradient(loss, {**to, "items": items, "properties": properties, "query": query})


def _unrolled(layer: BehaviourSequence, inputs: Inputs) -> dict[str, tf.Tensor]:
    """The same, by TensorFlow's own gradients of the equations written out step by step."""
    (items, properties, mask), query = inputs
    item, kind, recurrent, bias, *attention = layer.trainable_weights
    to_states, to_properties, to_query, query_bias, to_score = attention
    with tf.GradientTape() as tape:
        tape.watch([items, properties, query])
        state = cell = tf.zeros([B, H], items.dtype)
        states, scores = [], []
        for t in range(T):
            total = items[:, t] @ item + state @ recurrent + bias
            gates = tf.sigmoid(total[:, : 3 * H] + properties[:, t] @ kind)
            take, keep, show = tf.split(gates, 3, axis=1)
            new_cell = keep * cell + take * tf.tanh(total[:, 3 * H :])
            state = tf.where(mask[:, t, None], show * tf.tanh(new_cell), state)
            cell = tf.where(mask[:, t, None], new_cell, cell)
            states.append(state)
            hidden = state @ to_states + properties[:, t] @ to_properties
            scores.append(tf.nn.relu(hidden + query @ to_query + query_bias) @ to_score)
        masked = tf.where(mask, tf.concat(scores, axis=1), -1e9)
        shares = tf.nn.softmax(masked) * tf.cast(mask, items.dtype)
        user = tf.einsum("bt,bth->bh", shares, tf.stack(states, axis=1))
        loss = tf.reduce_sum(user * tf.cast(tf.reshape(tf.range(B * H), [B, H]), user.dtype))
    to = {weight.name: weight for weight in layer.trainable_weights}
    return tape.gradient(loss, {**to, "items": items, "properties": properties, "query": query})


@pytest.mark.parametrize("how", ["eager", "graph", "xla"])
def test_gradients_are_those_of_the_equations(how: str) -> None:
    layer, inputs = _made("float64"), _inputs("float64")

    def run(behaviours: tuple[tf.Tensor, ...], query: tf.Tensor) -> tuple:
        inputs = tuple(behaviours), query
        return layer(*inputs), _gradients(layer, inputs)

    if how != "eager":
        unknown = [tf.TensorSpec([None, *part.shape[1:]], part.dtype) for part in inputs[0]]
        run = tf.function(
            run, [tuple(unknown), tf.TensorSpec([None, Q], tf.float64)], jit_compile=how == "xla"
        )
    outputs, gradients = run(*inputs)
    for output, expected in zip(outputs, _reference(layer, inputs), strict=True):
        np.testing.assert_allclose(output, expected, rtol=1e-9, atol=1e-9)
    expected_gradients = _unrolled(layer, inputs)
    assert gradients.keys() == expected_gradients.keys()
    for name, gradient in gradients.items():
        np.testing.assert_allclose(
            gradient, expected_gradients[name], rtol=1e-9, atol=1e-9, err_msg=name
        )


def test_every_weight_gets_a_gradient() -> None:
    layer, ((items, properties, _), query) = _made(), _inputs()
    # Nothing negative and nothing large: no gate is shut and no unit of the attention dead.
    for weight in layer.trainable_weights:
        weight.assign(0.3 * tf.abs(weight))
    behaviours = tf.abs(items), tf.abs(properties), tf.ones([B, T], tf.bool)
    for name, gradient in _gradients(layer, (behaviours, tf.abs(query))).items():
        # Each column: the share of each gate of each unit.
        columns = np.abs(gradient).reshape(-1, gradient.shape[-1]).max(axis=0)
        assert columns.min() > 0, name


def test_what_is_masked_counts_for_nothing() -> None:
    layer, inputs = _made(), _inputs()
    (items, properties, mask), query = inputs
    user, attention = layer(*inputs)
    noise = tf.constant(~_mask()[:, :, None] * 1e3, tf.float32)
    other, _ = layer((items + noise, properties + noise, mask), query)
    np.testing.assert_array_equal(user, other)
    assert (attention.numpy()[~_mask()] == 0).all()
    gradients = _gradients(layer, inputs)
    for name in ("items", "properties"):
        assert (gradients[name].numpy()[~_mask()] == 0).all()
        assert np.abs(gradients[name].numpy()[_mask()]).max(axis=1).min() > 0


@pytest.mark.parametrize("front", [True, False])
def test_where_the_padding_is_does_not_matter(front: bool) -> None:
    """Only the order of the behaviours counts."""
    layer, inputs = _made(), _inputs()
    user, _ = layer(*inputs)
    (items, properties, mask), query = inputs
    order = np.argsort(mask.numpy() if front else ~mask.numpy(), axis=1, kind="stable")
    moved = [tf.gather(part, order, axis=1, batch_dims=1) for part in (items, properties, mask)]
    again, _ = layer(tuple(moved), query)
    np.testing.assert_allclose(again, user, atol=1e-6)


def test_the_order_of_behaviours_matters() -> None:
    layer, ((items, properties, _), query) = _made(), _inputs()
    full = tf.ones([B, T], tf.bool)
    user, _ = layer((items, properties, full), query)
    back, _ = layer((items[:, ::-1], properties[:, ::-1], full), query)
    assert np.abs(user - back).max(axis=1).min() > 0.01


def test_the_property_gates_and_is_no_content() -> None:
    """With nothing in g there is nothing to gate, whatever the property."""
    layer, inputs = _made(), _inputs()
    for weight in (layer.item_kernel, layer.recurrent_kernel, layer.bias):
        value = weight.numpy()
        value[..., 3 * H :] = 0
        weight.assign(value)
    np.testing.assert_array_equal(layer(*inputs)[0], np.zeros((B, H)))


def test_without_any_behaviour_there_is_a_vector_of_zeros_and_a_finite_gradient() -> None:
    layer, ((items, properties, _), query) = _made(), _inputs()
    inputs = (items, properties, tf.zeros([B, T], tf.bool)), query
    user, attention = layer(*inputs)
    np.testing.assert_array_equal(user, np.zeros((B, H)))
    np.testing.assert_array_equal(attention, np.zeros((B, T)))
    for gradient in _gradients(layer, inputs).values():
        np.testing.assert_array_equal(gradient, np.zeros(gradient.shape))


def test_attention_sums_to_one_over_behaviours() -> None:
    _, attention = _made()(*_inputs())
    sums = np.sum(attention, axis=1)
    np.testing.assert_allclose(sums, _mask().any(axis=1), atol=1e-6)
    assert np.ptp(attention.numpy()[0]) > 0.01


def test_extreme_scores_stay_finite() -> None:
    layer, inputs = _made(scale=100.0), _inputs()
    user, _ = layer(*inputs)
    assert np.isfinite(user).all()
    for gradient in _gradients(layer, inputs).values():
        assert np.isfinite(gradient).all()


def test_many_candidates_ask_about_one_user() -> None:
    layer, (behaviours, query) = _made(), _inputs()
    one = tuple(part[3:4] for part in behaviours)
    tiled = tuple(tf.repeat(part, B, axis=0) for part in one)
    for together, apart in zip(layer(one, query), layer(tiled, query), strict=True):
        np.testing.assert_allclose(together, apart, atol=1e-6)


def test_an_example_does_not_depend_on_the_rest_of_the_batch() -> None:
    layer, (behaviours, query) = _made(), _inputs()
    together, _ = layer(behaviours, query)
    for b in range(B):
        alone, _ = layer(tuple(part[b : b + 1] for part in behaviours), query[b : b + 1])
        np.testing.assert_allclose(alone[0], together[b], atol=1e-6)


def test_runs_in_mixed_precision() -> None:
    with precision("mixed_bfloat16"):
        layer = BehaviourSequence(units=H, attention_units=A)
    inputs, reference = _inputs(), _made()
    layer(*inputs)
    layer.set_weights(reference.get_weights())
    user, _ = layer(*inputs)
    assert user.dtype == tf.bfloat16
    # 8 bits a number, through T steps.
    np.testing.assert_allclose(tf.cast(user, tf.float32), reference(*inputs)[0], atol=0.05)
    gradients = _gradients(layer, inputs)
    for weight in layer.trainable_weights:
        assert gradients[weight.name].dtype == tf.float32
        assert np.isfinite(gradients[weight.name]).all()


def test_is_exported(tmp_path: Path) -> None:
    """With its gradient, which is written out, in a SavedModel."""
    layer, ((items, properties, mask), query) = _made(), _inputs()

    class Exported(tf.Module):
        def __init__(self) -> None:
            super().__init__()
            self.layer = layer

        @tf.function(
            input_signature=[
                tf.TensorSpec([None, T, D]),
                tf.TensorSpec([None, T, P]),
                tf.TensorSpec([None, T], tf.bool),
                tf.TensorSpec([None, Q]),
            ]
        )
        def user(self, *inputs: tf.Tensor) -> tf.Tensor:
            return self.layer(inputs[:3], inputs[3])[0]

    tf.saved_model.save(Exported(), str(tmp_path))
    loaded = tf.saved_model.load(str(tmp_path))
    user = loaded.user(items, properties, mask, query)
    np.testing.assert_allclose(user, layer((items, properties, mask), query)[0], atol=1e-6)


@pytest.mark.parametrize(
    "shapes",
    [([B, T, D], [B, T + 1, P], [B, T]), ([B, T, D], [B, T, P], [B, T, 1]), ([B, D], [B, P], [B])],
)
def test_refuses_other_shapes(shapes: tuple[list[int], ...]) -> None:
    with pytest.raises(ValueError, match=r"items \[B, T, D\].* Received: shapes"):
        BehaviourSequence().build(shapes)


@pytest.mark.parametrize("name", ["units", "attention_units"])
def test_refuses_no_width(name: str) -> None:
    with pytest.raises(ValueError, match=f"`{name}` should be at least 1. Received: {name}=0"):
        BehaviourSequence(**{name: 0})


def test_config_round_trip() -> None:
    layer = BehaviourSequence(units=H, attention_units=A)
    assert BehaviourSequence.from_config(layer.get_config()).get_config() == layer.get_config()


def test_starts_by_remembering() -> None:
    layer = BehaviourSequence(units=H)
    layer(*_inputs())
    np.testing.assert_array_equal(layer.bias, np.repeat([0, 1, 0, 0], H))
