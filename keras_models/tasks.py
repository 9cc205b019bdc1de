"""What a model predicts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Task:
    """One binary prediction task.

    Args:
      name: Its name; also that of its output when served.
      weight: Weight of its loss.
      engagement: What a positive label adds to the weight of its example's keys in the score of the
        embedding table, beside the 1 of every occurrence.
    """

    name: str
    weight: float = 1.0
    engagement: float = 0.0

    def __post_init__(self) -> None:
        if not self.engagement >= 0:
            raise ValueError(
                f"`engagement` of task `{self.name}` should be at least 0. "
                f"Received: {self.engagement}"
            )
        if not self.weight > 0:
            raise ValueError(
                f"`weight` of task `{self.name}` should be above 0. Received: {self.weight}"
            )
