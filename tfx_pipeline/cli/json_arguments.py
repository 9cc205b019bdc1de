"""Arguments that are JSON."""

from __future__ import annotations

import json
from typing import Any

from transforms.problems import InputError, Problem


def parse_object(where: str, text: str) -> dict[str, Any]:
    """Reads a row.

    Args:
      where: What an error calls it.
      text: The argument.

    Raises:
      InputError: It is not a JSON object.
    """
    found = _parse_json(text)
    if not isinstance(found, dict):
        raise InputError([Problem(where, repr(text[:80]), "a JSON object of columns and values")])
    return found


def parse_items(text: str) -> list[dict[str, Any]]:
    """Reads the argument of `--items`.

    Raises:
      InputError: It is not a JSON array of objects.
    """
    found = _parse_json(text)
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise InputError([Problem("--items", repr(text[:80]), "a JSON array of objects")])
    return found


def _parse_json(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        return error
