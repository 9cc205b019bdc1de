"""A plain model of `DynamicTable`, one key at a time in float32, and what tests of one share."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from keras_models.embeddings import DynamicTable, Policy
from keras_models.embeddings.dynamic_table import TableLookup

WAYS = 8
_F32 = np.finfo(np.float32)


def mix64(key: int, salt: int) -> int:
    """SplitMix64's finaliser."""
    mask = 2**64 - 1
    x = (key + (salt + 1) * 0x9E3779B97F4A7C15) & mask
    x = ((x ^ (x >> 30)) * 0xBF58476D1CE4E5B9) & mask
    x = ((x ^ (x >> 27)) * 0x94D049BB133111EB) & mask
    return x ^ (x >> 31)


def reduced(hashed: int, shift: int, size: int) -> int:
    """A number below `size` from 32 bits of a hash."""
    return (hashed >> shift & 0xFFFFFFFF) * size >> 32


def two_buckets(key: int, num_buckets: int) -> tuple[int, int]:
    """The two different buckets of a key."""
    hashed = mix64(key, salt=0)
    first = reduced(hashed, 0, num_buckets)
    others = [bucket for bucket in range(num_buckets) if bucket != first]
    return first, others[reduced(hashed, 32, num_buckets - 1)]


def flushed(values: np.ndarray) -> np.ndarray:
    """Values as TensorFlow's threads keep them: those below float32's normal range are zero."""
    return np.where(np.abs(values) < _F32.tiny, np.float32(0), values)


class ReferenceSketch:
    """Four rows of `width` counts; a key is estimated by the lowest of its four."""

    def __init__(self, width: int, salt: int = 1):
        self.cells = np.zeros([4, width], np.float32)
        self.age = self._kept = 0.0
        self._salt = salt

    def fade(self, half_lives: float) -> None:
        """Lets time pass, by what was kept where that is more."""
        self.age += max(half_lives, self._kept / (0.5 * self.cells.shape[1]))
        self._kept = 0.0
        shift = math.floor(self.age)
        if shift >= 64:
            self.cells = flushed(self.cells * max(np.float32(2.0**-shift), _F32.tiny))
            self.age -= shift

    def estimate(self, key: int, count: int) -> np.float32:
        """What a key has counted, with new occurrences."""
        return min(self.cells[cell] for cell in self._cells_of(key)) / self._unit + np.float32(
            count
        )

    def keep(self, estimates: dict[int, np.float32], counts: dict[int, int]) -> None:
        """Raises the keys' cells to what they have counted."""
        for key, estimate in estimates.items():
            for cell in self._cells_of(key):
                self.cells[cell] = max(self.cells[cell], estimate * self._unit)
            self._kept += counts[key]

    @property
    def _unit(self) -> np.float32:
        return np.float32(2.0**self.age)

    def _cells_of(self, key: int) -> list[tuple[int, int]]:
        width = self.cells.shape[1]
        hashed = mix64(key, self._salt)
        first, second = reduced(hashed, 0, width), reduced(hashed, 32, width)
        return [(row, (first + row * second) % width) for row in range(4)]


@dataclass
class Row:
    """What the table knows of a slot's key."""

    key: int
    field: int
    score: np.float32
    step: int
    day: int


@dataclass
class _Read:
    count: int = 0
    weight: np.float32 = np.float32(0)
    field: int = 0


class ReferenceTable:
    """The plain model. Arguments as those of `DynamicTable`."""

    def __init__(self, *, capacity: int, fields: str, policy: Policy):
        self.capacity = max(64, math.ceil(capacity / WAYS) * WAYS)
        self.rows: list[Row | None] = [None] * self.capacity
        self.sketch = ReferenceSketch(self.capacity)
        self.counts: Counter[str] = Counter()
        self.hits = [0] * len(fields)
        self.examples = self.day = self._step = 0
        self._origin = 0.0
        self._policy = policy
        self._weights = [np.float32(policy.score.weights.get(name, 1)) for name in fields]
        shares = policy.quotas.shares if policy.quotas else {}
        self.quotas = [
            max(1, math.floor(shares[name] * self.capacity)) if name in shares else math.inf
            for name in fields
        ]
        self._unit = np.float32(1)

    def train(
        self, keys: np.ndarray, weight: np.ndarray | None = None, day: np.ndarray | None = None
    ) -> None:
        """A training step."""
        self._tick(len(keys), day)
        reads = self._reads(keys, np.ones(len(keys), np.float32) if weight is None else weight)
        slot_of = {row.key: slot for slot, row in enumerate(self.rows) if row}
        misses = {}
        for key, read in reads.items():
            slot = slot_of.get(key)
            row = None if slot is None else self.rows[slot]
            if row and not self.has_expired(row):
                row.score += read.weight * self._unit
                row.step, row.day = self._step, self.day
                continue
            misses[key] = read
            if row:
                self.rows[slot] = None
                self.counts["expirations"] += 1
        estimates = {key: self.sketch.estimate(key, read.count) for key, read in misses.items()}
        self._place(self._newcomers(misses, estimates))
        held = {row.key for row in self.rows if row}
        self.sketch.keep(
            {key: estimate for key, estimate in estimates.items() if key not in held},
            {key: read.count for key, read in misses.items()},
        )
        self.counts["lookups"] += keys.size
        held = {row.key for row in self.live_rows()}
        for field, column in enumerate(keys.T.tolist()):
            self.hits[field] += sum(key in held for key in column)

    def has_expired(self, row: Row) -> bool:
        """Whether a row has not been read for too many days."""
        expiry = self._policy.expiry
        return bool(expiry and row.day + expiry.days < self.day and row.score < math.inf)

    def live_rows(self) -> list[Row]:
        """Rows that a look-up finds."""
        return [row for row in self.rows if row and not self.has_expired(row)]

    def rows_of_field(self) -> list[int]:
        """Live rows that each field brought."""
        held = Counter(row.field for row in self.live_rows())
        return [held[field] for field in range(len(self.quotas))]

    def _tick(self, examples: int, day: np.ndarray | None) -> None:
        score = self._policy.score
        age_before = self._age()
        self.examples += examples
        self._step += 1
        if day is not None:
            self.day = max([self.day, *day.tolist()])
        self.sketch.fade(self._age() - age_before)
        shift = math.floor(self._age())
        if shift >= 64:
            factor = max(np.float32(2.0**-shift), _F32.tiny)
            for row in self.rows:
                if row:
                    row.score = max(row.score * factor, _F32.tiny)
            self._origin += shift * score.half_life
        self._unit = np.float32(2.0 ** self._age())

    def _age(self) -> float:
        score = self._policy.score
        now = self.day if score.unit == "days" else self.examples
        return (now - self._origin) / score.half_life

    def _reads(self, keys: np.ndarray, weight: np.ndarray) -> dict[int, _Read]:
        reads: dict[int, _Read] = {}
        clipped = np.clip(weight, np.float32(1e-6), np.float32(1e6))
        for example, each in zip(keys.tolist(), clipped, strict=True):
            for field, key in enumerate(example):
                read = reads.setdefault(key, _Read())
                read.count += 1
                read.weight += each * self._weights[field]
                read.field = max(read.field, field)
        return reads

    def _newcomers(self, misses: dict[int, _Read], estimates: dict[int, np.float32]) -> list[Row]:
        """Keys without a row that earned one."""
        newcomers = []
        for key, read in misses.items():
            occurrences = estimates[key]
            pinned = read.weight == math.inf
            if occurrences < self._policy.admission.min_count - 0.5 and not pinned:
                continue
            earlier = max(occurrences - np.float32(read.count), np.float32(0))
            score = read.weight if pinned else read.weight + earlier * self._weights[read.field]
            newcomers.append(Row(key, read.field, score * self._unit, self._step, self.day))
        return newcomers

    def _place(self, pending: list[Row]) -> None:
        """In rounds: of the newcomers that want one slot the first gets it, and the others wait."""
        while pending:
            held, ahead = self.rows_of_field(), Counter[int]()
            wanting: list[tuple[Row, int]] = []
            for new in pending:
                has_room = ahead[new.field] < self.quotas[new.field] - held[new.field]
                ahead[new.field] += 1
                slot, rank = self._choice(new, has_room)
                if new.score > rank:
                    wanting.append((new, slot))
            winners = {slot: new for new, slot in reversed(wanting)}
            for slot, new in winners.items():
                old, self.rows[slot] = self.rows[slot], new
                self.counts["admissions"] += 1
                if old:
                    self.counts["expirations" if self.has_expired(old) else "evictions"] += 1
            pending = [new for new, slot in wanting if winners[slot] is not new]

    def _choice(self, new: Row, has_room: bool) -> tuple[int, float]:
        """The slot that a newcomer would take, and the score that it has to beat."""
        ranks: dict[int, float] = {}
        for bucket in two_buckets(new.key, self.capacity // WAYS):
            slots = [bucket * WAYS + (way + new.key) % WAYS for way in range(WAYS)]
            rows = [self.rows[slot] for slot in slots]
            rows = [None if row and self.has_expired(row) else row for row in rows]
            for slot, row in zip(slots, rows, strict=True):
                if not has_room and (row is None or row.field != new.field):
                    ranks[slot] = math.inf
                elif row is None:
                    ranks[slot] = -rows.count(None)
                else:
                    ranks[slot] = math.inf if row.step == self._step else row.score
        return min(ranks.items(), key=lambda item: item[1])


def train(
    table: DynamicTable,
    keys: np.ndarray | list[list[int]],
    weight: list[float] | None = None,
    day: list[int] | None = None,
) -> TableLookup:
    """A training step whose gradients are ones; keys int64 [B, F]."""
    lookup = table.train_lookup(
        tf.constant(keys, tf.int64),
        None if weight is None else tf.constant(weight),
        None if day is None else tf.constant(day, tf.int64),
    )
    ones = tf.ones([tf.size(lookup.index), table.dim])
    table.apply_gradients(
        lookup, tf.math.unsorted_segment_sum(ones, lookup.index, tf.size(lookup.slots))
    )
    return lookup


def slots_of(table: DynamicTable, keys: list[int]) -> list[int]:
    """The slot of each key, or -1."""
    return table.find(tf.constant(keys, tf.int64)).numpy().tolist()


def known(table: DynamicTable, keys: list[int]) -> list[int]:
    """Those of the keys that have a row."""
    return [key for key, slot in zip(keys, slots_of(table, keys), strict=True) if slot >= 0]


def crowd(table: DynamicTable, size: int) -> list[int]:
    """Keys whose both buckets are the same two."""
    keys = np.arange(100_000)
    buckets = np.sort(table._buckets(tf.constant(keys)).numpy(), axis=1)
    return keys[(buckets == buckets[0]).all(axis=1)][:size].tolist()


def in_field(table: DynamicTable, field: str, keys: list[int], elsewhere: int) -> np.ndarray:
    """int64 [B, F]: an example for each key in a field, with one key in all the other fields."""
    matrix = np.full([len(keys), len(table.fields)], elsewhere, np.int64)
    matrix[:, table.fields.index(field)] = keys
    return matrix
