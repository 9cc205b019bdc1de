"""Past-days statistics: sums over strictly earlier days, and what becomes of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.statistics import Statistic, feature_names, past_sums

DAYS = 6


@st.composite
def logs(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Groups, days and what each row adds."""
    size = draw(st.integers(0, 30))
    groups = draw(st.lists(st.integers(0, 3), min_size=size, max_size=size))
    days = draw(st.lists(st.integers(1, DAYS), min_size=size, max_size=size))
    adds = draw(
        st.lists(st.tuples(st.integers(0, 5), st.integers(0, 1)), min_size=size, max_size=size)
    )
    return np.array(groups, np.int64), np.array(days, np.int64), np.array(adds).reshape(size, 2)


half_lives = st.one_of(st.none(), st.sampled_from([0.5, 1.0, 3.7]))


@given(logs(), half_lives)
def test_sums_are_those_of_strictly_earlier_days(log, half_life):
    groups, days, adds = log
    before, after, _ = past_sums(groups, days, adds, np.zeros((4, 2)), 0, DAYS, DAYS, half_life)

    def weight(age: int) -> float:
        return 1.0 if half_life is None else 0.5 ** (age / half_life)

    for row in range(len(groups)):
        earlier = [
            r for r in range(len(groups)) if groups[r] == groups[row] and days[r] < days[row]
        ]
        expected = sum((weight(days[row] - 1 - days[r]) * adds[r] for r in earlier), np.zeros(2))
        np.testing.assert_allclose(before[row], expected, rtol=1e-12)
    for group in range(4):
        of_group = [r for r in range(len(groups)) if groups[r] == group]
        expected = sum((weight(DAYS - days[r]) * adds[r] for r in of_group), np.zeros(2))
        np.testing.assert_allclose(after[group], expected, rtol=1e-12)


@given(logs(), half_lives, st.integers(0, DAYS), st.randoms())
def test_neither_order_nor_company_nor_a_stop_changes_a_bit(log, half_life, stop, random):
    groups, days, adds = log
    before, after, _ = past_sums(groups, days, adds, np.zeros((4, 2)), 0, DAYS, DAYS, half_life)

    order = list(range(len(groups)))
    random.shuffle(order)
    again, _, end = past_sums(
        groups[order], days[order], adds[order], np.zeros((4, 2)), 0, DAYS, DAYS, half_life
    )
    np.testing.assert_array_equal(again, before[order])
    np.testing.assert_array_equal(end, after)

    alone = groups == 2
    again, _, end = past_sums(
        0 * groups[alone], days[alone], adds[alone], np.zeros((1, 2)), 0, DAYS, DAYS, half_life
    )
    np.testing.assert_array_equal(again, before[alone])
    np.testing.assert_array_equal(end[0], after[2])

    first, then = days <= stop, days > stop
    _, carried, _ = past_sums(
        groups[first], days[first], adds[first], np.zeros((4, 2)), 0, stop, stop, half_life
    )
    _, on_the_way, last = past_sums(groups, days, adds, np.zeros((4, 2)), 0, DAYS, stop, half_life)
    np.testing.assert_array_equal(on_the_way, carried)
    np.testing.assert_array_equal(last, after)
    again, _, end = past_sums(
        groups[then], days[then], adds[then], carried, stop, DAYS, DAYS, half_life
    )
    np.testing.assert_array_equal(again, before[then])
    np.testing.assert_array_equal(end, after)


def test_smoothing():
    statistic = Statistic(("user",), ("click", "like"), prior=20.0)
    sums = np.array([[0.0, 0.0, 0.0], [60.0, 30.0, 0.0]])
    totals = np.array([1000.0, 250.0, 10.0])
    values = statistic.values(sums, totals)
    assert values.dtype == np.float32
    np.testing.assert_allclose(values, [[0, 0.25, 0.01], [60, 35 / 80, 0.2 / 80]], rtol=1e-6)


def test_rates_are_missing_where_no_day_was_before():
    statistic = Statistic(("user",), ("click",), prior=20.0)
    values = statistic.values(np.zeros((2, 2)), np.array([[0.0, 0.0], [4.0, 1.0]]))
    np.testing.assert_array_equal(values, np.float32([[0, np.nan], [0, 0.25]]))


@pytest.mark.parametrize(
    ("statistic", "names"),
    [
        (
            Statistic(("user_id",), ("click", "like"), 20.0),
            ("stat:user_id:count", "stat:user_id:click:rate", "stat:user_id:like:rate"),
        ),
        (
            Statistic(("user_id", "tab"), ("click",), 20.0, 3.0),
            ("stat:user_id+tab@3d:count", "stat:user_id+tab@3d:click:rate"),
        ),
        (
            Statistic(("tab",), ("click",), 20.0, 0.25),
            ("stat:tab@0.25d:count", "stat:tab@0.25d:click:rate"),
        ),
    ],
)
def test_names(statistic, names):
    assert statistic.features == feature_names([statistic]) == names
