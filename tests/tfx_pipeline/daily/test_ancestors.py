"""What the run of a day goes on from."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest

from tfx_pipeline.build_model import task_losses
from tfx_pipeline.config import Config, load_config
from tfx_pipeline.config.data import DayRange
from tfx_pipeline.daily.ancestors import Ancestors, find_ancestors, on_day
from tfx_pipeline.daily.record import DayRecord, read_records, write_record
from tfx_pipeline.daily.unit import check_newest
from transforms.problems import InputError

CONFIG = Path(__file__).resolve().parents[3] / "configs" / "simulated.yaml"


def day(number: int) -> datetime.date:
    return datetime.date(2024, 1, number)


def record(number: int, *, blessed: bool = True, full: bool = False) -> DayRecord:
    return DayRecord(
        day=day(number),
        key=f"key-{number}",
        full=full,
        train=DayRange(start=day(number), end=day(number)),
        evaluated=day(number + 1),
        blessed=blessed,
        version=number if blessed else None,
        parent=None,
        **{
            name: f"/{number}/{name}"
            for name in ("model", "trained", "feature_state", "transform_graph", "statistics")
        },
    )


def records(*of: DayRecord) -> dict[datetime.date, DayRecord]:
    return {r.day: r for r in of}


def days_of(found: Ancestors) -> tuple[int | None, int | None, int | None]:
    return tuple(  # type: ignore[return-value]
        r.day.day if r else None for r in (found.parent, found.state, found.baseline)
    )


@pytest.fixture
def config() -> Config:
    return load_config(CONFIG, ["daily.window=4"])


def test_the_day_before(config: Config) -> None:
    known = records(record(4), record(5), record(7))
    assert days_of(find_ancestors(known, config, day(6))) == (5, 5, 5)


def test_a_day_that_was_held_back_is_no_parent_but_its_rows_are_known(config: Config) -> None:
    known = records(record(4), record(5, blessed=False), record(6, blessed=False))
    assert days_of(find_ancestors(known, config, day(7))) == (4, 6, 4)


def test_unless_the_config_says_so(config: Config) -> None:
    newest = config.model_copy(
        update={"daily": config.daily.model_copy(update={"parent": "newest"})}
    )
    known = records(record(4), record(5, blessed=False))
    assert days_of(find_ancestors(known, newest, day(6))) == (5, 5, 4)


def test_without_a_parent_a_lineage_begins(config: Config) -> None:
    assert days_of(find_ancestors({}, config, day(6))) == (None, None, None)
    held_back = records(record(4, blessed=False))
    assert days_of(find_ancestors(held_back, config, day(5))) == (None, None, None)


def test_a_new_lineage_knows_the_days_before_its_window(config: Config) -> None:
    known = records(*(record(n) for n in range(4, 10)))
    # The window of day 10 is 7 to 10.
    assert days_of(find_ancestors(known, config.with_full(True), day(10))) == (None, 6, 9)


def test_a_gap_is_named(config: Config) -> None:
    with pytest.raises(InputError) as error:
        find_ancestors(records(record(4)), config, day(7))
    assert str(error.value) == (
        "day 2024-01-07: found no run of 2024-01-06, the newest before it is that of 2024-01-04; "
        "expected the day before, whose feature state this one goes on from. Run the days between, "
        "2024-01-05 to 2024-01-07, one after the other (equipoise backfill; on Kubeflow a run each)"
        ", or begin anew with --full."
    )


def test_the_config_of_a_day_that_goes_on(config: Config) -> None:
    found = Ancestors(parent=record(3), state=record(5), baseline=None)
    settings = on_day(config, "2024-01-06", found)
    one = DayRange(start=day(6), end=day(6))
    assert settings.data.splits == {"train": one, "eval": DayRange(start=day(7), end=day(7))}
    assert settings.training.epochs == config.daily.epochs == 1
    assert str(settings.data.state) == "/5/feature_state"
    assert str(settings.training.start) == "/3/trained"
    assert str(settings.features.transform_graph) == "/3/transform_graph"
    assert settings.model == config.model and settings.tasks == config.tasks


def test_the_config_of_a_day_that_begins_a_lineage(config: Config) -> None:
    settings = on_day(config.with_full(True), "2024-01-06")
    assert {name: (d.start.day, d.end.day) for name, d in settings.data.splits.items()} == {
        "train": (3, 5),
        "valid": (6, 6),
        "eval": (7, 7),
    }
    assert settings.training == config.training
    assert settings.data.state is settings.features.transform_graph is None


@pytest.mark.parametrize(("written", "expected"), [(None, 12), (4, 4)])
def test_weights_of_tasks_decay_as_in_the_first_training(
    config: Config, written: int | None, expected: int
) -> None:
    """Not in `daily.epochs`, which is what a day has for `training.epochs`."""
    job = config.model_dump(mode="json")
    first = next(iter(job["tasks"]))
    job["tasks"][first]["gamma"] = 0.9
    job["training"]["epochs"] = 12
    job["model"]["loss"]["decay_epochs"] = written
    job = Config.model_validate(job)
    one_day = on_day(job, "2024-01-06", Ancestors(parent=record(3), state=record(5), baseline=None))
    assert one_day.training.epochs == 1
    for settings in (job, one_day, on_day(job.with_full(True), "2024-01-06")):
        assert task_losses(settings, []).decay_epochs == expected


def test_no_day_is_the_configs_own(config: Config) -> None:
    assert on_day(config, "") is config


def test_records_are_read_as_they_were_written(tmp_path: Path) -> None:
    assert read_records(str(tmp_path)) == {}
    for one in (record(5), record(4, blessed=False)):
        write_record(str(tmp_path), one)
    assert list(read_records(str(tmp_path)).items()) == [
        (day(4), record(4, blessed=False)),
        (day(5), record(5)),
    ]
    write_record(str(tmp_path), record(5, full=True))
    assert read_records(str(tmp_path))[day(5)].full
    assert {f.name for f in tmp_path.rglob("*") if f.is_file()} == {"record.json"}


def test_every_record_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    for number in (4, 5, 6):
        write_record(str(tmp_path), record(number))
    (tmp_path / "2024-01-04" / "record.json").write_text('{"format": 1')
    (tmp_path / "2024-01-06" / "record.json").write_text('{"format": 1}')
    with pytest.raises(InputError) as error:
        read_records(str(tmp_path))
    assert "2024-01-04/record.json: found Invalid JSON" in str(error.value)
    assert "2024-01-06/record.json: found Field required" in str(error.value)
    assert "2024-01-05" not in str(error.value)


def test_no_run_ends_before_the_newest_day(tmp_path: Path) -> None:
    check_newest(str(tmp_path), day(5))
    write_record(str(tmp_path), record(5))
    check_newest(str(tmp_path), day(5))
    with pytest.raises(InputError, match="day 2024-01-04: found a run of a later day, 2024-01-05"):
        check_newest(str(tmp_path), day(4))
