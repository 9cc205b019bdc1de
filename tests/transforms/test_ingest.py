"""The Beam pass: what it writes does not depend on how the work is spread."""

from __future__ import annotations

import collections

import apache_beam as beam
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from apache_beam.options.pipeline_options import PipelineOptions

import transforms.readers
from transforms.enrich import load_side_table
from transforms.ingest import Ingest, Plan, partition_count, save_tables
from transforms.log_files import find_log_files, open_file
from transforms.tally import Tally

_RUNNER = "--runner=apache_beam.runners.portability.fn_api_runner.fn_runner.FnApiRunner"
_HEADER = "user,time,date,tab,item,age,clicked,play,p"


@pytest.fixture
def folder(tmp_path):
    """Two files whose rows repeat each other, with some that cannot be used."""
    for name, first in (("a", 0), ("b", 30)):
        rows = [
            f"u{i % 7},{i},2024010{1 + i % 6},{i % 3},{i % 4},{i}.5,{i % 2},30,0.5"
            for i in range(first, first + 40)
        ]
        rows[6] = rows[6].removesuffix("0.5") + "2.5"
        rows[12] = "broken"
        # An equal key with another play time, in the second file only.
        if first:
            rows[4] = rows[4].replace(",30,", ",31,")
        (tmp_path / f"{name}.csv").write_text("\n".join([_HEADER, *rows, ""]))
    items = "\n".join(["item,author,duration", *(f"{i},a{i},20" for i in range(3))])
    (tmp_path / "items.csv").write_text(items)
    return tmp_path


def _run(folder, out, schema, splits, partitions):
    files, _ = find_log_files(str(folder), "[ab].csv", "auto", splits, "date")
    table = load_side_table(schema, "items", [str(folder / "items.csv")], "auto", open_file)
    plan = Plan(
        tuple(files),
        schema,
        splits,
        tables=str(out / "tables"),
        partitions=partitions,
        examples=str(out / "examples"),
        rejected=str(out / "rejected"),
        tally=str(out / "tally.json"),
        state=str(out / "state"),
        scratch=str(out / "scratch"),
    )
    save_tables({"items": table}, plan.tables)
    with beam.Pipeline(options=PipelineOptions([_RUNNER])) as pipeline:
        pipeline | Ingest(plan)
    assert list((out / "scratch").iterdir()) == []
    return Tally.from_json((out / "tally.json").read_text())


def _records(out, split):
    files = sorted((out / "examples" / f"Split-{split}").iterdir())
    dataset = tf.data.TFRecordDataset(list(map(str, files)), compression_type="GZIP")
    return len(files), [tf.train.Example.FromString(r.numpy()) for r in dataset]


def test_partitions_and_blocks_change_nothing(folder, tmp_path, schema, splits, monkeypatch):
    whole = _run(folder, tmp_path / "whole", schema, splits, 1)
    monkeypatch.setattr(transforms.readers.read_blocks, "__defaults__", (200,))
    spread = _run(folder, tmp_path / "spread", schema, splits, 5)
    assert spread == whole

    expected = _plain_model(folder)
    assert sum(expected.values()) == sum(whole.of("read").values()) == 80
    for name in ("rejected", "out_of_range"):
        assert sum(whole.of(name).values()) == expected[name]
    for name in ("equal_rows", "equal_keys"):
        assert whole.of("duplicates")[name] == expected[name] > 0
    for split in ("train", "valid", "eval"):
        files, rows = _records(tmp_path / "whole", split)
        more_files, same_rows = _records(tmp_path / "spread", split)
        assert files == 1 < more_files
        assert len(rows) == whole.of("split")[split] == expected[split]
        assert sorted(map(str, rows)) == sorted(map(str, same_rows))
    tables = [pq.read_table(tmp_path / name / "rejected") for name in ("whole", "spread")]
    assert tables[0].equals(tables[1])
    assert tables[0].num_rows == expected["rejected"]


def _plain_model(folder):
    """The same counts, a row at a time."""
    days = {"20240101": "train", "20240102": "train", "20240103": "valid", "20240105": "eval"}
    counts, rows, keys = collections.Counter(), set(), set()
    for name in ("a.csv", "b.csv"):
        for row in (folder / name).read_text().splitlines()[1:]:
            fields = row.split(",")
            if len(fields) == 9 and fields[2] not in days:
                counts["out_of_range"] += 1
            elif len(fields) != 9 or float(fields[-1]) > 1 or fields[4] == "3":
                counts["rejected"] += 1
            elif row in rows:
                counts["equal_rows"] += 1
            elif tuple(fields[:2]) in keys:
                counts["equal_keys"] += 1
            else:
                counts[days[fields[2]]] += 1
                rows.add(row)
                keys.add(tuple(fields[:2]))
    return counts


def test_the_first_of_a_key_by_file_and_row_stays(folder, tmp_path, schema, splits):
    row = "u1,1,20240102,1,1,{age},1,30,0.5"
    (folder / "a.csv").write_text("\n".join([_HEADER, row.format(age=3), row.format(age=2), ""]))
    (folder / "b.csv").write_text("\n".join([_HEADER, row.format(age=1), row.format(age=3), ""]))
    tally = _run(folder, tmp_path / "out", schema, splits, 1)
    assert tally.of("duplicates") == {"equal_keys": 2, "equal_rows": 1}
    _, (example,) = _records(tmp_path / "out", "train")
    assert example.features.feature["age"].float_list.value == [3.0]


def test_a_damaged_file_is_tallied_not_raised(folder, tmp_path, schema, splits):
    (folder / "b.csv").write_bytes(b"\xff\xfe\n")
    tally = _run(folder, tmp_path / "out", schema, splits, 1)
    (problem,) = tally.problems
    assert problem.where == str(folder / "b.csv")
    assert tally.of("read") == {str(folder / "a.csv"): 40}


def test_partitions_follow_the_size_of_the_text():
    assert partition_count({"a.csv": 1}) == 1
    assert partition_count({"a.csv": 128 << 20, "b.csv": 1}) == 2
    assert partition_count({"a.csv.gz": 128 << 20}) == 5
    assert partition_count({"a.parquet": 128 << 20}) == 5
