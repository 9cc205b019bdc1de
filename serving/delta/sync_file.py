"""The file beside a version that says how its embedding rows were trained and synced."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from keras_models.embeddings import SyncState
from serving.delta.refused import PUSH_WHOLE, DeltaRefusedError
from serving.versions import EXTRA

SYNC_FILE = "embedding_sync.npz"
"""Under `assets.extra/`."""

_FORMAT = 1
_HEADER = "header"


@dataclass(frozen=True)
class Lineage:
    """Where the rows of a version come from. Two versions without it in common share no rows.

    Args:
      cold_starts: Of each table, which cold start it comes from.
      fields: Of each table, the names of its fields.
      transform_graph: SHA-256 of the transform graph, which makes the keys.
    """

    cold_starts: tuple[int, ...]
    fields: tuple[tuple[str, ...], ...]
    transform_graph: str


@dataclass(frozen=True)
class Place:
    """Where a version stands in a chain of deltas.

    Args:
      day: The newest day that its rows have seen.
      sequence: Deltas since the whole version that the chain begins with; 0 for that one.
      whole: That version's number; None where it is this one.
    """

    day: int
    sequence: int = 0
    whole: int | None = None


@dataclass(frozen=True)
class RowSync:
    """What is known of a table's N rows.

    Args:
      updates: int32 [N], steps that taught a row before it came into the version.
      born: int32 [N], the day on which training gave the key its row.
      field: int32 [N], position of the field that brought it.
      synced: int32 [N], the day as of which the row is.
    """

    updates: np.ndarray
    born: np.ndarray
    field: np.ndarray
    synced: np.ndarray

    def take(self, places: np.ndarray) -> RowSync:
        """Some of the rows."""
        return RowSync(*(values[places] for values in self.columns().values()))

    def columns(self) -> dict[str, np.ndarray]:
        """The arrays by name."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}

    @staticmethod
    def joined(first: RowSync, second: RowSync) -> RowSync:
        """The rows of two, one after the other."""
        pairs = zip(first.columns().values(), second.columns().values(), strict=True)
        return RowSync(*(np.concatenate(pair) for pair in pairs))


@dataclass(frozen=True)
class SyncFile:
    """What the file holds.

    Args:
      lineage: Where the version's rows come from.
      place: Where it stands.
      rows: By table, what is known of its rows.
      keys_sha256: By table, of its keys in the order of the rows: what the file belongs to.
      applied: Digests of the versions that the deltas of its chain made, in order, its own last.
    """

    lineage: Lineage
    place: Place
    rows: tuple[RowSync, ...]
    keys_sha256: tuple[str, ...]
    applied: tuple[str, ...] = ()

    def write(self, model_dir: str | Path) -> None:
        """Writes the file beside a model.

        Args:
          model_dir: Folder of its SavedModel.
        """
        header = {
            "format": _FORMAT,
            "lineage": dataclasses.asdict(self.lineage),
            "place": dataclasses.asdict(self.place),
            "keys_sha256": self.keys_sha256,
            "applied": self.applied,
        }
        arrays = {
            f"{i}_{name}": values
            for i, row in enumerate(self.rows)
            for name, values in row.columns().items()
        }
        path = Path(model_dir, EXTRA, SYNC_FILE)
        path.parent.mkdir(exist_ok=True)
        np.savez_compressed(path, **{_HEADER: np.array(json.dumps(header))}, **arrays)

    @classmethod
    def of_export(cls, states: Sequence[SyncState], transform_graph: str) -> SyncFile:
        """That of a model that was just exported whole.

        Args:
          states: Of its tables.
          transform_graph: SHA-256 of the transform graph.
        """
        day = max(state.day for state in states)
        return cls(
            Lineage(
                tuple(state.lineage for state in states),
                tuple(state.fields for state in states),
                transform_graph,
            ),
            Place(day),
            tuple(
                RowSync(state.updates, state.born, state.field, np.full_like(state.born, day))
                for state in states
            ),
            tuple(keys_sha256(state.keys) for state in states),
        )

    @classmethod
    def read(cls, model_dir: str | Path) -> SyncFile:
        """Reads the file beside a model.

        Args:
          model_dir: Folder of its SavedModel.

        Raises:
          DeltaRefusedError: if there is none, or if it cannot be read.
        """
        path = Path(model_dir, EXTRA, SYNC_FILE)
        if not path.is_file():
            raise DeltaRefusedError(
                path,
                "no such file",
                "what a version has that was trained with `serving.delta`",
                f"Set `serving.delta` and train. {PUSH_WHOLE}",
            )
        names = [f.name for f in dataclasses.fields(RowSync)]
        try:
            with np.load(path, allow_pickle=False) as file:
                header = json.loads(str(file[_HEADER]))
                found = header["format"]
                if found == _FORMAT:
                    hashes = tuple(header["keys_sha256"])
                    return cls(
                        read_lineage(header["lineage"]),
                        read_place(header["place"]),
                        tuple(
                            RowSync(*(file[f"{i}_{name}"] for name in names))
                            for i in range(len(hashes))
                        ),
                        hashes,
                        # Earlier releases kept none.
                        tuple(header.get("applied", ())),
                    )
        except (OSError, KeyError, TypeError, ValueError, EOFError, zipfile.BadZipFile) as error:
            raise DeltaRefusedError(
                path, f"what cannot be read ({error})", "a file as an export writes it", PUSH_WHOLE
            ) from error
        raise DeltaRefusedError(path, f"format {found}", f"format {_FORMAT}", PUSH_WHOLE)


def read_lineage(values: dict[str, Any]) -> Lineage:
    """A lineage of its JSON form."""
    fields = tuple(tuple(names) for names in values["fields"])
    return Lineage(tuple(values["cold_starts"]), fields, values["transform_graph"])


def read_place(values: dict[str, Any]) -> Place:
    """A place of its JSON form.

    Raises:
      ValueError: if it is none. A file's name is made of it.
    """
    place = Place(**values)
    numbers = {place.day, place.sequence, 0 if place.whole is None else place.whole}
    if {type(number) for number in numbers} != {int} or min(place.sequence, place.whole or 0) < 0:
        raise ValueError(f"found the place {values}; expected counts")
    return place


def keys_sha256(keys: np.ndarray) -> str:
    """Of keys, int64 [N], in their order."""
    return hashlib.sha256(keys.tobytes()).hexdigest()
