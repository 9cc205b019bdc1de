"""An exported embedding table in memory, and what changes between two of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from serving.delta.sync_file import RowSync


@dataclass(frozen=True)
class Rows:
    """Embedding rows as a version keeps them.

    Args:
      values: [N, D], of the type that they are kept in.
      scales: float32 [N], where they are kept with a scale.
    """

    values: np.ndarray
    scales: np.ndarray | None = None

    def __len__(self) -> int:
        return len(self.values)

    def take(self, places: np.ndarray | slice) -> Rows:
        """Some of them."""
        return Rows(self.values[places], None if self.scales is None else self.scales[places])

    def differ(self, other: Rows) -> np.ndarray:
        """Which differ in any bit from the row at the same place: bool [N]."""
        found = (_bits(self.values) != _bits(other.values)).any(axis=1)
        if self.scales is not None and other.scales is not None:
            found |= (_bits(self.scales) != _bits(other.scales)).any(axis=1)
        return found

    @staticmethod
    def joined(first: Rows, second: Rows) -> Rows:
        """The rows of two, one after the other."""
        scales = None
        if first.scales is not None and second.scales is not None:
            scales = np.concatenate([first.scales, second.scales])
        return Rows(np.concatenate([first.values, second.values]), scales)


@dataclass(frozen=True)
class Table:
    """A table of a version.

    Args:
      keys: int64 [N].
      rows: N rows.
      sync: What is known of them.
      shared: F rows of keys that have none, by field.
    """

    keys: np.ndarray
    rows: Rows
    sync: RowSync
    shared: Rows


@dataclass(frozen=True)
class TableDelta:
    """What changes of a table.

    Args:
      removed: int64 [R], keys that lose their row.
      keys: int64 [n], keys that get a row, or another one.
      rows: n rows.
      sync: What is known of them.
      shared: All F shared rows.
    """

    removed: np.ndarray
    keys: np.ndarray
    rows: Rows
    sync: RowSync
    shared: Rows

    def apply(self, parent: Table) -> Table:
        """The parent's rows in their order, less those removed, then the new ones."""
        places = positions(self.keys, parent.keys)
        known, new = np.flatnonzero(places >= 0), np.flatnonzero(places < 0)
        # Where each of the parent's rows is now: in the parent, or in the delta behind it.
        source = np.arange(len(parent.keys))
        source[places[known]] = len(parent.keys) + known
        stays = positions(parent.keys, self.removed) < 0
        source = np.concatenate([source[stays], len(parent.keys) + new])
        return Table(
            keys=np.concatenate([parent.keys, self.keys])[source],
            rows=Rows.joined(parent.rows, self.rows).take(source),
            sync=RowSync.joined(parent.sync, self.sync).take(source),
            shared=self.shared,
        )


def positions(keys: np.ndarray, among: np.ndarray) -> np.ndarray:
    """Where keys, int64 [n], stand among others, int64 [N], distinct: int64 [n], -1 if nowhere."""
    if not len(among):
        return np.full(len(keys), -1)
    order = np.argsort(among, kind="stable")
    ordered = among[order]
    # Asked in ascending order, a binary search stays in the cache.
    asked = np.argsort(keys, kind="stable")
    nearest = np.minimum(np.searchsorted(ordered, keys[asked]), len(among) - 1)
    found = np.empty(len(keys), np.int64)
    found[asked] = np.where(ordered[nearest] == keys[asked], order[nearest], -1)
    return found


def _bits(values: np.ndarray) -> np.ndarray:
    """uint8 [N, bytes of a row]: NaN is NaN, and 0 is not -0."""
    flat = np.ascontiguousarray(values).reshape(len(values), int(np.prod(values.shape[1:])))
    return flat.view(np.uint8)
