"""Figures as text."""

from __future__ import annotations


def number(value: float | None, digits: int) -> str:
    """`value` with so many digits after the point; a dash where there is none."""
    return "–" if value is None else f"{value:.{digits}f}"
