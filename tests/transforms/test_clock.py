"""Event times against the days of their rows."""

from __future__ import annotations

import datetime

import numpy as np
import pandas as pd
import pytest

from transforms.clock import Clock

_DAY = datetime.date(2024, 3, 10).toordinal()


def _clock(unit="s", time_zone="UTC"):
    return Clock(unit, time_zone, datetime.timedelta(minutes=5), True)


def _at(text: str) -> float:
    return datetime.datetime.fromisoformat(text).timestamp()


def test_distance_from_the_day():
    times = [
        _at("2024-03-09T23:59:58+00:00"),
        _at("2024-03-10T00:00:00+00:00"),
        _at("2024-03-10T23:59:59+00:00"),
        _at("2024-03-11T00:00:00+00:00"),
        _at("2024-03-11T00:00:09+00:00"),
    ]
    days = np.full(5, _DAY)
    assert _clock().distance(np.array(times), days).tolist() == [2, 0, 0, 1, 10]


def test_units_and_time_zones():
    time = np.array([_at("2024-03-10T00:00:01+08:00")])
    clock = _clock("ms", "Asia/Shanghai")
    assert clock.distance(time * 1000, np.array([_DAY])).tolist() == [0]
    assert clock.distance(time * 1000, np.array([_DAY - 1])).tolist() == [1001]
    assert clock.ticks(clock.max_skew) == 300_000


def test_the_last_tick_of_a_day_has_fractions():
    times = _at("2024-03-10T23:59:59+00:00") + np.array([0.75, 1.25])
    assert _clock().distance(times, np.full(2, _DAY)).tolist() == [0, 1]


def test_a_day_of_23_hours():
    last = np.array([_at("2024-03-10T23:59:59-04:00")])  # clocks went forward that morning
    clock = _clock(time_zone="America/New_York")
    assert clock.distance(last, np.array([_DAY])).tolist() == [0]
    assert clock.distance(last + 1, np.array([_DAY])).tolist() == [1]


@pytest.mark.kuairand
def test_days_and_times_of_the_real_log(kuairand_dir):
    files = sorted(kuairand_dir.glob("log_standard_*.csv.gz"))
    log = pd.concat(pd.read_csv(file, usecols=["date", "time_ms"]) for file in files)
    first = datetime.date(1970, 1, 1).toordinal()
    days = (
        pd.to_datetime(log.date.astype(str)).to_numpy().astype("datetime64[D]").astype(int) + first
    )
    distance = _clock("ms", "Asia/Shanghai").distance(log.time_ms.to_numpy(float), days)
    assert (distance > 0).sum() == 1_789
    assert (distance > 600_000).sum() == 374
