"""One mapping laid over another."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def merged(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """Both, section by section; where both have a value, that of `over`.

    Args:
      under: What is changed.
      over: The changes. A list is a value: it replaces the other list.
    """
    both = {**under, **over}
    return {
        key: merged(under[key], value)
        if isinstance(value, Mapping) and isinstance(under.get(key), Mapping)
        else value
        for key, value in both.items()
    }
