"""Prepared rows as serialized tf.Examples: zeros and empty texts kept, missing values absent."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from tfx_bsl.coders.example_coder import RecordBatchToExamplesEncoder

from transforms.dedupe import key_hashes
from transforms.enrich import number_column, text_column
from transforms.log_rows import label_column, true_column
from transforms.log_schema import LogSchema
from transforms.statistics import feature_names

SCENARIO = "_scenario"
"""Feature with the scenario's name: one of the values of the config, or `other`."""

REQUEST = "_request"
"""Feature with the row's request: a hash of the columns that identify it."""

DAY = "_day"
"""Feature with the row's day: a proleptic ordinal (`date.toordinal`)."""

_ROWS_AT_ONCE = 4096


def true_feature(task: str) -> str:
    """Name of the feature with a task's true probability."""
    return f"_true_{task}"


def scenario_names(rows: pa.Table, schema: LogSchema) -> pa.ChunkedArray:
    """Names of the rows' scenarios: those that are not listed take the last name, [B]."""
    *listed, other = schema.scenarios
    values = rows.column(text_column(schema.scenario))
    return pc.if_else(pc.is_in(values, value_set=pa.array(listed, pa.string())), values, other)


def feature_table(rows: pa.Table, schema: LogSchema) -> pa.Table:
    """The features of the examples.

    Args:
      rows: From `prepare_rows`, with the features of the schema's statistics and history, [B].
      schema: Their schema.

    Returns:
      One column a feature: binary, float32 or int64, null where it is missing, or lists of such
      values, [B].
    """
    features: dict[str, pa.ChunkedArray] = {}
    for column in (*schema.categorical, schema.scenario, schema.user):
        features[column] = rows.column(text_column(column)).cast(pa.binary())
    for column in schema.numeric:
        features[column] = rows.column(number_column(column)).cast(pa.float32())
    for name in feature_names(schema.statistics):
        features[name] = rows.column(name)
    for name in schema.history.features if schema.history else ():
        features[name] = rows.column(name)
    for task in schema.labels:
        values = rows.column(label_column(task))
        features[task] = values.cast(pa.float32()) if pa.types.is_floating(values.type) else values
    for task in schema.true_probabilities:
        features[true_feature(task)] = rows.column(true_column(task)).cast(pa.float32())
    if schema.request:
        columns = [rows.column(text_column(c)).combine_chunks() for c in schema.request]
        features[REQUEST] = pa.chunked_array([pa.array(key_hashes(columns).view(np.int64))])
    features[DAY] = rows.column("day").cast(pa.int64())
    features[SCENARIO] = scenario_names(rows, schema).cast(pa.binary())
    return pa.table(features)


def encode(features: pa.Table) -> Iterator[bytes]:
    """Serializes rows as tf.Examples.

    Args:
      features: From `feature_table`, [B].
    """
    encoder = RecordBatchToExamplesEncoder()
    for batch in features.combine_chunks().to_batches(max_chunksize=_ROWS_AT_ONCE):
        lists = [_as_lists(column) for column in batch.columns]
        yield from encoder.encode(pa.RecordBatch.from_arrays(lists, batch.schema.names))


def _as_lists(column: pa.Array) -> pa.Array:
    """A list of one value for every row that has it, of none for the others; lists stay."""
    if pa.types.is_list(column.type):
        values = column.flatten()
        if pa.types.is_dictionary(values.type):
            values = values.dictionary_decode()
        offsets = column.offsets.to_numpy()
        return pa.ListArray.from_arrays(pa.array(offsets - offsets[0]), values)
    present = column.is_valid().to_numpy(zero_copy_only=False)
    offsets = np.zeros(len(column) + 1, np.int32)
    np.cumsum(present, out=offsets[1:])
    return pa.ListArray.from_arrays(pa.array(offsets), column.drop_null())
