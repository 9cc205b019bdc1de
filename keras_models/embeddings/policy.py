"""What decides which keys have rows: admission, score, eviction, expiry and quotas.

Each is a small class that says which numbers it needs beside a row (`columns`), how a step that
reads the row changes them (`touched`), and one decision. The table keeps the columns of all, each
once, and asks; a class of one's own needs no change there. `CountUpdates` decides nothing: its
numbers are for delta sync.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar, Literal, NamedTuple

import tensorflow as tf

from keras_models.embeddings.arguments import require

RowState = dict[str, tf.Tensor]
"""Columns by name, float32, of the same shape each; a row's part of a policy's memory."""


class Moment(NamedTuple):
    """When a step happens.

    Args:
      step: float32 [], number of the training step, modulo 2^24.
      day: float32 [], the newest day seen.
      unit: float32 [], what an occurrence adds to a stored score now.
    """

    step: tf.Tensor
    day: tf.Tensor
    unit: tf.Tensor


class Reads(NamedTuple):
    """How a step reads some rows.

    Args:
      weight: float32 [N], occurrences, weighted.
      field: int64 [N], field of the key; zeros where no policy asks for fields.
      now: The moment.
    """

    weight: tf.Tensor
    field: tf.Tensor
    now: Moment


class RowPolicy:
    """A part of a table's policy."""

    columns: ClassVar[tuple[str, ...]] = ()
    """Names of the float32 numbers that it needs beside every row; a fresh row's are zero."""

    def touched(self, rows: RowState, reads: Reads) -> RowState:
        """New values of its columns for rows that a step reads, each [N]."""
        return {}


@dataclass(frozen=True)
class MinCount(RowPolicy):
    """Admission: a key gets a row once it occurred `min_count` times.

    A count-min sketch counts keys that have none. Counts fade with the half-life of the scores, or
    by half with every C / 2 occurrences of such keys in a table of C rows, whichever is sooner. So
    "`min_count` times" means that the faded count rounds to it: two occurrences within a half-life
    count as two. A count is never too low. It is too high where keys collide: of keys that occur
    for the first time, at most 5% get a row by a `min_count` of 2, and fewer by a higher one.

    Args:
      min_count: Occurrences; 1 admits every key at once.

    Reference: Einziger, Friedman, Manes, "TinyLFU", ACM ToS 2017.
    """

    min_count: int = 2

    def __post_init__(self) -> None:
        require("min_count", self.min_count, self.min_count >= 1, "at least 1")

    def admits(self, occurrences: tf.Tensor) -> tf.Tensor:
        """Whether keys have earned a row: bool [N] for faded counts float32 [N]."""
        return occurrences >= self.min_count - 0.5


@dataclass(frozen=True)
class DecayedCount(RowPolicy):
    """Score: weighted occurrences, each halved every `half_life`.

    s = sum over occurrences of weight * 2^-(age / half_life). What is kept is
    s * 2^((now - origin) / half_life), which time does not change, so decay touches no row.

    Args:
      half_life: Age at which an occurrence counts half.
      unit: What ages are measured in: training examples or days.
      weights: By field, what an occurrence counts, from 1e-6 to 1e6; 1 where not named. Rows of
        infinite weight are pinned: admitted at first sight, never evicted, never expired, always
        served.
    """

    columns: ClassVar[tuple[str, ...]] = ("score",)
    half_life: float = 1_000_000
    unit: Literal["examples", "days"] = "examples"
    weights: Mapping[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        # Within these bounds no score leaves the range of a float32 between two rescalings.
        require("half_life", self.half_life, 1e-3 <= self.half_life <= 1e15, "from 1e-3 to 1e15")
        require("unit", self.unit, self.unit in ("examples", "days"), "examples or days")
        for name, weight in self.weights.items():
            known = 1e-6 <= weight <= 1e6 or weight == math.inf
            require(f"weights[{name}]", weight, known, "from 1e-6 to 1e6, or infinite")

    def touched(self, rows: RowState, reads: Reads) -> RowState:
        """Adds the occurrences."""
        return {"score": rows["score"] + reads.weight * reads.now.unit}


@dataclass(frozen=True)
class LowestScore(RowPolicy):
    """Eviction: the lowest score goes, but no row that this step reads."""

    columns: ClassVar[tuple[str, ...]] = ("score", "step")

    def touched(self, rows: RowState, reads: Reads) -> RowState:
        """Remembers the step."""
        return {"step": tf.fill(tf.shape(reads.weight), reads.now.step)}

    def rank(self, rows: RowState, now: Moment) -> tf.Tensor:
        """Lower goes first: float32 of the columns' shape, infinite for rows that stay.

        A newcomer has to beat it with its own score, so it is in the units of scores.
        """
        return tf.where(tf.equal(rows["step"], now.step), math.inf, rows["score"])


@dataclass(frozen=True)
class ExpireAfter(RowPolicy):
    """Expiry: a row that no example has read for more than `days` days is as good as gone.

    Args:
      days: At least 1. A row last read on day d is alive on day d + days, and no later.
    """

    columns: ClassVar[tuple[str, ...]] = ("score", "day")
    days: int

    def __post_init__(self) -> None:
        require("days", self.days, self.days >= 1, "at least 1")

    def touched(self, rows: RowState, reads: Reads) -> RowState:
        """Remembers the day."""
        return {"day": tf.fill(tf.shape(reads.weight), reads.now.day)}

    def expired(self, rows: RowState, day: tf.Tensor) -> tf.Tensor:
        """Whether rows have expired: bool of the columns' shape. Pinned ones never do."""
        return (rows["day"] + self.days < day) & tf.math.is_finite(rows["score"])


@dataclass(frozen=True)
class FieldQuotas(RowPolicy):
    """Quotas: a field holds at most a share of the rows.

    Where it holds them all, a newcomer of the field replaces another of its rows, or waits.

    Args:
      shares: By field, in (0, 1]; a field that is not named has no quota.
    """

    columns: ClassVar[tuple[str, ...]] = ("field",)
    shares: Mapping[str, float]

    def __post_init__(self) -> None:
        require("shares", self.shares, len(self.shares) > 0, "at least one field")
        for name, share in self.shares.items():
            require(f"shares[{name}]", share, 0 < share <= 1, "above 0 and at most 1")

    def touched(self, rows: RowState, reads: Reads) -> RowState:
        """Remembers the field."""
        return {"field": _first_field(rows, reads)}

    def field(self, rows: RowState) -> tf.Tensor:
        """Field that brought each row: int64 of the columns' shape, -1 where there is none."""
        return tf.cast(rows["field"], tf.int64) - 1


@dataclass(frozen=True)
class CountUpdates(RowPolicy):
    """For delta sync: how many steps read a row, since which day, and for which field; `SyncState`.

    Counts are exact up to 2^24, where they stop.
    """

    columns: ClassVar[tuple[str, ...]] = ("updates", "born", "field")

    def touched(self, rows: RowState, reads: Reads) -> RowState:
        """Counts the step, and remembers the first one's day and field."""
        return {
            "updates": rows["updates"] + 1.0,
            "born": tf.where(rows["updates"] > 0, rows["born"], reads.now.day),
            "field": _first_field(rows, reads),
        }


@dataclass(frozen=True)
class Policy:
    """Which keys have rows.

    Args:
      admission: Which keys get a row.
      score: What a row is worth.
      eviction: Which row makes place for a better one.
      expiry: Which rows go although nobody needs their place; none by default.
      quotas: How many rows a field may hold; no limit by default.
      sync: What is counted for delta sync; nothing by default.
    """

    admission: MinCount = field(default_factory=MinCount)
    score: DecayedCount = field(default_factory=DecayedCount)
    eviction: LowestScore = field(default_factory=LowestScore)
    expiry: ExpireAfter | None = None
    quotas: FieldQuotas | None = None
    sync: CountUpdates | None = None

    @property
    def parts(self) -> tuple[RowPolicy, ...]:
        """Those that are there."""
        parts = (self.admission, self.score, self.eviction, self.expiry, self.quotas, self.sync)
        return tuple(part for part in parts if part is not None)

    @property
    def columns(self) -> tuple[str, ...]:
        """What they need beside a row, each once."""
        return tuple(dict.fromkeys(name for part in self.parts for name in part.columns))

    @property
    def fields(self) -> set[str]:
        """Fields that they name."""
        return {*self.score.weights, *(self.quotas.shares if self.quotas else ())}


def _first_field(rows: RowState, reads: Reads) -> tf.Tensor:
    """The column `field`: 1 + the field that brought the row."""
    # A row stays with the field that brought it; a fresh one's zero is no field's.
    return tf.where(rows["field"] > 0, rows["field"], tf.cast(reads.field, tf.float32) + 1.0)
