"""Optimizers of embedding rows: they see the rows of a step and no others."""

from __future__ import annotations

import abc
from dataclasses import dataclass

import tensorflow as tf

from keras_models.embeddings.arguments import require


@dataclass(frozen=True, kw_only=True)
class RowOptimizer(abc.ABC):
    """Changes rows by their gradients.

    What it remembers of a row lies beside the row, so that one read and one write a step move both,
    and it starts afresh together with the row.

    Args:
      learning_rate: Step size.
      l2: Weight of (l2 / 2) * |row|^2 in the loss of every step that reads the row.
      clip_norm: Longest gradient of a row; longer ones are shortened to it. Off by default.
    """

    learning_rate: float = 0.05
    l2: float = 0.0
    clip_norm: float | None = None

    def __post_init__(self) -> None:
        require("learning_rate", self.learning_rate, self.learning_rate > 0, "above 0")
        require("l2", self.l2, self.l2 >= 0, "at least 0")
        if self.clip_norm is not None:
            require("clip_norm", self.clip_norm, self.clip_norm > 0, "above 0")

    @abc.abstractmethod
    def width(self, dim: int) -> int:
        """Numbers that it keeps for a row of `dim` numbers."""

    @abc.abstractmethod
    def initial_state(self, dim: int) -> list[float]:
        """What it knows of a fresh row: `width(dim)` numbers."""

    def step(
        self, rows: tf.Tensor, state: tf.Tensor, gradients: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """One step.

        Args:
          rows: float32 [U, D].
          state: float32 [U, width(D)].
          gradients: float32 [U, D], of the loss without its L2 term.

        Returns:
          The rows and the state after it.
        """
        if self.clip_norm is not None:
            gradients = tf.clip_by_norm(gradients, self.clip_norm, axes=[1])
        if self.l2:
            gradients += self.l2 * rows
        return self._step(rows, state, gradients)

    @abc.abstractmethod
    def _step(
        self, rows: tf.Tensor, state: tf.Tensor, gradients: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]: ...


@dataclass(frozen=True, kw_only=True)
class Adagrad(RowOptimizer):
    """a += g^2, w -= learning_rate * g / sqrt(a), number by number.

    Args:
      initial_accumulator: a of a fresh row; above zero.

    Reference: Duchi, Hazan, Singer, JMLR 2011.
    """

    initial_accumulator: float = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        a = self.initial_accumulator
        require("initial_accumulator", a, a > 0, "above 0")

    def width(self, dim: int) -> int:
        """One accumulator a number."""
        return dim

    def initial_state(self, dim: int) -> list[float]:
        """The initial accumulators."""
        return [self.initial_accumulator] * self.width(dim)

    def _step(
        self, rows: tf.Tensor, state: tf.Tensor, gradients: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        state += self._squared(gradients)
        return rows - self.learning_rate * gradients * tf.math.rsqrt(state), state

    def _squared(self, gradients: tf.Tensor) -> tf.Tensor:
        return tf.square(gradients)


@dataclass(frozen=True, kw_only=True)
class RowWiseAdagrad(Adagrad):
    """Adagrad with one accumulator a row: a += mean(g^2), w -= learning_rate * g / sqrt(a).

    A sixteenth of Adagrad's memory at 16 numbers a row.

    Reference: Mudigere et al., "Software-hardware co-design for fast and scalable training of deep
    learning recommendation models", ISCA 2022.
    """

    def width(self, dim: int) -> int:
        """One accumulator a row."""
        return 1

    def _squared(self, gradients: tf.Tensor) -> tf.Tensor:
        return tf.reduce_mean(tf.square(gradients), axis=1, keepdims=True)


@dataclass(frozen=True, kw_only=True)
class LazyAdam(RowOptimizer):
    """Adam whose moments move only in the steps that read the row.

    m = beta_1 m + (1 - beta_1) g, v = beta_2 v + (1 - beta_2) g^2,
    w -= learning_rate * (m / (1 - beta_1^t)) / (sqrt(v / (1 - beta_2^t)) + epsilon).
    t counts the row's own steps: a row that came late is corrected for its own few.

    Args:
      beta_1: Decay of the first moment.
      beta_2: Decay of the second moment.
      epsilon: Keeps the quotient finite.

    Reference: Kingma, Ba, "Adam", ICLR 2015, algorithm 1.
    """

    learning_rate: float = 0.001
    beta_1: float = 0.9
    beta_2: float = 0.999
    epsilon: float = 1e-8

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("beta_1", "beta_2"):
            value = getattr(self, name)
            require(name, value, 0 <= value < 1, "at least 0 and below 1")
        require("epsilon", self.epsilon, self.epsilon > 0, "above 0")

    def width(self, dim: int) -> int:
        """Two moments a number, and the count of the row's steps."""
        return 2 * dim + 1

    def initial_state(self, dim: int) -> list[float]:
        """No moments and no steps."""
        return [0.0] * self.width(dim)

    def _step(
        self, rows: tf.Tensor, state: tf.Tensor, gradients: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        dim = rows.shape[1]
        m, v, t = tf.split(state, [dim, dim, 1], axis=1)
        t += 1.0
        m += (1.0 - self.beta_1) * (gradients - m)
        v += (1.0 - self.beta_2) * (tf.square(gradients) - v)
        m_hat = m / (1.0 - tf.pow(self.beta_1, t))
        v_hat = v / (1.0 - tf.pow(self.beta_2, t))
        rows -= self.learning_rate * m_hat / (tf.sqrt(v_hat) + self.epsilon)
        return rows, tf.concat([m, v, t], axis=1)
