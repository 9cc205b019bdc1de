"""Outcomes find their impression, against a model that looks at one pair at a time."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from transforms.outcomes import LATE, UNMATCHED, attribute, combine, in_turn


def _attribute(impressions, outcomes, window=10, skew=1):
    def columns(pairs):
        keys = np.array([key for key, _ in pairs], np.uint64)
        return keys, np.array([time for _, time in pairs], float)

    return attribute(*columns(impressions), *columns(outcomes), window, skew).tolist()


def test_by_hand():
    impressions = [(1, 100), (2, 100), (1, 120)]
    outcomes = [(1, 100), (1, 110), (1, 111), (1, 119), (1, 130), (2, 98), (2, 99), (3, 100)]
    assert _attribute(impressions, outcomes) == [0, 0, LATE, 2, 2, UNMATCHED, 1, UNMATCHED]
    assert _attribute([], outcomes[:1]) == [UNMATCHED]
    assert _attribute(impressions, []) == []


_EVENTS = st.lists(st.tuples(st.integers(0, 3), st.integers(0, 30)), max_size=12)


@given(_EVENTS, _EVENTS, st.integers(0, 12), st.integers(0, 3))
def test_like_one_pair_at_a_time(impressions, outcomes, window, skew):
    expected = []
    for key, time in outcomes:
        earlier = [
            (at, i) for i, (k, at) in enumerate(impressions) if k == key and at <= time + skew
        ]
        at, found = max(earlier, default=(time, UNMATCHED))
        expected.append(LATE if time - at > window else found)
    assert _attribute(impressions, outcomes, window, skew) == expected


@pytest.mark.parametrize(("take", "expected"), [("max", [3, 0, -1]), ("sum", [4, 0, -3])])
def test_combine(take, expected):
    values = np.array([1, 3, np.nan, -1, -2, np.nan])
    positions = np.array([0, 0, 0, 2, 2, 1])
    assert combine(values, positions, 3, take).tolist() == expected


def test_outcomes_of_impressions_in_turn():
    turns = [turn.tolist() for turn in in_turn(np.array([5, 2, 5, 5, 2, 9]))]
    assert turns == [[1, 0, 5], [4, 2], [3]]
    assert list(in_turn(np.zeros(0, np.int64))) == []
