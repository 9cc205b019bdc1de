"""Dynamic embedding tables in stock TensorFlow ops, and their serving form."""

from keras_models.embeddings.dynamic_table import DynamicTable
from keras_models.embeddings.export import ExportedTable

__all__ = ["DynamicTable", "ExportedTable"]
