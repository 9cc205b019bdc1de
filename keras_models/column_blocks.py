"""A matrix whose columns come from one row for all, or from every row.

A ranking request is one user with N candidates: most columns of the network's input are the same in
all N rows. Kept apart, they go through the first matrix products once.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import TypeAlias

import tensorflow as tf

Columns: TypeAlias = "tf.Tensor | tuple[tf.Tensor, ...]"
"""A matrix, or the blocks of columns that it consists of, in order: [1, w] or [N, w] each, where
one row stands for all N. Which of the two it is has to be known statically."""


def join(parts: Sequence[Columns]) -> Columns:
    """Puts columns side by side.

    Args:
      parts: [N, w] or [1, w] each, or blocks of them.

    Returns:
      One matrix where all have as many rows, as in training; else blocks.
    """
    runs = itertools.groupby((b for part in parts for b in blocks(part)), key=_is_shared)
    joined = tuple(tf.concat(list(run), axis=1) for _, run in runs)
    return joined[0] if len(joined) == 1 else joined


def blocks(columns: Columns) -> tuple[tf.Tensor, ...]:
    """The blocks that columns consist of."""
    return columns if isinstance(columns, tuple) else (columns,)


def product(columns: Columns, kernel: tf.Tensor) -> tf.Tensor:
    """The matrix product X W.

    Args:
      columns: X, [N, I].
      kernel: W, [I, H].

    Returns:
      [N, H]; the share of columns that stand for all rows is computed once.
    """
    if not isinstance(columns, tuple):
        return tf.matmul(columns, kernel)
    ends = list(itertools.accumulate(block.shape[1] for block in columns))
    shares = []
    for shared in (True, False):
        own = [(b, end) for b, end in zip(columns, ends, strict=True) if _is_shared(b) == shared]
        rows = [row for block, end in own for row in range(end - block.shape[1], end)]
        matrix = tf.concat([block for block, _ in own], axis=1)
        shares.append(tf.matmul(matrix, tf.gather(kernel, rows)))
    return tf.add(*shares)


def whole(columns: Columns) -> tf.Tensor:
    """The matrix itself, [N, I]."""
    if not isinstance(columns, tuple):
        return columns
    return tf.concat(
        [
            tf.broadcast_to(block, [num_rows(columns), block.shape[1]])
            if _is_shared(block)
            else block
            for block in columns
        ],
        axis=1,
    )


def num_rows(columns: Columns) -> tf.Tensor:
    """N, int32."""
    own = [block for block in blocks(columns) if not _is_shared(block)]
    return tf.shape(own[0])[0] if own else tf.constant(1)


def _is_shared(block: tf.Tensor) -> bool:
    return block.shape[0] == 1
