"""Whether what an earlier run left means what a config says, setting by setting."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from transforms.problems import Problem


def differences(
    where: str, found: Mapping[str, Any], wanted: Mapping[str, Any], remedy: str
) -> list[Problem]:
    """A problem for every setting that is not the same in both.

    Args:
      where: What the found settings are of.
      found: Those that were written beside it, read from JSON.
      wanted: Those of the config; sequences of any type.
      remedy: What to do.
    """
    wanted = json.loads(json.dumps(wanted))
    return [
        Problem(where, f"{name} {_shown(old)}", f"{_shown(new)}, as in the config", remedy)
        for name, old, new in _pairs("", found, wanted)
    ]


def _pairs(
    prefix: str, found: Mapping[str, Any], wanted: Mapping[str, Any]
) -> Iterator[tuple[str, Any, Any]]:
    for name in dict.fromkeys([*wanted, *found]):
        old, new = found.get(name), wanted.get(name)
        if isinstance(old, dict) and isinstance(new, dict):
            yield from _pairs(f"{prefix}{name}.", old, new)
        elif old != new:
            yield f"{prefix}{name}", old, new


def _shown(value: Any) -> str:
    if value is None:
        return "none"
    return json.dumps(value, ensure_ascii=False)
