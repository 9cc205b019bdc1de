"""DUPN's view of a user: what they did, read in order, and attention over it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import tensorflow as tf
import tf_keras as keras


class BehaviourSequence(keras.layers.Layer):
    """A property-gated LSTM over a user's behaviours, then attention queried by the user.

    A behaviour is an item e_t, the content, and its property p_t (scenario, type and time). The
    property enters the gates and nothing else: it decides what is taken in, kept and shown.

        i_t = sigmoid(e_t W_i + p_t V_i + h_t-1 U_i + b_i)        f_t and o_t likewise
        g_t = tanh(e_t W_g + h_t-1 U_g + b_g)
        c_t = f_t * c_t-1 + i_t * g_t
        h_t = o_t * tanh(c_t)

        s_t = ReLU(h_t A + p_t P + q Q + a) v
        user = sum_t softmax_t(s_t) h_t

    Where the mask is false there is no behaviour: the state stays as it is, and attention leaves
    the step out. A user without any behaviour gets zeros.

    Args:
      units: Width H of the state, and of the user's vector.
      attention_units: Width of the attention's hidden layer.

    Reference: Ni et al., "Perceive Your Users in Depth" (DUPN), KDD 2018, section 3.3.
    """

    def __init__(self, *, units: int = 128, attention_units: int = 64, **kwargs: Any):
        super().__init__(**kwargs)
        for name, value in (("units", units), ("attention_units", attention_units)):
            if value < 1:
                raise ValueError(f"`{name}` should be at least 1. Received: {name}={value}")
        self.units = units
        self.attention_units = attention_units
        self._of_states = keras.layers.Dense(attention_units, use_bias=False, name="of_states")
        self._of_properties = keras.layers.Dense(
            attention_units, use_bias=False, name="of_properties"
        )
        self._of_query = keras.layers.Dense(attention_units, name="of_query")
        self._score = keras.layers.Dense(1, use_bias=False, name="score")

    def build(self, input_shape: tuple[tf.TensorShape, ...]) -> None:
        """Makes the weights, in columns i, f, o and g.

        Args:
          input_shape: [B, T, D], [B, T, P] and [B, T], the behaviours'.

        Raises:
          ValueError: for other shapes.
        """
        items, properties, mask = (tf.TensorShape(shape) for shape in input_shape)
        if (
            (items.rank, properties.rank, mask.rank) != (3, 3, 2)
            or not items[:2].is_compatible_with(mask)
            or not properties[:2].is_compatible_with(mask)
        ):
            raise ValueError(
                f"`{self.name}` should be given items [B, T, D], properties [B, T, P] and a mask "
                f"[B, T]. Received: shapes {items}, {properties} and {mask}"
            )
        gates, columns = 3 * self.units, 4 * self.units
        self.item_kernel = self.add_weight("item_kernel", [items[2], columns])
        self.property_kernel = self.add_weight("property_kernel", [properties[2], gates])
        self.recurrent_kernel = self.add_weight(
            "recurrent_kernel", [self.units, columns], initializer="orthogonal"
        )
        self.bias = self.add_weight("bias", [columns], initializer=_remembering)
        super().build(input_shape)

    def call(
        self, behaviours: tuple[tf.Tensor, tf.Tensor, tf.Tensor], query: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Reads behaviours.

        Args:
          behaviours: Items float32 [B, T, D], properties float32 [B, T, P] and mask bool [B, T],
            true where there is a behaviour; in order of time, the most recent last. Gaps may be
            anywhere.
          query: float32 [B, q], who asks: features of the user and, if wished, of the candidate.
            One user's behaviours (B = 1) may be asked by q [N, q] for N candidates.

        Returns:
          The user's vector float32 [B, H], and the weight of each behaviour in it, float32 [B, T].
        """
        items, properties, mask = behaviours
        # Time first: a step of the loop then reads one piece of memory.
        properties, mask = tf.transpose(properties, [1, 0, 2]), tf.transpose(mask)
        # What all steps add to i, f, o and g in one product, ahead of the loop. The property has no
        # share in g; a column of ones takes the bias in, which is quicker than adding it after.
        columns = [tf.transpose(items, [1, 0, 2]), properties, tf.ones_like(properties[:, :, :1])]
        no_content = tf.zeros([properties.shape[2], self.units], self.compute_dtype)
        rows = [
            self.item_kernel,
            tf.concat([self.property_kernel, no_content], axis=1),
            self.bias[tf.newaxis],
        ]
        inputs = tf.tensordot(tf.concat(columns, axis=2), tf.concat(rows, axis=0), 1)
        states = _lstm(inputs, mask, tf.convert_to_tensor(self.recurrent_kernel))

        hidden = self._of_states(states) + self._of_properties(properties) + self._of_query(query)
        scores = tf.squeeze(self._score(tf.nn.relu(hidden)), axis=2)
        weights = tf.nn.softmax(tf.where(mask, scores, scores.dtype.min), axis=0)
        # Without any behaviour the softmax is uniform.
        weights = tf.where(mask, weights, tf.zeros_like(weights))
        user = tf.reduce_sum(weights[:, :, tf.newaxis] * states, axis=0)
        return user, tf.transpose(weights)

    def get_config(self) -> dict[str, Any]:
        """The constructor's arguments."""
        return {
            **super().get_config(),
            "units": self.units,
            "attention_units": self.attention_units,
        }


@tf.custom_gradient
def _lstm(
    inputs: tf.Tensor, mask: tf.Tensor, kernel: tf.Tensor
) -> tuple[tf.Tensor, Callable[[tf.Tensor], tuple[tf.Tensor, None, tf.Tensor]]]:
    """States h_1 .. h_T of an LSTM, from 0.

    Its gradient is written out, with the kernel's as one product after the loop. With the gradients
    that TensorFlow derives from the loop itself, or from `tf.scan` or `keras.backend.rnn`, a
    training step of the layer took 1.2 to 1.6 times as long, under XLA and without; unrolled 1.1
    times as long, and XLA's compiler crashes on that.

    Args:
      inputs: float32 [T, B, 4H], what comes from outside to i, f, o and g.
      mask: bool [T, B]; a step where it is false leaves the state as it is.
      kernel: float32 [H, 4H].

    Returns:
      float32 [T, B, H].
    """
    steps, units = tf.shape(inputs)[0], kernel.shape[0]
    zero = tf.zeros([tf.shape(inputs)[1], units], inputs.dtype)
    mask = mask[:, :, tf.newaxis]

    def series(width: int) -> tf.TensorArray:
        return tf.TensorArray(inputs.dtype, steps, element_shape=[inputs.shape[1], width])

    def forward(step, state, cell, states, cells, gates):  # type: ignore[no-untyped-def]
        total = inputs[step] + tf.matmul(state, kernel)
        opened, content = tf.sigmoid(total[:, : 3 * units]), tf.tanh(total[:, 3 * units :])
        take, keep, show = tf.split(opened, 3, axis=1)
        new_cell = keep * cell + take * content
        state = tf.where(mask[step], show * tf.tanh(new_cell), state)
        cell = tf.where(mask[step], new_cell, cell)
        gates = gates.write(step, tf.concat([opened, content], axis=1))
        return step + 1, state, cell, states.write(step, state), cells.write(step, cell), gates

    *_, states, cells, gates = tf.while_loop(
        lambda step, *_: step < steps,
        forward,
        [0, zero, zero, series(units), series(units), series(4 * units)],
    )
    states, cells, gates = states.stack(), cells.stack(), gates.stack()

    def gradient(upstream: tf.Tensor) -> tuple[tf.Tensor, None, tf.Tensor]:
        earlier_states = tf.concat([zero[tf.newaxis], states[:-1]], axis=0)
        earlier_cells = tf.concat([zero[tf.newaxis], cells[:-1]], axis=0)

        def backward(step, d_state, d_cell, d_inputs):  # type: ignore[no-untyped-def]
            step -= 1
            take, keep, show, content = tf.split(gates[step], 4, axis=1)
            shown = tf.tanh(cells[step])
            d_state += upstream[step]
            # What goes to the step itself, and, where it is masked, past it.
            d_new = tf.where(mask[step], d_state, zero)
            d_new_cell = tf.where(mask[step], d_cell, zero) + d_new * show * (1 - shown * shown)
            d_total = tf.concat(
                [
                    d_new_cell * content * take * (1 - take),
                    d_new_cell * earlier_cells[step] * keep * (1 - keep),
                    d_new * shown * show * (1 - show),
                    d_new_cell * take * (1 - content * content),
                ],
                axis=1,
            )
            d_state = tf.where(mask[step], tf.matmul(d_total, kernel, transpose_b=True), d_state)
            d_cell = tf.where(mask[step], d_new_cell * keep, d_cell)
            return step, d_state, d_cell, d_inputs.write(step, d_total)

        *_, d_inputs = tf.while_loop(
            lambda step, *_: step > 0, backward, [steps, zero, zero, series(4 * units)]
        )
        d_inputs = d_inputs.stack()
        d_kernel = tf.matmul(
            tf.reshape(earlier_states, [-1, units]),
            tf.reshape(d_inputs, [-1, 4 * units]),
            transpose_a=True,
        )
        return d_inputs, None, d_kernel

    return states, gradient


def _remembering(shape: list[int], dtype: tf.DType, **_: Any) -> tf.Tensor:
    """Zeros, but ones for the forget gate f, the second of four, so that states last at first."""
    zeros = tf.zeros([shape[0] // 4], dtype)
    return tf.concat([zeros, zeros + 1, zeros, zeros], axis=0)
