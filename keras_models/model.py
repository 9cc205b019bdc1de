"""The ranking model: embeddings, backbone and towers in one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import tensorflow as tf
import tf_keras as keras

from keras_models.embeddings import DynamicEmbedding, ExportedEmbedding
from keras_models.layers import Tower
from keras_models.tasks import Task


class RankingNetwork(keras.layers.Layer):
    """All of a ranking model but its embedding table.

    x = dropout([embedded ; numbers ; onehot(scenario)]), h = backbone(x), logit_k = tower_k(h_k).
    Under a mixed precision policy the logits are cast to float32.

    Args:
      backbone: Layer from [B, I] to [B, K, H] and a dict of named intermediates.
      num_tasks: K.
      num_scenarios: M.
      tower_units: Hidden layer widths of a task's tower.
      dropout: Share of x that is set to zero in training.
    """

    def __init__(
        self,
        backbone: keras.layers.Layer,
        *,
        num_tasks: int,
        num_scenarios: int,
        tower_units: Sequence[int],
        dropout: float,
        **kwargs: Any,
    ):
        super().__init__(**kwargs)
        self.num_scenarios = num_scenarios
        self.dropout = dropout
        self._backbone = backbone
        self._tower = Tower(num_tasks, tower_units, name="towers")

    def call(
        self,
        embedded: tf.Tensor,
        numbers: tf.Tensor,
        scenario: tf.Tensor,
        dropout_seed: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, dict[str, tf.Tensor]]:
        """Scores examples.

        Args:
          embedded: float32 [B, sum of the fields' widths].
          numbers: float32 [B, 2N].
          scenario: int64 [B].
          dropout_seed: int64 [2], in training only. The masks depend on it alone, so that a
            training that goes on after a kill draws the same.

        Returns:
          Logits float32 [B, K] and the backbone's named intermediates.
        """
        scenario = tf.one_hot(scenario, self.num_scenarios, dtype=embedded.dtype)
        # Keras casts the first argument to a mixed policy's type, and no other.
        inputs = tf.concat([embedded, tf.cast(numbers, embedded.dtype), scenario], axis=1)
        if dropout_seed is not None and self.dropout > 0:
            inputs = tf.nn.experimental.stateless_dropout(inputs, self.dropout, dropout_seed)
        outputs, intermediates = self._backbone(inputs)
        return tf.cast(self._tower(outputs), tf.float32), intermediates


class RankingModel(keras.Model):
    """Logits of all tasks from keys, numbers and scenario.

    Weights are drawn when the model is made; `keras.utils.set_random_seed` before makes them
    reproducible.

    Args:
      tasks: K tasks, in the order of the outputs; a name alone has weight 1.
      num_numbers: Columns 2N of the number matrix; may be 0.
      num_scenarios: M, `other` included.
      backbone: Layer from [B, I] to [B, K, H] and a dict of named intermediates.
      tower_units: Hidden layer widths of a task's tower.
      embedding: Embeds the F columns of the key matrix.
      dropout: Share of the backbone's input that is set to zero in training.

    Attributes:
      tasks: The tasks, with their weights.
      embedding: The embeddings.
      network: All else.
      feature_spec: Shape and type, by name, of the features that `call` takes.
    """

    def __init__(
        self,
        *,
        tasks: Sequence[Task | str],
        num_numbers: int,
        num_scenarios: int,
        backbone: keras.layers.Layer,
        tower_units: Sequence[int],
        embedding: DynamicEmbedding,
        dropout: float = 0.0,
        name: str | None = None,
    ):
        super().__init__(name=name)
        self.tasks = tuple(Task(task) if isinstance(task, str) else task for task in tasks)
        names = [task.name for task in self.tasks]
        if len(set(names)) < len(names):
            raise ValueError(f"`tasks` should name each task once. Received: {', '.join(names)}")
        self.embedding = embedding
        self.network = RankingNetwork(
            backbone,
            num_tasks=len(self.tasks),
            num_scenarios=num_scenarios,
            tower_units=tower_units,
            dropout=dropout,
            name="network",
        )
        self.feature_spec = {
            "keys": tf.TensorSpec([None, len(embedding.config.fields)], tf.int64),
            "numbers": tf.TensorSpec([None, num_numbers], tf.float32),
            "scenario": tf.TensorSpec([None], tf.int64),
        }
        self(
            {
                name: tf.zeros([1, *spec.shape[1:]], spec.dtype)
                for name, spec in self.feature_spec.items()
            }
        )

    def call(self, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Scores examples; reads the embeddings and changes nothing.

        Args:
          features: `keys` int64 [B, F], `numbers` float32 [B, 2N], `scenario` int64 [B].

        Returns:
          float32 [B, K], logits in the order of `tasks`.
        """
        embedded = self.embedding(features["keys"])
        logits, _ = self.network(embedded, features["numbers"], features["scenario"])
        return logits

    def intermediates(self, features: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """What the backbone names of its inside, such as gate weights.

        Args:
          features: As for `call`.

        Returns:
          Tensors by name; see the backbone.
        """
        embedded = self.embedding(features["keys"])
        _, named = self.network(embedded, features["numbers"], features["scenario"])
        return named

    def for_serving(self) -> ServingModel:
        """The same function of features, over a frozen copy of the embeddings."""
        return ServingModel(self.network, ExportedEmbedding(self.embedding))


class ServingModel(tf.Module):
    """A ranking model over the serving form of its embeddings.

    Args:
      network: The trained network.
      embedding: The frozen embeddings.
    """

    def __init__(
        self, network: RankingNetwork, embedding: ExportedEmbedding, name: str | None = None
    ):
        super().__init__(name=name)
        self.network = network
        self.embedding = embedding

    def __call__(self, features: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """Logits float32 [B, K]; features as for `RankingModel.call`."""
        embedded = self.embedding(features["keys"])
        logits, _ = self.network(embedded, features["numbers"], features["scenario"])
        return logits
