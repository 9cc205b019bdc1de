"""Checks of arguments."""

from __future__ import annotations


def require(name: str, value: object, holds: bool, expected: str) -> None:
    """Raises ValueError that names an argument, what it should be, and what was received."""
    if not holds:
        raise ValueError(f"`{name}` should be {expected}. Received: {name}={value}")
