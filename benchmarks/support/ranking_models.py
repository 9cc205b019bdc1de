"""This project's models at the benchmarks' sizes."""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf
import tf_keras as keras

from keras_models import training
from keras_models.backbones import Backbone, HiNet, Mmoe, Ple
from keras_models.embeddings import DynamicEmbedding, DynamicEmbeddingConfig
from keras_models.layers import EpNet, PpNet
from keras_models.losses import TaskLosses
from keras_models.model import RankingModel
from keras_models.plug_ins import PlugIns
from support.impressions import (
    BATCH,
    DIM,
    EXPERT_UNITS,
    EXPERTS_PER_TASK,
    FIELDS,
    LEVELS,
    MMOE_EXPERTS,
    SHARED_EXPERTS,
    TOWER_UNITS,
)
from support.streams import random_keys

Example = tuple[dict[str, tf.Tensor], tf.Tensor]
"""Features and labels of a batch."""


def _backbone(name: str, tasks: int, scenarios: int) -> Backbone:
    """Experts are of 64 units each."""
    units: dict[str, Any] = {"expert_units": [EXPERT_UNITS]}
    if name == "ple":
        units |= {"levels": LEVELS, "experts_per_task": EXPERTS_PER_TASK}
        return Ple(tasks, shared_experts=SHARED_EXPERTS, **units)
    if name == "hinet":
        return HiNet(tasks, num_scenarios=scenarios, **units)
    return Mmoe(tasks, num_experts=MMOE_EXPERTS, **units)


def ranking_model(name: str, *, tasks: int, ids: int, scenarios: int = 1) -> RankingModel:
    """A model whose embedding has room for all ids, with the default policy, and Adagrad.

    Args:
      name: `ple`, `mmoe`, `hinet`, or `pepnet`, which is MMoE with EPNet and PPNet.
      tasks: K.
      ids: Of each field.
      scenarios: M.
    """
    keras.utils.set_random_seed(1)
    fields = tuple(f"field_{number}" for number in range(FIELDS))
    plug_ins = PlugIns()
    if name == "pepnet":
        towers = PpNet(tasks, [TOWER_UNITS])
        plug_ins = PlugIns(epnet=EpNet(), domain=fields[-1:], ppnet=towers, prior=fields[:3])
    return RankingModel(
        tasks=[f"task_{number}" for number in range(tasks)],
        num_numbers=0,
        num_scenarios=scenarios,
        backbone=_backbone(name, tasks, scenarios),
        tower_units=[TOWER_UNITS],
        embedding=DynamicEmbedding(
            DynamicEmbeddingConfig(fields=fields, dim=DIM, capacity=int(1.1 * FIELDS * ids))
        ),
        plug_ins=plug_ins,
    )


def keys_of_ids(ids: int) -> np.ndarray:
    """A fingerprint for each id of each field: int64 [FIELDS, ids]."""
    keys = random_keys(FIELDS * ids, seed=1)
    return np.random.default_rng(2).permutation(keys).reshape(FIELDS, ids)


def fill(embedding: DynamicEmbedding, keys: np.ndarray) -> None:
    """Reads every key often enough to be admitted; trains nothing.

    Args:
      embedding: Of `ranking_model`.
      keys: int64 [FIELDS, ids].
    """

    @tf.function(autograph=False)
    def read(keys: tf.Tensor) -> None:
        embedding.train_lookup(keys, day=tf.zeros([BATCH], tf.int64))

    ids = keys.shape[1]
    for start in range(0, ids, BATCH):
        batch = tf.constant(keys[:, np.arange(start, start + BATCH) % ids].T)
        for _ in range(embedding.config.policy.admission.min_count):
            read(batch)


def example(
    ids: np.ndarray, labels: np.ndarray, keys: np.ndarray, scenario: np.ndarray | None = None
) -> Example:
    """A batch as `fit` reads it.

    Args:
      ids: int64 [B, FIELDS].
      labels: float32 [B, K].
      keys: int64 [FIELDS, all ids].
      scenario: int64 [B]; 0 by default.
    """
    size = len(ids)
    features = {
        "keys": tf.constant(keys[np.arange(FIELDS), ids]),
        "numbers": tf.zeros([size, 0]),
        "scenario": tf.zeros([size], tf.int64) if scenario is None else tf.constant(scenario),
        "day": tf.zeros([size], tf.int64),
    }
    return features, tf.constant(labels)


def training_step(model: RankingModel, *, xla: bool) -> training._Step:
    """The step that `fit` takes, with dense Adam."""
    return training._Step(
        model, TaskLosses(model.tasks), keras.optimizers.Adam(1e-3), training._State(), 1, xla
    )
