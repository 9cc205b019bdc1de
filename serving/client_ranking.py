"""One user and many candidates to the matrices that `rank` takes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from serving.client_examples import MISSING, Columns, number, present, text


def ranking_inputs(
    user: Mapping[str, Any], items: Sequence[Mapping[str, Any]], columns: Columns
) -> dict[str, np.ndarray]:
    """The inputs of a model's signature `rank`.

    Args:
      user: Raw columns of the user and the context, as in a row for `predict`; a column of a
        history holds a list.
      items: Raw columns of N candidates.
      columns: What the model takes.

    Returns:
      By matrix, text [1 or N or T, C] or float32, for those that the model has columns for.

    Raises:
      ValueError: if the model does not rank, if a column is not the user's or not the candidates',
        or holds a value that it does not take.
    """
    layout = columns.matrices
    if not layout:
        raise ValueError(
            "the model has no signature `rank`: it was exported without `serving.item_columns`"
        )
    sides = {
        "user": [("user", user)],
        "item": [(f"item {i}", item) for i, item in enumerate(items, 1)],
    }
    history = [*layout["history_text"], *layout["history_numbers"]]
    inputs: dict[str, np.ndarray] = {}
    for side, rows in sides.items():
        names = {kind: layout[f"{side}_{kind}"] for kind in ("text", "numbers")}
        known = [*names["text"], *names["numbers"], *(history if side == "user" else ())]
        for where, row in rows:
            for name in row:
                if name not in known:
                    raise ValueError(
                        f"{where}: found the column {name}; expected columns among "
                        f"{', '.join(known)}"
                    )
        inputs |= _matrices(side, names, rows)
    if history:
        inputs |= _history(user, layout)
    return inputs


def _matrices(
    side: str, names: Mapping[str, Sequence[str]], rows: Sequence[tuple[str, Mapping[str, Any]]]
) -> dict[str, np.ndarray]:
    found = {}
    if names["text"]:
        values = np.empty([len(rows), len(names["text"])], object)
        for i, (where, row) in enumerate(rows):
            values[i] = [_text(f"{where}, {name}", row.get(name)) for name in names["text"]]
        found[f"{side}_text"] = values
    if names["numbers"]:
        read = present if side == "history" else number
        numbers = [
            [read(f"{where}, {name}", row.get(name)) for name in names["numbers"]]
            for where, row in rows
        ]
        found[f"{side}_numbers"] = np.array(numbers, np.float32).reshape(
            [len(rows), len(names["numbers"])]
        )
    return found


def _history(user: Mapping[str, Any], layout: Mapping[str, Sequence[str]]) -> dict[str, np.ndarray]:
    """A row a behaviour, oldest first."""
    names = [*layout["history_text"], *layout["history_numbers"]]
    lists = {name: [] if user.get(name) is None else user[name] for name in names}
    for name, values in lists.items():
        if not isinstance(values, (list, tuple)):
            raise ValueError(f"user, {name}: found {values!r}; expected a list, oldest first")
    lengths = {name: len(values) for name, values in lists.items()}
    if len(set(lengths.values())) > 1:
        raise ValueError(f"user: found histories of lengths {lengths}; expected equally long ones")
    behaviours = [
        (f"user, behaviour {i}", dict(zip(names, values, strict=True)))
        for i, values in enumerate(zip(*lists.values(), strict=True), 1)
    ]
    kinds = {kind: layout[f"history_{kind}"] for kind in ("text", "numbers")}
    return _matrices("history", kinds, behaviours)


def _text(where: str, value: Any) -> bytes:
    return MISSING if value is None else text(where, value)
