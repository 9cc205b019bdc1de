"""Which of a table's rows a delta takes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from serving.delta.table import Table, TableDelta, positions


@dataclass(frozen=True)
class SyncPolicy:
    """Which rows are due.

    A row is due that differs from the served one (or has none there) and was taught by at least
    `min_updates` steps since that was synced, or whose served form is older than `max_age_days`.
    Rows wait, at worst, for the next whole version. Keys that lose their row always do, and shared
    rows always go along: they are few.

    Args:
      min_updates: Steps; of a key without a served row, all since training gave it one. A row that
        differs counts as taught by one at least.
      max_age_days: Days since the row was last synced; of a key without one, since training gave it
        one. None: age brings no row.
      max_rows_per_field: Of a field's rows that are due the most updated go, and no more than this;
        None: all.
    """

    min_updates: int = 1
    max_age_days: int | None = None
    max_rows_per_field: int | None = None


@dataclass(frozen=True)
class Counts:
    """Rows of a delta, and of what it leaves.

    Args:
      served: Rows of the version that it makes.
      changed: Rows that get other values.
      new: Rows of keys that had none.
      removed: Keys that lose theirs.
      waiting: Rows that differ and were not due.
      over: Rows that were due and above `max_rows_per_field`.
    """

    served: int
    changed: int
    new: int
    removed: int
    waiting: int
    over: int

    @staticmethod
    def total(counts: list[Counts]) -> Counts:
        """The sums over tables."""
        columns = zip(*(vars(count).values() for count in counts), strict=True)
        return Counts(*(sum(column) for column in columns))


def table_delta(
    parent: Table, candidate: Table, policy: SyncPolicy, today: int
) -> tuple[TableDelta, Counts]:
    """What of a candidate's table goes into the delta.

    Args:
      parent: What is served.
      candidate: What training has.
      policy: Which rows are due.
      today: The candidate's day.
    """
    served = positions(candidate.keys, parent.keys)
    is_new = served < 0
    differs = is_new.copy()
    old = np.flatnonzero(~is_new)
    differs[old] = candidate.rows.take(old).differ(parent.rows.take(served[old]))

    updates, born = candidate.sync.updates.copy(), candidate.sync.born
    before = parent.sync.updates[served[old]]
    # Of a row that went and came again, all updates are new.
    stayed = (born[old] == parent.sync.born[served[old]]) & (updates[old] >= before)
    updates[old] -= np.where(stayed, before, 0)
    # Not all is counted: histories teach rows, too.
    updates = np.maximum(updates, 1)
    since = born.copy()
    since[old] = parent.sync.synced[served[old]]

    due = updates >= policy.min_updates
    if policy.max_age_days is not None:
        due |= today - since > policy.max_age_days
    due &= differs
    taken = due & _is_among_first(
        candidate.sync.field, updates, candidate.keys, due, policy.max_rows_per_field
    )
    places = np.flatnonzero(taken)
    gone = parent.keys[positions(parent.keys, candidate.keys) < 0]
    delta = TableDelta(
        removed=gone,
        keys=candidate.keys[places],
        rows=candidate.rows.take(places),
        sync=candidate.sync.take(places),
        shared=candidate.shared,
    )
    new = int((taken & is_new).sum())
    return delta, Counts(
        served=len(parent.keys) - len(gone) + new,
        changed=len(places) - new,
        new=new,
        removed=len(gone),
        waiting=int((differs & ~due).sum()),
        over=int((due & ~taken).sum()),
    )


def _is_among_first(
    field: np.ndarray,
    updates: np.ndarray,
    keys: np.ndarray,
    due: np.ndarray,
    most: int | None,
) -> np.ndarray:
    """Which rows that are due are among the most updated of their field; ties go by key."""
    if most is None:
        return due
    places = np.flatnonzero(due)
    order = places[np.lexsort((keys[places], -updates[places], field[places]))]
    # Rank within the field: place in the order less that of the field's first.
    fields = field[order]
    first = np.searchsorted(fields, fields, side="left")
    taken = np.zeros_like(due)
    taken[order[np.arange(len(order)) - first < most]] = True
    return taken
