"""The serving form of a ranking model: whole, and in the two halves of a ranking request."""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING

import tensorflow as tf

from keras_models.calibration import Calibration
from keras_models.embeddings import ExportedEmbedding
from keras_models.heads import EsmmHead, IndependentHead, ScoreFusion
from keras_models.heads.fusion import SCORE
from keras_models.split_columns import Columns, KernelShares, join

if TYPE_CHECKING:
    from keras_models.model import RankingNetwork

Features = Mapping[str, tf.Tensor]
Outputs = dict[str, tf.Tensor]


def raw_number(column: str) -> str:
    """Name of a column that the model takes as it is, among inputs such as `keys` and `numbers`.

    Args:
      column: Any name, also that of another input.
    """
    return f"raw:{column}"


class ServingModel(tf.Module):
    """A ranking model over the serving form of its embeddings.

    `score_items(user_embedding(u), i)` is `__call__` on rows that are all u, each with its own i.
    What depends on the user and the context alone is in `user_embedding`, and is computed once: the
    look-ups, the history's encoder, and, in the first matrix products, their share (not where an
    EPNet has scaled the user's columns to the candidate). The shares of the kernels that go with
    either are kept apart, as they are when it first scores items.

    Args:
      network: The trained network.
      embedding: The frozen embeddings.
      head: Makes what is served of the logits.
      fusion: Makes one score of that, the further output `score`.
      calibration: Between the network and the head.
      numbers: Names of the N numbers; with those that are embedded they are the last fields.
      item_fields: Fields that differ from candidate to candidate, numbers among them; all others
        are the user's and the context's, and so is the scenario.
    """

    def __init__(
        self,
        network: RankingNetwork,
        embedding: ExportedEmbedding,
        head: IndependentHead | EsmmHead,
        fusion: ScoreFusion | None = None,
        calibration: Calibration | None = None,
        *,
        numbers: Sequence[str] = (),
        item_fields: Collection[str] = (),
        name: str | None = None,
    ):
        super().__init__(name=name)
        self.network = network
        self.embedding = embedding
        self.head = head
        self.fusion = fusion
        self.calibration = calibration
        fields = list(network.fields)
        unknown = sorted(set(item_fields) - set(fields))
        if unknown:
            raise ValueError(
                f"`item_fields` should be among {', '.join(fields)}. Received: {', '.join(unknown)}"
            )
        self._is_item = [field in item_fields for field in fields]
        self._number_is_item = [name in item_fields for name in numbers] * 2
        self._kernels = KernelShares()

    def __call__(self, features: Features) -> Outputs:
        """What is served, by name.

        Args:
          features: As for `RankingModel.call`, and the column that the fusion reads, float32 [B],
            under the name that `raw_number` gives it.
        """
        embedded = self.embedding(features["keys"], features.get("history_keys"))
        logits, _ = self.network(embedded, features)
        return self._outputs(logits, features["scenario"], features)

    def user_embedding(self, features: Features) -> dict[str, tf.Tensor]:
        """All that the candidates of a request have in common.

        Args:
          features: As for `__call__`; of the items' columns anything.

        Returns:
          `user_embedding` float32 [B, U]: the embedded fields and the numbers of the user and the
          context, the scenario, and the vector of the history. Where candidates ask the history
          themselves, instead of that vector also the embedded behaviours, `history` float32
          [B, T, D], `history_properties` float32 [B, T, P] and `history_length` int64 [B].
        """
        fields = self.embedding.read_fields(features["keys"], _places(self._is_item, False))
        own_numbers = self._numbers(features["numbers"], of_items=False)
        parts, behaviours = [*fields, own_numbers, features["scenario"][:, tf.newaxis]], {}
        if self.network.plug_ins.behaviour_sequence is not None:
            behaviours = {name: features[name] for name in ("history_properties", "history_length")}
            behaviours["history"] = self.embedding.read_history(features["history_keys"])
            if not self._candidates_ask:
                # Of the items' fields none is read.
                asking = self._merge(fields, fields[:1] * sum(self._is_item))
                vector, _ = self.network.read_history(behaviours.pop("history"), behaviours, asking)
                parts, behaviours = [*parts, vector], {}
        joined = tf.concat([tf.cast(part, tf.float32) for part in parts], axis=1)
        return {"user_embedding": joined, **behaviours}

    def score_items(self, user: Features, features: Features) -> Outputs:
        """What is served for N candidates of one request, by name.

        Args:
          user: From `user_embedding`, of one user: B = 1.
          features: `keys` int64 [N, F] and `numbers` float32 [N, 2N'], of the user's columns
            anything, and the column that the fusion reads, float32 [N], named likewise.
        """
        network = self.network
        dims = [d for d, item in zip(network.dims, self._is_item, strict=True) if not item]
        sizes = [*dims, self._number_is_item.count(False), 1]
        vector = user["user_embedding"]
        vector = tf.ensure_shape(vector, [1, None])
        sizes.append(vector.shape[1] - sum(sizes))
        *own, numbers, scenario, history = tf.split(vector, sizes, axis=1)
        of_items = self.embedding.read_fields(features["keys"], _places(self._is_item, True))
        fields = tuple(tf.cast(f, network.compute_dtype) for f in self._merge(own, of_items))
        if network.plug_ins.behaviour_sequence is None:
            history = None
        elif self._candidates_ask:
            history, _ = network.read_history(user["history"], user, fields)
        else:
            history = tf.cast(history, network.compute_dtype)
        scenario = tf.cast(scenario[:, 0], tf.int64)
        logits, _ = network.score(
            fields,
            self._merge_numbers(numbers, features["numbers"]),
            scenario,
            history,
            kernels=self._kernels,
        )
        return self._outputs(logits, scenario, features)

    @property
    def _candidates_ask(self) -> bool:
        """Whether the history is asked by fields of the candidate."""
        items = dict(zip(self.network.fields, self._is_item, strict=True))
        return any(items[name] for name in self.network.plug_ins.query)

    def _merge(
        self, own: Sequence[tf.Tensor], of_items: Sequence[tf.Tensor]
    ) -> tuple[tf.Tensor, ...]:
        """All fields in order, of those of the user and those of the items."""
        users, items = iter(own), iter(of_items)
        return tuple(next(items if is_item else users) for is_item in self._is_item)

    def _merge_numbers(self, own: tf.Tensor, numbers: tf.Tensor) -> Columns:
        """The number matrix, of the user's columns [1, n] and a matrix that holds the items'."""
        own = tf.cast(own, self.network.compute_dtype)
        of_items = self._numbers(numbers, of_items=True)
        blocks, taken = [], {True: 0, False: 0}
        for is_item, run in itertools.groupby(self._number_is_item):
            start, width = taken[is_item], len(list(run))
            blocks.append((of_items if is_item else own)[:, start : start + width])
            taken[is_item] += width
        return join(blocks) if blocks else own

    def _numbers(self, numbers: tf.Tensor, of_items: bool) -> tf.Tensor:
        """The columns of one side, without gaps where the model fills them."""
        places = tf.constant(_places(self._number_is_item, of_items), tf.int32)
        return tf.gather(self.network.fill_gaps(numbers), places, axis=1)

    def _outputs(self, logits: tf.Tensor, scenario: tf.Tensor, features: Features) -> Outputs:
        if self.calibration is not None:
            logits = self.calibration(logits, scenario)
        outputs = self.head.outputs(logits)
        if self.fusion is None:
            return outputs
        column = self.fusion.length_column
        length = None if column is None else features[raw_number(column)]
        return {**outputs, SCORE: self.fusion(outputs, length)}


def _places(flags: Sequence[bool], wanted: bool) -> list[int]:
    return [place for place, flag in enumerate(flags) if flag == wanted]
