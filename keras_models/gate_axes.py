"""What lies along the axes of a gate, for those who look at it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Axes = Mapping[str, Sequence[str]]
"""Axes of a gate after the batch, in order: a label for each entry, by the axis's name.

Neighbours of the same label belong together, such as the numbers of one field's embedding. Trailing
axes without a name are those that nobody looks at one by one, such as the units of a layer.
"""


def numbered(name: str, count: int) -> list[str]:
    """Labels `name 1`, `name 2`, ..."""
    return [f"{name} {i}" for i in range(1, count + 1)]
