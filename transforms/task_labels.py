"""What a row's label is for a task, by the kind of the task."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from transforms.labels import Expression, Wanted, parse_expression

LabelKind = Literal["binary", "regression", "multiclass", "ranking"]

WANTED: Mapping[LabelKind, Wanted] = {
    "binary": "a condition",
    "regression": "a number",
    "multiclass": "a number",
    "ranking": "a condition or a number",
}
"""What the expression of a label should be."""

_MAX_FLOAT32 = float(np.finfo(np.float32).max)


@dataclass(frozen=True)
class Label:
    """How the label of a task is read.

    Args:
      text: The expression; a condition is 1 where it is true, else 0.
      kind: The task's.
      classes: Number of classes of a multiclass task.
      space: Condition of the task's sample space: rows where it is not true, or missing, have no
        label. None where all rows have one.
    """

    text: str
    kind: LabelKind = "binary"
    classes: int | None = None
    space: str | None = None

    @cached_property
    def expression(self) -> Expression:
        """The label's expression."""
        return parse_expression(self.text, WANTED[self.kind])

    @cached_property
    def space_expression(self) -> Expression | None:
        """That of the sample space."""
        return None if self.space is None else parse_expression(self.space)

    @property
    def expressions(self) -> tuple[Expression, ...]:
        """The label's, and that of the sample space where there is one."""
        space = self.space_expression
        return (self.expression,) if space is None else (self.expression, space)

    @property
    def may_be_absent(self) -> bool:
        """Whether rows that are used may have no label."""
        return self.space is not None or self.kind == "regression"

    def read(
        self, evaluate: Callable[[Expression], pa.Array]
    ) -> tuple[pa.Array, list[tuple[np.ndarray, str]]]:
        """The label of every row.

        Args:
          evaluate: Gives an expression's values, [B].

        Returns:
          int64 for a binary task, else float64, null where a row is outside of the task's space,
          [B]; and where it is not, rows that cannot be used, bool [B], with the reason.
        """
        values = evaluate(self.expression)
        inside = np.ones(len(values), bool)
        if self.space_expression is not None:
            holds = evaluate(self.space_expression)
            inside = holds.fill_null(False).to_numpy(zero_copy_only=False)
        missing = values.is_null().to_numpy(zero_copy_only=False)
        if self.kind == "regression":
            inside = inside & ~missing
        label = values.cast(pa.int64() if self.kind == "binary" else pa.float64())
        numbers = label.fill_null(0).to_numpy(zero_copy_only=False)
        faults = [(missing, "cannot be computed from what is there"), *self._faults(numbers)]
        return (
            pc.if_else(pa.array(inside), label, pa.scalar(None, label.type)),
            [(inside & fault, reason) for fault, reason in faults],
        )

    def _faults(self, numbers: np.ndarray) -> Iterator[tuple[np.ndarray, str]]:
        if self.kind == "multiclass":
            assert self.classes is not None
            is_class = (numbers == np.floor(numbers)) & (numbers >= 0) & (numbers < self.classes)
            yield ~is_class, f"is not a class, a whole number from 0 to {self.classes - 1}"
        elif self.kind != "binary":
            yield np.abs(numbers) > _MAX_FLOAT32, "is too large a number"
        if self.kind == "ranking":
            yield numbers < 0, "is a relevance below 0"
