"""What a check finds against a candidate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tfx_pipeline.evaluation import POOL


@dataclass(frozen=True)
class CheckProblem:
    """One reason not to push a candidate.

    Args:
      what: What was looked at.
      found: What was found.
      expected: What should have been.
    """

    what: str
    found: str
    expected: str


def failures(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The problems of a check as the gate's failures, of all tasks and scenarios.

    Args:
      result: What `model_check.json` holds.

    Returns:
      One a problem: {"task", "scenario", "metric", "value", "threshold", "kind", "why"}.
    """
    return [
        {
            "task": POOL,
            "scenario": POOL,
            "metric": problem["what"],
            "value": None,
            "threshold": None,
            "kind": "model_check",
            "why": f"{problem['what']}: found {problem['found']}; expected {problem['expected']}",
        }
        for problem in result["problems"]
    ]
