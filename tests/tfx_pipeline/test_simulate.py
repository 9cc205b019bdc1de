from __future__ import annotations

import datetime
from pathlib import Path

import pandas as pd
import pyarrow.parquet as pq
import pytest
from scipy import stats

from keras_models.disk_space import DiskFullError
from keras_models.metrics import auc
from tfx_pipeline.config import load_config
from tfx_pipeline.simulate import EQUAL_KEYS, EQUAL_ROWS, MISSING, SCENARIOS, TASKS, simulate
from transforms.labels import parse_expression
from transforms.problems import InputError

_CONFIG = Path(__file__).parents[2] / "configs" / "simulated.yaml"
# Of a statistical test, had the seed not been fixed.
_FALSE_ALARM = 1e-6


@pytest.fixture(scope="module")
def log(tmp_path_factory) -> pd.DataFrame:
    """Five days with a label a task, repeated events included."""
    files = simulate(tmp_path_factory.mktemp("logs"), days=5, rows_per_day=60_000)
    return _read(files)


@pytest.fixture(scope="module")
def events(log) -> pd.DataFrame:
    return log.drop_duplicates("event_id")


def _read(files: list[Path]) -> pd.DataFrame:
    tasks = load_config(_CONFIG).tasks
    parts = []
    for file in files:
        table = pq.read_table(file)
        part = table.to_pandas().assign(day=file.stem.removeprefix("day="))
        for name, task in tasks.items():
            part[name] = parse_expression(task.label).evaluate(table).to_numpy(zero_copy_only=False)
        parts.append(part)
    return pd.concat(parts, ignore_index=True)


def _misfit(labels: pd.Series, probability: pd.Series) -> float:
    """Chance of so bad a fit, over ten bins, if the probability is the true one."""
    deciles = pd.qcut(probability, 10, labels=False)
    excess = (labels - probability).groupby(deciles).sum()
    variance = (probability * (1 - probability)).groupby(deciles).sum()
    return float(stats.chi2.sf((excess**2 / variance).sum(), 10))


@pytest.mark.parametrize("task", TASKS)
def test_labels_follow_their_true_probability(events, task):
    probability = events[f"p_{task}"].astype(float)

    assert _misfit(events[task], probability) > _FALSE_ALARM
    assert _misfit(events[task], 1.1 * probability) < _FALSE_ALARM, "the check has no power"


def test_likes_and_profile_visits_follow_clicks_but_long_views_need_none(events):
    without_click = events[~events.click]

    assert not without_click.like.any()
    assert not without_click.profile_enter.any()
    assert without_click.long_view.any()


def test_there_is_something_to_learn_beyond_popularity(events):
    days = sorted(set(events.day))
    past, last = events[events.day < days[-1]], events[events.day == days[-1]]
    rate = past.groupby("item_id").click.mean()
    popularity = last.item_id.map(rate).fillna(past.click.mean())

    assert auc(last.click, last.p_click) > 0.75
    assert auc(last.click, popularity) < 0.65


def test_the_same_seed_writes_the_same_bytes(tmp_path):
    one, again, other = (
        simulate(tmp_path / name, days=2, rows_per_day=1_000, seed=seed)
        for name, seed in [("one", 7), ("again", 7), ("other", 8)]
    )

    assert [f.read_bytes() for f in one] == [f.read_bytes() for f in again]
    assert one[0].read_bytes() != one[1].read_bytes()
    assert not pq.read_table(one[0]).equals(pq.read_table(other[0]))


def test_a_day_drawn_alone_is_the_day_drawn_among_others(tmp_path):
    week = simulate(tmp_path / "week", days=7, rows_per_day=500)
    third = datetime.date(2024, 1, 3)
    (alone,) = simulate(tmp_path / "alone", days=1, rows_per_day=500, start=third)

    assert alone.name == week[2].name == "day=2024-01-03.parquet"
    assert alone.read_bytes() == week[2].read_bytes()


def test_rows_lie_within_their_day_and_in_its_order(events):
    time = pd.to_datetime(events.time_ms, unit="ms")

    assert (time.dt.strftime("%Y-%m-%d") == events.day).all()
    assert (time.dt.hour == events.hour).all()
    assert events.groupby("day").time_ms.is_monotonic_increasing.all()


def test_scenarios_have_their_shares(events):
    counts = events.tab.value_counts()

    for scenario, share in SCENARIOS.items():
        assert stats.binomtest(int(counts[scenario]), len(events), share).pvalue > _FALSE_ALARM


def test_repeated_events_are_as_many_as_said(log):
    equal_rows = log.duplicated()
    equal_keys = log.duplicated("event_id") & ~equal_rows

    assert len(log) == 5 * 60_000
    assert equal_rows.sum() == round(len(log) * EQUAL_ROWS)
    assert equal_keys.sum() == round(len(log) * EQUAL_KEYS)
    assert (log.time_ms.diff()[equal_keys] > 0).all()


def test_only_the_said_columns_have_missing_values(log):
    missing = log.isna().mean()

    assert missing[missing > 0].to_dict() == pytest.approx(MISSING, rel=0.1)


def test_items_come_out_every_day(events):
    days = [set(of_day.item_id) for _, of_day in events.groupby("day")]

    for before, after in zip(days, days[1:], strict=False):
        assert len(after - before) >= 30
        assert len(before & after) > 10 * 30


def test_few_items_take_most_of_the_events(events):
    counts = events[events.day == events.day.min()].item_id.value_counts()

    assert counts.iloc[: len(counts) // 10].sum() > 0.4 * counts.sum()


def _logits(files: list[Path]) -> pd.DataFrame:
    """Logits of a click, and of a like after it, by day and by who was shown what where."""
    log = _read(files).drop_duplicates(["day", "user_id", "item_id", "tab"])
    log = log[log.tab == "feed"].set_index(["user_id", "item_id"])
    log["click_logit"] = stats.logistic.ppf(log.p_click)
    log["like_logit"] = stats.logistic.ppf(log.p_like / log.p_click)
    return log[["day", "click_logit", "like_logit"]]


def _small_world(folder: Path, **model: float) -> pd.DataFrame:
    return _logits(
        simulate(folder, days=6, rows_per_day=5_000, users=30, new_items_per_day=2, **model)
    )


@pytest.mark.parametrize(("drift", "least", "most"), [(0.0, 0.95, 1.0), (0.4, 0.0, 0.8)])
def test_tastes_and_quality_drift(tmp_path, drift, least, most):
    logits = _small_world(tmp_path, drift=drift)
    first, last = (logits[logits.day == day].click_logit for day in ("2024-01-01", "2024-01-06"))
    both = pd.concat([first, last], axis=1, join="inner")

    assert len(both) > 200
    assert least < both.corr().iloc[0, 1] <= most


def test_tasks_are_correlated_as_asked(tmp_path):
    one, other = (
        _small_world(tmp_path / str(value), task_correlation=value)[["click_logit", "like_logit"]]
        for value in (0.1, 0.95)
    )

    assert one.corr().iloc[0, 1] + 0.3 < other.corr().iloc[0, 1]


def test_the_config_that_is_shipped_names_columns_that_are_drawn(log):
    config = load_config(_CONFIG)
    labels = [parse_expression(task.label) for task in config.tasks.values()]
    named = {
        *config.features.categorical,
        *config.features.numeric,
        *config.data.event_key,
        config.data.event_time,
        config.data.user,
        config.scenario.column,
        *(str(task.true_probability) for task in config.tasks.values()),
        *(column for label in labels for column in label.columns),
    }

    assert named <= set(log.columns)
    assert set(config.scenario.values) < set(SCENARIOS)
    assert set(config.tasks) == set(TASKS)


def test_every_number_out_of_range_is_named(tmp_path):
    with pytest.raises(InputError) as error:
        simulate(tmp_path / "logs", days=0, rows_per_day=0, seed=-1, users=0, task_correlation=1.5)

    assert [p.where for p in error.value.problems] == [
        "days", "rows_per_day", "seed", "users", "task_correlation",
    ]  # fmt: skip
    assert "found 1.5; expected a number from 0 to 1" in str(error.value)
    assert not (tmp_path / "logs").exists()


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(InputError, match="file/logs: found Not a directory; expected a folder"):
        simulate(tmp_path / "file" / "logs", days=1, rows_per_day=10)


def test_nothing_half_written_is_left_behind(tmp_path, monkeypatch):
    def fill_the_disk(table, path, **_):
        Path(path).write_bytes(b"PAR1")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(pq, "write_table", fill_the_disk)

    with pytest.raises(DiskFullError, match="day=2024-01-01.parquet: found no room .No space left"):
        simulate(tmp_path, days=1, rows_per_day=10)
    assert not list(tmp_path.iterdir())
