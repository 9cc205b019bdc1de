"""What the served model answers for one user and many candidates."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import tensorflow as tf

from keras_models.serving_model import raw_number
from serving.request_layout import MISSING, RequestLayout, Statistics
from serving.signatures import HISTORY_INPUTS

RANK = "rank"
"""One user and N candidates to what each task predicts of each."""

USER_EMBEDDING = "user_embedding"
"""The first half of `rank`: all that the candidates have in common."""

SCORE_ITEMS = "score_items"
"""The second half: that and N candidates to what `rank` gives."""

_KINDS = ("text", "numbers")
"""Of a matrix."""

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
      text_names: F features, the columns of `text_keys`.
      number_names: N features, the columns of `numbers`.
      scenario_name: The feature that names the scenario.
    """

    text_names: Sequence[str]
    number_names: Sequence[str]
    scenario_name: str

    def text_keys(self, names: Sequence[str], texts: tf.Tensor, has_text: tf.Tensor) -> tf.Tensor:
        """Keys of some features, int64 [B, C].

        Args:
          names: C features.
          texts: string [B, C].
          has_text: bool [B, C].
        """

    def __call__(
        self, text_keys: tf.Tensor, numbers: tf.Tensor, has_number: tf.Tensor, scenario: tf.Tensor
    ) -> Mapping[str, tf.Tensor]:
        """The model's inputs but its history, [B, ...] each, of the scenario [S].

        Args:
          text_keys: int64 [B, F].
          numbers: float32 [B, N].
          has_number: bool [B, N].
          scenario: string [S], "" where it is missing.
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
            for kind in _KINDS
            if columns[f"context_{kind}"]
        }
        user, items = self._user_rows(given), self._item_rows({**given, **context})
        # One pass through the transform graph, the user first: it costs by columns more than rows.
        inputs = self._inputs(
            {kind: tf.concat([user[kind], items[kind]], 0) for kind in user}, self._scenario(given)
        )
        first = {name: value[:1] for name, value in inputs.items()} | self._history(given)
        rest = {name: value[1:] for name, value in inputs.items()}
        return self._model.score_items(self._model.user_embedding(first), rest)

    def _embed(self, given: Tensors) -> dict[str, tf.Tensor]:
        inputs = self._inputs(self._user_rows(given), self._scenario(given))
        return self._model.user_embedding(inputs | self._history(given))

    def _score(self, given: Tensors) -> dict[str, tf.Tensor]:
        # The scenario is in what `_embed` gave.
        inputs = self._inputs(self._item_rows(given), tf.constant([""]))
        return self._model.score_items(given, inputs)

    def _user_rows(self, given: Tensors) -> dict[str, tf.Tensor]:
        """The user's row with all columns, those of the items missing; see `_rows`."""
        return self._rows(given, ["user"], None)

    def _item_rows(self, given: Tensors) -> dict[str, tf.Tensor]:
        """A row a candidate, with the context's columns and all others missing; see `_rows`."""
        counts = {n: tf.shape(given[n])[0] for n in ("item_text", "item_numbers") if n in given}
        rows, *others = counts.values()
        for other in others:
            message = f"{' and '.join(counts)} differ in rows"
            with tf.control_dependencies([tf.debugging.assert_equal(rows, other, message)]):
                rows = tf.identity(rows)
        return self._rows(given, ["item", "context"], rows)

    def _rows(
        self, given: Tensors, sides: Sequence[str], rows: tf.Tensor | None
    ) -> dict[str, tf.Tensor]:
        """All that the transform graph and the statistics read, of what some sides have.

        Texts are hashed before the columns that the sides lack are put beside them: to copy and
        hash a text takes longer than to copy its key.

        Returns:
          `keys` int64 [rows, F], `numbers` float32 [rows, C]; with statistics also what they are
          looked up by, `texts` string [rows, S].
        """
        dense = self._dense_transform
        texts, keys, numbers = [], [], []
        for side in sides:
            if (text := given.get(f"{side}_text")) is not None:
                names = self._layout.columns[f"{side}_text"]
                texts.append((names, text))
                keys.append((names, dense.text_keys(names, text, tf.not_equal(text, MISSING))))
            if (values := given.get(f"{side}_numbers")) is not None:
                numbers.append((self._layout.columns[f"{side}_numbers"], values))
        lacking = tf.zeros([1, len(dense.text_names)], tf.bool)
        missing = dense.text_keys(dense.text_names, tf.fill(lacking.shape, ""), lacking)
        nan = [float("nan")] * len(self._layout.plain_of("numbers"))
        found = {
            "keys": _widened(keys, dense.text_names, missing, rows),
            "numbers": _widened(
                numbers,
                self._layout.plain_of("numbers"),
                tf.constant([nan], tf.float32, [1, len(nan)]),
                rows,
            ),
        }
        if self._statistics is not None and self._statistics.by:
            columns = self._statistics.columns
            missing = tf.constant([[MISSING] * len(columns)])
            found["texts"] = _widened(texts, columns, missing, rows)
        return found

    def _scenario(self, given: Tensors) -> tf.Tensor:
        """The name of the scenario, string [1]."""
        names = self._layout.columns["user_text"]
        scenario = _columns(given["user_text"], names, [self._dense_transform.scenario_name])[:, 0]
        return tf.where(tf.not_equal(scenario, MISSING), scenario, "")

    def _inputs(self, rows: Tensors, scenario: tf.Tensor) -> dict[str, tf.Tensor]:
        """The model's inputs but the history, of what `_rows` gives and a scenario, string [1].

        The history goes through the transform graph by itself: as rows of this, every candidate
        would have an empty one, as long to compute as that of the user.
        """
        dense = self._dense_transform
        numbers, number_names = rows["numbers"], self._layout.plain_of("numbers")
        if self._statistics is not None and self._statistics.by:
            texts = rows["texts"]
            looked_up = self._statistics.look_up(texts, tf.not_equal(texts, MISSING))
            numbers = tf.concat([numbers, looked_up], axis=1)
            number_names = [*number_names, *self._statistics.by]
        values = _columns(numbers, number_names, dense.number_names)
        inputs = dense(rows["keys"], values, ~tf.math.is_nan(values), scenario)
        raw = {
            raw_number(name): _columns(numbers, number_names, [name])[:, 0]
            for name in self._layout.raw_numbers
        }
        return {**inputs, **raw}

    def _history(self, given: Tensors) -> dict[str, tf.Tensor]:
        """The model's inputs of the user's history."""
        raw = {}
        for kind in _KINDS:
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


def _widened(
    matrices: Sequence[tuple[Sequence[str], tf.Tensor]],
    wanted: Sequence[str],
    missing: tf.Tensor,
    rows: tf.Tensor | None,
) -> tf.Tensor:
    """Some columns of a few matrices.

    Args:
      matrices: Names of their columns, and [1, C] or [rows, C] each.
      wanted: W columns.
      missing: [1, W], what stands for those that no matrix has.
      rows: How many; None for the one that all have.

    Returns:
      [rows, W].
    """
    names = [name for of, _ in matrices for name in of]
    places = [
        names.index(name) if name in names else len(names) + place
        for place, name in enumerate(wanted)
    ]
    parts = [*(matrix for _, matrix in matrices), missing]
    if rows is not None:
        parts = [
            tf.broadcast_to(part, [rows, part.shape[1]]) if part.shape[0] == 1 else part
            for part in parts
        ]
    return tf.gather(tf.concat(parts, axis=1), tf.constant(places, tf.int32), axis=1)


def _columns(matrix: tf.Tensor, names: Sequence[str], wanted: Sequence[str]) -> tf.Tensor:
    """Some columns of a matrix whose columns have names."""
    if list(names) == list(wanted):
        return matrix
    places = [names.index(name) for name in wanted]
    if len(places) == 1:
        return matrix[:, places[0] : places[0] + 1]
    return tf.gather(matrix, tf.constant(places, tf.int32), axis=1)
