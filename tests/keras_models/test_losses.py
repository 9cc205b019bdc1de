"""Values and gradients against the equations in NumPy float64."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_models.losses import TaskLosses, scenario_weights, symmetric_kl
from keras_models.precision import precision
from keras_models.tasks import Task

from .gpu_kernels import for_the_host, moved, needs_registry

B, M = 12, 3
TASKS = [
    Task("click", 2.0, gamma=0.5),
    Task("ratio", 0.7, kind="regression"),
    Task("power", 1.5, kind="multiclass", classes=3, gamma=1.1),
    Task("order", 0.3, kind="ranking"),
    Task("list", 0.9, kind="ranking", ranking_loss="listwise"),
    Task("buy"),
    Task("both"),
]
COLUMN = {"click": 0, "ratio": 1, "power": slice(2, 5), "order": 5, "list": 6, "buy": 7, "both": 8}
L = 9


def _batch(seed: int, size: int = B) -> dict[str, np.ndarray]:
    """Labels of every kind, spaces with holes, requests of one to several rows."""
    rng = np.random.default_rng(seed)
    labels = np.stack(
        [
            rng.integers(0, 2, size),
            rng.normal(size=size),
            rng.integers(0, 3, size),
            rng.integers(0, 2, size),
            rng.integers(0, 4, size),
            rng.integers(0, 2, size),
            rng.integers(0, 2, size),
        ],
        axis=1,
    )
    return {
        "labels": labels.astype(np.float32),
        "logits": rng.normal(scale=2, size=(size, L)).astype(np.float32),
        "scenario": rng.integers(0, M, size),
        "spaces": (rng.random((size, len(TASKS))) < 0.7).astype(np.float32),
        # As fingerprints are: far apart, of both signs.
        "request": rng.choice(np.array([-(2**62), 5, 2**61, -1]), size),
    }


def _bce(y: np.ndarray, z: np.ndarray) -> np.ndarray:
    return np.logaddexp(0, z) - z * y


def _reference(
    batch: dict[str, np.ndarray],
    epoch: int = 0,
    of_scenario: np.ndarray | None = None,
    log_variances: np.ndarray | None = None,
    kl: list[tuple[int, int, int, float]] = [],  # noqa: B006 - never changed
) -> float:
    """The whole loss, one example, pair and request after the other."""
    y, z, d, of = (np.asarray(batch[n]) for n in ("labels", "logits", "spaces", "request"))
    y, z = y.astype(np.float64), z.astype(np.float64)
    rows = range(len(y))
    v = np.ones(len(y)) if of_scenario is None else of_scenario[batch["scenario"]]
    total = 0.0
    for k, task in enumerate(TASKS):
        column = COLUMN[task.name]
        inside = [i for i in rows if d[i, k]]
        terms: list[float] = []
        if task.kind == "binary":
            terms = [v[i] * _bce(y[i, k], z[i, column]) for i in inside]
        elif task.kind == "regression":
            terms = [v[i] * (z[i, column] - y[i, k]) ** 2 for i in inside]
        elif task.kind == "multiclass":
            logs = [z[i, column] - np.log(np.exp(z[i, column]).sum()) for i in inside]
            terms = [-v[i] * log[int(y[i, k])] for i, log in zip(inside, logs, strict=True)]
        elif task.ranking_loss == "pairwise":
            terms = [
                v[i] * np.logaddexp(0, z[j, column] - z[i, column])
                for i in inside
                for j in inside
                if of[i] == of[j] and y[i, k] > y[j, k]
            ]
        else:
            for request in {of[i] for i in inside}:
                members = [i for i in inside if of[i] == request]
                relevance = y[members, k]
                if len(set(relevance)) > 1:
                    logs = z[members, column] - np.log(np.exp(z[members, column]).sum())
                    terms.append(-(v[members] * relevance * logs).sum() / relevance.sum())
        loss = float(np.mean(terms)) if terms else 0.0
        if log_variances is not None:
            s = log_variances[k]
            scale = 0.5 if task.kind == "regression" else 1.0
            loss = scale * np.exp(-s) * loss + s / 2 if terms else 0.0
        total += task.weight * task.gamma**epoch * loss
    for a, b, c, weight in kl:
        p, q = _sigmoid(z[:, a]) * _sigmoid(z[:, b]), _sigmoid(z[:, c])
        forward = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
        backward = q * np.log(q / p) + (1 - q) * np.log((1 - q) / (1 - p))
        total += weight * np.mean(v * (forward + backward))
    return total


def _sigmoid(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z))


def _gradient(function: Callable[[np.ndarray], float], at: np.ndarray) -> np.ndarray:
    """Central differences in float64."""
    step, gradient = 1e-5, np.zeros(at.shape)
    for place in np.ndindex(at.shape):
        shift = np.zeros(at.shape)
        shift[place] = step
        gradient[place] = (function(at + shift) - function(at - shift)) / (2 * step)
    return gradient


def _run(
    losses: TaskLosses, batch: dict[str, np.ndarray], epoch: int = 0
) -> tuple[float, np.ndarray, list[np.ndarray]]:
    """The loss, its gradient by the logits and by the layer's own weights."""
    logits = tf.constant(batch["logits"])
    with tf.GradientTape() as tape:
        tape.watch(logits)
        loss = losses(
            *(batch["labels"], logits, batch["scenario"], batch["spaces"], batch["request"]),
            tf.constant(epoch, tf.int64),
        )
    by_logits, *by_weights = tape.gradient(loss, [logits, *losses.trainable_variables])
    assert loss.dtype == tf.float32 and loss.shape == ()
    return float(loss), by_logits.numpy(), [gradient.numpy() for gradient in by_weights]


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), size=st.integers(1, B), epoch=st.integers(0, 3))
def test_the_sum_over_all_kinds_and_its_gradient(seed: int, size: int, epoch: int) -> None:
    batch = _batch(seed, size)
    value, gradient, _ = _run(TaskLosses(TASKS), batch, epoch)
    assert value == pytest.approx(_reference(batch, epoch), rel=1e-5, abs=1e-5)
    numeric = _gradient(lambda z: _reference({**batch, "logits": z}, epoch), batch["logits"])
    np.testing.assert_allclose(gradient, numeric, atol=1e-5)


@pytest.mark.parametrize(("epoch", "t"), [(0, 0), (1, 1), (2, 2), (3, 2), (1000, 2)])
def test_weights_stay_when_their_decay_is_over(epoch: int, t: int) -> None:
    batch = _batch(3, B)
    losses = TaskLosses(TASKS, decay_epochs=3)
    value, *_ = _run(TaskLosses.from_config(losses.get_config()), batch, epoch)
    assert value == pytest.approx(_reference(batch, t), rel=1e-5)
    with pytest.raises(ValueError, match="`decay_epochs` should be at least 1"):
        TaskLosses(TASKS, decay_epochs=0)


@pytest.mark.parametrize("epoch", [0, 2])
def test_all_weights_multiply(epoch: int) -> None:
    batch, of_scenario = _batch(3), np.array([0.5, 2.0, 4.0])
    log_variances = np.linspace(-0.5, 0.7, len(TASKS))
    bounds = [("click", "buy", "both", 0.4), ("both", "click", "buy", 1.5)]
    columns = [(0, 7, 8, 0.4), (8, 0, 7, 1.5)]
    losses = TaskLosses(
        TASKS, weighting="uncertainty", scenario_weights=of_scenario, kl_bounds=bounds
    )
    (weight,) = losses.trainable_variables
    assert weight.numpy().tolist() == [0.0] * len(TASKS)
    weight.assign(log_variances)
    value, by_logits, (by_s,) = _run(losses, batch, epoch)

    def reference(z: Any = batch["logits"], s: Any = log_variances) -> float:
        return _reference({**batch, "logits": z}, epoch, of_scenario, s, columns)

    assert value == pytest.approx(reference(), rel=1e-5)
    np.testing.assert_allclose(by_logits, _gradient(reference, batch["logits"]), atol=1e-5)
    numeric = _gradient(lambda s: reference(s=s), log_variances)
    np.testing.assert_allclose(by_s, numeric, atol=1e-5)


def test_a_task_without_an_example_adds_nothing() -> None:
    batch = {**_batch(0), "spaces": np.zeros((B, len(TASKS)), np.float32)}
    losses = TaskLosses(TASKS, weighting="uncertainty")
    losses.trainable_variables[0].assign(np.full(len(TASKS), 3.0))
    value, by_logits, (by_s,) = _run(losses, batch)
    assert value == 0.0 and not by_logits.any() and not by_s.any()


def test_one_request_a_row_ranks_nothing() -> None:
    batch = {**_batch(0), "request": np.arange(B)}
    batch["spaces"] = np.zeros_like(batch["spaces"])
    batch["spaces"][:, 3:5] = 1
    value, by_logits, _ = _run(TaskLosses(TASKS), batch)
    assert value == 0.0 and not by_logits.any()


def test_no_spaces_are_all_of_space() -> None:
    batch = _batch(1)
    everywhere = {**batch, "spaces": np.ones_like(batch["spaces"])}
    bare = TaskLosses(TASKS)(
        batch["labels"], batch["logits"], batch["scenario"], request=batch["request"]
    )
    assert float(bare) == pytest.approx(_run(TaskLosses(TASKS), everywhere)[0])


@pytest.mark.parametrize("size", [1e4, -1e4])
def test_extreme_logits_are_finite(size: float) -> None:
    batch = _batch(5)
    signs = np.random.default_rng(0).choice([-1.0, 1.0], batch["logits"].shape)
    batch["logits"] = (size * signs).astype(np.float32)
    losses = TaskLosses(TASKS, weighting="uncertainty", kl_bounds=[("click", "buy", "both", 1.0)])
    value, by_logits, (by_s,) = _run(losses, batch)
    assert math.isfinite(value) and value > 1e3
    assert np.isfinite(by_logits).all() and np.isfinite(by_s).all()


def test_a_mixed_policy_changes_nothing() -> None:
    with precision("mixed_bfloat16"):
        mixed = TaskLosses(TASKS, weighting="uncertainty")
    batch = _batch(2)
    assert _run(mixed, batch)[0] == _run(TaskLosses(TASKS, weighting="uncertainty"), batch)[0]


def _everything() -> TaskLosses:
    return TaskLosses(
        TASKS,
        weighting="uncertainty",
        scenario_weights=[1.0, 2.0, 0.5],
        kl_bounds=[("click", "buy", "both", 1.0)],
    )


def _step(losses: TaskLosses) -> Callable[..., tuple[tf.Tensor, ...]]:
    def step(*inputs: tf.Tensor) -> tuple[tf.Tensor, ...]:
        with tf.GradientTape() as tape:
            tape.watch(inputs[1])
            loss = losses(*inputs)
        return loss, *tape.gradient(loss, [inputs[1], *losses.trainable_variables])

    return step


def test_xla_compiles_it_to_the_same() -> None:
    losses, batch = _everything(), _batch(4)
    inputs = [tf.constant(value) for value in batch.values()] + [tf.constant(2, tf.int64)]
    compiled = tf.function(_step(losses), jit_compile=True, autograph=False)
    for plain, fused in zip(_step(losses)(*inputs), compiled(*inputs), strict=True):
        np.testing.assert_allclose(fused, plain, atol=1e-5)


@needs_registry
@pytest.mark.parametrize("xla", [False, True])
def test_every_op_has_a_gpu_kernel(xla: bool) -> None:
    step = tf.function(_step(_everything()), autograph=False, jit_compile=xla or None)
    size = B if xla else None
    spec = [
        tf.TensorSpec([size, len(TASKS)]),
        tf.TensorSpec([size, L]),
        tf.TensorSpec([size], tf.int64),
        tf.TensorSpec([size, len(TASKS)]),
        tf.TensorSpec([size], tf.int64),
        tf.TensorSpec([], tf.int64),
    ]
    outer = tf.function(lambda *inputs: step(*inputs), spec, autograph=False)
    graph = outer.get_concrete_function().graph
    assert for_the_host(graph) == []
    assert moved(graph) == []


def test_its_config_makes_it_again() -> None:
    losses, batch = _everything(), _batch(6)
    again = TaskLosses.from_config(losses.get_config())
    assert _run(again, batch)[0] == _run(losses, batch)[0]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"weighting": "gradnorm"}, "one of fixed, uncertainty. Received: gradnorm"),
        ({"kl_bounds": [("click", "buy", "ratio", 1.0)]}, r"binary tasks \(click, buy, both\)"),
        ({"kl_bounds": [("click", "click", "both", 1.0)]}, "three of the binary tasks"),
        ({"kl_bounds": [("click", "buy", "both", 0.0)]}, "a weight above 0"),
    ],
)
def test_refuses_what_does_not_fit(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        TaskLosses(TASKS, **arguments)


def test_ranking_asks_for_requests() -> None:
    batch = _batch(0)
    with pytest.raises(ValueError, match="`request` .* task `order`"):
        TaskLosses(TASKS)(batch["labels"], batch["logits"], batch["scenario"])


@settings(max_examples=200, deadline=None)
@given(*[st.floats(-8, 8, width=32)] * 3)
def test_symmetric_kl_is_the_sum_of_both_divergences(a: float, b: float, c: float) -> None:
    p, q = _sigmoid(np.float64(a)) * _sigmoid(np.float64(b)), _sigmoid(np.float64(c))
    both = p * np.log(p / q) + q * np.log(q / p)
    both += (1 - p) * np.log((1 - p) / (1 - q)) + (1 - q) * np.log((1 - q) / (1 - p))
    value = symmetric_kl(*(tf.constant([z], tf.float32) for z in (a, b, c)))
    assert float(value[0]) == pytest.approx(both, rel=1e-4, abs=1e-5)
    assert float(value[0]) >= 0


def test_symmetric_kl_of_extremes() -> None:
    size = tf.constant([1e4, 1e4, -1e4, 1e4, -1e4])
    other = tf.constant([1e4, -1e4, -1e4, 1e4, 1e4])
    whole = tf.constant([-1e4, 1e4, -2e4, 1e4, 1e4])
    value = symmetric_kl(size, other, whole).numpy()
    # (p - q) (logit p - logit q): certain against impossible, both ways; equal at both ends.
    np.testing.assert_allclose(value, [2e4, 2e4, 0.0, 0.0, 2e4], rtol=1e-3, atol=1e-5)


@settings(max_examples=200, deadline=None)
@given(
    counts=st.lists(st.integers(0, 10**7), min_size=1, max_size=8),
    cap=st.none() | st.floats(1, 100),
)
def test_scenario_weights_keep_the_mean_and_the_cap(counts: list[int], cap: float | None) -> None:
    n, v = np.array(counts, np.float64), scenario_weights(counts, cap).astype(np.float64)
    assert v.dtype == np.float64 and v.shape == n.shape
    if n.sum():
        assert (n * v).sum() == pytest.approx(n.sum(), rel=1e-5)
    assert (v[n == 0] == 1).all()
    if cap is not None:
        assert (v <= cap * (1 + 1e-6)).all()
    # Those below the cap count for as much as each other, and for as much as a capped one at least.
    free = (n > 0) & (v < (np.inf if cap is None else cap * (1 - 1e-6)))
    if free.any():
        shares = (n * v)[free]
        assert shares == pytest.approx(shares[0], rel=1e-5)
        assert (n * v)[n > 0].max() <= shares[0] * (1 + 1e-5)


def test_scenario_weights_by_hand() -> None:
    # 1/n scaled: 100 / (2 * 90) and 100 / (2 * 10).
    np.testing.assert_allclose(scenario_weights([90, 10]), [5 / 9, 5.0], rtol=1e-6)
    # Capped at 2, the small one keeps 20 of 100 and leaves 80 to the 90 others.
    np.testing.assert_allclose(scenario_weights([90, 10], 2.0), [8 / 9, 2.0], rtol=1e-6)
    np.testing.assert_allclose(scenario_weights([90, 0, 10], 1.0), [1, 1, 1], rtol=1e-6)


@pytest.mark.parametrize(
    ("counts", "cap", "said"),
    [([1, -1], None, "at least 0 each"), ([1, 2], 0.5, "at least 1, the mean weight")],
)
def test_scenario_weights_refuse(counts: list[int], cap: float | None, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        scenario_weights(counts, cap)
