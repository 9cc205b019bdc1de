"""Dynamic embeddings in stock TensorFlow ops: a config, a layer, a policy, a serving form."""

from keras_models.embeddings.config import DynamicEmbeddingConfig
from keras_models.embeddings.dynamic_embedding import DynamicEmbedding
from keras_models.embeddings.dynamic_table import DynamicTable
from keras_models.embeddings.export import ExportedEmbedding, ExportedTable
from keras_models.embeddings.optimizers import Adagrad, LazyAdam, RowWiseAdagrad
from keras_models.embeddings.policy import (
    CountUpdates,
    DecayedCount,
    ExpireAfter,
    FieldQuotas,
    LowestScore,
    MinCount,
    Policy,
)
from keras_models.embeddings.reading import Embedded
from keras_models.embeddings.stored_rows import RowFormat
from keras_models.embeddings.sync_state import SyncState

__all__ = [
    "Adagrad",
    "CountUpdates",
    "DecayedCount",
    "DynamicEmbedding",
    "DynamicEmbeddingConfig",
    "DynamicTable",
    "Embedded",
    "ExpireAfter",
    "ExportedEmbedding",
    "ExportedTable",
    "FieldQuotas",
    "LazyAdam",
    "LowestScore",
    "MinCount",
    "Policy",
    "RowFormat",
    "RowWiseAdagrad",
    "SyncState",
]
