"""Day after day, as a user runs it: `equipoise` in processes of their own."""

from __future__ import annotations

import json
import random
import shutil
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from ...command_line import equipoise
from . import backfills
from .backfills import DAYS, RUNS

pytestmark = pytest.mark.e2e


def test_the_screen_shows_a_line_per_day(backfilled: Path) -> None:
    assert (backfilled / "stderr").read_text() == ""
    out = (backfilled / "stdout").read_text()
    lines = [line.split() for line in out.splitlines()]
    assert [line[0] for line in lines if line and line[0].startswith("2024")] == RUNS
    assert "3 of 3 runs blessed" in out


def test_each_day_goes_on_from_the_one_before(backfilled: Path) -> None:
    found = backfills.records(backfilled)
    assert list(found) == RUNS
    first, *later = found.values()
    assert first.full and first.parent is None
    assert (str(first.train.start), str(first.train.end)) == ("2024-01-01", "2024-01-02")
    for before, record in zip(found.values(), later, strict=False):
        assert not record.full and record.parent == before.key
        assert record.statistics == first.statistics
    assert len({record.version for record in found.values()}) == 3


def test_a_day_is_evaluated_on_before_it_is_known(backfilled: Path) -> None:
    for day, record in backfills.records(backfilled).items():
        data = backfills.summary(backfilled, day)["data"]
        parts = ("duplicates", "rejected", "out_of_range", "train", "valid", "eval")
        assert data["read"] == sum(data[part] for part in parts)
        assert list(data["days"])[-1] == str(record.evaluated) > day
        manifest = json.loads((Path(record.feature_state) / "state.json").read_text())
        assert manifest["last_day"] == day
        # Of the click statistic: the rows of the lineage's days, the evaluated one not among them.
        known = [backfills.summary(backfilled, d)["data"] for d in RUNS if d <= day]
        rows = sum(c["train"] + c["valid"] for c in known)
        assert manifest["statistics"][0]["count"] == rows
        # The server answers with all that is known at the push.
        (index,) = Path(record.model).rglob("variables.index")
        model = tf.train.load_checkpoint(str(index.with_suffix("")))
        (table,) = (
            name
            for name in model.get_variable_to_shape_map()
            if "_tables/0/_values" in name and "ATTRIBUTES" in name
        )
        assert model.get_tensor(table)[:, 0].sum() == rows + data["eval"]


def test_the_baseline_is_the_day_before(backfilled: Path) -> None:
    baselines = [backfills.summary(backfilled, day)["gate"]["baseline_version"] for day in RUNS]
    assert baselines == [None, *[r.version for r in backfills.records(backfilled).values()][:2]]


def test_lineage_names_the_days(backfilled: Path) -> None:
    version = backfills.records(backfilled)[RUNS[-1]].version
    done = equipoise("lineage", version, "--workdir", backfilled)
    assert done.returncode == 0, done.stderr
    rows = [line.split() for line in done.stdout.splitlines()[1:4]]
    assert [row[2] for row in rows] == ["2024-01-05", "2024-01-04", "2024-01-01..2024-01-03"]
    assert {row[4] for row in rows} == {"blessed"} and len({row[5] for row in rows}) == 1


def test_what_was_done_is_not_done_again(daily_logs: Path, backfilled: Path) -> None:
    done = backfills.run("backfill", daily_logs, backfilled, *DAYS)
    assert done.returncode == 0 and done.stdout.count("done before") == 3


def test_no_run_ends_on_an_earlier_day(daily_logs: Path, backfilled: Path) -> None:
    for name, days in (("backfill", backfills.days(1, 4)), ("run", ["--day", "2024-01-04"])):
        done = backfills.run(name, daily_logs, backfilled, *days)
        assert done.returncode == 2
        assert "a run of a later day, 2024-01-05" in " ".join(done.stderr.split())


def test_killed_it_ends_as_undisturbed(daily_logs: Path, backfilled: Path, tmp_path: Path) -> None:
    """Once; the slow tier kills it twenty times."""
    seconds = random.Random(1).uniform(18, 45)
    assert backfills.run_and_kill(seconds, "backfill", daily_logs, tmp_path, *DAYS)
    done = backfills.run("backfill", daily_logs, tmp_path, *DAYS)
    assert done.returncode == 0, done.stdout + done.stderr
    backfills.assert_same_result(tmp_path, backfilled)


def test_a_day_that_is_held_back_is_gone_around_and_late_rows_are_counted_once(
    daily_logs: Path, backfilled: Path, tmp_path: Path
) -> None:
    workdir, raw = tmp_path / "work", tmp_path / "logs"
    shutil.copytree(backfilled, workdir)
    shutil.copytree(daily_logs, raw)
    floor = ["--set", "gate.auc_floor=0.99"]
    held_back = backfills.run("run", raw, workdir, "--day", "2024-01-06", *floor)
    assert held_back.returncode == 3, held_back.stdout + held_back.stderr
    done = backfills.run("run", raw, workdir, "--day", "2024-01-07")
    assert done.returncode == 0, done.stdout + done.stderr
    found = backfills.records(workdir)
    assert not found["2024-01-06"].blessed and found["2024-01-06"].version is None
    # The weights are those of the last blessed day, what is known that of the day before.
    assert found["2024-01-07"].parent == found["2024-01-05"].key
    counted = [backfills.summary(workdir, d)["data"] for d in found]
    manifest = json.loads((Path(found["2024-01-07"].feature_state) / "state.json").read_text())
    assert manifest["statistics"][0]["count"] == sum(c["train"] + c["valid"] for c in counted)

    # The newest day arrives again, with all its rows and some that were late.
    (file,) = raw.glob("*2024-01-07.parquet")
    rows = pq.read_table(file)
    late = rows.slice(0, 50)
    key = late.schema.get_field_index("event_id")
    late = late.set_column(key, "event_id", pa.array(range(-50, 0), pa.int64()))
    pq.write_table(pa.concat_tables([rows, late]), file)
    again = backfills.run("run", raw, workdir, "--day", "2024-01-07")
    assert again.returncode in (0, 3), again.stdout + again.stderr
    before, after = counted[-1], backfills.summary(workdir, "2024-01-07")["data"]
    assert after["train"] == before["train"] + 50 and after["eval"] == before["eval"]
    (arrival,) = after["arrived_again"]
    assert (arrival["day"], arrival["rows"]) == ("2024-01-07", arrival["rows_before"] + 50)
    record = backfills.records(workdir)["2024-01-07"]
    assert record.key != found["2024-01-07"].key and record.parent == found["2024-01-05"].key
    manifest = json.loads((Path(record.feature_state) / "state.json").read_text())
    assert manifest["statistics"][0]["count"] == 50 + sum(c["train"] + c["valid"] for c in counted)


def test_too_few_days_and_gaps_are_named(
    daily_logs: Path, backfilled: Path, tmp_path: Path
) -> None:
    done = backfills.run("backfill", daily_logs, tmp_path, *backfills.days(1, 2))
    text = " ".join(done.stderr.split())
    assert done.returncode == 2 and "at least daily.window, 3 days" in text
    done = backfills.run("run", daily_logs, backfilled, "--day", "2024-01-07")
    text = " ".join(done.stderr.split())
    assert done.returncode == 2 and "no run of 2024-01-06" in text
    done = backfills.run("run", daily_logs, tmp_path, "--day", "2024-01-08")
    text = " ".join(done.stderr.split())
    assert done.returncode == 2 and "2024-01-09" in text
    done = backfills.run("run", daily_logs, tmp_path, "--full")
    assert done.returncode == 2 and "goes with --day" in " ".join(done.stderr.split())
