"""The real log broken on purpose: every row is used, a duplicate or rejected, and none is wrong."""

from __future__ import annotations

import csv
import gzip
import random

import pytest

from tfx_pipeline.config import load_config
from tfx_pipeline.inputs import log_schema, splits
from transforms.enrich import load_side_table
from transforms.ingest_outcome import unusable
from transforms.log_files import open_file
from transforms.log_rows import prepare_rows
from transforms.problems import InputError
from transforms.readers import parse_block, read_blocks
from transforms.row_reader import LogFile
from transforms.tally import Tally

pytestmark = pytest.mark.kuairand

_DAY = "log_standard_20220503.csv.gz"
_ROWS = 3_000


@pytest.fixture(scope="module")
def kuairand(kuairand_dir, request):
    """Schema, days and tables of the config, and the first lines of a day."""
    path = request.config.rootpath / "configs" / "kuairand.yaml"
    config = load_config(path, [f"data.path={kuairand_dir}"])
    schema = log_schema(config)
    files = {"user": "user_features_pure.csv.gz", "video": "video_features_basic_pure.csv.gz"}
    tables = {
        name: load_side_table(schema, name, [str(kuairand_dir / file)], "auto", open_file)
        for name, file in files.items()
    }
    lines = gzip.decompress((kuairand_dir / _DAY).read_bytes()).splitlines()[: _ROWS + 1]
    return schema, splits(config), tables, lines


def _read(kuairand, path):
    """What becomes of a file: usable rows by line, rejected lines, the tally, file problems."""
    schema, days, tables, _ = kuairand
    file = LogFile(0, str(path), "csv")
    tally = Tally()
    used, rejected = {}, set()
    try:
        with open_file(str(path)) as stream:
            for block in read_blocks(stream, file.path, file.format, 100_000):
                done = prepare_rows(parse_block(block, open_file), file, schema, days, tables)
                tally.add(done.tally)
                rejected |= set(done.rejected["row"].to_pylist())
                for row in [] if done.rows is None else done.rows.to_pylist():
                    assert used.setdefault(row["row"], row) is row
    except InputError as error:
        tally.problems |= set(error.problems)
    columns = {name: table.columns for name, table in tables.items()}
    return used, rejected, tally, unusable(tally, schema, columns)


def _write(path, lines):
    path.write_bytes(gzip.compress(b"\n".join([*lines, b""]), 1))
    return path


def _all_counted(tally, used, rejected, lines):
    """Rows in are rows used, rejected or of another day."""
    read = sum(tally.of("read").values())
    out_of_range = sum(tally.of("out_of_range").values())
    assert read == sum(1 for line in lines if line not in (b"", b"\r"))
    assert read == len(used) + len(rejected) + out_of_range
    assert not used.keys() & rejected


@pytest.mark.parametrize("seed", range(3))
def test_fuzzed_bytes(kuairand, tmp_path, seed):
    schema, _, _, lines = kuairand
    rng = random.Random(seed)
    whole, *_ = _read(kuairand, _write(tmp_path / "whole.csv.gz", lines))
    assert len(whole) == _ROWS
    broken = list(lines)
    for i in rng.sample(range(1, len(lines)), 300):
        line = bytearray(lines[i])
        for _ in range(rng.randrange(1, 4)):
            at = rng.randrange(len(line))
            line[at : at + rng.randrange(2)] = bytes([rng.randrange(256)])
        broken[i] = bytes(line)
    path = _write(tmp_path / "broken.csv.gz", broken)
    text = gzip.decompress(path.read_bytes())
    now = text.split(b"\n")
    used, rejected, tally, problems = _read(kuairand, path)
    assert problems == []
    _all_counted(tally, used, rejected, now[1:])
    assert len(rejected) > 100
    # What is used stands in its line, cell by cell, as a plain reader sees it.
    header = lines[0].decode().split(",")
    same = 0
    for number, row in used.items():
        (cells,) = csv.reader([now[number - 1].decode().removesuffix("\r")])
        cell = dict(zip(header, cells, strict=True))
        for column in ("user_id", "video_id", "tab"):
            assert row[f"text:{column}"] == cell[column]
        assert row["number:hourmin"] == (float(cell["hourmin"]) if cell["hourmin"] else None)
        assert row["label:click"] == int(float(cell["is_click"]) == 1)
        same += now[number - 1] in lines
    assert same >= _ROWS - 300


@pytest.mark.parametrize("end", ["within a member", "after a member"])
def test_a_gzip_of_several_members_that_is_cut(kuairand, tmp_path, end):
    *_, lines = kuairand
    half = len(lines) // 2
    first = gzip.compress(b"\n".join(lines[:half]) + b"\n", 1)
    second = gzip.compress(b"\n".join(lines[half:]) + b"\n", 1)
    path = tmp_path / "log.csv.gz"
    path.write_bytes(first + second)
    used, rejected, *_ = _read(kuairand, path)
    assert len(used) + len(rejected) == _ROWS
    path.write_bytes(first + (second[:-30] if end == "within a member" else b""))
    used, rejected, tally, problems = _read(kuairand, path)
    if end == "within a member":
        (problem,) = problems
        assert problem.found.startswith("a gzip file that is cut short")
    else:  # which is a whole file, and nothing but a mark or its rows can tell
        assert problems == []
        assert len(used) + len(rejected) == half - 1
    path.write_bytes(first + b"garbage")
    *_, (problem,) = _read(kuairand, path)
    assert problem.found.startswith("damaged gzip")


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32-le"])
def test_encodings_of_two_bytes(kuairand, tmp_path, encoding):
    *_, lines = kuairand
    path = tmp_path / "log.csv.gz"
    path.write_bytes(gzip.compress(b"\n".join(lines).decode().encode(encoding), 1))
    used, _, _, problems = _read(kuairand, path)
    assert used == {}
    (problem,) = problems
    assert "UTF-8" in f"{problem.found} {problem.expected}"


def _columns(lines, change):
    rows = [line.decode().split(",") for line in lines]
    return [",".join(change(rows[0], row)).encode() for row in rows]


def test_columns_in_another_order_are_the_same_rows(kuairand, tmp_path):
    *_, lines = kuairand
    whole, *_ = _read(kuairand, _write(tmp_path / "a.csv.gz", lines))
    turned = _columns(lines, lambda _, row: row[::-1])
    again, rejected, *_ = _read(kuairand, _write(tmp_path / "b.csv.gz", turned))
    assert (again, rejected) == (whole, set())


@pytest.mark.parametrize(
    ("one", "other", "what"),
    [
        ("date", "tab", "a day in the format"),
        ("date", "user_id", "a day in the format"),
        ("time_ms", "date", "a day in the format"),
    ],
)
def test_columns_swapped_under_their_header(kuairand, tmp_path, one, other, what):
    *_, lines = kuairand

    def swap(header, row):
        if row is header:
            return row
        i, j = header.index(one), header.index(other)
        row = list(row)
        row[i], row[j] = row[j], row[i]
        return row

    used, rejected, tally, problems = _read(
        kuairand, _write(tmp_path / "log.csv.gz", _columns(lines, swap))
    )
    _all_counted(tally, used, rejected, lines[1:])
    assert used == {}
    assert any(what in str(problem) for problem in problems)


def test_numbers_as_other_texts(kuairand, tmp_path):
    *_, lines = kuairand
    written = ["1.0", "01", "1e0", "'1'", '"1"', "1,", "one", "0x1", "１", "1 ", "+1"]

    def change(header, row):
        if row is header:
            return row
        row = list(row)
        row[header.index("is_click")] = written[int(row[header.index("time_ms")]) % len(written)]
        return row

    used, rejected, tally, problems = _read(
        kuairand, _write(tmp_path / "log.csv.gz", _columns(lines, change))
    )
    assert problems == []
    _all_counted(tally, used, rejected, lines[1:])
    # Used as 1, or not at all.
    assert {row["label:click"] for row in used.values()} == {1}
    good = {f'"{text}"' for text in ("1.0", "01", "1e0", "1")}
    time = lines[0].decode().split(",").index("time_ms")
    for number, line in enumerate(lines[1:], 2):
        text = written[int(line.decode().split(",")[time]) % len(written)]
        assert (number in used) == (f'"{text.strip(chr(34))}"' in good), text
