"""Logs drawn from a known model, so that the true probability of every label is known.

For user u, item i, scenario m and task k on day t the logit is

    b_mk + .8 <s_m * a_u(t), w_ik> / sqrt(D) + .6 q_ik(t) + .7 c_uk + e_k(user, item, time)

with standard normal taste a_u, item factors w_ik, quality q_ik and user bias c_uk. Users of a
group share most of their taste; items of an author share most of their factors and half of their
quality, and authors of a category most of their factors. Across tasks, w, q and c correlate by
`task_correlation`. s_m is what scenario m makes of a user's taste; e_k holds the effects of
activity, age, duration and hour. Taste and quality drift: on days n apart they correlate by
exp(-(drift n)^2 / 2). Items come out every day and are shown for 30 days; their popularity follows
Zipf's law and halves every week.

A click has the probability sigmoid(logit of click). A like or a visit to the author's profile
follows a click only. Videos start by themselves, so a long view (at least half of the duration)
occurs without a click too, a quarter as often as with one.
"""

from __future__ import annotations

import datetime
import math
import os
from collections.abc import Callable, Collection
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from keras_models.disk_space import DiskFullError, room_for
from transforms.problems import InputError, Problem

TASKS = ("click", "long_view", "like", "profile_enter")
SCENARIOS = {"feed": 0.75, "search": 0.2, "nearby": 0.045, "campaign": 0.005}
"""Share of the events in each scenario."""
EQUAL_ROWS = 0.005
"""Share of the rows that repeat the row before them exactly."""
EQUAL_KEYS = 0.002
"""Share of the rows that repeat the event of the row before them, at a later time."""
MISSING = {"item_age_days": 0.02, "user_activity": 0.05}
"""Share of the rows in which a numeric column is missing."""

_GROUPS = ("adult", "kids", "parent", "senior", "student", "teen")
_CATEGORIES = "art film food games music news pets science sport travel".split()
_FACTORS = 8
_AUTHORS = 150
_LIFETIME_DAYS = 30
_HALF_LIFE_DAYS = 7
_ZIPF_EXPONENT = 0.8
_LONG_VIEW_WITHOUT_CLICK = 0.25
_MEDIAN_ACTIVITY = 3.0  # hours a week
_MEDIAN_DURATION = 30.0  # seconds
_BUSIEST_HOUR = 20
_MS_PER_HOUR = 3_600_000

# b_mk: scenarios by tasks. A like and a profile visit are those after a click.
_BIASES = np.array(
    [
        [-1.0, 0.1, -2.2, -2.6],
        [-0.1, 0.6, -2.8, -2.0],
        [-1.5, -0.4, -1.8, -1.5],
        [-0.6, -0.7, -2.0, -2.4],
    ],
    np.float32,
)
# The terms of e_k, each by task.
_ACTIVITY_EFFECT = np.array([-0.3, -0.1, 0.2, 0.3], np.float32)
_AGE_EFFECT = np.array([-0.2, -0.1, 0.1, -0.2], np.float32)
_DURATION_EFFECT = np.array([0.0, -0.6, 0.1, 0.0], np.float32)
_HOUR_EFFECT = np.array([0.2, 0.2, 0.0, 0.1], np.float32)

# Columns of few values, which Parquet stores best as positions in a dictionary.
_REPEATING = [
    "user_id", "item_id", "author_id", "tab", "user_group", "item_category", "hour",
    "item_duration_s", "user_activity", "is_click", "is_like", "is_profile_enter",
]  # fmt: skip

# What a random stream is for. With the seed (and the day) it seeds the stream.
_USER_STREAM, _AUTHOR_STREAM, _SCENARIO_STREAM, _ITEM_STREAM, _EVENT_STREAM = range(5)

_Floats = NDArray[np.float32]
_Ints = NDArray[np.int64]


@dataclass(frozen=True)
class _Users:
    group: _Ints  # [U]
    activity: _Floats  # [U]
    taste: _Floats  # [U, D]
    bias: _Floats  # [U, K]


@dataclass(frozen=True)
class _Items:
    id: _Ints  # [I]
    author: _Ints  # [I]
    category: _Ints  # [I]
    released: _Ints  # [I]
    duration: _Floats  # [I]
    popularity: _Floats  # [I]
    factors: _Floats  # [I, K, D]
    quality: _Floats  # [I, K]


@dataclass(frozen=True)
class _World:
    """The model that logs are drawn from; a day's log depends on this and the date alone."""

    seed: int
    users: int
    new_items_per_day: int
    task_correlation: float
    drift: float

    def draw_day(self, day: datetime.date, rows: int) -> pa.Table:
        """The log of one day, in the order of the events."""
        today = day.toordinal()
        users, items, bends = self._users_of(today), self._items_of(today), self._bends()
        rng = self._stream(_EVENT_STREAM, today)
        equal_rows, equal_keys = int(rows * EQUAL_ROWS), int(rows * EQUAL_KEYS)
        events = rows - equal_rows - equal_keys

        hours = _draw_hours(rng, events)
        user = _choose(rng, users.activity, events)
        item = _choose(rng, items.popularity, events)
        scenario = _choose(rng, np.array(list(SCENARIOS.values())), events)
        age = (today - items.released[item] + hours / 24).astype(np.float32)

        taste = users.taste[user] * bends[scenario]
        log_age = np.log1p(age)
        evening = np.cos(2 * np.pi / 24 * (hours - _BUSIEST_HOUR)).astype(np.float32)
        of_user = 0.7 * users.bias + np.outer(
            np.log(users.activity / _MEDIAN_ACTIVITY), _ACTIVITY_EFFECT
        )
        of_item = 0.6 * items.quality + np.outer(
            np.log(items.duration / _MEDIAN_DURATION), _DURATION_EFFECT
        )
        click, long_view, like, profile_enter = (
            _sigmoid(
                _BIASES[scenario, k]
                + np.einsum("nd,nd->n", taste, items.factors[item, k]) * (0.8 / _FACTORS**0.5)
                + of_user[user, k]
                + of_item[item, k]
                + log_age * _AGE_EFFECT[k]
                + evening * _HOUR_EFFECT[k]
            )
            for k in range(len(TASKS))
        )
        clicked = _happens(rng, click)
        viewed = _happens(rng, np.where(clicked, 1, _LONG_VIEW_WITHOUT_CLICK) * long_view)
        share = (rng.random(events, np.float32) ** 2 + viewed) / 2
        duration = items.duration[item]

        midnight_ms = (today - datetime.date(1970, 1, 1).toordinal()) * 24 * _MS_PER_HOUR
        table = pa.table(
            {
                "event_id": int(day.strftime("%Y%m%d")) * 10**9 + np.arange(events),
                "time_ms": midnight_ms + (hours * _MS_PER_HOUR).astype(np.int64),
                "user_id": user,
                "item_id": items.id[item],
                "author_id": items.author[item],
                "tab": _names(scenario, SCENARIOS),
                "user_group": _names(users.group[user], _GROUPS),
                "item_category": _names(items.category[item], _CATEGORIES),
                "hour": hours.astype(np.int64),
                "item_age_days": _with_gaps(rng, age, MISSING["item_age_days"]),
                "item_duration_s": duration,
                "user_activity": _with_gaps(rng, users.activity[user], MISSING["user_activity"]),
                "play_time_s": share * duration,
                "is_click": clicked.astype(np.int64),
                "is_like": (clicked & _happens(rng, like)).astype(np.int64),
                "is_profile_enter": (clicked & _happens(rng, profile_enter)).astype(np.int64),
                "p_click": click,
                "p_long_view": (click + _LONG_VIEW_WITHOUT_CLICK * (1 - click)) * long_view,
                "p_like": click * like,
                "p_profile_enter": click * profile_enter,
            }
        )
        return _repeat_events(rng, table, equal_rows, equal_keys)

    def _users_of(self, today: int) -> _Users:
        rng = self._stream(_USER_STREAM)
        group = rng.integers(len(_GROUPS), size=self.users)
        of_group = self._drifting(rng, today, lambda: _normal(rng, len(_GROUPS), _FACTORS))
        own = self._drifting(rng, today, lambda: _normal(rng, self.users, _FACTORS))
        return _Users(
            group=group,
            activity=_MEDIAN_ACTIVITY * np.exp(_normal(rng, self.users)),
            taste=_mix(0.7, of_group[group], own),
            bias=self._by_task(rng, self.users),
        )

    def _items_of(self, today: int) -> _Items:
        """The items that are shown today: those that came out in the last 30 days."""
        rng = self._stream(_AUTHOR_STREAM)
        category = rng.integers(len(_CATEGORIES), size=_AUTHORS)
        of_category = self._by_task(rng, len(_CATEGORIES), _FACTORS)
        of_author = _mix(0.7, of_category[category], self._by_task(rng, _AUTHORS, _FACTORS))
        author_quality = self._drifting(rng, today, lambda: self._by_task(rng, _AUTHORS))

        def released(day: int) -> _Items:
            rng = self._stream(_ITEM_STREAM, day)
            count = self.new_items_per_day
            author = rng.integers(_AUTHORS, size=count)
            rank = rng.permutation(count) + 1
            own_quality = self._drifting(rng, today, lambda: self._by_task(rng, count))
            return _Items(
                id=day * count + np.arange(count),
                author=author,
                category=category[author],
                released=np.full(count, day),
                duration=np.rint(5 + _MEDIAN_DURATION * np.exp(0.8 * _normal(rng, count))),
                popularity=rank**-_ZIPF_EXPONENT * 0.5 ** ((today - day) / _HALF_LIFE_DAYS),
                factors=_mix(0.7, of_author[author], self._by_task(rng, count, _FACTORS)),
                quality=_mix(0.5, author_quality[author], own_quality),
            )

        by_day = [released(day) for day in range(today - _LIFETIME_DAYS + 1, today + 1)]
        columns = {f.name: [getattr(items, f.name) for items in by_day] for f in fields(_Items)}
        return _Items(**{name: np.concatenate(parts) for name, parts in columns.items()})

    def _bends(self) -> _Floats:
        """What each scenario makes of the factors of taste, [M, D], with mean square 1."""
        bends = 1 + 0.7 * _normal(self._stream(_SCENARIO_STREAM), len(SCENARIOS), _FACTORS)
        return bends / np.sqrt(np.mean(bends**2, axis=1, keepdims=True))

    def _stream(self, *purpose: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, *purpose])

    def _by_task(self, rng: np.random.Generator, count: int, *shape: int) -> _Floats:
        """Standard normals [count, K, *shape] that correlate across tasks."""
        shared = _normal(rng, count, 1, *shape)
        return _mix(self.task_correlation, shared, _normal(rng, count, len(TASKS), *shape))

    def _drifting(
        self, rng: np.random.Generator, today: int, draw: Callable[[], _Floats]
    ) -> _Floats:
        """Values that stay standard normal as they turn from one draw towards another and on."""
        start, other = draw(), draw()
        speed = self.drift * rng.standard_normal((len(start), *[1] * (start.ndim - 1)))
        angle = speed * today
        return (np.cos(angle) * start + np.sin(angle) * other).astype(np.float32)


def simulate(
    out_dir: str | Path,
    *,
    days: int = 7,
    rows_per_day: int = 20_000,
    seed: int = 1,
    start: datetime.date = datetime.date(2024, 1, 1),
    users: int = 1_000,
    new_items_per_day: int = 40,
    task_correlation: float = 0.5,
    drift: float = 0.1,
) -> list[Path]:
    """Writes one Parquet file a day, `day=YYYY-MM-DD.parquet`.

    A day's file depends on the seed, the size of the world and the date, but not on the other days
    drawn with it. `p_<task>` is the probability of the task's label given all that is settled
    before anybody reacts: user, item, scenario, time, and the hidden factors of that day. It is
    marginal over the other labels: p_like is p_click times the probability of a like after a click.

    Args:
      out_dir: Folder to write to; made where it is missing. Files of the same days are replaced.
      days: Number of days.
      rows_per_day: Rows of each day, repeated events among them.
      seed: Seeds all that is drawn.
      start: First day.
      users: Number of users.
      new_items_per_day: Items that come out every day.
      task_correlation: Correlation across tasks of item factors, item quality and user bias.
      drift: How fast taste and quality change, in radians a day.

    Returns:
      The files, in order of time.

    Raises:
      InputError: if a number is out of range or the folder cannot be written.
      DiskFullError: if there is no room for a day; those before it stay.
    """
    _check(
        days=(days, 1, 100_000),
        rows_per_day=(rows_per_day, 1, 10**9),
        seed=(seed, 0, 2**64),
        users=(users, 1, 10**9),
        new_items_per_day=(new_items_per_day, 1, 10**9),
        task_correlation=(task_correlation, 0, 1),
        drift=(drift, 0, math.pi),
    )
    world = _World(seed, users, new_items_per_day, task_correlation, drift)
    out_dir = Path(out_dir)
    try:
        out_dir.mkdir(parents=True, exist_ok=True)
        return [
            _write(world.draw_day(day, rows_per_day), out_dir / f"day={day}.parquet")
            for day in (start + datetime.timedelta(days=i) for i in range(days))
        ]
    except DiskFullError:
        raise
    except OSError as error:
        raise InputError(
            [Problem(str(out_dir), error.strerror or str(error), "a folder that can be written")]
        ) from error


def _check(**ranges: tuple[float, float, float]) -> None:
    problems = [
        Problem(name, str(value), f"a number from {least} to {most}")
        for name, (value, least, most) in ranges.items()
        if not least <= value <= most
    ]
    if problems:
        raise InputError(problems)


def _write(table: pa.Table, path: Path) -> Path:
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with room_for("a day of logs", path):
            pq.write_table(table, partial, use_dictionary=_REPEATING)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
    return path


def _normal(rng: np.random.Generator, *shape: int) -> _Floats:
    return rng.standard_normal(shape, np.float32)


def _mix(share: float, one: _Floats, other: _Floats) -> _Floats:
    """Keeps the variance of independent values; `share` of it comes from `one`."""
    return math.sqrt(share) * one + math.sqrt(1 - share) * other


def _sigmoid(logit: _Floats) -> _Floats:
    return 1 / (1 + np.exp(-logit))


def _happens(rng: np.random.Generator, probability: _Floats) -> NDArray[np.bool_]:
    return rng.random(len(probability), np.float32) < probability


def _choose(rng: np.random.Generator, weights: NDArray[np.floating], count: int) -> _Ints:
    cumulative = np.cumsum(weights, dtype=np.float64)
    return np.searchsorted(cumulative / cumulative[-1], rng.random(count), side="right")


def _draw_hours(rng: np.random.Generator, count: int) -> NDArray[np.float64]:
    """Times of day in order, in hours; most of them in the evening."""
    weights = 1.1 + np.cos(2 * np.pi / 24 * (np.arange(24) + 0.5 - _BUSIEST_HOUR))
    cumulative = np.concatenate([[0.0], np.cumsum(weights)])
    return np.interp(np.sort(rng.random(count)), cumulative / cumulative[-1], np.arange(25))


def _names(codes: _Ints, names: Collection[str]) -> pa.Array:
    return pa.array(list(names)).take(pa.array(codes))


def _with_gaps(rng: np.random.Generator, values: _Floats, share: float) -> pa.Array:
    return pa.array(values, mask=rng.random(len(values)) < share)


def _repeat_events(
    rng: np.random.Generator, table: pa.Table, equal_rows: int, equal_keys: int
) -> pa.Table:
    repeated = rng.choice(len(table), equal_rows + equal_keys, replace=False)
    later = np.zeros(len(table) + len(repeated), np.int64)
    later[len(later) - equal_keys :] = rng.integers(1, 5_000, equal_keys)
    rows = np.concatenate([np.arange(len(table)), repeated])
    order = np.argsort(rows, kind="stable")
    table = table.take(pa.array(rows[order]))
    times = table["time_ms"].to_numpy() + later[order]
    return table.set_column(table.schema.get_field_index("time_ms"), "time_ms", pa.array(times))
