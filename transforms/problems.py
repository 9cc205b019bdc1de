"""What is wrong with an input, said so that its owner can mend it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Problem:
    """One mistake in a file, a config or a row.

    Args:
      where: The file, key or row, for example `data.train` or `day.csv, line 7`.
      found: What is there.
      expected: What should be there.
      remedy: What to do about it. Optional where `expected` already says it.
    """

    where: str
    found: str
    expected: str
    remedy: str = ""

    def __str__(self) -> str:
        text = f"{self.where}: found {self.found}; expected {self.expected}."
        return f"{text} {self.remedy}" if self.remedy else text


class InputError(Exception):
    """Raised for bad input: a config, a file or rows that cannot be used.

    Carries every problem that was found, not just the first one.

    Args:
      problems: At least one problem.
    """

    def __init__(self, problems: Sequence[Problem]):
        self.problems = tuple(problems)
        super().__init__("\n".join(str(p) for p in self.problems))

    def __reduce__(self) -> tuple[type[InputError], tuple[tuple[Problem, ...]]]:
        return type(self), (self.problems,)
