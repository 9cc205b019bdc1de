"""What a model predicts."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Task:
    """One binary prediction task.

    Args:
      name: Its name; also that of its output when served.
      weight: Weight of its loss.
    """

    name: str
    weight: float = 1.0

    def __post_init__(self) -> None:
        if not self.weight > 0:
            raise ValueError(
                f"`weight` of task `{self.name}` should be above 0. Received: {self.weight}"
            )
