"""Arrow tables as bytes, and files that appear whole under their name or not at all."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager

import pyarrow as pa
import tensorflow as tf

_IPC = pa.ipc.IpcWriteOptions(compression="lz4")


@contextmanager
def renamed_into_place(path: str, scratch: str) -> Iterator[str]:
    """Gives a name to write to; when the block ends well, the file gets its real one."""
    # Not beside its place: readers of a split take every file of its folder.
    draft = os.path.join(scratch, uuid.uuid4().hex)
    tf.io.gfile.makedirs(scratch)
    tf.io.gfile.makedirs(os.path.dirname(path))
    yield draft
    tf.io.gfile.rename(draft, path, overwrite=True)


def write_file(path: str, data: bytes) -> None:
    """Writes a file on any of TensorFlow's file systems."""
    with tf.io.gfile.GFile(path, "wb") as file:
        file.write(data)


def read_file(path: str) -> bytes:
    """Reads a file on any of TensorFlow's file systems."""
    with tf.io.gfile.GFile(path, "rb") as file:
        return file.read()


def to_ipc(table: pa.Table) -> bytes:
    """A table as bytes, in Arrow's stream format."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=_IPC) as writer:
        writer.write_table(table.combine_chunks())
    return sink.getvalue().to_pybytes()


def from_ipc(data: bytes) -> pa.Table:
    """The table that `to_ipc` wrote."""
    return pa.ipc.open_stream(data).read_all()
