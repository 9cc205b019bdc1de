"""What a dynamic embedding is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from keras_models.embeddings.arguments import require
from keras_models.embeddings.optimizers import Adagrad, RowOptimizer
from keras_models.embeddings.policy import Policy


@dataclass(frozen=True, kw_only=True)
class DynamicEmbeddingConfig:
    """Config of a `DynamicEmbedding`.

    Args:
      fields: Names of the F columns of the key matrix.
      dim: Width of a row.
      dims: Widths that differ, by field. There is one table per width.
      capacity: Rows of a table.
      capacities: Capacities that differ, by width.
      policy: Which keys have rows.
      optimizer: How rows learn.
      history_fields: For each of the C columns of history keys, the field whose rows it shares.
      serving_min_score: Rows of a lower score (decayed, weighted occurrences) are not exported.
    """

    fields: tuple[str, ...]
    dim: int = 16
    dims: Mapping[str, int] = field(default_factory=dict)
    capacity: int = 1 << 18
    capacities: Mapping[int, int] = field(default_factory=dict)
    policy: Policy = field(default_factory=Policy)
    optimizer: RowOptimizer = field(default_factory=Adagrad)
    history_fields: tuple[str, ...] = ()
    serving_min_score: float = 0.0

    def __post_init__(self) -> None:
        require("fields", self.fields, len(self.fields) > 0, "at least one name")
        known = f"among the fields {', '.join(self.fields)}"
        for name in self.dims:
            require("dims", name, name in self.fields, known)
        for name in self.history_fields:
            require("history_fields", name, name in self.fields, known)
        for name in sorted(self.policy.fields):
            require("policy", name, name in self.fields, known)
        widths = sorted(set(self.field_dims))
        for dim in self.capacities:
            require("capacities", dim, dim in widths, f"by width, one of {widths}")
        require(
            "serving_min_score", self.serving_min_score, self.serving_min_score >= 0, "at least 0"
        )

    @property
    def field_dims(self) -> tuple[int, ...]:
        """Width of each field, in order."""
        return tuple(self.dims.get(name, self.dim) for name in self.fields)

    @property
    def history_dims(self) -> tuple[int, ...]:
        """Width of each column of history keys, in order."""
        return tuple(self.dims.get(name, self.dim) for name in self.history_fields)
