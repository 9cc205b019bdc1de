"""How cells are judged."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tfx_pipeline.config import GateConfig
from tfx_pipeline.evaluation import Cell
from tfx_pipeline.gate.bootstrap import UserBootstrap
from tfx_pipeline.gate.measure import Measured, describe, measure, set_ceilings
from tfx_pipeline.gate.verdict import judge
from tfx_pipeline.scoring import EvaluationRows

VERSION = 1732271045


class Log:
    """`feed` has 4,000 rows, `search` 2,000, of 1,500 users; the labels are what scores rank."""

    def __init__(self, kind: str = "binary", seed: int = 0):
        self.rng = np.random.default_rng(seed)
        self.kind = kind
        self.scenario = np.repeat(np.array([b"feed", b"search"], object), [4_000, 2_000])
        self.size = len(self.scenario)
        self.users = self.rng.integers(1_500, size=self.size)
        self.truth = self.rng.normal(size=self.size)
        self.labels = (self.truth + self.rng.normal(size=self.size) > 0.8).astype(np.float32)

    def scores(self, noise: float = 0.5) -> np.ndarray:
        """Probabilities that rank well, of a model with noise of its own."""
        logit = 2 * (self.truth - 0.8) + noise * self.rng.normal(size=self.size)
        return (1 / (1 + np.exp(-logit))).astype(np.float32)

    def names(self) -> list[str]:
        return sorted({name.decode() for name in self.scenario})

    def rows(self) -> EvaluationRows:
        return EvaluationRows(np.zeros(self.size), {"click": self.labels}, self.scenario)

    def cells(self) -> list[Cell]:
        found = []
        for scenario in ["*", *{"feed": 0, "search": 0, **dict.fromkeys(self.names())}]:
            inside = (self.scenario == scenario.encode()) | (scenario == "*")
            inside &= ~np.isnan(self.labels)
            positives = None
            if self.kind in ("binary", "ranking"):
                positives = int((self.labels[inside] > 0).sum())
            found.append(Cell("click", scenario, int(inside.sum()), positives, self.kind, auc=0.5))
        return found

    def judge(
        self,
        candidate: np.ndarray,
        baseline: np.ndarray | None = None,
        own: np.ndarray | None = None,
        **gate: Any,
    ) -> tuple[dict[str, Cell], list[dict[str, Any]], dict[str, str]]:
        """Cells by scenario, failures, and why cells are not judged."""
        cells = self.cells()
        measured = measure(
            cells,
            self.rows(),
            UserBootstrap(self.users, 200),
            candidate={"click": candidate},
            baseline={} if baseline is None else {"click": baseline},
            own={} if own is None else {"click": own},
        )
        self.measured = measured
        for cell in cells:
            if (cell.task, cell.scenario) in measured:
                describe(cell, measured[cell.task, cell.scenario])
        version = None if baseline is None else VERSION
        self.judgement = judge(cells, measured, GateConfig(**gate), version)
        failures, not_judged = self.judgement.failures, self.judgement.not_judged
        by_scenario = {cell.scenario: cell for cell in cells}
        return by_scenario, failures, {entry["scenario"]: entry["why"] for entry in not_judged}


def places(failures: list[dict[str, Any]]) -> list[tuple[str, str, str]]:
    return [(f["scenario"], f["metric"], f["kind"]) for f in failures]


def test_no_seesaw_one_fallen_cell_blocks_though_the_pool_rises() -> None:
    log = Log()
    search = np.arange(log.size) < 1_000
    log.scenario[:] = np.where(search, b"search", b"feed")
    baseline, candidate = log.scores(noise=2.5), log.scores(noise=0.1)
    candidate[search] = log.rng.permutation(candidate[search])
    cells, failures, not_judged = log.judge(candidate, baseline)
    assert cells["*"].change["auc"]["interval"][0] > 0
    assert places(failures) == [("search", "auc", "change")]
    (failure,) = failures
    assert failure["baseline"] == cells["search"].auc_baseline
    assert failure["threshold"] == pytest.approx(failure["baseline"] - 0.005)
    assert failure["value"] == pytest.approx(0.5, abs=0.05)
    for part in (
        "AUC of click in search fell from",
        f"in version {VERSION} to 0.",
        "allowed are 0.0050, noise alone",
    ):
        assert part in failure["why"]
    assert not_judged == {} and cells["search"].status == "judged"


def test_equal_models_pass_and_their_changes_are_described() -> None:
    log = Log()
    cells, failures, not_judged = log.judge(log.scores(), log.scores())
    assert failures == [] and not_judged == {}
    for cell in cells.values():
        assert set(cell.change) == {
            *("auc", "gauc", "logloss", "normalized_entropy", "calibration")
        }
        change = cell.change["auc"]
        low, high = change["interval"]
        assert low < change["difference"] < high and change["baseline"] == cell.auc_baseline
        assert cell.ci is not None and cell.ci[0] < change["difference"] + cell.auc_baseline


def test_a_fall_within_the_noise_passes_with_no_tolerance() -> None:
    """Of equal models one in 20 may be blocked; here a small cell fell by .01 by chance."""
    fallen = 0
    for seed in range(1, 6):
        log = Log(seed=seed)
        log.scenario[300:] = b"feed"
        log.scenario[:300] = b"search"
        cells, failures, _ = log.judge(log.scores(0.8), log.scores(0.8), max_auc_drop=0)
        fallen += cells["search"].change["auc"]["difference"] < -0.01
        assert failures == []
    assert fallen


def test_a_floor_is_breached_beyond_the_noise_only() -> None:
    log = Log()
    cells, failures, _ = log.judge(log.scores())
    value = cells["search"].ci[0] / 2 + cells["search"].ci[1] / 2
    assert log.judge(log.scores(), auc_floor=value + 0.002)[1] == []
    _, failures, _ = log.judge(log.scores(), rules=[{"scenario": "search", "auc_floor": 0.99}])
    assert places(failures) == [("search", "auc", "floor")]
    assert failures[0]["threshold"] == 0.99
    assert (
        "AUC of click in search is 0." in failures[0]["why"] and "below 0.99" in failures[0]["why"]
    )


def test_the_later_rule_wins() -> None:
    rules = [
        {"task": "click", "auc_floor": 0.99},
        {"scenario": "feed", "auc_floor": 0.1},
        {"task": "like", "scenario": "search", "auc_floor": 0.1},
    ]
    log = Log()
    _, failures, _ = log.judge(log.scores(), rules=rules)
    assert places(failures) == [("*", "auc", "floor"), ("search", "auc", "floor")]


def test_bands_and_ceilings() -> None:
    log = Log()
    halved = log.scores() / 2
    _, failures, _ = log.judge(halved, max_normalized_entropy=2.0)
    assert set(places(failures)) == {(s, "calibration", "band") for s in ("*", "feed", "search")}
    assert log.judgement.warnings == []
    _, failures, _ = log.judge(
        halved, calibration_band=None, max_normalized_entropy=0.1, max_logloss=3.0
    )
    assert {f["kind"] for f in failures} == {"ceiling"}
    assert {f["metric"] for f in failures} == {"normalized_entropy"}


def test_predictions_that_do_not_add_up_are_warned_of() -> None:
    log = Log()
    adding_up = log.scores()
    for name in (b"feed", b"search"):
        inside = log.scenario == name
        adding_up[inside] *= log.labels[inside].mean() / adding_up[inside].mean()
    for times, scenarios in ((1.0, []), (1.22, ["*", "feed", "search"])):
        _, failures, not_judged = log.judge(adding_up * times)
        assert failures == [] and not_judged == {}
        assert [w["scenario"] for w in log.judgement.warnings] == scenarios
    assert (
        "predictions of click over all rows add up to 1.22 times"
        in (log.judgement.warnings[0]["why"])
    )


def test_a_band_leaves_no_small_cell_open() -> None:
    """60 positives tell calibration to 40%, with the noise of all cells."""
    log = Log()
    log.scenario[:] = b"feed"
    few = np.r_[np.flatnonzero(log.labels)[:60], np.flatnonzero(log.labels == 0)[:400]]
    log.scenario[few] = b"search"
    scores = log.scores(0.1)
    _, failures, not_judged = log.judge(scores, scores, rules=[{"auc_floor": 0}])
    assert failures == [] and not_judged == {}
    margins = [m for m in log.judgement.margins if m["scenario"] == "search"]
    assert max(m["noise"] for m in margins if m["kind"] == "band") > 0.3


def test_a_cell_that_is_not_judged_and_fell_is_warned_of() -> None:
    log = Log()
    log.scenario[:] = b"feed"
    few = np.r_[np.flatnonzero(log.labels)[:40], np.flatnonzero(log.labels == 0)[:600]]
    log.scenario[few] = b"search"
    baseline, candidate = log.scores(), log.scores()
    _, failures, not_judged = log.judge(candidate, baseline)
    assert set(not_judged) == {"search"} and log.judgement.warnings == []
    candidate[few] = log.rng.permutation(candidate[few])
    _, failures, not_judged = log.judge(candidate, baseline)
    assert not [f for f in failures if f["scenario"] == "search"]
    (warning,) = log.judgement.warnings
    assert warning["scenario"] == "search" and "and blocks nothing" in warning["why"]
    assert "40 positives, fewer than 50" in warning["why"]


def test_small_cells_are_judged_together() -> None:
    """Four cells of 40 positives, none of which is judged, lost their order."""
    log = Log()
    log.scenario[:] = b"feed"
    names = (b"attic", b"barn", b"cellar", b"den")
    positives, negatives = (np.flatnonzero(log.labels == label) for label in (1, 0))
    for i, name in enumerate(names):
        log.scenario[positives[40 * i : 40 * (i + 1)]] = name
        log.scenario[negatives[300 * i : 300 * (i + 1)]] = name
    small = log.scenario != b"feed"
    baseline, candidate = log.scores(), log.scores()
    assert log.judge(candidate, baseline)[1] == []
    candidate[small] = log.rng.permutation(candidate[small])
    _, failures, not_judged = log.judge(candidate, baseline, max_auc_drop=0.05)
    assert set(not_judged) - {"search"} == {name.decode() for name in names}
    (failure,) = [f for f in failures if f["scenario"] != "*"]
    assert failure["scenario"] == "attic, barn, cellar, den"
    assert "AUC of click in attic, barn, cellar, den fell" in failure["why"]
    # Rows are compared within their scenario: the mean of the four, by weight.
    cells = [measured_auc(log, candidate, name) for name in names]
    assert failure["value"] == pytest.approx(float(np.mean(cells)))


def measured_auc(log: Log, scores: np.ndarray, scenario: bytes) -> float:
    inside = log.scenario == scenario
    good, bad = (scores[inside & (log.labels == label)] for label in (1, 0))
    return float(np.mean(good[:, None] > bad[None]) + np.mean(good[:, None] == bad[None]) / 2)


def test_a_version_that_does_better_on_the_features_of_its_own_run_counts() -> None:
    """Both models sank with the features; the baseline as its own run had them did not."""
    log = Log()
    sunk, own = log.scores(3.0), log.scores(0.3)
    _, failures, _ = log.judge(sunk, sunk.copy(), own=own)
    assert {f["against"] for f in failures} == {"own"}
    assert {f["scenario"] for f in failures} == {"*", "feed", "search"}
    assert f"in version {VERSION} with the features of its own run to" in failures[0]["why"]
    low, high = failures[0]["interval"]
    assert low < failures[0]["value"] - failures[0]["baseline"] < high < 0
    assert log.judge(sunk, sunk.copy())[1] == []


def test_a_gauc_rests_on_the_users_who_have_both_classes() -> None:
    log = Log()
    log.labels[:] = log.users % 2  # Every user has one class only,
    nine = np.flatnonzero(log.users < 9)
    log.labels[nine] = np.arange(len(nine)) % 2  # but for some of nine.
    both = [u for u in range(9) if len({*log.labels[log.users == u]}) == 2]
    cells, _, _ = log.judge(log.scores(), calibration_band=None)
    assert cells["*"].gauc_users == len(both) > 3
    estimates = log.measured["click", "*"].candidate
    assert estimates["gauc"].degrees <= len(both) - 1 < 100 < estimates["auc"].degrees


@pytest.mark.parametrize(
    ("positives", "negatives", "why"),
    [
        (49, 300, "49 positives, fewer than 50"),
        (300, 40, "40 negatives, fewer than 50"),
        (1, 1, "1 positives, fewer than 50; 1 negatives, fewer than 50"),
        (0, 700, "0 positives, fewer than 50"),
    ],
)
def test_small_cells_are_listed_and_block_nothing(positives: int, negatives: int, why: str) -> None:
    log = Log()
    log.scenario[:] = b"feed"
    log.scenario[: positives + negatives] = b"search"
    log.labels[: positives + negatives] = np.r_[np.ones(positives), np.zeros(negatives)]
    upside_down = np.where(log.scenario == b"search", 1 - log.scores(), log.scores())
    cells, failures, not_judged = log.judge(upside_down, log.scores())
    assert not_judged == {"search": why} and cells["search"].status == "not_judged"
    assert not [f for f in failures if f["scenario"] == "search"]


def test_one_class_or_no_row_is_never_judged_even_without_a_minimum() -> None:
    log = Log()
    log.scenario[:] = b"feed"
    log.labels[:60] = 0
    log.scenario[:60] = b"search"
    cells, failures, not_judged = log.judge(log.scores(), min_positives=1, min_negatives=1)
    assert failures == [] and not_judged == {"search": "0 positives, fewer than 1"}
    log.scenario[:] = b"feed"
    _, failures, not_judged = log.judge(log.scores(), min_positives=1, min_negatives=1)
    assert not_judged == {"search": "0 positives, fewer than 1; 0 negatives, fewer than 1"}


def test_a_pool_too_small_to_judge_is_not_blessed() -> None:
    log = Log()
    log.labels[np.flatnonzero(log.labels)[3:]] = 0
    _, failures, not_judged = log.judge(log.scores())
    assert set(not_judged) == {"*", "feed", "search"}
    (failure,) = failures
    assert (failure["metric"], failure["value"], failure["threshold"]) == ("positives", 3, 50)
    assert failure["kind"] == "too_few_rows"
    assert failure["why"] == "click over all rows cannot be judged: 3 positives, fewer than 50"


def test_what_is_known_too_coarsely_is_open() -> None:
    log = Log()
    # Two models that agree in little, on few rows.
    log.scenario[:] = b"feed"
    log.scenario[:400] = b"search"
    candidate, baseline = log.scores(3.0), log.scores(3.0)
    cells, failures, not_judged = log.judge(candidate, baseline)
    assert failures == [] and set(not_judged) == {"search"}
    assert "its AUC changed by" in not_judged["search"] and "0.0500" in not_judged["search"]
    assert cells["search"].status == "not_judged"
    assert log.judge(candidate, baseline, max_noise=0.3)[2] == {}
    # A pool that is open is a failure: nothing passes for want of evidence.
    _, failures, _ = log.judge(candidate, baseline, max_noise=0.001)
    assert places(failures) == [("*", "noise of auc", "too_few_rows")]
    assert failures[0]["value"] > failures[0]["threshold"] == 0.001


def test_scores_that_are_no_numbers_block() -> None:
    log = Log(seed=1)
    broken = log.scores()
    broken[np.flatnonzero(log.scenario == b"search")[5]] = np.nan
    cells, failures, not_judged = log.judge(broken, log.scores())
    assert places(failures) == [("*", "auc", "floor"), ("search", "auc", "floor")]
    assert all(f["value"] is None and "not finite" in f["why"] for f in failures)
    assert not_judged == {} and cells["feed"].change is not None


def test_a_task_without_an_auc_is_judged_by_its_loss() -> None:
    log = Log("regression")
    log.labels = log.truth.astype(np.float32)
    good = log.truth + 0.5 * log.rng.normal(size=log.size)
    bad = log.truth + 0.6 * log.rng.normal(size=log.size)
    cells, failures, not_judged = log.judge(good)
    assert failures == []
    why = "no threshold applies to it, and there is no pushed version to compare it with"
    assert not_judged == dict.fromkeys(("*", "feed", "search"), why)
    cells, failures, not_judged = log.judge(bad, good)
    assert places(failures) == [(s, "mse", "change") for s in ("*", "feed", "search")]
    assert failures[0]["threshold"] == pytest.approx(1.05 * cells["*"].loss_baseline)
    assert log.judge(bad, good, max_loss_rise=0.6)[1] == []


def test_rows_outside_of_a_sample_space_do_not_count() -> None:
    log = Log()
    outside = log.scenario == b"feed"
    candidate, baseline = log.scores(), log.scores()
    candidate[outside] = 1 - candidate[outside]
    log.labels[outside] = np.nan
    cells, failures, not_judged = log.judge(candidate, baseline)
    assert failures == [] and set(not_judged) == {"feed"}


def test_the_ceiling_is_the_auc_of_the_true_probability() -> None:
    log = Log()
    rows, cells = log.rows(), log.cells()
    rows.true_probability["click"] = log.labels
    set_ceilings(cells, rows)
    assert [cell.auc_ceiling for cell in cells] == [1.0, 1.0, 1.0]


def test_nothing_measured_nothing_described() -> None:
    cell = Cell("click", "feed", 3, 1, auc=0.5)
    describe(cell, Measured(np.arange(3), {}, None))
    assert cell.ci is None and cell.change is None
