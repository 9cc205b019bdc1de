"""What earlier runs say of how far the series of pushed versions has come down.

Every candidate is also compared with the anchor, a version that was pushed some runs ago, on the
same rows. What the comparisons of several runs say together is known better than what one says: a
loss that the rows of one day do not tell, and small losses that follow each other, show in time.

The anchor moves to a later version after some runs. How far that one lies below it is carried
along, so that the bar never comes down with it: what is held to the tolerance is the fall below the
best anchor so far.

Reference: Roberts, "Control Chart Tests Based on Geometric Moving Averages", Technometrics 1959.
"""

from __future__ import annotations

import math
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import BaseModel, ConfigDict

from tfx_pipeline.gate.estimate import Estimate

RUNS = 10
"""After so many runs the anchor moves."""

_FADE = 0.7
"""What a run counts for, of what it counted for a run before: a loss starts in some run."""

LOWER_IS_BETTER = ("mse", "logloss", "normalized_entropy")


class Difference(BaseModel):
    """How far a metric of one cell lies above another version's, on the same rows.

    Args:
      task: The cell's.
      scenario: The cell's.
      metric: Name of the metric.
      difference: The candidate's value less the other version's.
      variance: Of the difference.
      degrees: Degrees of freedom of the variance.
      weight: What the cell's rows count for among runs: of classes 1 / (1/positives + 1/negatives).
      positives: Rows with a positive label; of a task without classes all rows.
      negatives: Rows with a negative one; of a task without classes 0.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    task: str
    scenario: str
    metric: str
    difference: float
    variance: float
    degrees: float
    weight: float
    positives: int
    negatives: int


class RunDifferences(BaseModel):
    """What one run says of its candidate and the anchor.

    Args:
      first_day: Ordinal of the first day of its evaluation rows.
      last_day: Of the last.
      cells: By cell and metric.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    first_day: int
    last_day: int
    cells: list[Difference]


class Series(BaseModel):
    """What is known of the versions that were pushed; each one's card holds it.

    Args:
      anchor: Number of the version that candidates are also compared with; None where it is the
        version itself whose card this is.
      anchor_model: Folder of that version's SavedModel where its run left it.
      last_day: Ordinal of the last day that the version's run read.
      scores: File with the scores of its run's evaluation rows.
      runs: Since the anchor was pushed, the oldest first.
      carried: How far the anchor itself differs from the best one before it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    anchor: int | None
    anchor_model: str
    last_day: int
    scores: str
    runs: list[RunDifferences]
    carried: list[Difference]

    def before(self, first_day: int, last_day: int) -> Series:
        """The same without runs on rows of these days, which would count twice."""
        kept = [r for r in self.runs if r.last_day < first_day or r.first_day > last_day]
        return self.model_copy(update={"runs": kept})

    def past(self, task: str, weights: Mapping[str, float], metric: str) -> Past:
        """What earlier runs say of a metric of one cell, or of several together.

        Args:
          task: The task.
          weights: By scenario, what its rows of the run at hand count for.
          metric: Its name.
        """
        means = []
        for i, run in enumerate(self.runs):
            if own := _of(run.cells, task, weights, metric):
                fade = _FADE ** (len(self.runs) - i)
                means.append(_mean(own, [fade * d.weight for d in own]))
        total = sum(mean.weight for mean in means)
        shares = [mean.weight / total for mean in means]
        parts = [
            (s**2 * mean.variance, mean.degrees) for s, mean in zip(shares, means, strict=True)
        ]
        whole = sum(weights.values())
        carried = [
            (weights[d.scenario] / whole, d) for d in _of(self.carried, task, weights, metric)
        ]
        return Past(
            difference=sum(s * mean.difference for s, mean in zip(shares, means, strict=True)),
            variance=sum(variance for variance, _ in parts),
            degrees=satterthwaite(parts),
            weight=total,
            carried=sum(share * d.difference for share, d in carried),
            carried_variance=sum(share**2 * d.variance for share, d in carried),
            own_weight=whole,
            name="/".join([task, *weights, metric]),
        )

    def rows(self, task: str, scenarios: Iterable[str]) -> tuple[int, int]:
        """Positives and negatives that earlier runs saw of some scenarios together."""
        named, seen = {*scenarios}, {}
        for i, run in enumerate(self.runs):
            for d in run.cells:
                if d.task == task and d.scenario in named:
                    seen[i, d.scenario] = (d.positives, d.negatives)
        return sum(p for p, _ in seen.values()), sum(n for _, n in seen.values())


@dataclass(frozen=True)
class Past:
    """What earlier runs say of a metric's difference to the anchor.

    Args:
      difference: Mean over the runs, weighted; 0 of none.
      variance: Of that mean.
      degrees: Degrees of freedom of the variance.
      weight: Sum of the weights.
      carried: How far the anchor itself differs from the best anchor before it.
      carried_variance: Of that.
      own_weight: Of the run at hand.
      name: Of the cell and the metric.
    """

    difference: float
    variance: float
    degrees: float
    weight: float
    carried: float
    carried_variance: float
    own_weight: float
    name: str


def over_runs(excess: Estimate, past: Past, sign: int, tolerance: float) -> Estimate:
    """The excess over all runs since the anchor was pushed.

    Args:
      excess: Of the run at hand.
      past: What the earlier ones say.
      sign: -1 of a metric that must not fall, 1 of one that must not rise.
      tolerance: The anchor's value less the threshold.

    Returns:
      The carried difference and the weighted mean of all runs' in the direction of a breach, less
      the tolerance. The draws hold the noise of the earlier runs as normal, which is theirs alone.
    """
    total = past.weight + past.own_weight
    share = past.own_weight / total
    # Of the run at hand the tolerance is taken off already.
    earlier = sign * (past.carried + (1 - share) * past.difference) - (1 - share) * abs(tolerance)
    variance = past.carried_variance + (1 - share) ** 2 * past.variance
    noise = np.random.default_rng(zlib.crc32(past.name.encode())).normal(size=len(excess.draws) - 1)
    noise = np.r_[0, (noise - noise.mean()) / noise.std(ddof=1)]
    draws = share * excess.draws + earlier + np.sqrt(variance) * noise
    own = (share * excess.standard_error) ** 2
    if not np.isfinite(own):
        return Estimate(draws, 0)
    parts = [(own, excess.degrees), (variance, past.degrees)]
    return Estimate(draws, satterthwaite(parts))


def satterthwaite(parts: Iterable[tuple[float, float]]) -> float:
    """Degrees of freedom of a sum of independent variances, each given with its own.

    Reference: Satterthwaite, "An Approximate Distribution of Estimates of Variance Components",
    Biometrics Bulletin 1946.
    """
    kept = [(variance, degrees) for variance, degrees in parts if variance > 0]
    if not kept:
        return math.inf
    if any(degrees < 1 for _, degrees in kept):
        return 0.0
    return sum(v for v, _ in kept) ** 2 / sum(v**2 / degrees for v, degrees in kept)


def _of(
    differences: Iterable[Difference], task: str, scenarios: Iterable[str], metric: str
) -> list[Difference]:
    named = {*scenarios}
    return [d for d in differences if d.task == task and d.scenario in named and d.metric == metric]


@dataclass(frozen=True)
class _Mean:
    difference: float
    variance: float
    degrees: float
    weight: float


def _mean(differences: Sequence[Difference], weights: Sequence[float]) -> _Mean:
    """Over scenarios, whose rows have next to nothing in common."""
    total = sum(weights)
    parts = [
        ((w / total) ** 2 * d.variance, d.degrees)
        for w, d in zip(weights, differences, strict=True)
    ]
    return _Mean(
        sum(w / total * d.difference for w, d in zip(weights, differences, strict=True)),
        sum(variance for variance, _ in parts),
        satterthwaite(parts),
        total,
    )


def moved(series: Series, today: Sequence[Difference]) -> list[Difference]:
    """What is carried once the candidate is the anchor.

    It is taken to lie where the runs together say that the series is. Above the best anchor before
    it a new one is the best itself.

    Args:
      series: The series before the candidate.
      today: How far the candidate lies above the anchor.
    """
    found = []
    for d in today:
        past = series.past(d.task, {d.scenario: d.weight}, d.metric)
        share = past.own_weight / (past.weight + past.own_weight)
        total = past.carried + share * d.difference + (1 - share) * past.difference
        if (total > 0) == (d.metric in LOWER_IS_BETTER):
            variance = share**2 * d.variance + (1 - share) ** 2 * past.variance
            variance += past.carried_variance
            found.append(d.model_copy(update={"difference": total, "variance": variance}))
    known = {(d.task, d.scenario, d.metric) for d in today}
    rest = [d for d in series.carried if (d.task, d.scenario, d.metric) not in known]
    return [*found, *rest]
