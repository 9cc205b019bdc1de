"""Which columns the model sees."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field

from tfx_pipeline.config.section import Positive, Section
from transforms.statistics import Statistic, feature_names


class StatisticConfig(Section):
    """Counts and smoothed rates over strictly earlier days, of a row's user, item or the like.

    See docs/reference/statistics.md.
    """

    by: list[str] = Field(
        min_length=1,
        description="Columns whose values together are the key: categorical ones, or the "
        "scenario's.",
    )
    of: list[str] = Field(min_length=1, description="Tasks whose rates are computed.")
    prior: Positive = Field(
        20.0,
        description="How many rows of the global rate a key starts with: rate = (positives + "
        "prior * global rate) / (rows + prior).",
    )
    half_life_days: Positive | None = Field(
        None, description="Age at which a row counts half. Default: all earlier rows count alike."
    )


class HistoryConfig(Section):
    """What a row knows of its user's last behaviours, strictly before its event time.

    See docs/reference/histories.md.
    """

    items: list[str] = Field(
        min_length=1,
        description="Categorical columns that say what a behaviour was of. A value reads the row "
        "that the column itself has in the embedding table.",
    )
    properties: list[Literal["scenario", "age"]] = Field(
        ["scenario", "age"],
        description="What else is known of a behaviour: its scenario, one of all; how long before "
        "the row it was, as one of `age_buckets` quantile buckets.",
    )
    labels: list[str] = Field(
        default_factory=list,
        description="Tasks whose labels a behaviour shows. Leave out those that arrive late: a "
        "label of an earlier row is taken as known.",
    )
    length: int = Field(20, ge=1, le=1000, description="Behaviours at most; the newest are kept.")
    age_buckets: int = Field(8, ge=2, le=256, description="Quantile buckets of ages.")

    def width(self, scenarios: int) -> int:
        """How many numbers a behaviour's properties are, with so many scenarios."""
        sizes = {"scenario": scenarios, "age": self.age_buckets}
        return sum(sizes[name] for name in self.properties) + len(self.labels)


class FeaturesConfig(Section):
    """Which columns the model sees. All come from the log or a joined table."""

    categorical: list[str] = Field(
        min_length=1,
        description="Columns read as text and embedded by the fingerprint of (column, value). "
        "A missing value has an embedding of its own.",
    )
    numeric: list[str] = Field(
        default_factory=list,
        description="Columns read as numbers. Each is embedded by its quantile bucket (missing is "
        "a bucket of its own) and given to the model as a z-score of log1p with a presence mask.",
    )
    statistics: list[StatisticConfig] = Field(
        default_factory=list,
        description="Past-days statistics. Each adds the numeric features `stat:BY:count` and, for "
        "every task, `stat:BY:TASK:rate`, where BY is `user_id`, `user_id+tab` or, with a "
        "half-life, `user_id@3d`.",
    )
    history: HistoryConfig | None = Field(
        None, description="The user's last behaviours, for `model.behaviour_sequence`."
    )
    num_buckets: int = Field(
        32,
        ge=2,
        le=1024,
        description="Quantile buckets per numeric column. A value that is more than one quantile, "
        "such as the 0 of a column that is mostly 0, has one, and the other values share the rest.",
    )
    transform_graph: Path | None = Field(
        None,
        description="Transform graph fitted by an earlier run, to be applied as it is: bucket 7 "
        "must mean today what its embedding learned then. Default: fit one on the training days.",
    )

    @property
    def past_days(self) -> tuple[Statistic, ...]:
        """The statistics, in the terms of `transforms`."""
        return tuple(
            Statistic(tuple(s.by), tuple(s.of), s.prior, s.half_life_days) for s in self.statistics
        )

    @property
    def numbers(self) -> list[str]:
        """Numeric features, in the order of the number matrix: columns, then statistics."""
        return [*self.numeric, *feature_names(self.past_days)]

    @property
    def fields(self) -> list[str]:
        """Features that are embedded, in the order of the key matrix."""
        return [*self.categorical, *self.numbers]
