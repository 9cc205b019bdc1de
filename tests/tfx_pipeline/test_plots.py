"""Plots of the report: values land where they should."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from typing import Any

import numpy as np
import pytest

from tfx_pipeline import plots
from tfx_pipeline.drift import FeatureDrift, Side
from tfx_pipeline.plots.gain import gain
from tfx_pipeline.plots.gates import is_share
from tfx_pipeline.plots.seesaw import pairs, points
from tfx_pipeline.plots.svg import plot
from tfx_pipeline.run_record import ComponentRun

from .outcomes import make_gates, make_outcome


def texts(svg: str) -> list[str]:
    return [e.text or "" for e in ET.fromstring(svg).iter("text")]


def markers(svg: str, colour: str) -> np.ndarray:
    """Where the markers of a colour are, [N, 2] in pixels, y downwards."""
    found = [
        (float(use.get("x", "nan")), float(use.get("y", "nan")))
        for use in ET.fromstring(svg).iter("use")
        if f"fill: {colour}" in use.get("style", "") and f"stroke: {colour}" in use.get("style", "")
    ]
    return np.asarray(found)


def paths(svg: str, style: str) -> list[np.ndarray]:
    """Corners of the paths in a style, [N, 2] each."""
    return [
        np.asarray(re.findall(r"(-?[\d.]+) (-?[\d.]+)", p.get("d", "")), float)
        for p in ET.fromstring(svg).iter("path")
        if style in p.get("style", "")
    ]


def assert_on_a_scale(pixels: np.ndarray, values: Any, direction: int) -> None:
    """Pixels are values on a linear axis: up to rounding to a tenth, one slope fits."""
    slope, offset = np.polyfit(values, pixels, 1)
    assert slope * direction > 0
    np.testing.assert_allclose(pixels, slope * np.asarray(values) + offset, atol=0.11)


def cell(task: str, scenario: str, difference: float, **changes: Any) -> dict[str, Any]:
    change = {
        "baseline": 0.7,
        "difference": difference,
        "interval": [difference - 0.01, difference + 0.02],
    }
    made = {"task": task, "scenario": scenario, "kind": "binary", "status": "judged"}
    return {**made, "change": {"auc": change}, **changes}


class TestSvg:
    def test_stands_beside_others_and_is_small(self) -> None:
        made = plot("A", lambda axes: axes.plot([0, 1 / 3], [0, 2 / 3], "o-"), about="x").svg
        root = ET.fromstring(made)
        assert root.tag == "svg" and root.get("role") == "img"
        assert root.get("aria-label") == "A: x"
        assert "<style" not in made and "DejaVu" not in made and "font-family" not in made
        assert "currentColor" in made and "#010203" not in made
        assert not re.search(r"\.\d{3}", made), "coordinates are round"

    def test_ids_are_its_own_and_all_are_found(self) -> None:
        drawn = [
            plot(title, lambda axes: axes.plot([0, 1], [0, 1], "o-"), about="") for title in "AB"
        ]
        ids = [set(re.findall(r' id="([^"]+)"', p.svg)) for p in drawn]
        assert ids[0] and not ids[0] & ids[1]
        for p, own in zip(drawn, ids, strict=True):
            assert set(re.findall(r'(?:href="|url\()#([^")]+)', p.svg)) == own

    def test_names_are_text_and_nothing_else(self) -> None:
        name = '<b>&"$x_1$'
        made = plot(name, lambda axes: axes.set_xlabel(name), about=name).svg
        assert name in texts(made)
        assert ET.fromstring(made).get("aria-label") == f"{name}: {name}"

    def test_numbers_in_labels_keep_their_digits(self) -> None:
        made = plot("A", lambda axes: axes.set_xlabel("0.12345"), about="0.6789").svg
        assert "0.12345" in texts(made) and "0.6789" in made


def test_marks_are_the_same_everywhere_and_differ_without_colour() -> None:
    marks = plots.scenario_marks(["*", *(f"s{i}" for i in range(16))])
    assert list(marks)[0] == "*" and marks["*"].label == "all"
    named = list(marks.values())[1:]
    assert len({(m.colour, m.marker) for m in named}) == 16
    assert len({m.marker for m in named[:8]}) == 8
    fewer = plots.scenario_marks(["s0", "s1"])
    assert fewer["s1"] == marks["s1"], "the pool takes no colour"


class TestGain:
    def test_of_an_auc(self) -> None:
        assert gain(cell("a", "s", 0.03)) == pytest.approx((0.03, 0.02, 0.05))
        assert gain(cell("a", "s", 0.03)).verdict == "gains"
        assert gain(cell("a", "s", 0.005)).verdict == "unclear"
        assert gain(cell("a", "s", -0.03)).verdict == "falls"

    @pytest.mark.parametrize(("kind", "metric"), [("regression", "mse"), ("multiclass", "logloss")])
    def test_less_loss_is_a_gain(self, kind: str, metric: str) -> None:
        change = cell("a", "s", 0.03)["change"]["auc"]
        made = cell("a", "s", 0.0, kind=kind, change={metric: change})
        assert gain(made) == pytest.approx((-0.03, -0.05, -0.02))
        assert gain(made).verdict == "falls"

    def test_where_nothing_compares(self) -> None:
        assert gain(cell("a", "s", 0, change=None)) is None
        assert gain(cell("a", "s", 0, change={})) is None


class TestSeesaw:
    CELLS = [
        *(cell("click", s, d) for s, d in [("*", 0.9), ("up", 0.02), ("mixed", 0.04)]),
        *(cell("like", s, d) for s, d in [("*", 0.9), ("up", 0.03), ("mixed", -0.03)]),
        cell("click", "few", -0.02, status="not_judged"),
        cell("like", "few", -0.09),
        cell("click", "alone", 0.01),
        cell("like", "alone", 0.01, change=None),
    ]
    MARKS = plots.scenario_marks(["*", "up", "mixed", "few", "alone"])

    def test_a_point_for_each_scenario_where_both_were_compared(self) -> None:
        found = points(self.CELLS, "click", "like")
        assert [(p.scenario, p.x.value, p.y.value, p.judged) for p in found] == [
            ("up", 0.02, 0.03, True),
            ("mixed", 0.04, -0.03, True),
            ("few", -0.02, -0.09, False),
        ]

    def test_points_and_bars_land_in_their_quadrants(self) -> None:
        (drawn,) = plots.seesaw(self.CELLS, self.MARKS)
        up, mixed = (markers(drawn.svg, self.MARKS[s].colour)[0] for s in ("up", "mixed"))
        lines = paths(drawn.svg, "stroke: currentColor; stroke-width: 0.8")
        zero = [line for line in lines if np.ptp(line, axis=0).max() > 150]
        (y0,) = {p[0, 1] for p in zero if p.shape == (2, 2) and p[0, 1] == p[1, 1]}
        (x0,) = {p[0, 0] for p in zero if p.shape == (2, 2) and p[0, 0] == p[1, 0]}
        assert up[0] > x0 and up[1] < y0 and mixed[0] > x0 and mixed[1] > y0
        assert (mixed[0] - x0) / (up[0] - x0) == pytest.approx(2, rel=0.02)
        assert (mixed[1] - y0) / (up[1] - y0) == pytest.approx(-1, rel=0.02)
        bars = paths(drawn.svg, f"stroke: {self.MARKS['mixed'].colour}")
        (across,) = [b for b in bars if b.shape == (2, 2) and b[0, 1] == b[1, 1]]
        ends = (np.sort(across[:, 0]) - x0) / (mixed[0] - x0) * 0.04
        np.testing.assert_allclose(ends, [0.03, 0.06], atol=5e-4)
        for name in ("both gain", "both fall", "click falls", "like gains,"):
            assert name in texts(drawn.svg)
        assert "mixed +0.0400, -0.0300" in drawn.svg

    def test_every_pair_or_the_first_against_each(self) -> None:
        tasks = ["a", "b", "c", "d", "e"]
        cells = [cell(task, "s", 0.01) for task in tasks]
        assert len(pairs(cells[:4])) == 6
        assert pairs(cells) == [("a", "b"), ("a", "c"), ("a", "d"), ("a", "e")]
        assert pairs(cells[:1]) == []

    def test_nothing_without_a_baseline(self) -> None:
        outcome = make_outcome(baseline=False)
        assert plots.seesaw(outcome.verdict["metrics"], self.MARKS) == []


class TestCurves:
    BINS = [
        {"rows": 9, "predicted": p, "observed": o, "low": o - 0.05, "high": o + 0.03}
        for p, o in [(0.1, 0.2), (0.3, 0.25), (0.5, 0.6)]
    ]
    ROC = {"false_positive_rate": [0.0, 0.2, 1.0], "true_positive_rate": [0.0, 0.7, 1.0]}
    CURVES = {
        "click": {
            "*": {"roc": ROC, "calibration": BINS},
            "feed": {"roc": ROC, "calibration": BINS[1:]},
            "few": {"roc": ROC, "calibration": BINS},
        },
        "rank": {"*": {"roc": ROC}},
    }
    MARKS = plots.scenario_marks(["*", "feed", "few"])
    JUDGED = {"click": {"*", "feed"}, "rank": set[str]()}

    def test_calibration(self) -> None:
        (drawn,) = plots.calibration(self.CURVES, self.JUDGED, self.MARKS)
        assert drawn.title == "click"
        pool = markers(drawn.svg, "currentColor")
        pool = pool[-3:] if len(pool) > 3 else pool
        feed = markers(drawn.svg, self.MARKS["feed"].colour)
        assert len(feed) == 2 and not len(markers(drawn.svg, self.MARKS["few"].colour))
        found = np.concatenate([feed, pool])
        bins = [*self.BINS[1:], *self.BINS]
        assert_on_a_scale(found[:, 0], [b["predicted"] for b in bins], +1)
        assert_on_a_scale(found[:, 1], [b["observed"] for b in bins], -1)

    def test_calibration_shows_the_intervals(self) -> None:
        (drawn,) = plots.calibration(self.CURVES, self.JUDGED, self.MARKS)
        upright = [
            p
            for p in paths(drawn.svg, f"stroke: {self.MARKS['feed'].colour}")
            if p.shape == (2, 2) and p[0, 0] == p[1, 0]
        ]
        feed = markers(drawn.svg, self.MARKS["feed"].colour)
        per_unit = (feed[0, 1] - feed[1, 1]) / 0.35
        assert len(upright) == 2
        lengths = [abs(p[0, 1] - p[1, 1]) / per_unit for p in upright]
        np.testing.assert_allclose(lengths, 0.08, atol=2e-3)

    def test_roc(self) -> None:
        click, rank = plots.roc(self.CURVES, self.JUDGED, self.MARKS)
        assert (click.title, rank.title) == ("click", "rank")
        (feed,) = paths(click.svg, f"stroke: {self.MARKS['feed'].colour}")
        assert_on_a_scale(feed[:, 0], [0, 0.2, 1], +1)
        assert_on_a_scale(feed[:, 1], [0, 0.7, 1], -1)
        assert not paths(click.svg, f"stroke: {self.MARKS['few'].colour}")

    def test_the_last_version_is_dotted(self) -> None:
        with_baseline = {
            "click": {"*": {**self.CURVES["click"]["*"], "baseline": self.CURVES["click"]["*"]}}
        }
        for draw in (plots.roc, plots.calibration):
            (without,) = draw({"click": {"*": self.CURVES["click"]["*"]}}, self.JUDGED, self.MARKS)
            (drawn,) = draw(with_baseline, self.JUDGED, self.MARKS)
            lines = [len(paths(d.svg, "stroke-opacity: 0.5")) for d in (without, drawn)]
            assert lines == [0, 1]


class TestTraining:
    EPOCHS = make_outcome().history["epochs"]

    def test_loss_and_quality_by_epoch(self) -> None:
        marks = plots.task_marks(["click", "like"])
        loss, quality = plots.training_curves(self.EPOCHS, 4, marks)
        found = markers(loss.svg, "currentColor")[-5:]
        assert_on_a_scale(found[:, 1], [epoch["loss"] for epoch in self.EPOCHS], -1)
        for name in marks:
            found = markers(quality.svg, marks[name].colour)
            assert_on_a_scale(found[:, 0], range(1, 6), +1)
            assert_on_a_scale(found[:, 1], [e["valid_quality"][name] for e in self.EPOCHS], -1)

    def test_a_task_whose_quality_is_not_defined(self) -> None:
        epochs = [{**epoch, "valid_quality": {"click": None}} for epoch in self.EPOCHS]
        marks = plots.task_marks(["click"])
        _, quality = plots.training_curves(epochs, 4, marks)
        assert not len(markers(quality.svg, marks["click"].colour))

    def test_the_tables_life(self) -> None:
        rows, hits = plots.table_life(self.EPOCHS)
        assert {"live rows", "admissions", "evictions"} < set(texts(rows.svg))
        assert "expirations" not in texts(rows.svg), "there were none"
        found = markers(hits.svg, "currentColor")[-5:]
        assert_on_a_scale(found[:, 1], [e["table"]["hit_rate"] for e in self.EPOCHS], -1)


class TestGates:
    def test_a_plot_for_each_gate_and_each_entry_of_a_second_axis(self) -> None:
        found = plots.gates(make_gates(["click", "like"], ["feed", "search", "other"]))
        assert [p.title for p in found] == [
            "level 1 · task gates · click",
            "level 1 · task gates · like",
            "level 1 · shared gate",
            "level 2 · task gates · click",
            "level 2 · task gates · like",
            "epnet · delta",
            "ppnet · gate 1",
        ]
        for p in found:
            assert "feed" in texts(p.svg) and "other" not in texts(p.svg), "it has no rows"

    def test_cells_hold_their_numbers_and_deeper_colours_for_more(self) -> None:
        mean = [[0.1, 0.9], [0.6, 0.4]]
        (drawn,) = plots.gates(_one_gate(mean))
        numbers = [t for t in texts(drawn.svg) if re.fullmatch(r"\d\.\d\d", t)]
        assert numbers == ["0.10", "0.90", "0.60", "0.40"]
        depths = re.findall(r"fill: #2f81f7; fill-opacity: ([\d.]+)", drawn.svg)
        assert np.argsort([float(d) for d in depths]).tolist() == [0, 3, 2, 1]

    def test_factors_have_a_colour_to_each_side_of_one(self) -> None:
        (drawn,) = plots.gates(_one_gate([[0.5, 1.5], [1.2, 1.4]]))
        assert len(re.findall("fill: #c9731a", drawn.svg)) == 1
        assert len(re.findall("fill: #2f81f7", drawn.svg)) == 3

    def test_shares(self) -> None:
        assert is_share(np.asarray([[0.2, 0.8], [0.5, 0.5]]))
        assert not is_share(np.asarray([[0.2, 0.9]]))
        assert not is_share(np.asarray([[1.0]])), "a single factor splits nothing"

    def test_many_columns_go_down_the_page(self) -> None:
        fields = [f"f{i}" for i in range(40)]
        mean = np.linspace(0.5, 1.5, 80).reshape(2, 40).tolist()
        (drawn,) = plots.gates(_one_gate(mean, fields))
        assert drawn.width == 330
        assert set(fields) < set(texts(drawn.svg))

    def test_gates_of_more_axes_are_left_out(self) -> None:
        gates = _one_gate([[[[1.0]]], [[[1.0]]]])
        assert plots.gates(gates) == []


def _one_gate(mean: Any, labels: list[str] | None = None) -> dict[str, Any]:
    gate = {"axes": ["scenario", "expert"], "labels": {"expert": labels or ["x", "y"]}}
    return {"scenarios": ["a", "b"], "rows": [3, 4], "gates": {"g": {**gate, "mean": mean}}}


def _bar_lengths(svg: str, colour: str) -> list[float]:
    return [float(np.ptp(p[:, 0])) for p in paths(svg, f"fill: {colour}")]


def test_drift_shows_the_most_distant_features_of_each_kind() -> None:
    side = Side(0, 1.0, None)
    found = [
        FeatureDrift(f"n{i}", side, side, "Jensen-Shannon divergence", 0.02 * i) for i in range(15)
    ] + [FeatureDrift("none", side, side, "", None)]
    (drawn,) = plots.drift(found)
    assert drawn.title == "Numeric"
    shown = [t for t in texts(drawn.svg) if t.startswith("n")]
    assert shown == [f"n{i}" for i in range(14, 4, -1)]
    lengths = _bar_lengths(drawn.svg, "#a45ee5")
    np.testing.assert_allclose(np.divide(lengths, lengths[0]), np.arange(14, 4, -1) / 14, atol=2e-3)


def test_component_times() -> None:
    (drawn,) = plots.component_times(
        [ComponentRun("Trainer", 60.0, False), ComponentRun("Gate", 15.0, True)]
    )
    assert {"Trainer", "60.0 s", "Gate", "15.0 s, reused"} < set(texts(drawn.svg))
    long, short = _bar_lengths(drawn.svg, "#0d9595")
    assert long / short == pytest.approx(4, rel=0.01)
    assert plots.component_times([]) == []
