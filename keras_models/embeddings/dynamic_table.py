"""An embedding table whose keys come and go while it trains."""

from __future__ import annotations

import numpy as np
import tensorflow as tf

from keras_models.embeddings.hashing import mix64, uniform_rows
from keras_models.embeddings.sketch import CountMinSketch

WAYS = 8
"""Slots of a bucket: their keys fill one cache line of 64 bytes."""

MIN_CAPACITY = 64
ROW_LIMIT = 0.05
"""New rows are uniform in [-ROW_LIMIT, ROW_LIMIT), as in Keras' `Embedding`."""

_RESCALE_EXPONENT = 64.0
_SMALLEST = np.finfo(np.float32).tiny
_BUCKET_SALT, _SKETCH_SALT, _ROW_SALT, _SHARED_SALT = range(4)


class DynamicTable(tf.Module):
    """Embedding rows for a changing set of int64 keys, in bounded memory.

    Layout. The table is set-associative: C slots in C/8 buckets of 8. A key may sit in any slot of
    two buckets chosen by its hash. Every piece of state is a `tf.Variable`, so checkpoints and
    SavedModels need nothing special. An empty slot holds a key that hashes to other buckets, so no
    look-up can find it there and every int64 is a valid key.

    Admission. A key gets a row of its own once it occurred `min_count` times, counted by a
    count-min sketch; until then it reads the trained row that its field's unadmitted keys share.
    Counts fade with the same half-life as scores, so "`min_count` times" means that the faded
    count rounds to it: two occurrences within one half-life count as two.

    Score. Occurrences, halved every `half_life` examples: s_i = sum over occurrences of
    2^-(age / half_life). What is stored is s_i * 2^(now / half_life), which time does not change,
    so that decay touches no row; all are rescaled once in 64 half-lives.

    Eviction. A newly admitted key takes an empty slot of the emptier of its two buckets or, where
    both are full, the slot with the lowest score among those no key of this step reads, provided
    that its own estimated score is higher. The row and its Adagrad state start afresh, and the
    evicted key has to earn admission again.

    Training. Rows learn by Adagrad, a += g^2, w -= learning_rate * g / sqrt(a), applied to the rows
    of the step only.

    Args:
      dim: Width D of a row.
      capacity: Rows C for admitted keys; rounded up to a power of two.
      num_fields: Columns F of the key matrix; each has a shared row.
      min_count: Occurrences before a key gets a row.
      half_life: Examples after which an occurrence counts half.
      learning_rate: Adagrad's.
      initial_accumulator: Adagrad's a of a fresh row; above zero.
      seed: Seeds the initial rows.

    References: count-min admission as in TinyLFU (Einziger et al., ACM ToS 2017); two-choice
    buckets (Mitzenmacher, IEEE TPDS 2001); Adagrad (Duchi et al., JMLR 2011).
    """

    def __init__(
        self,
        *,
        dim: int,
        capacity: int,
        num_fields: int,
        min_count: int = 2,
        half_life: float = 1_000_000,
        learning_rate: float = 0.05,
        initial_accumulator: float = 0.1,
        seed: int = 0,
        name: str | None = None,
    ):
        super().__init__(name=name)
        _require("dim", dim, dim >= 1, "at least 1")
        _require("capacity", capacity, capacity >= 1, "at least 1")
        _require("num_fields", num_fields, num_fields >= 1, "at least 1")
        _require("min_count", min_count, min_count >= 1, "at least 1")
        _require("half_life", half_life, half_life > 0, "above 0")
        _require("initial_accumulator", initial_accumulator, initial_accumulator > 0, "above 0")
        self.dim = dim
        self.num_fields = num_fields
        self.capacity = max(MIN_CAPACITY, 1 << (capacity - 1).bit_length())
        self.min_count = min_count
        self.half_life = half_life
        self.learning_rate = learning_rate
        self.initial_accumulator = initial_accumulator
        self._row_salt = 2 * seed + _ROW_SALT
        self._num_buckets = self.capacity // WAYS

        shared = uniform_rows(
            tf.range(num_fields, dtype=tf.int64), dim, ROW_LIMIT, 2 * seed + _SHARED_SALT
        )
        self.rows = _variable(tf.concat([tf.zeros([self.capacity, dim]), shared], 0), "rows")
        self.accumulators = _variable(tf.fill(self.rows.shape, initial_accumulator), "accumulators")
        self.keys = _variable(self._empty_keys(), "keys")
        self.scores = _variable(tf.zeros([self.capacity]), "scores")
        self.seen = _variable(tf.zeros([self.capacity], tf.int64), "seen")
        self.sketch = CountMinSketch(2 * self.capacity, _SKETCH_SALT)
        self.examples = _variable(tf.zeros([], tf.int64), "examples")
        self._score_origin = _variable(tf.zeros([], tf.float64), "score_origin")
        self._lookups = _variable(tf.zeros([], tf.int64), "lookups")
        self._hits = _variable(tf.zeros([], tf.int64), "hits")
        self._admissions = _variable(tf.zeros([], tf.int64), "admissions")
        self._evictions = _variable(tf.zeros([], tf.int64), "evictions")

    def lookup(self, keys: tf.Tensor) -> tf.Tensor:
        """Reads rows and changes nothing.

        Args:
          keys: int64 [B, F].

        Returns:
          float32 [B, F, D]; the field's shared row where a key has none.
        """
        unique, position = tf.unique(tf.reshape(keys, [-1]))
        slots = tf.reshape(tf.gather(self.find(unique), position), [-1, self.num_fields])
        shared = self.capacity + tf.range(self.num_fields, dtype=tf.int64)
        return tf.gather(self.rows, tf.where(slots >= 0, slots, shared))

    def find(self, keys: tf.Tensor) -> tf.Tensor:
        """The slot of each key.

        Args:
          keys: int64 [N].

        Returns:
          int64 [N], -1 where the key has no row.
        """
        return self._find(keys, self._buckets(keys))

    def train_lookup(self, keys: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Counts, admits and evicts, then reads the rows of a training step.

        Args:
          keys: int64 [B, F].

        Returns:
          rows: float32 [U, D], the distinct rows of the step, the F shared ones last.
          slots: int64 [U], where they are kept; for `apply_gradients`.
          index: int32 [B * F], the row that each key of the flattened matrix reads.
        """
        now = self.examples.assign_add(tf.shape(keys, tf.int64)[0])
        unit = self._unit(now)
        unique, position, count = tf.unique_with_counts(tf.reshape(keys, [-1]))
        buckets = self._buckets(unique)
        slots = self._find(unique, buckets)
        weight = tf.cast(count, tf.float32) * unit

        hit = tf.where(slots >= 0)[:, 0]
        hit_slots = tf.gather(slots, hit)
        self.scores.scatter_add(tf.IndexedSlices(tf.gather(weight, hit), hit_slots))
        self.seen.scatter_update(tf.IndexedSlices(tf.fill(tf.shape(hit), now), hit_slots))

        miss = tf.where(slots < 0)[:, 0]
        admitted = self._admit(
            tf.gather(unique, miss), tf.gather(buckets, miss), tf.gather(weight, miss), now, unit
        )
        slots = tf.tensor_scatter_nd_update(slots, miss[:, None], admitted)

        own = slots >= 0
        self._lookups.assign_add(tf.size(position, tf.int64))
        self._hits.assign_add(tf.reduce_sum(tf.where(own, tf.cast(count, tf.int64), 0)))
        return self._rows_of_step(slots, own, position)

    def apply_gradients(self, slots: tf.Tensor, gradients: tf.Tensor) -> None:
        """One Adagrad step on the given rows.

        Args:
          slots: int64 [U], distinct, from `train_lookup`.
          gradients: float32 [U, D].
        """
        tf.raw_ops.ResourceSparseApplyAdagradV2(
            var=self.rows.handle,
            accum=self.accumulators.handle,
            lr=self.learning_rate,
            epsilon=0.0,
            grad=gradients,
            indices=slots,
        )

    def statistics(self) -> dict[str, int]:
        """Counts since the table was made.

        Returns:
          `live_rows` now, and totals of `admissions`, `evictions`, `lookups` (keys read while
          training) and `hits` (those that read a row of their own).
        """
        admissions, evictions = int(self._admissions), int(self._evictions)
        return {
            "live_rows": admissions - evictions,
            "admissions": admissions,
            "evictions": evictions,
            "lookups": int(self._lookups),
            "hits": int(self._hits),
        }

    def live_slots(self) -> tf.Tensor:
        """The slots that hold a key.

        Returns:
          int64 [N], ascending.
        """
        return tf.where(self.scores > 0)[:, 0]

    def _empty_keys(self) -> tf.Tensor:
        """int64 [buckets, WAYS]: in each bucket a key that belongs to other buckets."""
        candidates = tf.range(MIN_CAPACITY, dtype=tf.int64)
        buckets = self._buckets(candidates).numpy()
        other = next(i for i, row in enumerate(buckets) if not set(row) & set(buckets[0]))
        filler = np.zeros([self._num_buckets, WAYS], np.int64)
        filler[buckets[0]] = other
        return tf.constant(filler)

    def _buckets(self, keys: tf.Tensor) -> tf.Tensor:
        """int64 [N, 2]: the two different buckets of each key."""
        hashed = mix64(keys, _BUCKET_SALT)
        mask = tf.constant(self._num_buckets - 1, tf.uint64)
        first = tf.bitwise.bitwise_and(hashed, mask)
        second = tf.bitwise.bitwise_and(
            tf.bitwise.right_shift(hashed, tf.constant(32, tf.uint64)), mask
        )
        second = tf.bitwise.bitwise_xor(second, tf.cast(tf.equal(first, second), tf.uint64))
        return tf.cast(tf.stack([first, second], axis=1), tf.int64)

    def _find(self, keys: tf.Tensor, buckets: tf.Tensor) -> tf.Tensor:
        in_buckets = tf.reshape(tf.gather(self.keys, buckets), [-1, 2 * WAYS])
        match = tf.cast(tf.equal(in_buckets, keys[:, None]), tf.float32)
        # At most one way matches, so this product is its number from 1, or 0.
        way = tf.cast(tf.linalg.matvec(match, tf.range(1.0, 2 * WAYS + 1)), tf.int64) - 1
        bucket = tf.where(way < WAYS, buckets[:, 0], buckets[:, 1])
        return tf.where(way >= 0, bucket * WAYS + way % WAYS, -1)

    def _unit(self, now: tf.Tensor) -> tf.Tensor:
        """What an occurrence adds to a stored score now: 2^((now - origin) / half_life)."""
        age = (tf.cast(now, tf.float64) - self._score_origin) / self.half_life

        def rescale() -> tf.Tensor:
            # A live slot keeps a positive score, however old: zero means empty.
            faded = tf.maximum(_scaled(self.scores, 2.0**-age), _SMALLEST)
            self.scores.assign(tf.where(self.scores > 0, faded, 0.0))
            self.sketch.cells.assign(_scaled(self.sketch.cells, 2.0**-age))
            self._score_origin.assign(tf.cast(now, tf.float64))
            return tf.constant(1.0)

        def keep() -> tf.Tensor:
            return tf.cast(2.0**age, tf.float32)

        return tf.cond(age > _RESCALE_EXPONENT, rescale, keep)

    def _admit(
        self,
        keys: tf.Tensor,
        buckets: tf.Tensor,
        weight: tf.Tensor,
        now: tf.Tensor,
        unit: tf.Tensor,
    ) -> tf.Tensor:
        """Counts keys that have no row and gives slots to those that earned one, else -1."""
        score = self.sketch.add(keys, weight)
        earned = tf.where(score >= (self.min_count - 0.5) * unit)[:, 0]
        placed = self._place(
            tf.gather(keys, earned), tf.gather(buckets, earned), tf.gather(score, earned), now
        )
        return tf.scatter_nd(earned[:, None], placed + 1, tf.shape(keys, tf.int64)) - 1

    def _place(
        self, keys: tf.Tensor, buckets: tf.Tensor, score: tf.Tensor, now: tf.Tensor
    ) -> tf.Tensor:
        """Puts newcomers into slots, in rounds: of those that want one slot the first gets it."""
        # Newcomers of one bucket look at its ways in different orders, so that few rounds do.
        turn = tf.bitwise.bitwise_and(keys, WAYS - 1)[:, None, None]
        ways = (tf.range(WAYS, dtype=tf.int64) + turn) % WAYS
        candidates = tf.reshape(buckets[:, :, None] * WAYS + ways, [-1, 2 * WAYS])

        def one_round(pending: tf.Tensor, slots: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            wanted = tf.gather(candidates, pending)
            rank = self._eviction_rank(wanted, now)
            best = tf.argmin(rank, axis=1, output_type=tf.int32)
            slot = tf.gather(wanted, best, batch_dims=1)
            beaten = tf.where(tf.gather(score, pending) > tf.gather(rank, best, batch_dims=1))[:, 0]
            pending, slot = tf.gather(pending, beaten), tf.gather(slot, beaten)
            distinct, group = tf.unique(slot)
            order = tf.range(tf.size(slot))
            first = tf.math.unsorted_segment_min(order, group, tf.size(distinct))
            winners = tf.gather(pending, first)
            self._occupy(distinct, tf.gather(keys, winners), tf.gather(score, winners), now)
            slots = tf.tensor_scatter_nd_update(slots, winners[:, None], distinct)
            waits = tf.where(tf.gather(first, group) != order)[:, 0]
            return tf.gather(pending, waits), slots

        count = tf.size(keys, tf.int64)
        _, slots = tf.while_loop(
            lambda pending, _: tf.size(pending) > 0,
            one_round,
            (tf.range(count), tf.fill([count], tf.constant(-1, tf.int64))),
            shape_invariants=(tf.TensorShape([None]), tf.TensorShape([None])),
        )
        return slots

    def _eviction_rank(self, slots: tf.Tensor, now: tf.Tensor) -> tf.Tensor:
        """float32 [N, 2 * WAYS]: the lowest goes first; infinite for rows of this step."""
        scores = tf.gather(self.scores, slots)
        empty = tf.reshape(tf.equal(scores, 0.0), [-1, 2, WAYS])
        room = tf.reduce_sum(tf.cast(empty, tf.float32), axis=2, keepdims=True)
        # Scores are above zero, so any empty slot goes first, those of the emptier bucket before.
        rank = tf.where(empty, -room, tf.reshape(scores, [-1, 2, WAYS]))
        rank = tf.reshape(rank, [-1, 2 * WAYS])
        return tf.where(tf.equal(tf.gather(self.seen, slots), now), np.inf, rank)

    def _occupy(self, slots: tf.Tensor, keys: tf.Tensor, score: tf.Tensor, now: tf.Tensor) -> None:
        evicted = tf.reduce_sum(tf.cast(tf.gather(self.scores, slots) > 0, tf.int64))
        self._evictions.assign_add(evicted)
        self._admissions.assign_add(tf.size(slots, tf.int64))
        self.sketch.remove(keys, score)
        rows = uniform_rows(keys, self.dim, ROW_LIMIT, self._row_salt)
        accumulators = tf.fill(tf.shape(rows), self.initial_accumulator)
        self.keys.scatter_nd_update(tf.stack([slots // WAYS, slots % WAYS], axis=1), keys)
        self.scores.scatter_update(tf.IndexedSlices(score, slots))
        self.seen.scatter_update(tf.IndexedSlices(tf.fill(tf.shape(slots), now), slots))
        self.rows.scatter_update(tf.IndexedSlices(rows, slots))
        self.accumulators.scatter_update(tf.IndexedSlices(accumulators, slots))

    def _rows_of_step(
        self, slots: tf.Tensor, own: tf.Tensor, position: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Leaves out keys without a row and appends the shared rows: every slot at most once."""
        own_slots = tf.boolean_mask(slots, own)
        rank = tf.cumsum(tf.cast(own, tf.int32), exclusive=True)
        rank = tf.gather(tf.where(own, rank, -1), position)
        fields = tf.range(self.num_fields)
        by_field = tf.reshape(rank, [-1, self.num_fields])
        index = tf.reshape(tf.where(by_field >= 0, by_field, tf.size(own_slots) + fields), [-1])
        all_slots = tf.concat([own_slots, self.capacity + tf.cast(fields, tf.int64)], axis=0)
        return tf.gather(self.rows, all_slots), all_slots, index


def _variable(value: tf.Tensor, name: str) -> tf.Variable:
    # Not trainable: the table applies its own optimizer, and none may densify its gradients.
    return tf.Variable(value, trainable=False, name=name)


def _scaled(values: tf.Variable, factor: tf.Tensor) -> tf.Tensor:
    # The factor alone may be too small for a float32.
    return tf.cast(tf.cast(values, tf.float64) * factor, tf.float32)


def _require(name: str, value: float, holds: bool, expected: str) -> None:
    if not holds:
        raise ValueError(f"`{name}` should be {expected}. Received: {name}={value}")
