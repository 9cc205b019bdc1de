"""What a model predicts."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

Kind = Literal["binary", "regression", "multiclass", "ranking"]
RankingLoss = Literal["pairwise", "listwise"]


@dataclass(frozen=True)
class Task:
    """One prediction task.

    Args:
      name: Its name; also that of its output when served.
      weight: Weight w_0 of its loss in the first epoch.
      engagement: What a label of 1 adds to the weight of its example's keys in the score of the
        embedding table, beside the 1 of every occurrence. Binary and ranking tasks only.
      kind: `binary`, label 0 or 1; `regression`, any number; `multiclass`, the index of a class;
        `ranking`, how relevant an example is among those of its request.
      classes: C, of a multiclass task.
      gamma: What the weight is multiplied by from epoch to epoch.
      after: The task whose positives alone can be positives of this one, as a conversion comes
        after a click.
      ranking_loss: Of a ranking task.
    """

    name: str
    weight: float = 1.0
    engagement: float = 0.0
    kind: Kind = field(default="binary", kw_only=True)
    classes: int | None = field(default=None, kw_only=True)
    gamma: float = field(default=1.0, kw_only=True)
    after: str | None = field(default=None, kw_only=True)
    ranking_loss: RankingLoss = field(default="pairwise", kw_only=True)

    def __post_init__(self) -> None:
        for value, key, choices in (
            (self.kind, "kind", get_args(Kind)),
            (self.ranking_loss, "ranking_loss", get_args(RankingLoss)),
        ):
            if value not in choices:
                raise ValueError(
                    f"`{key}` of task `{self.name}` should be one of {', '.join(choices)}. "
                    f"Received: {value}"
                )
        for number, key in ((self.weight, "weight"), (self.gamma, "gamma")):
            if not number > 0:
                raise ValueError(
                    f"`{key}` of task `{self.name}` should be above 0. Received: {number}"
                )
        if not self.engagement >= 0:
            raise ValueError(
                f"`engagement` of task `{self.name}` should be at least 0. "
                f"Received: {self.engagement}"
            )
        if self.engagement and self.kind not in ("binary", "ranking"):
            raise ValueError(
                f"`engagement` of task `{self.name}` should be 0, because labels of a {self.kind} "
                f"task are no counts. Received: {self.engagement}"
            )
        if self.kind == "multiclass" and (self.classes is None or self.classes < 2):
            raise ValueError(
                f"`classes` of multiclass task `{self.name}` should be at least 2. "
                f"Received: {self.classes}"
            )
        if self.kind != "multiclass" and self.classes is not None:
            raise ValueError(
                f"`classes` of task `{self.name}` should be None, because it is a {self.kind} "
                f"task. Received: {self.classes}"
            )

    @property
    def outputs(self) -> int:
        """How many logits it has."""
        return self.classes or 1


def logit_columns(tasks: Iterable[Task]) -> dict[str, slice]:
    """Where each task's logits stand among those of a model, side by side in order."""
    columns, start = {}, 0
    for task in tasks:
        columns[task.name] = slice(start, start + task.outputs)
        start += task.outputs
    return columns


def read_tasks(tasks: Iterable[Task | str | Mapping[str, Any]]) -> tuple[Task, ...]:
    """Tasks as they are, from a name alone, or from plain values as `get_config` gives them.

    Raises:
      ValueError: if there is none, or two have one name.
    """
    read = tuple(
        task
        if isinstance(task, Task)
        else Task(task)
        if isinstance(task, str)
        else Task(**dict(task))
        for task in tasks
    )
    names = [task.name for task in read]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"`tasks` should name each task once. Received: {', '.join(names)}")
    return read
