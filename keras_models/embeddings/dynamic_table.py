"""An embedding table whose keys come and go while it trains."""

from __future__ import annotations

import math
import secrets
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from keras_models.embeddings.arguments import require
from keras_models.embeddings.hashing import mix64, reduced, uniform_rows
from keras_models.embeddings.optimizers import Adagrad, RowOptimizer
from keras_models.embeddings.policy import Moment, Policy, Reads, RowState
from keras_models.embeddings.sketch import CountMinSketch
from keras_models.embeddings.sync_state import SyncState
from keras_models.embeddings.variables import (
    gather,
    scatter_nd_update,
    scatter_update,
    table_variable,
)
from keras_models.replicas import first_example, gather_batch, sum_over_replicas

WAYS = 8
"""Slots of a bucket: their keys fill one cache line of 64 bytes."""

MIN_CAPACITY = 64
ROW_LIMIT = 0.05
"""New rows are uniform in [-ROW_LIMIT, ROW_LIMIT), as in Keras' `Embedding`."""

_RESCALE_EXPONENT = 64
_SMALLEST = float(np.finfo(np.float32).tiny)
_LARGEST = float(np.finfo(np.float32).max)
_STEPS = 2**24
_BUCKET_SALT, _SKETCH_SALT, _ROW_SALT, _SHARED_SALT = range(4)


class TableLookup(NamedTuple):
    """What a training step read, for `DynamicTable.apply_gradients`.

    Args:
      rows: float32 [U, D], what the examples read. Some are not read by any example and are zero.
      index: int64 [b * F], the row that each key of this replica's flattened matrix reads.
      optimizer: float32 [U, width], what the optimizer keeps of the rows.
      slots: int64 [U], where they are kept.
      history: int64 [n * C], the row that each key of the flattened histories reads.
    """

    rows: tf.Tensor
    index: tf.Tensor
    optimizer: tf.Tensor
    slots: tf.Tensor
    history: tf.Tensor | None = None


class DynamicTable(tf.Module):
    """Embedding rows for a changing set of int64 keys, in bounded memory.

    Layout. The table is set-associative: C slots in C/8 buckets of 8. A key may sit in any slot of
    two buckets chosen by its hash. Every piece of state is a `tf.Variable`, so checkpoints,
    SavedModels and `tf.distribute` need nothing special. An empty slot holds a key that hashes to
    other buckets, so no look-up can find it there and every int64 is a valid key. A row and what
    its optimizer keeps lie side by side: one read and one write a step move both.

    Admission. A key gets a row of its own when the policy's admission says so; until then it reads
    the trained row that its field's unadmitted keys share.

    Eviction. A newly admitted key takes an empty slot of the emptier of its two buckets or, where
    both are full, the slot with the lowest score among those no key of this step reads, provided
    that its own estimated score is higher. The row and its optimizer's state start afresh. Of the
    evicted key the sketch knows what it counted before the key had a row, as far as that has not
    faded; all else it has to earn again.

    Histories. Keys of what a user did before read rows and let them learn, and that is all: they
    are not counted, bring no row in, keep none, and make none go. (They were counted when they were
    shown.) They read after newcomers have been placed, so no row that they read goes in the same
    step.

    Replicas. Under `tf.distribute` every replica holds the whole table; see `replicas`.

    Args:
      dim: Width D of a row.
      capacity: Rows C for admitted keys; rounded up to a multiple of 8, and to 64 at least.
      fields: Names of the F columns of the key matrix; each has a shared row.
      history_fields: For each of the C columns of history keys the field whose rows it reads.
      policy: Which keys have rows.
      optimizer: How rows learn.
      seed: Seeds the initial rows.

    Reference: two-choice buckets: Mitzenmacher, IEEE TPDS 2001.
    """

    def __init__(
        self,
        *,
        dim: int,
        capacity: int,
        fields: Sequence[str],
        history_fields: Sequence[str] = (),
        policy: Policy | None = None,
        optimizer: RowOptimizer | None = None,
        seed: int = 0,
        name: str | None = None,
    ):
        super().__init__(name=name)
        require("dim", dim, dim >= 1, "at least 1")
        require("capacity", capacity, capacity >= 1, "at least 1")
        require("fields", fields, len(fields) >= 1, "at least one name")
        require("fields", fields, len(set(fields)) == len(fields), "different names")
        self.dim = dim
        for name in history_fields:
            require("history_fields", name, name in fields, f"among {', '.join(fields)}")
        self.fields = tuple(fields)
        self.history_fields = tuple(history_fields)
        self.capacity = max(MIN_CAPACITY, -(-capacity // WAYS) * WAYS)
        self.policy = policy or Policy()
        self.optimizer = optimizer or Adagrad()
        self._row_salt = 2 * seed + _ROW_SALT
        self._num_buckets = self.capacity // WAYS
        self._columns = self.policy.columns
        # After the rows of keys come the shared ones, then one that takes what is of no use.
        self._scratch = self.capacity + len(self.fields)

        shared = uniform_rows(
            tf.range(len(self.fields), dtype=tf.int64), dim, ROW_LIMIT, 2 * seed + _SHARED_SALT
        )
        # In NumPy, since TensorFlow keeps the memory of what it puts together and drops.
        records = np.zeros([self._scratch + 1, dim + self.optimizer.width(dim)], np.float32)
        records[self.capacity : self._scratch, :dim] = shared
        records[:, dim:] = self.optimizer.initial_state(dim)
        self.records = table_variable(records, "records")
        self.keys = table_variable(self._empty_keys(), "keys")
        self.row_state = table_variable(
            tf.zeros([self._scratch + 1, len(self._columns)]), "row_state"
        )
        self.sketch = CountMinSketch(self.capacity, _SKETCH_SALT)
        self.examples = table_variable(tf.zeros([], tf.int64), "examples")
        self.day = table_variable(tf.zeros([], tf.int64), "day")
        self._steps = table_variable(tf.zeros([], tf.int64), "steps")
        self._score_origin = table_variable(tf.zeros([], tf.float64), "score_origin")
        self._lookups = table_variable(tf.zeros([], tf.int64), "lookups")
        self._hits = table_variable(tf.zeros([len(self.fields)], tf.int64), "hits")
        self._admissions = table_variable(tf.zeros([], tf.int64), "admissions")
        self._evictions = table_variable(tf.zeros([], tf.int64), "evictions")
        self._expirations = table_variable(tf.zeros([], tf.int64), "expirations")
        if self.policy.sync is not None:
            # Drawn once, at the cold start: whoever restores a checkpoint carries on its lineage.
            self.lineage = table_variable(tf.constant(secrets.randbits(63), tf.int64), "lineage")
        self._score_weights = self._by_field(self.policy.score.weights, 1.0)
        if self.policy.quotas is not None:
            shares = self.policy.quotas.shares
            # Whole rows, which a float32 holds exactly up to 2^24, and then to within one in 2^24.
            self._quotas = np.array(
                [
                    max(1, math.floor(shares[name] * self.capacity)) if name in shares else math.inf
                    for name in self.fields
                ],
                np.float32,
            )
            self.rows_of_field = table_variable(tf.zeros([len(self.fields)]), "rows_of_field")

    def lookup(self, keys: tf.Tensor) -> tf.Tensor:
        """Reads rows and changes nothing.

        Args:
          keys: int64 [B, F].

        Returns:
          float32 [B, F, D]; the field's shared row where a key has none.
        """
        require("keys", keys.shape, keys.shape[1] == len(self.fields), f"[B, {len(self.fields)}]")
        unique, position = tf.unique(tf.reshape(keys, [-1]))
        slots = tf.reshape(tf.gather(self.find(unique), position), [-1, len(self.fields)])
        slots = tf.where(slots >= 0, slots, self._shared_slots())
        return gather(self.records, slots)[..., : self.dim]

    def lookup_history(self, keys: tf.Tensor) -> tf.Tensor:
        """Reads rows of behaviours and changes nothing.

        Args:
          keys: int64 [n, C]; 0 where there is no behaviour.

        Returns:
          float32 [n, C, D]; the field's shared row where a key has none, zeros where there is no
          behaviour.
        """
        self._require_history(keys)
        slots = tf.reshape(self._history_slots(keys), [-1, len(self.history_fields)])
        return gather(self.records, slots)[..., : self.dim]

    def find(self, keys: tf.Tensor) -> tf.Tensor:
        """The slot of each key.

        Args:
          keys: int64 [N].

        Returns:
          int64 [N], -1 where the key has no row.
        """
        slots = self._match(keys, self._buckets(keys))
        if self.policy.expiry is None:
            return slots
        rows = self._unpack(gather(self.row_state, tf.maximum(slots, 0)))
        return tf.where(self._expired(rows), tf.constant(-1, tf.int64), slots)

    def train_lookup(
        self,
        keys: tf.Tensor,
        weight: tf.Tensor | None = None,
        day: tf.Tensor | None = None,
        history_keys: tf.Tensor | None = None,
    ) -> TableLookup:
        """Counts, admits and evicts, then reads the rows of a training step.

        Args:
          keys: int64 [b, F]; under `tf.distribute` the examples of this replica.
          weight: float32 [b], what an occurrence in each example counts in the score; 1 by
            default, clipped to 1e-6 and 1e6. Admission counts plain occurrences.
          day: int64 [b], the day of each example, counted from any fixed day. The table's clock
            shows the newest day seen; without it, it stands still.
          history_keys: int64 [n, C], behaviours of this replica's examples; 0 where there is none.

        Returns:
          The rows, and what `apply_gradients` needs.
        """
        require("keys", keys.shape, keys.shape[1] == len(self.fields), f"[B, {len(self.fields)}]")
        start, size = first_example(keys), tf.shape(keys)[0]
        keys = gather_batch(keys)
        weight = None if weight is None else gather_batch(weight)
        before = self._age()
        if day is not None:
            self._advance_day(tf.reduce_max(gather_batch(day)))
        now = self._begin_step(tf.shape(keys, tf.int64)[0], before)

        unique, position, count = tf.unique_with_counts(tf.reshape(keys, [-1]), tf.int64)
        reads = self._reads(position, count, weight, now)
        buckets = self._buckets(unique)
        slots = self._touch(self._match(unique, buckets), reads)
        slots = self._admit(unique, buckets, slots, tf.cast(count, tf.float32), reads)

        own = slots >= 0
        own_keys = tf.reshape(tf.gather(own, position), [-1, len(self.fields)])
        hits = tf.reduce_sum(tf.cast(own_keys, tf.int64), axis=0)
        self._lookups.assign_add(tf.size(position, tf.int64))
        self._hits.assign_add(hits)
        is_shared_read = hits < tf.shape(keys, tf.int64)[0]
        # What no example reads goes to the scratch row, where nothing is learnt.
        slots = tf.concat(
            [
                tf.where(own, slots, self._scratch),
                tf.where(is_shared_read, self._shared_slots(), self._scratch),
            ],
            axis=0,
        )
        shared = tf.size(unique, tf.int64) + tf.range(len(self.fields), dtype=tf.int64)
        index = tf.where(own_keys, tf.reshape(position, [-1, len(self.fields)]), shared)
        index = tf.reshape(index[start : start + size], [-1])
        history = None
        if history_keys is not None:
            slots, index, history = self._with_history(slots, index, history_keys)
        record = gather(self.records, slots)
        return TableLookup(record[:, : self.dim], index, record[:, self.dim :], slots, history)

    def apply_gradients(self, lookup: TableLookup, gradients: tf.Tensor) -> None:
        """One step of the optimizer on the rows that the step read.

        Args:
          lookup: From `train_lookup`, in the same step.
          gradients: float32 [U, D], summed over the examples of this replica.
        """
        if lookup.history is not None:
            # The scratch row is what no behaviour reads, and has to stay zero.
            learns = tf.not_equal(lookup.slots, self._scratch)[:, None]
            gradients = tf.where(learns, gradients, tf.zeros_like(gradients))
        rows, state = self.optimizer.step(
            lookup.rows, lookup.optimizer, sum_over_replicas(gradients)
        )
        scatter_update(self.records, lookup.slots, tf.concat([rows, state], axis=1))

    def statistics(self) -> dict[str, int]:
        """Counts since the table was made.

        Returns:
          `live_rows` now, and totals of `admissions`, `evictions`, `expirations` (expired rows that
          made place), `lookups` (keys read while training) and `hits` (those that read a row of
          their own).
        """
        return {
            "live_rows": int(tf.size(self.live_slots())),
            "admissions": int(tf.convert_to_tensor(self._admissions)),
            "evictions": int(tf.convert_to_tensor(self._evictions)),
            "expirations": int(tf.convert_to_tensor(self._expirations)),
            "lookups": int(tf.convert_to_tensor(self._lookups)),
            "hits": int(tf.reduce_sum(self._hits)),
        }

    def hits_by_field(self) -> dict[str, int]:
        """Keys, by field, that read a row of their own while training, since the table was made."""
        hits = tf.convert_to_tensor(self._hits).numpy().tolist()
        return dict(zip(self.fields, hits, strict=True))

    def live_slots(self, min_score: float = 0.0) -> tf.Tensor:
        """The slots that hold a key.

        Args:
          min_score: Least score: decayed, weighted occurrences as of now.

        Returns:
          int64 [N], ascending.
        """
        rows = self._unpack(tf.convert_to_tensor(self.row_state)[: self.capacity])
        live = (rows["score"] > 0) & ~self._expired(rows)
        if min_score:
            live &= rows["score"] >= min_score * self._unit()
        return tf.where(live)[:, 0]

    def sync_state(self, min_score: float = 0.0) -> SyncState:
        """What delta sync has to know of the live rows; the policy has to have `sync`.

        Args:
          min_score: As for `live_slots`, in whose order they are.
        """
        live = self.live_slots(min_score)
        rows = self._unpack(gather(self.row_state, live))
        return SyncState(
            fields=self.fields,
            lineage=int(self.lineage),
            day=int(tf.convert_to_tensor(self.day)),
            keys=tf.gather(tf.reshape(self.keys, [-1]), live).numpy(),
            updates=tf.cast(rows["updates"], tf.int32).numpy(),
            born=tf.cast(rows["born"], tf.int32).numpy(),
            # The column counts fields from 1.
            field=tf.cast(rows["field"] - 1, tf.int32).numpy(),
        )

    def shared_rows(self) -> tf.Tensor:
        """The rows of unadmitted keys: float32 [F, D]."""
        return gather(self.records, self._shared_slots())[:, : self.dim]

    # Keys and buckets.

    def _empty_keys(self) -> tf.Tensor:
        """int64 [buckets, WAYS]: in each bucket a key that belongs to other buckets."""
        candidates = tf.range(MIN_CAPACITY, dtype=tf.int64)
        buckets = self._buckets(candidates).numpy()
        self._filler = next(i for i, row in enumerate(buckets) if not set(row) & set(buckets[0]))
        self._filler_buckets = tuple(buckets[0].tolist())
        return tf.repeat(self._filler_of(tf.range(self._num_buckets, dtype=tf.int64)), WAYS, axis=1)

    def _filler_of(self, buckets: tf.Tensor) -> tf.Tensor:
        """int64 [N, 1]: a key that belongs to other buckets than each of these, int64 [N]."""
        holds_zero = tf.reduce_any(tf.equal(buckets[:, None], self._filler_buckets), 1)
        return tf.where(holds_zero, tf.constant(self._filler, tf.int64), 0)[:, None]

    def _buckets(self, keys: tf.Tensor) -> tf.Tensor:
        """int64 [N, 2]: the two different buckets of each key."""
        hashed = mix64(keys, _BUCKET_SALT)
        first = reduced(hashed, 0, self._num_buckets)
        second = reduced(hashed, 32, self._num_buckets - 1)
        return tf.stack([first, second + tf.cast(second >= first, tf.int64)], axis=1)

    def _match(self, keys: tf.Tensor, buckets: tf.Tensor) -> tf.Tensor:
        """int64 [N]: the slot whose key it is, or -1."""
        in_buckets = tf.reshape(gather(self.keys, buckets), [-1, 2 * WAYS])
        match = tf.cast(tf.equal(in_buckets, keys[:, None]), tf.float32)
        # At most one way matches, so this product is its number from 1, or 0.
        way = tf.cast(tf.linalg.matvec(match, tf.range(1.0, 2 * WAYS + 1)), tf.int64) - 1
        bucket = tf.where(way < WAYS, buckets[:, 0], buckets[:, 1])
        return tf.where(way >= 0, bucket * WAYS + way % WAYS, -1)

    def _write_keys(self, slots: tf.Tensor, keys: tf.Tensor) -> None:
        scatter_nd_update(self.keys, tf.stack([slots // WAYS, slots % WAYS], axis=1), keys)

    # Time.

    def _advance_day(self, day: tf.Tensor) -> None:
        if self.policy.quotas is None or self.policy.expiry is None:
            self.day.assign(tf.maximum(self.day, day))
            return

        def recount() -> None:
            # Rows that expire now leave their field's quota, wherever they are.
            self.day.assign(day)
            self.rows_of_field.assign(tf.zeros_like(self.rows_of_field))
            self._count_fields(self._unpack(gather(self.row_state, self.live_slots())), 1.0)

        tf.cond(day > self.day, recount, lambda: None)

    def _begin_step(self, examples: tf.Tensor, age_before: tf.Tensor) -> Moment:
        self.examples.assign_add(examples)
        self.sketch.fade(self._age() - age_before)
        step = self._steps.assign_add(1, read_value=True) % _STEPS
        # A live slot keeps a positive score, however old: zero means empty.
        shift = tf.floor(self._age())
        tf.cond(shift >= _RESCALE_EXPONENT, lambda: self._rescale(shift), lambda: None)
        return Moment(tf.cast(step, tf.float32), tf.cast(self.day, tf.float32), self._unit())

    def _age(self) -> tf.Tensor:
        """float64 []: half-lives since the moment that stored scores refer to."""
        in_days = self.policy.score.unit == "days"
        now = tf.cast(self.day if in_days else self.examples, tf.float64)
        return (now - self._score_origin) / self.policy.score.half_life

    def _unit(self) -> tf.Tensor:
        """float32 []: what an occurrence adds to a stored score now."""
        return tf.cast(2.0 ** self._age(), tf.float32)

    def _rescale(self, shift: tf.Tensor) -> None:
        """Lets stored scores refer to a moment `shift` half-lives later."""
        factor = tf.maximum(tf.cast(2.0**-shift, tf.float32), _SMALLEST)
        columns = [
            # A live slot keeps a positive score, however old: zero means empty.
            tf.maximum(values * factor, tf.minimum(values, _SMALLEST))
            if name == "score"
            else values
            for name, values in self._unpack(tf.convert_to_tensor(self.row_state)).items()
        ]
        self.row_state.assign(tf.stack(columns, axis=1))
        self._score_origin.assign_add(shift * self.policy.score.half_life)

    # What a step does to the policy's columns.

    def _unpack(self, values: tf.Tensor) -> RowState:
        return dict(zip(self._columns, tf.unstack(values, axis=-1), strict=True))

    def _touched(self, rows: RowState, reads: Reads) -> RowState:
        changes: RowState = {}
        for part in self.policy.parts:
            changes.update(part.touched(rows, reads))
        return changes

    def _pack(self, rows: RowState) -> tf.Tensor:
        return tf.stack([rows[name] for name in self._columns], axis=-1)

    def _expired(self, rows: RowState) -> tf.Tensor:
        if self.policy.expiry is None:
            return tf.zeros_like(rows["score"], tf.bool)
        return self.policy.expiry.expired(rows, tf.cast(self.day, tf.float32))

    def _reads(
        self, position: tf.Tensor, count: tf.Tensor, weight: tf.Tensor | None, now: Moment
    ) -> Reads:
        weights = tf.cast(count, tf.float32)
        if weight is not None or self.policy.score.weights:
            each = tf.ones([tf.size(position) // len(self.fields)]) if weight is None else weight
            matrix = tf.clip_by_value(each, 1e-6, 1e6)[:, None] * self._score_weights
            weights = tf.math.unsorted_segment_sum(
                tf.reshape(matrix, [-1]), position, tf.size(count)
            )
        fields = tf.zeros_like(count)
        if self.policy.fields or self.policy.sync is not None:
            tiled = tf.range(tf.size(position, tf.int64)) % len(self.fields)
            # This op has no GPU kernel for int64.
            tiled = tf.cast(tiled, tf.int32)
            fields = tf.math.unsorted_segment_max(tiled, position, tf.size(count))
            fields = tf.cast(fields, tf.int64)
        return Reads(weights, fields, now)

    def _touch(self, slots: tf.Tensor, reads: Reads) -> tf.Tensor:
        """Notes that keys were read; gives up those that expired. Returns the others' slots."""
        own = slots >= 0
        rows = self._unpack(gather(self.row_state, tf.where(own, slots, self._scratch)))
        if self.policy.expiry is not None:
            gone = own & self._expired(rows)
            self._free(tf.boolean_mask(slots, gone))
            own &= ~gone
        touched = tf.where(own[:, None], self._pack(self._touched(rows, reads)), 0.0)
        scatter_update(self.row_state, tf.where(own, slots, self._scratch), touched)
        return tf.where(own, slots, -1)

    def _free(self, slots: tf.Tensor) -> None:
        """Empties slots whose rows have expired."""
        self._expirations.assign_add(tf.size(slots, tf.int64))
        self._write_keys(slots, self._filler_of(slots // WAYS)[:, 0])
        scatter_update(self.row_state, slots, tf.zeros([tf.size(slots), len(self._columns)]))

    # Histories.

    def _require_history(self, keys: tf.Tensor) -> None:
        columns = len(self.history_fields)
        require("history_keys", keys.shape, keys.shape[1] == columns, f"[n, {columns}]")

    def _history_slots(self, keys: tf.Tensor) -> tf.Tensor:
        """int64 [n * C]: the slot that each key of [n, C] reads."""
        shared = [self.capacity + self.fields.index(name) for name in self.history_fields]
        shared = tf.tile(tf.constant(shared, tf.int64), tf.shape(keys)[:1])
        keys = tf.reshape(keys, [-1])
        unique, position = tf.unique(keys, tf.int64)
        slots = tf.gather(self.find(unique), position)
        slots = tf.where(slots >= 0, slots, shared)
        return tf.where(tf.equal(keys, 0), tf.constant(self._scratch, tf.int64), slots)

    def _with_history(
        self, slots: tf.Tensor, index: tf.Tensor, history_keys: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Adds the rows of histories to those that a step reads.

        Returns:
          Distinct slots int64 [U], and, by position in them, `index` and what each key of this
          replica's histories reads, int64 [n * C].
        """
        self._require_history(history_keys)
        start, size = first_example(history_keys), tf.shape(history_keys)[0]
        columns = len(self.history_fields)
        read = self._history_slots(gather_batch(history_keys))
        distinct, place = tf.unique(tf.concat([slots, read], axis=0), tf.int64)
        history = place[tf.size(slots) :][start * columns : (start + size) * columns]
        return distinct, tf.gather(place, index), history

    # Newcomers.

    def _admit(
        self,
        keys: tf.Tensor,
        buckets: tf.Tensor,
        slots: tf.Tensor,
        count: tf.Tensor,
        reads: Reads,
    ) -> tf.Tensor:
        """Counts keys that have no row and gives slots to those that earned one."""
        now = reads.now
        miss = tf.where(slots < 0)[:, 0]
        keys, buckets, count = (tf.gather(part, miss) for part in (keys, buckets, count))
        weight, fields = tf.gather(reads.weight, miss), tf.gather(reads.field, miss)
        estimate = self.sketch.estimate(keys, count)
        earned = self.policy.admission.admits(estimate) | tf.math.is_inf(weight)
        earned = tf.where(earned)[:, 0]
        # What came before this step is known by its number alone.
        before = tf.maximum(estimate - count, 0.0)
        if self.policy.score.weights:
            before *= tf.minimum(tf.gather(self._score_weights, fields), _LARGEST)
        reads = Reads(tf.gather(weight + before, earned), tf.gather(fields, earned), now)
        nothing = {name: tf.zeros_like(reads.weight) for name in self._columns}
        placed = self._place(
            tf.gather(keys, earned),
            tf.gather(buckets, earned),
            self._touched(nothing, reads),
            now,
        )
        slots = tf.tensor_scatter_nd_update(slots, tf.gather(miss, earned)[:, None], placed)
        # What has a row is counted there.
        left = tf.where(tf.gather(slots, miss) < 0)[:, 0]
        self.sketch.keep(*(tf.gather(part, left) for part in (keys, estimate, count)))
        return slots

    def _place(
        self,
        keys: tf.Tensor,
        buckets: tf.Tensor,
        newcomers: RowState,
        now: Moment,
    ) -> tf.Tensor:
        """Puts newcomers into slots, in rounds: of those that want one slot the first gets it."""
        # Newcomers of one bucket look at its ways in different orders, so that few rounds do.
        turn = tf.bitwise.bitwise_and(keys, WAYS - 1)[:, None, None]
        ways = (tf.range(WAYS, dtype=tf.int64) + turn) % WAYS
        candidates = tf.reshape(buckets[:, :, None] * WAYS + ways, [-1, 2 * WAYS])
        score, state = newcomers["score"], self._pack(newcomers)

        def one_round(pending: tf.Tensor, slots: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            wanted = tf.gather(candidates, pending)
            rows = self._unpack(gather(self.row_state, wanted))
            rank = self._eviction_rank(rows, now)
            if self.policy.quotas is not None:
                mine = tf.gather(self.policy.quotas.field(newcomers), pending)
                rank = tf.where(self._within_quota(mine, rows), rank, math.inf)
            best = tf.argmin(rank, axis=1)
            slot = tf.gather(wanted, best, batch_dims=1)
            beaten = tf.where(tf.gather(score, pending) > tf.gather(rank, best, batch_dims=1))[:, 0]
            pending, slot = tf.gather(pending, beaten), tf.gather(slot, beaten)
            distinct, group = tf.unique(slot, tf.int64)
            order = tf.range(tf.size(slot, tf.int64))
            # This op has no GPU kernel for int64.
            first = tf.math.unsorted_segment_min(tf.cast(order, tf.int32), group, tf.size(distinct))
            first = tf.cast(first, tf.int64)
            winners = tf.gather(pending, first)
            self._occupy(distinct, tf.gather(keys, winners), tf.gather(state, winners))
            slots = tf.tensor_scatter_nd_update(slots, winners[:, None], distinct)
            waits = tf.where(tf.gather(first, group) != order)[:, 0]
            return tf.gather(pending, waits), slots

        size = tf.size(keys, tf.int64)
        _, slots = tf.while_loop(
            lambda pending, _: tf.size(pending) > 0,
            one_round,
            (tf.range(size), tf.fill([size], tf.constant(-1, tf.int64))),
            shape_invariants=(tf.TensorShape([None]), tf.TensorShape([None])),
        )
        return slots

    def _eviction_rank(self, rows: RowState, now: Moment) -> tf.Tensor:
        """float32 [N, 2 * WAYS]: the lowest goes first; infinite for rows that stay."""
        empty = tf.equal(rows["score"], 0.0) | self._expired(rows)
        empty = tf.reshape(empty, [-1, 2, WAYS])
        room = tf.reduce_sum(tf.cast(empty, tf.float32), axis=2, keepdims=True)
        rank = tf.reshape(self.policy.eviction.rank(rows, now), [-1, 2, WAYS])
        # Scores are above zero, so any empty slot goes first, those of the emptier bucket before.
        return tf.reshape(tf.where(empty, -room, rank), [-1, 2 * WAYS])

    def _within_quota(self, mine: tf.Tensor, rows: RowState) -> tf.Tensor:
        """Bool [N, 2 * WAYS]: which slots newcomers of the fields `mine` may take."""
        left = tf.constant(self._quotas, tf.float32) - self.rows_of_field
        ordinal = tf.cumsum(tf.one_hot(mine, len(self.fields)), axis=0, exclusive=True)
        has_room = tf.gather(ordinal, mine, batch_dims=1) < tf.gather(left, mine)
        # In place of a live row of its own, a newcomer changes nothing.
        own_field = tf.equal(self._live_fields(rows), mine[:, None])
        return has_room[:, None] | own_field

    def _occupy(self, slots: tf.Tensor, keys: tf.Tensor, state: tf.Tensor) -> None:
        """Starts the newcomers' rows afresh in slots that are free or lose their key."""
        before = self._unpack(gather(self.row_state, slots))
        live, expired = before["score"] > 0, self._expired(before)
        self._evictions.assign_add(_count(live & ~expired))
        self._expirations.assign_add(_count(live & expired))
        self._admissions.assign_add(tf.size(slots, tf.int64))
        self._count_fields(before, -1.0)
        self._count_fields(self._unpack(state), 1.0)
        rows = uniform_rows(keys, self.dim, ROW_LIMIT, self._row_salt)
        self._write_keys(slots, keys)
        scatter_update(self.row_state, slots, state)
        scatter_update(self.records, slots, self._with_fresh_optimizer(rows))

    # Small things.

    def _with_fresh_optimizer(self, rows: tf.Tensor) -> tf.Tensor:
        """float32 [N, D + width]: rows, and beside each what the optimizer knows of a fresh one."""
        fresh = tf.constant([self.optimizer.initial_state(self.dim)], tf.float32)
        return tf.concat([rows, tf.repeat(fresh, tf.shape(rows)[0], axis=0)], axis=1)

    def _shared_slots(self) -> tf.Tensor:
        return self.capacity + tf.range(len(self.fields), dtype=tf.int64)

    def _by_field(self, values: Mapping[str, float], default: float) -> np.ndarray:
        """float32 [F]: the value of each field that is named, the default of the others."""
        return np.array([values.get(name, default) for name in self.fields], np.float32)

    def _live_fields(self, rows: RowState) -> tf.Tensor:
        """int64 of the columns' shape: the field of each row, -1 where none is alive."""
        live = (rows["score"] > 0) & ~self._expired(rows)
        return tf.where(live, self.policy.quotas.field(rows), -1)  # type: ignore[union-attr]

    def _count_fields(self, rows: RowState, sign: float) -> None:
        """Notes for the quotas that live rows came or went."""
        if self.policy.quotas is not None:
            fields = tf.reshape(self._live_fields(rows), [-1])
            ones = tf.ones_like(fields, tf.float32)
            # A negative field counts for none.
            counts = tf.math.unsorted_segment_sum(ones, fields, len(self.fields))
            self.rows_of_field.assign_add(sign * counts)


def _count(mask: tf.Tensor) -> tf.Tensor:
    return tf.reduce_sum(tf.cast(mask, tf.int64))
