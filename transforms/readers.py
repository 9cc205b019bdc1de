"""Log and table files as a stream of blocks, each of which can be parsed by itself.

Reading and parsing are two steps, so that the blocks of one large file can be parsed on
many workers. A file that cannot be read raises `InputError`; a failing disk or network
raises what it raises, so that a runner can try again.
"""

from __future__ import annotations

import codecs
import gzip
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import BinaryIO, Literal, cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from transforms.csv_lines import read_csv_lines, read_header
from transforms.json_lines import read_json_lines
from transforms.problems import InputError, Problem
from transforms.raw_rows import RawRows

Format = Literal["csv", "tsv", "parquet", "jsonl"]

SEPARATORS: dict[str, str] = {"csv": ",", "tsv": "\t"}
"""What is between the columns, by format."""

BLOCK_BYTES = 8 << 20
"""Text read at a time, about 100,000 rows of twenty short columns."""

_HEAD_BYTES = 64 << 10

_OTHER_SEPARATORS = {",": "commas", "\t": "tabs", ";": "semicolons", "|": "bars"}

_SUFFIXES: dict[str, Format] = {
    ".csv": "csv",
    ".csv.gz": "csv",
    ".tsv": "tsv",
    ".tsv.gz": "tsv",
    ".parquet": "parquet",
    ".jsonl": "jsonl",
    ".jsonl.gz": "jsonl",
}


@dataclass(frozen=True)
class Block:
    """A part of a file that can be parsed by itself.

    Args:
      path: The file.
      format: Its format.
      first_row: Number in the file of the block's first line (text) or row (Parquet), from 1.
      header: Column names, for CSV and TSV.
      data: Whole lines of text; empty for Parquet.
      row_group: Which row group, for Parquet.
    """

    path: str
    format: Format
    first_row: int
    header: tuple[str, ...] = ()
    data: bytes = b""
    row_group: int = 0


def file_format(path: str, format: str = "auto") -> Format:
    """The format of a file, by its name where the config says `auto`.

    Raises:
      InputError: if the name does not tell.
    """
    if format != "auto":
        return cast(Format, format)
    for suffix, name in _SUFFIXES.items():
        if path.endswith(suffix):
            return name
    raise InputError(
        [
            Problem(
                path,
                "a file name that does not tell the format",
                f"a name that ends in {', '.join(_SUFFIXES)}",
                "Rename it, or set data.format.",
            )
        ]
    )


def read_blocks(
    file: BinaryIO, path: str, format: Format, block_bytes: int = BLOCK_BYTES
) -> Iterator[Block]:
    """Reads a file as blocks, without parsing them.

    A CSV file without rows gives one empty block, which still knows the columns; one without a
    byte, as engines write parts without rows, has none.

    Args:
      file: The file as stored, open for reading; seekable for Parquet.
      path: Its name; one that ends in .gz is decompressed.
      format: Its format.
      block_bytes: Most bytes of text to read at a time.

    Raises:
      InputError: if the file is cut short, damaged or not of its format.
    """
    if format == "parquet":
        first_row = 1
        metadata = _open_parquet(file, path).metadata
        for i in range(metadata.num_row_groups):
            yield Block(path, format, first_row, row_group=i)
            first_row += metadata.row_group(i).num_rows
        return
    stream = cast(BinaryIO, gzip.GzipFile(fileobj=file)) if path.endswith(".gz") else file
    try:
        yield from _text_blocks(stream, path, format, block_bytes)
    except (EOFError, gzip.BadGzipFile, zlib.error) as error:
        found = "a gzip file that is cut short" if isinstance(error, EOFError) else "damaged gzip"
        raise InputError(
            [Problem(path, f"{found} ({error})", "a whole gzip file", "Copy or write it again.")]
        ) from error


def parse_block(block: Block, open_file: Callable[[str], BinaryIO]) -> RawRows:
    """Parses a block.

    Args:
      block: From `read_blocks`.
      open_file: Opens a file by its path; called for Parquet only.

    Raises:
      InputError: if a Parquet file is damaged.
    """
    if block.format in SEPARATORS:
        separator = SEPARATORS[block.format]
        return read_csv_lines(block.data, block.header, block.first_row, separator)
    if block.format == "jsonl":
        return read_json_lines(block.data, block.first_row)
    with open_file(block.path) as file:
        try:
            table = pq.ParquetFile(file).read_row_group(block.row_group, use_threads=False)
        except (pa.ArrowException, OSError) as error:
            raise _parquet_error(error, block.path) from error
    return RawRows(table, np.arange(table.num_rows, dtype=np.int64) + block.first_row)


def read_head(file: BinaryIO, path: str, format: Format) -> RawRows:
    """Reads the columns of a file, and of text its first rows.

    Args:
      file: The file as stored, open for reading; seekable for Parquet.
      path: Its name; one that ends in .gz is decompressed.
      format: Its format.

    Raises:
      InputError: as `read_blocks` does, of what is read.
    """
    if format == "parquet":
        schema = _open_parquet(file, path).schema_arrow
        return RawRows(schema.empty_table(), np.array([], np.int64))
    blocks = read_blocks(file, path, format, _HEAD_BYTES)
    return parse_block(next(blocks), lambda _: file)


def _open_parquet(file: BinaryIO, path: str) -> pq.ParquetFile:
    try:
        parquet = pq.ParquetFile(file)
    except (pa.ArrowException, OSError) as error:
        raise _parquet_error(error, path) from error
    names = parquet.schema_arrow.names
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated:
        raise InputError(
            [Problem(path, f"column `{repeated[0]}` more than once", "columns of different names")]
        )
    return parquet


def _parquet_error(error: Exception, path: str) -> Exception:
    # Arrow reports damage as OSError without a code; a failing disk has one.
    if isinstance(error, OSError) and error.errno is not None:
        return error
    said = " ".join(str(error).split())
    return InputError(
        [Problem(path, f"damaged Parquet ({said})", "a Parquet file", "Copy or write it again.")]
    )


def _header(line: bytes, path: str, format: Format) -> tuple[str, ...]:
    try:
        header = read_header(line, SEPARATORS[format])
    except UnicodeDecodeError:
        raise InputError(
            [Problem(path, "a first line that is not UTF-8", f"a {format.upper()} file in UTF-8")]
        ) from None
    except ValueError as error:
        expected = f"a {format.upper()} file in UTF-8 that starts with its column names"
        raise InputError([Problem(path, str(error), expected)]) from error
    for separator, name in _OTHER_SEPARATORS.items():
        if len(header) == 1 and separator in header[0]:
            ours = _OTHER_SEPARATORS[SEPARATORS[format]]
            formats = [other for other, used in SEPARATORS.items() if used == separator]
            remedy = "Write it again with commas, or as Parquet."
            if formats:
                remedy = f"Set data.format: {formats[0]}, or name such files *.{formats[0]}."
            found = f"{name} between the columns of its first line, {header[0][:80]!r}"
            raise InputError([Problem(path, found, f"{ours} in a {format.upper()} file", remedy)])
    return header


def _text_blocks(stream: BinaryIO, path: str, format: Format, size: int) -> Iterator[Block]:
    header: tuple[str, ...] = ()
    line = 1
    first = stream.readline()
    if format in SEPARATORS and first:
        header = _header(first, path, format)
        line, first = 2, b""
    rest = first.removeprefix(codecs.BOM_UTF8)
    empty = True
    while chunk := stream.read(size):
        data = rest + chunk
        end = data.rfind(b"\n") + 1
        if end:
            yield Block(path, format, line, header, data[:end])
            line += data.count(b"\n", 0, end)
            empty = False
        rest = data[end:]
    if rest or empty:
        yield Block(path, format, line, header, rest)
