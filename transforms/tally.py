"""What is counted while logs are read; tallies of parts add up to that of the whole."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field

from transforms.problems import Problem


@dataclass(frozen=True, order=True)
class Example:
    """A row that shows what a count is about.

    Args:
      file: Position of its file.
      row: Its number in the file.
      text: What to show of it.
    """

    file: int
    row: int
    text: str


@dataclass
class Tally:
    """Counts, an example of each, and problems of whole files.

    Adding is commutative and associative, so the sum does not depend on how the work was
    spread; the first row in file order is the example.

    Args:
      counts: Rows, by what they are counted for.
      examples: The first row counted for something.
      columns: Columns seen in each file, with the types that they are stored in.
      checksums: Sums of the hashes of the rows of each day, modulo 2^64.
      problems: What makes the input unusable as a whole.
    """

    counts: Counter[tuple[str, ...]] = field(default_factory=Counter)
    examples: dict[tuple[str, ...], Example] = field(default_factory=dict)
    columns: dict[str, dict[str, set[str]]] = field(default_factory=dict)
    checksums: dict[str, int] = field(default_factory=dict)
    problems: set[Problem] = field(default_factory=set)

    def count(self, *what: str, rows: int, example: Example | None = None) -> None:
        """Adds rows to a count; none leaves no trace."""
        if rows:
            self.counts[what] += rows
            if example is not None:
                self.examples[what] = min(example, self.examples.get(what, example))

    def add(self, other: Tally) -> Tally:
        """Adds another tally to this one and returns this one."""
        self.counts.update(other.counts)
        for what, example in other.examples.items():
            self.examples[what] = min(example, self.examples.get(what, example))
        for path, columns in other.columns.items():
            known = self.columns.setdefault(path, {})
            for column, types in columns.items():
                known[column] = known.get(column, set()) | types
        for day, checksum in other.checksums.items():
            self.add_checksum(day, checksum)
        self.problems |= other.problems
        return self

    def add_checksum(self, day: str, checksum: int) -> None:
        """Adds the hashes of rows of a day."""
        self.checksums[day] = (self.checksums.get(day, 0) + checksum) % (1 << 64)

    def of(self, kind: str) -> dict[str, int]:
        """Counts whose first part is `kind`, by the second, in its order."""
        return {what[1]: rows for what, rows in sorted(self.counts.items()) if what[0] == kind}

    def to_json(self) -> str:
        """The tally as text."""
        return json.dumps(
            {
                "counts": [[list(what), rows] for what, rows in self.counts.items()],
                "examples": [
                    [list(what), [e.file, e.row, e.text]] for what, e in self.examples.items()
                ],
                "columns": {
                    path: {column: sorted(types) for column, types in columns.items()}
                    for path, columns in self.columns.items()
                },
                "checksums": self.checksums,
                "problems": [[p.where, p.found, p.expected, p.remedy] for p in self.problems],
            }
        )

    @classmethod
    def from_json(cls, text: str) -> Tally:
        """The tally that `to_json` wrote."""
        parts = json.loads(text)
        return cls(
            Counter({tuple(what): rows for what, rows in parts["counts"]}),
            {tuple(what): Example(*example) for what, example in parts["examples"]},
            {
                path: {column: set(types) for column, types in columns.items()}
                for path, columns in parts["columns"].items()
            },
            parts["checksums"],
            {Problem(*problem) for problem in parts["problems"]},
        )


def total(tallies: Iterable[Tally]) -> Tally:
    """The sum of tallies."""
    result = Tally()
    for tally in tallies:
        result.add(tally)
    return result
