"""The histories of a feature state, as a feature store would give them to requests.

Starts without TensorFlow; reads folders of this machine.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from transforms.history import AGE, PREFIX
from transforms.problems import InputError, Problem
from transforms.state_format import (
    HISTORIES,
    MANIFEST,
    SERVED,
    TIME,
    USER,
    check_format,
    history_of,
)


class BehaviourStore:
    """Reads what users did before from a feature state.

    Args:
      folder: Of the state.

    Raises:
      InputError: if there is no state, or one of another format or without histories.
    """

    def __init__(self, folder: Path):
        # Beside a state for later days to go on from, the one that servers answer with.
        folder = folder / SERVED if (folder / SERVED).is_dir() else folder
        path = folder / MANIFEST
        if not path.is_file():
            raise InputError(
                [
                    Problem(
                        str(folder),
                        f"no {MANIFEST}",
                        "a feature state",
                        "They lie in the workdir, under pipeline/LogExampleGen/feature_state.",
                    )
                ]
            )
        manifest = json.loads(path.read_text())
        check_format(manifest, str(path))
        history = history_of(manifest)
        if history is None:
            raise InputError(
                [Problem(str(path), "no histories", "the state of a config with features.history")]
            )
        self.history = history
        self._files = sorted((folder / HISTORIES).glob("*.parquet"))

    def fill(
        self, rows: Sequence[Mapping[str, Any]], columns: Collection[str]
    ) -> list[dict[str, Any]]:
        """Adds histories to rows.

        Args:
          rows: Raw columns, with the user and the event time. What a row holds of a history itself
            stays.
          columns: Those that the model takes.

        Returns:
          The rows, a list a column of the history, None where a behaviour lacks a text. The user
          and the event time stay where the model takes them.

        Raises:
          InputError: if the model reads of histories what the state lacks, or a row has no user or
            no time.
        """
        kept = self.history
        wanted = [name for name in columns if name.startswith(PREFIX)]
        lacking = sorted(set(wanted) - set(kept.features))
        if lacking:
            known = ", ".join(kept.features)
            raise InputError([Problem("the model", f"that it reads {', '.join(lacking)}", known)])
        problems = [
            Problem(f"row {i}", f"no `{column}`", f"{kind}, to look up the history")
            for i, row in enumerate(rows, 1)
            for column, kind, types in (
                (kept.user, "a user", (str, bytes, int)),
                (kept.time, "an event time", (int, float)),
            )
            if not isinstance(row.get(column), types)
        ]
        if problems:
            raise InputError(problems)
        users = [_text(row[kept.user]) for row in rows]
        behaviours = self._read(users)
        filled = []
        for user, row in zip(users, rows, strict=True):
            found = self._before(behaviours.get(user), float(row[kept.time]))
            passed = {
                name: value
                for name, value in row.items()
                if name in columns or name not in (kept.user, kept.time)
            }
            filled.append({**{name: found[name] for name in wanted}, **passed})
        return filled

    def _read(self, users: Sequence[str]) -> dict[str, pa.Table]:
        wanted = sorted(set(users))
        # Each user's behaviours are in one file, in order.
        tables = [pq.read_table(path, filters=[(USER, "in", wanted)]) for path in self._files]
        found: dict[str, pa.Table] = {}
        for table in tables:
            names = np.array(table.column(USER).to_pylist(), object)
            found |= {user: table.filter(pa.array(names == user)) for user in set(names)}
        return found

    def _before(self, behaviours: pa.Table | None, time: float) -> dict[str, list[Any]]:
        kept = self.history
        if behaviours is None:
            return {name: [] for name in kept.features}
        times = behaviours.column(TIME).to_numpy()
        behaviours = behaviours.filter(pa.array(times < time))
        found: dict[str, list[Any]] = {}
        for name in kept.features:
            if name == AGE:
                found[name] = (time - times[times < time]).tolist()
            else:
                found[name] = behaviours.column(name).to_pylist()
        return found


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)
