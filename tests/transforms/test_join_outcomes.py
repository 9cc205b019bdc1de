"""The outcomes log in the Beam pass, against a model that looks at one row at a time."""

from __future__ import annotations

import collections
import datetime
import json
import random

import apache_beam as beam
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from apache_beam.options.pipeline_options import PipelineOptions

from transforms.clock import Clock
from transforms.days import Splits
from transforms.history import History
from transforms.ingest import Ingest, Plan
from transforms.ingest_outcome import ingest_counts
from transforms.log_files import find_log_files, find_outcome_files
from transforms.log_schema import LogSchema
from transforms.outcomes import OutcomeColumn, Outcomes
from transforms.statistics import Statistic
from transforms.tally import Tally
from transforms.task_labels import Label

_RUNNER = "--runner=apache_beam.runners.portability.fn_api_runner.fn_runner.FnApiRunner"
_DAY = 86_400
_FIRST = datetime.date(2024, 1, 1)
_WINDOW = 1.5 * _DAY
_START = int(datetime.datetime(2024, 1, 1, tzinfo=datetime.timezone.utc).timestamp())


def _schema() -> LogSchema:
    return LogSchema(
        categorical=("item", "event"),
        numeric=(),
        scenario="tab",
        scenarios=("1", "other"),
        user="user",
        event_key=("event",),
        event_time="time",
        day_column=None,
        day_format="",
        labels={"order": Label("ordered == 1"), "spend": Label("paid / price >= 2")},
        true_probabilities={},
        table_keys={},
        statistics=(Statistic(("item",), ("order",), 1.0),),
        clock=Clock("s", "UTC", datetime.timedelta(0), True),
        outcomes=Outcomes(
            key=("user", "item"),
            time="at",
            event_key=(),
            columns=(
                OutcomeColumn("ordered", "kind == 'order'", "max"),
                OutcomeColumn("paid", "amount", "sum"),
            ),
            window=_WINDOW,
            skew=0,
            time_unit="s",
        ),
        history=History("user", "time", ("event",), None, ("order", "spend"), False, 6),
    )


def _draw(folder, seed):
    """Impressions of three days, one of which cannot be labelled, and outcomes of five."""
    rng = random.Random(seed)
    impressions = [
        {
            "event": f"e{i}",
            "user": f"u{rng.randrange(5)}",
            "item": f"i{rng.randrange(4)}",
            "tab": "1",
            "time": _START + rng.randrange(3 * _DAY),
            "price": rng.choice([1, 2, 5]),
        }
        for i in range(60)
    ]
    impressions[7]["price"] = 0
    outcomes = [
        {
            "user": f"u{rng.randrange(6)}",
            "item": f"i{rng.randrange(4)}",
            "at": _START + rng.randrange(-_DAY // 2, 4 * _DAY),
            "kind": rng.choice(["order", "view"]),
            "amount": rng.choice([None, 1, 4]),
        }
        for _ in range(80)
    ]
    for outcome in outcomes:
        delay = rng.choice([0, 0, 0, 1])
        outcome["arrived"] = min(4, max(0, (outcome["at"] - _START) // _DAY + delay))
    for name, rows, day in (
        ("log", impressions, lambda row: (row["time"] - _START) // _DAY),
        ("outcomes", outcomes, lambda row: row["arrived"]),
    ):
        for i in range(5):
            of_day = [row for row in rows if day(row) == i]
            lines = [json.dumps({k: v for k, v in row.items() if v is not None}) for row in of_day]
            if name == "outcomes":
                lines += [*lines[:2], "broken"]  # repeated, and one that cannot be read
            path = folder / f"{name}_{_FIRST + datetime.timedelta(days=i)}.jsonl"
            path.write_text("\n".join([*lines, ""]))
    return impressions, outcomes


def _run(folder, out, partitions):
    last = _FIRST + datetime.timedelta(days=2)
    splits = Splits({"train": (_FIRST, last)})
    schema = _schema()
    files, _ = find_log_files(str(folder), "log_{YYYY}-{MM}-{DD}.jsonl", "auto", splits, None)
    pattern = "outcomes_{YYYY}-{MM}-{DD}.jsonl"
    outcomes, absent = find_outcome_files(str(folder), pattern, None, "auto", splits, 2, len(files))
    assert absent == {}
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
        outcomes=tuple(outcomes),
    )
    with beam.Pipeline(options=PipelineOptions([_RUNNER])) as pipeline:
        pipeline | Ingest(plan)
    tally = Tally.from_json((out / "tally.json").read_text())
    return ingest_counts(tally, files, outcomes, schema, splits), _examples(out)


def _examples(out):
    paths = [str(path) for path in sorted(out.glob("examples/*/*"))]
    found = {}
    for record in tf.data.TFRecordDataset(paths, "GZIP").as_numpy_iterator():
        feature = tf.train.Example.FromString(record).features.feature
        found[feature["event"].bytes_list.value[0].decode()] = {
            "labels": (feature["order"].int64_list.value[0], feature["spend"].int64_list.value[0]),
            "rate": tuple(feature["stat:item:order:rate"].float_list.value),
            "history": list(
                zip(
                    (event.decode() for event in feature["history:event"].bytes_list.value),
                    feature["history:order"].float_list.value,
                    feature["history:spend"].float_list.value,
                    strict=True,
                )
            ),
        }
    return found


def _expected(impressions, outcomes):
    """Labels, labels as known at the end of the day, what became of the outcomes, histories."""
    kinds = collections.Counter()
    of = collections.defaultdict(list)
    distinct = {tuple(outcome.items()): outcome for outcome in outcomes}
    for outcome in distinct.values():
        earlier = [
            row
            for row in impressions
            if (row["user"], row["item"]) == (outcome["user"], outcome["item"])
            and row["time"] <= outcome["at"]
        ]
        latest = max(earlier, key=lambda row: row["time"], default=None)
        if latest is None:
            kinds["unmatched"] += 1
        elif outcome["at"] - latest["time"] > _WINDOW:
            kinds["late"] += 1
        else:
            kinds["matched"] += 1
            of[latest["event"]].append(outcome)
    labels, known, histories = {}, {}, {}
    for row in impressions:
        in_time = [o for o in of[row["event"]] if o["arrived"] <= _day(row)]
        labels[row["event"]] = _labels(row, of[row["event"]])
        known[row["event"]] = _labels(row, in_time)
        before = [
            other
            for other in sorted(impressions, key=lambda other: other["time"])
            if other["user"] == row["user"] and other["time"] < row["time"]
            if other["price"]
        ]
        histories[row["event"]] = [
            (
                other["event"],
                *_labels(
                    other,
                    [
                        o
                        for o in of[other["event"]]
                        if o["arrived"] <= _day(other)
                        if o["at"] < row["time"] or _day(other) < _day(row)
                    ],
                ),
            )
            for other in before[-6:]
        ]
    return labels, known, kinds, histories


def _labels(row, outcomes):
    paid = sum(o["amount"] or 0 for o in outcomes)
    return (
        int(any(o["kind"] == "order" for o in outcomes)),
        None if row["price"] == 0 else int(paid / row["price"] >= 2),
    )


def _day(row):
    return (row["time"] - _START) // _DAY


@pytest.mark.parametrize("seed", [1, 2])
def test_labels_are_those_of_one_row_at_a_time(tmp_path, seed):
    impressions, outcomes = _draw(tmp_path, seed)
    counts, examples = _run(tmp_path, tmp_path / "whole", 1)
    spread = _run(tmp_path, tmp_path / "spread", 3)
    assert spread == (counts, examples)

    labels, known, kinds, histories = _expected(impressions, outcomes)
    late = [event for event in labels if labels[event] != known[event]]
    assert late and kinds["unmatched"] and kinds["late"]
    assert labels.pop("e7")[1] is None
    del histories["e7"]
    assert {event: row["history"] for event, row in examples.items()} == histories
    # Some labels of a behaviour turn with the outcomes of its day.
    of_behaviour = collections.defaultdict(set)
    for history in histories.values():
        for event, *values in history:
            of_behaviour[event].add(tuple(values))
    assert any(len(values) > 1 for values in of_behaviour.values())
    assert {event: row["labels"] for event, row in examples.items()} == labels
    assert {kind: counts["outcomes"][kind] for kind in kinds} == kinds
    assert counts["outcomes"]["rejected"] == 5
    assert sum(counts["outcomes"]["matched_by_days_after"].values()) == kinds["matched"]
    assert (counts["read"], counts["rejected"], counts["train"]) == (60, 1, 59)
    (row,) = (
        row
        for row in pq.read_table(tmp_path / "whole" / "rejected").to_pylist()
        if row["reason"] == "the label of `spend` cannot be computed from what is there"
    )
    assert json.loads(row["raw"])["text:event"] == "e7"

    # Later days know of an order only if it had arrived when the day was over.
    for row in impressions:
        earlier = [r for r in impressions if _day(r) < _day(row) and r["event"] != "e7"]
        if row["event"] == "e7" or not earlier:
            continue
        same = [r for r in earlier if r["item"] == row["item"]]
        overall = sum(known[r["event"]][0] for r in earlier) / len(earlier)
        rate = (sum(known[r["event"]][0] for r in same) + overall) / (len(same) + 1)
        assert examples[row["event"]]["rate"] == pytest.approx((rate,))
