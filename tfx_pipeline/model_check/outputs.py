"""What a signature's outputs may be."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from keras_models.heads.fusion import SCORE
from serving.ranking_signatures import RANK, SCORE_ITEMS
from serving.signatures import CLASSIFY, SERVING_DEFAULT
from tfx_pipeline.model_check.problem import CheckProblem
from transforms.task_labels import LabelKind

Outputs = Mapping[str, np.ndarray]

_SUM_TOLERANCE = 1e-3
"""How far the probabilities of a multiclass task may be from 1 together, in any precision."""


def check_outputs(
    signature: str, outputs: Outputs, kinds: Mapping[str, LabelKind]
) -> list[CheckProblem]:
    """Checks that numbers are finite, and that probabilities are in [0, 1].

    Probabilities are: the scores of `classify`; and of `serving_default`, `rank` and `score_items`
    all outputs but those of regressions and the fused score. Of a multiclass task they also have to
    add up to 1.

    Args:
      signature: The signature's name.
      outputs: By name.
      kinds: Kind of every task.
    """
    problems = []
    predicts = signature in (SERVING_DEFAULT, RANK, SCORE_ITEMS)
    if predicts and not set(kinds) <= set(outputs):
        found, expected = ", ".join(sorted(outputs)), ", ".join(kinds)
        problems.append(CheckProblem(f"outputs of {signature}", found, f"one a task: {expected}"))
    for name, values in outputs.items():
        if values.dtype.kind != "f":
            continue
        what = f"{name} of {signature}"
        finite = np.isfinite(values)
        kind = kinds.get(name)
        is_share = kind != "regression" and name != SCORE if predicts else signature == CLASSIFY
        outside = finite & ((values < 0) | (values > 1))
        if not finite.all():
            problems.append(CheckProblem(what, _values(values, ~finite), "finite numbers"))
        elif is_share and outside.any():
            problems.append(CheckProblem(what, _values(values, outside), "probabilities, 0 to 1"))
        elif is_share and kind == "multiclass":
            sums = values.sum(axis=1)
            off = np.abs(sums - 1) > _SUM_TOLERANCE
            if off.any():
                found = f"{_values(sums, off)} as the sum of the classes"
                problems.append(CheckProblem(what, found, "probabilities that add up to 1"))
    return problems


def difference(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference of two arrays, of values above 1 as a share of them.

    Infinite where one of the two is no number, or where their shapes differ.
    """
    if found.shape != expected.shape:
        return float("inf")
    if found.dtype.kind not in "fi":
        return 0.0 if (found == expected).all() else float("inf")
    with np.errstate(invalid="ignore"):
        apart = np.abs(found - expected) / np.maximum(1.0, np.abs(expected))
    equal = (found == expected) | (np.isnan(found) & np.isnan(expected))
    unequal = np.where(equal, 0.0, apart)
    return float(np.where(np.isnan(unequal), np.inf, unequal).max(initial=0.0))


def _values(values: np.ndarray, where: np.ndarray) -> str:
    return f"{values[where][0]:g} in {int(where.sum())} of {values.size} values"
