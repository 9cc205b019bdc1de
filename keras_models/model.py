"""The ranking model: embeddings, backbone, plug-ins, towers and head in one."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
import tensorflow as tf
import tf_keras as keras

from keras_models.backbones import Backbone
from keras_models.calibration import Calibration, Groups
from keras_models.embeddings import DynamicEmbedding, Embedded, ExportedEmbedding, RowFormat
from keras_models.gate_axes import Axes
from keras_models.heads import EsmmHead, IndependentHead, ScoreFusion
from keras_models.layers import Tower
from keras_models.plug_ins import PlugIns
from keras_models.serving_model import ServingModel
from keras_models.split_columns import Columns, KernelShares, join, num_rows, whole
from keras_models.tasks import Task, read_tasks

Features = Mapping[str, tf.Tensor]
FieldColumns: TypeAlias = "tf.Tensor | tuple[tf.Tensor, ...]"
"""The embedded fields, [B, sum of their widths], or one by one: [B, w], or [1, w] for all."""
Head = IndependentHead | EsmmHead


class RankingNetwork(keras.layers.Layer):
    """All of a ranking model but its embedding table.

    With E the embedded fields of an example, v its numbers, s its scenario and H its history,

        O = EPNet(E | s, E of the domain fields)
        x = dropout([O ; missing_value(v) ; onehot(s) ; behaviour_sequence(H | E of the query)])
        (h, z) = backbone(x, s)
        logits = towers(h, gated by PPNet(E of the prior fields, O)) + z + offsets

    where a part that the model does not have leaves its input as it is. No gradient changes the
    offsets: `shift` does, see `keras_models.offsets`. Under a mixed precision
    policy all that the towers' last layer reads is in bfloat16, and logits are float32.

    Args:
      backbone: See `Backbone`.
      tasks: The K tasks; they have L logits together.
      num_scenarios: M.
      fields: Names of the embedded fields.
      field_dims: Their widths.
      tower_units: Hidden layer widths of a task's tower.
      dropout: Share of x that is set to zero in training.
      plug_ins: What the model has besides.
    """

    def __init__(
        self,
        backbone: Backbone,
        *,
        tasks: Sequence[Task],
        num_scenarios: int,
        fields: Sequence[str],
        field_dims: Sequence[int],
        tower_units: Sequence[int],
        dropout: float,
        plug_ins: PlugIns,
        **kwargs: Any,
    ):
        # The first argument of `call` is cast where it is read, like the others.
        super().__init__(autocast=False, **kwargs)
        self.num_scenarios = num_scenarios
        self.dropout = dropout
        self.plug_ins = plug_ins
        self._dims = dict(zip(fields, field_dims, strict=True))
        for name in [*plug_ins.query, *plug_ins.domain, *plug_ins.prior]:
            if name not in self._dims:
                raise ValueError(
                    f"A plug-in should read embedded fields, {', '.join(fields)}. Received: {name}"
                )
        self._offsets = self.add_weight(
            name="offsets",
            shape=[sum(task.outputs for task in tasks)],
            initializer="zeros",
            dtype="float32",
            trainable=False,
            experimental_autocast=False,
        )
        self._backbone = backbone
        # Keras finds layers to track among attributes, and not inside a dataclass.
        self._plugged = [
            getattr(plug_ins, name)
            for name in ("missing_values", "behaviour_sequence", "epnet", "ppnet", "lhuc")
            if getattr(plug_ins, name) is not None
        ]
        self._tower = (
            None
            if backbone.scores
            else Tower(
                len(tasks), tower_units, outputs=[task.outputs for task in tasks], name="towers"
            )
        )

    @property
    def fields(self) -> list[str]:
        """Names of the embedded fields, in order."""
        return list(self._dims)

    @property
    def dims(self) -> list[int]:
        """Their widths."""
        return list(self._dims.values())

    @property
    def supports_xla(self) -> bool:
        """Whether XLA can compile it."""
        return self._backbone.supports_xla

    def call(
        self, embedded: Embedded, features: Features, dropout_seed: tf.Tensor | None = None
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Scores examples.

        Args:
          embedded: `fields` float32 [B, sum of the fields' widths] and, with a behaviour sequence,
            `history` float32 [B, T, sum of the widths of an item's fields].
          features: As for `RankingModel.call`.
          dropout_seed: int64 [2], in training only. The masks depend on it alone, so that a
            training that goes on after a kill draws the same.

        Returns:
          Logits float32 [B, L] and named insides, [B, ...] each.
        """
        fields = tf.cast(embedded.fields, self.compute_dtype)
        user, inside = None, {}
        if self.plug_ins.behaviour_sequence is not None:
            user, inside["behaviour_sequence/attention"] = self.read_history(
                embedded.history, features, fields
            )
        numbers = self.fill_gaps(features["numbers"])
        logits, found = self.score(fields, numbers, features["scenario"], user, dropout_seed)
        return logits, found | inside

    def fill_gaps(self, numbers: tf.Tensor) -> tf.Tensor:
        """The number matrix [B, 2N] as the backbone reads it."""
        numbers = tf.cast(numbers, self.compute_dtype)
        fill = self.plug_ins.missing_values
        return numbers if fill is None else fill(numbers)

    def read_history(
        self, history: tf.Tensor, features: Features, fields: FieldColumns
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """The user's vector [B, H], and the weight of each behaviour in it, [B, T].

        Args:
          history: float32 [B, T, D], the embedded behaviours.
          features: `history_properties` and `history_length`.
          fields: The embedded fields; those of the query are read. With the behaviours of one user,
            B = 1, N rows of them ask for N candidates.
        """
        items = tf.cast(history, self.compute_dtype)
        properties = tf.cast(features["history_properties"], self.compute_dtype)
        mask = tf.sequence_mask(features["history_length"], items.shape[1])
        query = whole(join(self._of(self.plug_ins.query, fields)))
        encoder = self.plug_ins.behaviour_sequence
        assert encoder is not None, "the model reads no history"
        return encoder((items, properties, mask), query)

    def score(
        self,
        fields: FieldColumns,
        numbers: Columns,
        scenario: tf.Tensor,
        user: tf.Tensor | None = None,
        dropout_seed: tf.Tensor | None = None,
        kernels: KernelShares | None = None,
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Scores examples from their parts, any of which may be one row for all.

        Args:
          fields: The embedded fields.
          numbers: [B, 2N], without gaps where the model fills them.
          scenario: int64 [B].
          user: [B, H], the vector of the user's history, where the model reads one.
          dropout_seed: As for `call`.
          kernels: Where the shares of kernels are kept that parts of one row for all go with.

        Returns:
          As `call`.
        """
        parts, inside = self.plug_ins, {}
        one_hot = tf.one_hot(scenario, self.num_scenarios, dtype=self.compute_dtype)
        all_fields = join(fields if isinstance(fields, tuple) else [fields], kernels)
        scaled = all_fields
        if parts.epnet is not None:
            domain = join([one_hot, *self._of(parts.domain, fields)], kernels)
            scaled, inside["epnet/delta"] = parts.epnet(all_fields, domain)
        joined = join([scaled, numbers, one_hot, *([] if user is None else [user])], kernels)
        if dropout_seed is not None and self.dropout > 0:
            joined = tf.nn.experimental.stateless_dropout(joined, self.dropout, dropout_seed)
        if not self._backbone.reads_split_columns:
            joined = whole(joined)

        if scenario.shape[0] == 1:
            scenario = tf.broadcast_to(scenario, [num_rows(joined)])
        output = self._backbone(joined, scenario, training=dropout_seed is not None)
        inside |= output.intermediates
        scores = [] if output.logits is None else [tf.cast(output.logits, tf.float32)]
        if self._tower is not None:
            gates = self._tower_gates(output.hidden, fields, scaled, kernels)
            if gates is not None:
                kind = "ppnet" if parts.ppnet is not None else "lhuc"
                inside |= {f"{kind}/gate_{i}": g for i, g in enumerate(gates, 1) if g is not None}
            scores.append(tf.cast(self._tower(output.hidden, gates), tf.float32))
        return tf.add_n(scores) + self._offsets, inside

    def shift(self, offsets: np.ndarray) -> None:
        """Adds to the logits of all examples.

        Args:
          offsets: float32 [L]; see `keras_models.offsets`.
        """
        self._offsets.assign_add(offsets)

    def gate_axes(self, tasks: Sequence[str], scenarios: Sequence[str]) -> dict[str, Axes]:
        """Which of the named insides are gates, and what lies along their axes.

        Args:
          tasks: Names of the K tasks.
          scenarios: Names of the M scenarios.
        """
        axes, parts = dict(self._backbone.gate_axes(tasks, scenarios)), self.plug_ins
        if parts.epnet is not None:
            entries = dict.fromkeys(self._dims, 1) if parts.epnet.per_field else self._dims
            axes["epnet/delta"] = {"field": [name for name, n in entries.items() for _ in range(n)]}
        gates = parts.ppnet or parts.lhuc
        if gates is not None and self._tower is not None:
            kind = "ppnet" if parts.ppnet is not None else "lhuc"
            # A gate on what a hidden layer gives is one on what the next layer reads.
            scales_inputs = parts.ppnet is not None and parts.ppnet.position == "input"
            for layer in range(1 if scales_inputs else 2, len(gates.tower_units) + 2):
                axes[f"{kind}/gate_{layer}"] = {"task": tasks}
        return axes

    def _of(self, names: Sequence[str], fields: FieldColumns) -> list[tf.Tensor]:
        """The embeddings of some fields."""
        if not isinstance(fields, tuple):
            # Split, not sliced: on CPU the gradients of slices take longer.
            fields = tf.split(fields, list(self._dims.values()), 1)
        parts = dict(zip(self._dims, fields, strict=True))
        return [parts[name] for name in names]

    def _tower_gates(
        self,
        hidden: tf.Tensor,
        fields: FieldColumns,
        scaled: Columns,
        kernels: KernelShares | None,
    ) -> list[tf.Tensor | None] | None:
        parts = self.plug_ins
        if parts.ppnet is not None:
            return parts.ppnet(hidden, join(self._of(parts.prior, fields), kernels), scaled)
        if parts.lhuc is not None:
            return parts.lhuc(join(self._of([parts.user], fields), kernels))
        return None


class RankingModel(keras.Model):
    """Logits of all tasks from keys, numbers and scenario.

    Weights are drawn when the model is made; `keras.utils.set_random_seed` before makes them
    reproducible.

    Args:
      tasks: K tasks, in the order of the outputs; a name alone is a binary task of weight 1.
      num_numbers: Columns 2N of the number matrix; may be 0.
      num_scenarios: M, `other` included.
      backbone: See `Backbone`; made for `num_tasks` K, or for L where it scores by itself.
      tower_units: Hidden layer widths of a task's tower.
      embedding: Embeds the F columns of the key matrix, and the C of a history.
      dropout: Share of the backbone's input that is set to zero in training.
      head: How tasks depend on one another; not at all by default.
      fusion: Makes one score of the tasks' outputs when the model is served; none by default.
      plug_ins: What the model has besides; nothing by default.
      history: Length T of a history and width P of a behaviour's properties; needed with a
        behaviour sequence.
      calibration: What has a scale and a shift of its own that are fitted after training; nothing
        by default.

    Attributes:
      tasks: The tasks, with their weights.
      embedding: The embeddings.
      head: From the network's logits to those that labels are compared with.
      calibration: Between the network and the head, where nothing is trained; None of a model that
        has none.
      network: All else.
      feature_spec: Shape and type, by name, of the features that `call` takes.
    """

    def __init__(
        self,
        *,
        tasks: Sequence[Task | str],
        num_numbers: int,
        num_scenarios: int,
        backbone: Backbone,
        tower_units: Sequence[int],
        embedding: DynamicEmbedding,
        dropout: float = 0.0,
        head: Head | None = None,
        fusion: ScoreFusion | None = None,
        plug_ins: PlugIns | None = None,
        history: tuple[int, int] | None = None,
        calibration: Groups | None = None,
        name: str | None = None,
    ):
        super().__init__(name=name)
        self.tasks = read_tasks(tasks)
        self.head = head or IndependentHead(self.tasks, name="head")
        self.fusion = fusion
        self.embedding = embedding
        self.network = RankingNetwork(
            backbone,
            tasks=self.tasks,
            num_scenarios=num_scenarios,
            fields=embedding.config.fields,
            field_dims=embedding.config.field_dims,
            tower_units=tower_units,
            dropout=dropout,
            plug_ins=plug_ins or PlugIns(),
            name="network",
        )
        self.calibration = None
        if calibration is not None:
            outputs = sum(task.outputs for task in self.tasks)
            self.calibration = Calibration(
                num_scenarios, outputs, groups=calibration, name="calibration"
            )
        self.feature_spec = {
            "keys": tf.TensorSpec([None, len(embedding.config.fields)], tf.int64),
            "numbers": tf.TensorSpec([None, num_numbers], tf.float32),
            "scenario": tf.TensorSpec([None], tf.int64),
            **_history_spec(history, len(embedding.config.history_fields)),
        }
        self(
            {
                name: tf.zeros([1, *spec.shape[1:]], spec.dtype)
                for name, spec in self.feature_spec.items()
            }
        )

    def call(self, features: Features) -> tf.Tensor:
        """Scores examples; reads the embeddings and changes nothing.

        Args:
          features: `keys` int64 [B, F], `numbers` float32 [B, 2N], `scenario` int64 [B]; with a
            history `history_keys` int64 [B, T, C], `history_properties` float32 [B, T, P] and
            `history_length` int64 [B], of which the first behaviours are there, oldest first.

        Returns:
          float32 [B, L], what labels are compared with, in the order of `tasks`.
        """
        logits = self.network_logits(features)
        if self.calibration is not None:
            logits = self.calibration(logits, features["scenario"])
        return self.head(logits)

    def network_logits(self, features: Features) -> tf.Tensor:
        """The network's own logits, float32 [B, L], which training sees; features as for `call`."""
        logits, _ = self.network(_embed(self.embedding, features), features)
        return logits

    def intermediates(self, features: Features) -> dict[str, tf.Tensor]:
        """What the network names of its inside, such as gate weights.

        Args:
          features: As for `call`.

        Returns:
          Tensors by name; see the backbone and the plug-ins.
        """
        _, named = self.network(_embed(self.embedding, features), features)
        return named

    def gate_axes(self, scenarios: Sequence[str]) -> dict[str, Axes]:
        """Which of `intermediates` are gates, and what lies along their axes.

        Args:
          scenarios: Names of the M scenarios.
        """
        return self.network.gate_axes([task.name for task in self.tasks], scenarios)

    def for_serving(
        self, item_fields: Collection[str] = (), embedding_rows: RowFormat = "float32"
    ) -> ServingModel:
        """The same function of features, over a frozen copy of the embeddings.

        Args:
          item_fields: See `ServingModel`.
          embedding_rows: How the copy keeps its rows: `float32`, as they were trained, or in fewer
            bytes as `float16` or `int8`, see `keras_models.embeddings.stored_rows`.
        """
        numbers = self.feature_spec["numbers"].shape[1] // 2
        return ServingModel(
            self.network,
            ExportedEmbedding(self.embedding, embedding_rows),
            self.head,
            self.fusion,
            self.calibration,
            numbers=self.embedding.config.fields[-numbers:] if numbers else (),
            item_fields=item_fields,
        )


def _embed(embedding: DynamicEmbedding | ExportedEmbedding, features: Features) -> Embedded:
    return embedding(features["keys"], features.get("history_keys"))


def _history_spec(history: tuple[int, int] | None, items: int) -> dict[str, tf.TensorSpec]:
    if history is None:
        return {}
    length, width = history
    return {
        "history_keys": tf.TensorSpec([None, length, items], tf.int64),
        "history_properties": tf.TensorSpec([None, length, width], tf.float32),
        "history_length": tf.TensorSpec([None], tf.int64),
    }
