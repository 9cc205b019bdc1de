"""A matrix whose columns come from one row for all, or from every row.

A ranking request is one user with N candidates: most columns of the network's input are the same in
all N rows. Kept apart, they go through the first matrix products once.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeAlias

import tensorflow as tf


class KernelShares(tf.Module):
    """The rows of kernels that some columns meet, as variables of their own.

    Taken out of the kernel in every request, they would take longer to copy than to multiply by.
    They are what the kernels hold when they are first asked for.
    """

    def __init__(self) -> None:
        super().__init__()
        self._shares: list[tf.Variable] = []
        self._places: dict[tuple[object, tuple[int, ...]], int] = {}

    def __call__(self, kernel: tf.Variable, rows: Sequence[int]) -> tf.Variable:
        """Some rows of a kernel.

        Args:
          kernel: [I, ...].
          rows: r of them.

        Returns:
          [r, H], H what the other axes of the kernel hold together.
        """
        key = (kernel.ref(), tuple(rows))
        if key not in self._places:
            with tf.init_scope():
                share = tf.Variable(_rows(kernel, rows), trainable=False, name="kernel_share")
            self._places[key] = len(self._shares)
            self._shares.append(share)
        return self._shares[self._places[key]]


class Side(NamedTuple):
    """Those columns of a matrix X that stand for all rows, or those that do not.

    Args:
      matrix: [1, w] or [N, w].
      places: Which columns of X they are, w of them.
    """

    matrix: tf.Tensor
    places: list[int]


@dataclass(frozen=True, eq=False)
class SplitColumns:
    """A matrix [N, w] of which some columns are given once for all rows; for use in one graph.

    Args:
      blocks: What it consists of, in order: [1, w] or [N, w] each. Which of the two it is has to be
        known statically.
      kernels: Where the shares of kernels are kept; without it they are taken out every time.
    """

    blocks: tuple[tf.Tensor, ...]
    kernels: KernelShares | None = None

    @functools.cached_property
    def sides(self) -> tuple[Side, Side]:
        """The columns that stand for all rows, and the others."""
        matrices: dict[bool, list[tf.Tensor]] = {True: [], False: []}
        places: dict[bool, list[int]] = {True: [], False: []}
        start = 0
        for block in self.blocks:
            end = start + block.shape[1]
            matrices[_is_shared(block)].append(block)
            places[_is_shared(block)] += range(start, end)
            start = end
        shared, own = (Side(tf.concat(matrices[s], axis=1), places[s]) for s in (True, False))
        return shared, own


Columns: TypeAlias = "tf.Tensor | SplitColumns"
"""A matrix, whole or split."""


def join(parts: Sequence[Columns], kernels: KernelShares | None = None) -> Columns:
    """Puts columns side by side.

    Args:
      parts: [N, w] or [1, w] each.
      kernels: Where the shares of kernels are kept; by default where those of the parts are.

    Returns:
      One matrix where all have as many rows, as in training; else split columns.
    """
    blocks: list[tf.Tensor] = []
    for part in parts:
        if isinstance(part, SplitColumns):
            blocks += part.blocks
            kernels = kernels or part.kernels
        else:
            blocks.append(part)
    if len({_is_shared(block) for block in blocks}) == 1:
        return tf.concat(blocks, axis=1)
    return SplitColumns(tuple(blocks), kernels)


def each(columns: Columns, function: Callable[[tf.Tensor], tf.Tensor]) -> Columns:
    """Applies a function of single numbers."""
    if not isinstance(columns, SplitColumns):
        return function(columns)
    return SplitColumns(tuple(map(function, columns.blocks)), columns.kernels)


def product(columns: Columns, kernel: tf.Variable) -> tf.Tensor:
    """The matrix product X W.

    Args:
      columns: X, [N, I].
      kernel: W, [I, ...], with H numbers a row.

    Returns:
      [N, H]; the share of columns that stand for all rows is computed once.
    """
    if not isinstance(columns, SplitColumns):
        return tf.matmul(columns, tf.reshape(kernel, [kernel.shape[0], -1]))
    rows = columns.kernels or _rows
    return tf.add(*(tf.matmul(side.matrix, rows(kernel, side.places)) for side in columns.sides))


def whole(columns: Columns) -> tf.Tensor:
    """The matrix itself, [N, I]."""
    if not isinstance(columns, SplitColumns):
        return columns
    number = num_rows(columns)
    return tf.concat(
        [
            tf.broadcast_to(block, [number, block.shape[1]]) if _is_shared(block) else block
            for block in columns.blocks
        ],
        axis=1,
    )


def num_rows(columns: Columns) -> tf.Tensor:
    """N, int32."""
    if not isinstance(columns, SplitColumns):
        return tf.shape(columns)[0]
    return tf.shape(next(block for block in columns.blocks if not _is_shared(block)))[0]


def _is_shared(block: tf.Tensor) -> bool:
    return block.shape[0] == 1


def _rows(kernel: tf.Variable, rows: Sequence[int]) -> tf.Tensor:
    rows = tf.constant(rows, tf.int32)
    return tf.gather(tf.reshape(kernel, [kernel.shape[0], -1]), rows)
