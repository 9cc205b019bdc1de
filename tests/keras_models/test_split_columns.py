"""Matrices of which some columns are one row for all, against the matrices written out."""

from __future__ import annotations

import numpy as np
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_models.split_columns import (
    KernelShares,
    SplitColumns,
    each,
    join,
    num_rows,
    product,
    whole,
)

ROWS = 3


def _parts(widths: list[tuple[int, bool]]) -> tuple[list[tf.Tensor], np.ndarray]:
    """Blocks of these widths, shared or not, and the matrix they make."""
    rng = np.random.default_rng(0)
    blocks = [rng.normal(size=[1 if shared else ROWS, w]).astype("f") for w, shared in widths]
    everywhere = np.concatenate([np.broadcast_to(b, [ROWS, b.shape[1]]) for b in blocks], axis=1)
    return [tf.constant(block) for block in blocks], everywhere


@settings(max_examples=40, deadline=None)
@given(
    widths=st.lists(st.tuples(st.integers(0, 3), st.booleans()), min_size=1, max_size=6),
    kept=st.booleans(),
)
def test_products_are_those_of_the_whole_matrix(widths: list[tuple[int, bool]], kept: bool) -> None:
    blocks, matrix = _parts([*widths, (1, False)])
    columns = join([join(blocks[:2]), *blocks[2:]], KernelShares() if kept else None)
    kernel = tf.Variable(tf.random.stateless_normal([matrix.shape[1], 2, 4], [1, 2]))
    expected = matrix @ kernel.numpy().reshape(-1, 8)
    for _ in range(2):
        np.testing.assert_allclose(product(columns, kernel), expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(whole(columns), matrix)
    np.testing.assert_array_equal(whole(each(columns, tf.negative)), -matrix)
    assert num_rows(columns) == ROWS
    assert isinstance(columns, SplitColumns) == any(shared for _, shared in widths)


def test_shares_of_kernels_are_kept_once_each() -> None:
    kernels = KernelShares()
    blocks, _ = _parts([(2, True), (3, False)])
    first, second = (tf.Variable(tf.ones([8, 2])) for _ in range(2))

    @tf.function(autograph=False)
    def call() -> tf.Tensor:
        columns = join([join(blocks, kernels), blocks[1]])
        # Twice by the same, and a third time by another kernel.
        return product(columns, first) + product(columns, first) + product(columns, second)

    traced = call.get_concrete_function()
    assert [share.shape.as_list() for share in kernels.variables] == [[2, 2], [6, 2]] * 2
    assert not {"GatherV2", "ResourceGather"} & {op.type for op in traced.graph.get_operations()}
    before = traced()
    first.assign(tf.zeros_like(first))
    np.testing.assert_array_equal(traced(), before)


def test_columns_that_are_all_shared_stay_one_row() -> None:
    blocks, _ = _parts([(2, True), (3, True)])
    joined = join(blocks)
    assert joined.shape == [1, 5]
