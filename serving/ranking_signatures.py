"""What the served model answers for one user and many candidates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import tensorflow as tf

from serving.request_layout import MISSING, RequestLayout, Statistics
from serving.signatures import HISTORY_INPUTS

RANK = "rank"
"""One user and N candidates to what each task predicts of each."""

USER_EMBEDDING = "user_embedding"
"""The first half of `rank`: all that the candidates have in common."""

SCORE_ITEMS = "score_items"
"""The second half: that and N candidates to what `rank` gives."""

_MISSING = {"text": MISSING, "numbers": float("nan")}
"""What stands for a missing value, by the kind of a matrix."""

Tensors = Mapping[str, tf.Tensor]


class RanksItems(Protocol):
    """The serving form of a model, in two halves; see `keras_models.serving_model`."""

    def user_embedding(self, features: Tensors) -> dict[str, tf.Tensor]:
        """All that the candidates of a request have in common."""

    def score_items(self, user: Tensors, features: Tensors) -> dict[str, tf.Tensor]:
        """What is served for N candidates."""


class TransformsMatrices(Protocol):
    """The transform graph on matrices; see `transforms.dense_transform`.

    Attributes:
      text_names: F features, the columns of `texts`.
      number_names: N features, the columns of `numbers`.
      scenario_name: The feature that names the scenario.
    """

    text_names: Sequence[str]
    number_names: Sequence[str]
    scenario_name: str

    def __call__(
        self,
        texts: tf.Tensor,
        has_text: tf.Tensor,
        numbers: tf.Tensor,
        has_number: tf.Tensor,
        scenario: tf.Tensor,
    ) -> Mapping[str, tf.Tensor]:
        """The model's inputs but its history, [B, ...] each.

        Args:
          texts: string [B, F].
          has_text: bool [B, F].
          numbers: float32 [B, N].
          has_number: bool [B, N].
          scenario: string [B], "" where it is missing.
        """


class RankingSignatures(tf.Module):
    """A ranking model behind its transform graph, asked about one user and N candidates.

    A request is few wide matrices, a row the user (or a behaviour, oldest first, or a candidate)
    and a column a raw column: text as string, `MISSING` where there is none, numbers as float32,
    NaN where there is none. It gives what `serving_default` gives for N examples that hold all.

    Args:
      transform: The transform graph: raw features by name, any of them, to what can be computed of
        these. The history goes through it.
      dense_transform: The same on matrices. All else goes through this: most of what the other does
        with few rows is to make matrices of sparse columns.
      layout: Which columns stand where.
      model: The serving form of a model.
      statistics: What the model looks up itself.
    """

    def __init__(
        self,
        transform: Callable[[Mapping[str, Any]], Mapping[str, tf.Tensor]],
        dense_transform: TransformsMatrices,
        layout: RequestLayout,
        model: RanksItems,
        statistics: Statistics | None = None,
    ):
        super().__init__()
        self._transform = transform
        self._dense_transform = dense_transform
        self._layout = layout
        self._model = model
        self._statistics = statistics

    def signatures(self) -> dict[str, Any]:
        """The traced signatures, by name."""
        specs = self._layout.specs
        user, item = specs("user", "history"), specs("item")
        embed = _traced(self._embed, user)
        halves = {
            name: tf.TensorSpec([1, *value.shape[1:]], value.dtype, name)
            for name, value in embed.structured_outputs.items()
        }
        return {
            RANK: _traced(self._rank, {**user, **item}),
            USER_EMBEDDING: embed,
            SCORE_ITEMS: _traced(self._score, {**halves, **specs("context"), **item}),
        }

    def _rank(self, given: Tensors) -> dict[str, tf.Tensor]:
        context = {
            f"context_{kind}": tf.gather(
                given[f"user_{kind}"],
                [columns[f"user_{kind}"].index(name) for name in columns[f"context_{kind}"]],
                axis=1,
            )
            for columns in (self._layout.columns,)
            for kind in _MISSING
            if columns[f"context_{kind}"]
        }
        user, items = self._user_rows(given), self._item_rows({**given, **context})
        # One pass through the transform graph, the user first: it costs by columns more than rows.
        inputs = self._inputs({kind: tf.concat([user[kind], items[kind]], 0) for kind in user})
        first = {name: value[:1] for name, value in inputs.items()} | self._history(given)
        rest = {name: value[1:] for name, value in inputs.items()}
        return self._model.score_items(self._model.user_embedding(first), rest)

    def _embed(self, given: Tensors) -> dict[str, tf.Tensor]:
        inputs = self._inputs(self._user_rows(given))
        return self._model.user_embedding(inputs | self._history(given))

    def _score(self, given: Tensors) -> dict[str, tf.Tensor]:
        return self._model.score_items(given, self._inputs(self._item_rows(given)))

    def _user_rows(self, given: Tensors) -> dict[str, tf.Tensor]:
        """The user's row with all columns, those of the items missing: [1, C] by kind."""
        return {
            kind: self._widened(kind, {"user": given.get(f"user_{kind}")}, 1) for kind in _MISSING
        }

    def _item_rows(self, given: Tensors) -> dict[str, tf.Tensor]:
        """A row a candidate, with the context's columns and all others missing: [N, C] by kind."""
        counts = {n: tf.shape(given[n])[0] for n in ("item_text", "item_numbers") if n in given}
        rows, *others = counts.values()
        for other in others:
            message = f"{' and '.join(counts)} differ in rows"
            with tf.control_dependencies([tf.debugging.assert_equal(rows, other, message)]):
                rows = tf.identity(rows)
        found = {}
        for kind in _MISSING:
            context = given.get(f"context_{kind}")
            if context is not None:
                context = tf.broadcast_to(context, [rows, context.shape[1]])
            sides = {"item": given.get(f"item_{kind}"), "context": context}
            found[kind] = self._widened(kind, sides, rows)
        return found

    def _widened(
        self, kind: str, sides: Mapping[str, tf.Tensor | None], rows: tf.Tensor | int
    ) -> tf.Tensor:
        """All columns of a kind, [rows, C], of those that some sides have."""
        there = {side: matrix for side, matrix in sides.items() if matrix is not None}
        names = [name for side in there for name in self._layout.columns[f"{side}_{kind}"]]
        missing = tf.fill([rows, 1], _MISSING[kind])
        places = [
            names.index(name) if name in names else len(names)
            for name in self._layout.plain_of(kind)
        ]
        matrix = tf.concat([*there.values(), missing], axis=1)
        return tf.gather(matrix, tf.constant(places, tf.int32), axis=1)

    def _inputs(self, rows: Tensors) -> dict[str, tf.Tensor]:
        """The model's inputs but the history, of all columns of each kind, [R, C].

        The history goes through the transform graph by itself: as rows of this, every candidate
        would have an empty one, as long to compute as that of the user.
        """
        dense = self._dense_transform
        text, text_names = rows["text"], self._layout.plain_of("text")
        has_text = tf.not_equal(text, MISSING)
        numbers, number_names = rows["numbers"], self._layout.plain_of("numbers")
        if self._statistics is not None and self._statistics.by:
            by = [
                _columns(matrix, text_names, self._statistics.columns)
                for matrix in (text, has_text)
            ]
            numbers = tf.concat([numbers, self._statistics.look_up(*by)], axis=1)
            number_names = [*number_names, *self._statistics.by]
        scenario, has_scenario = (
            _columns(matrix, text_names, [dense.scenario_name])[:, 0] for matrix in (text, has_text)
        )
        values = _columns(numbers, number_names, dense.number_names)
        inputs = dense(
            _columns(text, text_names, dense.text_names),
            _columns(has_text, text_names, dense.text_names),
            values,
            ~tf.math.is_nan(values),
            tf.where(has_scenario, scenario, ""),
        )
        raw = {
            name: _columns(numbers, number_names, [name])[:, 0] for name in self._layout.raw_numbers
        }
        return {**inputs, **raw}

    def _history(self, given: Tensors) -> dict[str, tf.Tensor]:
        """The model's inputs of the user's history."""
        raw = {}
        for kind in _MISSING:
            matrix = given.get(f"history_{kind}")
            if matrix is None:
                continue
            steps = tf.shape(matrix, tf.int64)[0]
            places = tf.range(steps)
            indices = tf.stack([tf.zeros_like(places), places], axis=1)
            columns = zip(
                self._layout.columns[f"history_{kind}"], tf.unstack(matrix, axis=1), strict=True
            )
            for name, values in columns:
                raw[name] = tf.SparseTensor(indices, values, tf.stack([1, steps]))
        if not raw:
            return {}
        transformed = self._transform(raw)
        return {name: transformed[name] for name in HISTORY_INPUTS}


def _traced(function: Callable[[Tensors], Any], specs: Mapping[str, tf.TensorSpec]) -> Any:
    traced = tf.function(lambda **given: function(given), autograph=False)
    return traced.get_concrete_function(**specs)


def _columns(matrix: tf.Tensor, names: Sequence[str], wanted: Sequence[str]) -> tf.Tensor:
    """Some columns of a matrix whose columns have names."""
    if list(names) == list(wanted):
        return matrix
    places = [names.index(name) for name in wanted]
    if len(places) == 1:
        return matrix[:, places[0] : places[0] + 1]
    return tf.gather(matrix, tf.constant(places, tf.int32), axis=1)
