"""Event keys of the last days, kept in the feature state.

So an event that arrives again in the log of a later day is found when only that day is read. Keys
are kept and compared as 64-bit hashes: 8 bytes an event, 16 where tasks rank within requests. Of n
new events beside m that are kept, n * m / 2^64 are taken for repeated by chance: with a million
beside thirty million, one run in 600,000 drops one.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa

from transforms.dedupe import EVENT_BITS, key_hashes
from transforms.enrich import text_column
from transforms.log_schema import LogSchema

_EVENT, _PLACED, _DAY = "event", "placed", "day"


def partition_of(placed: np.ndarray, partitions: int) -> np.ndarray:
    """Partitions of rows by their `key_hash`, from `dedupe.order_hashes`, [B]."""
    return (placed >> np.uint64(EVENT_BITS)) % np.uint64(partitions)


def events_of(rows: pa.Table, schema: LogSchema) -> pa.Table:
    """What is kept of rows.

    Args:
      rows: From `prepare_rows`, [B].
      schema: Their schema.

    Returns:
      `event` and `day`; and `placed`, which decides the partition, where it is not `event`. [B].
    """
    placed = rows.column("key_hash")
    columns = {_EVENT: placed, _DAY: rows.column("day")}
    if schema.request:
        keys = [rows.column(text_column(c)).combine_chunks() for c in schema.event_key]
        columns = {_EVENT: pa.array(key_hashes(keys)), _PLACED: placed, _DAY: rows.column("day")}
    return pa.table(columns)


def by_partition(events: pa.Table, partitions: int) -> Iterator[tuple[int, pa.Table]]:
    """Kept events by the partition that their repetitions will come to."""
    placed = _PLACED if _PLACED in events.column_names else _EVENT
    target = partition_of(events.column(placed).to_numpy(), partitions)
    for partition in np.unique(target).tolist():
        yield partition, events.filter(pa.array(target == partition))


def repeated(events: pa.Table, earlier: Sequence[pa.Table]) -> np.ndarray:
    """Where an event is one of an earlier day, bool [B]."""
    known = [table.column(_EVENT).to_numpy() for table in earlier]
    if not known:
        return np.zeros(events.num_rows, bool)
    return np.isin(events.column(_EVENT).to_numpy(), np.concatenate(known))


def kept_until(parts: Sequence[pa.Table], last_day: int, days: int) -> pa.Table:
    """The events of the last days.

    Args:
      parts: From `events_of`.
      last_day: Ordinal of the last day.
      days: For how many days they are kept, that one among them. Later events are not.

    Returns:
      In an order that does not depend on that of the parts.
    """
    events = pa.concat_tables(parts).combine_chunks()
    of_day = events.column(_DAY).to_numpy()
    events = events.filter(pa.array((of_day > last_day - days) & (of_day <= last_day)))
    order = np.lexsort((events.column(_EVENT).to_numpy(), events.column(_DAY).to_numpy()))
    return events.take(pa.array(order))
