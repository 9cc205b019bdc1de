"""Against products of probabilities in float64, where these are exact enough, and beyond."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_models.heads import EsmmHead
from keras_models.precision import precision
from keras_models.tasks import Task

from ..gpu_kernels import for_the_host, moved, needs_registry

CHAIN = [
    Task("pay", after="order"),
    Task("click"),
    Task("order", after="click"),
    Task("like"),
    Task("cart", after="click"),
]
"""Not in the order of the chain, and with two tasks after one."""

_logits = st.lists(
    st.lists(st.floats(-15, 15, width=32), min_size=5, max_size=5), min_size=1, max_size=4
).map(lambda rows: np.array(rows, np.float32))


def _sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


def _joint(logits: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """P(k) and 1 - P(k) in float64; the latter as a sum of what may happen instead."""
    names = [task.name for task in CHAIN]
    columns = np.asarray(logits, np.float64).T
    p = dict(zip(names, _sigmoid(columns), strict=True))
    q = dict(zip(names, _sigmoid(-columns), strict=True))
    order = p["click"] * p["order"]
    no_order = q["click"] + p["click"] * q["order"]
    return {
        "pay": (order * p["pay"], no_order + order * q["pay"]),
        "click": (p["click"], q["click"]),
        "order": (order, no_order),
        "like": (p["like"], q["like"]),
        "cart": (p["click"] * p["cart"], q["click"] + p["click"] * q["cart"]),
    }


def _reference(logits: np.ndarray) -> np.ndarray:
    return np.stack([np.log(p) - np.log(q) for p, q in _joint(logits).values()], axis=1)


@settings(max_examples=100, deadline=None)
@given(_logits)
def test_logits_are_those_of_the_products(logits: np.ndarray) -> None:
    compared = EsmmHead(CHAIN)(tf.constant(logits))
    np.testing.assert_allclose(compared, _reference(logits), rtol=1e-5, atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(_logits)
def test_gradients_are_those_of_the_products(logits: np.ndarray) -> None:
    tensor = tf.constant(logits)
    with tf.GradientTape() as tape:
        tape.watch(tensor)
        compared = EsmmHead(CHAIN)(tensor)
        each = [tf.reduce_sum(compared[:, k]) for k in range(len(CHAIN))]
        total = tf.add_n([(k + 1) * value for k, value in enumerate(each)])
    step, expected = 1e-4, np.zeros(logits.shape)
    for j in range(logits.shape[1]):
        shift = np.zeros(logits.shape[1])
        shift[j] = step
        rise = _reference(logits + shift) - _reference(logits - shift)
        expected[:, j] = (rise / (2 * step)) @ np.arange(1, len(CHAIN) + 1)
    np.testing.assert_allclose(tape.gradient(total, tensor), expected, atol=2e-5)


@pytest.mark.parametrize("size", [1e4, 100.0, 88.0])
def test_extreme_logits_have_finite_values_and_gradients(size: float) -> None:
    values = np.array(np.meshgrid(*[[-size, 0.0, size]] * 5)).reshape(5, -1).T
    logits = tf.constant(values, tf.float32)
    with tf.GradientTape() as tape:
        tape.watch(logits)
        compared = EsmmHead(CHAIN)(logits)
        loss = tf.reduce_sum(
            tf.nn.sigmoid_cross_entropy_with_logits(tf.ones_like(compared), compared)
        )
    assert np.isfinite(compared).all()
    assert np.isfinite(tape.gradient(loss, logits)).all()
    # Of three certain events the joint logit is nearly as high; of one impossible, as low.
    assert compared.numpy()[-1, 0] == pytest.approx(size - np.log(3), rel=1e-5)
    assert compared.numpy()[0, 0] == pytest.approx(-3 * size, rel=1e-5)


def test_what_is_served() -> None:
    logits = tf.constant(np.random.default_rng(0).normal(size=(6, 5)), tf.float32)
    with precision("mixed_bfloat16"):
        head = EsmmHead(CHAIN)
    served = head.outputs(logits)
    assert set(served) == {
        *("pay", "click", "order", "like", "cart"),
        *("pay_given_order", "order_given_click", "cart_given_click"),
    }
    for name, (p, _) in _joint(logits.numpy()).items():
        assert served[name].shape == (6,) and served[name].dtype == tf.float32
        np.testing.assert_allclose(served[name], p, atol=1e-6)
    np.testing.assert_allclose(
        served["order"], served["order_given_click"] * served["click"], atol=1e-6
    )


def test_its_config_makes_it_again() -> None:
    logits = tf.constant([[0.1, 0.2, 0.3, 0.4, 0.5]])
    head = EsmmHead(CHAIN)
    np.testing.assert_array_equal(EsmmHead.from_config(head.get_config())(logits), head(logits))


@pytest.mark.parametrize(
    ("tasks", "said"),
    [
        (["a", "b"], "one that comes `after` another. Received: none"),
        ([Task("a", after="b")], "`after` of task `a` should be one of a. Received: b"),
        ([Task("a", after="b"), Task("b", after="a"), Task("c")], "a, b lead in a circle"),
        ([Task("a", after="a")], "a lead in a circle"),
        (
            [Task("a", kind="regression"), Task("b", after="a")],
            "`b` comes after `a`, so both should be binary. Received: `a` is of kind regression",
        ),
    ],
)
def test_refuses_what_is_no_chain(tasks: list[Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        EsmmHead(tasks)


@needs_registry
def test_every_op_has_a_gpu_kernel() -> None:
    head = EsmmHead(CHAIN)
    for function in (head, head.outputs):
        graph = tf.function(function, [tf.TensorSpec([None, 5])], autograph=False)
        traced = graph.get_concrete_function().graph
        assert for_the_host(traced) == [] and moved(traced) == []
