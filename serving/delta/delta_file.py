"""A delta as a file: one line that seals it, then a zip archive.

The first line is `equipoise-delta 1 ` and the SHA-256 of all that follows, in hex. So a file that
was cut, or of which one bit changed, is refused before anything of it is read.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from serving.delta.delta import Delta
from serving.delta.refused import DeltaRefusedError
from serving.delta.sync_file import Place, RowSync, read_lineage
from serving.delta.table import Rows, TableDelta
from serving.versions import SAVED_MODEL

_FORMAT = 1
_MAGIC = b"equipoise-delta "
_SEAL_BYTES = len(_MAGIC) + len(f"{_FORMAT} \n") + 64
_MANIFEST, _OBJECT_GRAPH, _EXTRA = "manifest.json", "object_graph.pb", "extra"
_AGAIN = "Copy or make the delta again."


def write_delta(delta: Delta, path: str | Path) -> int:
    """Writes a delta beside its place and renames it there.

    Args:
      delta: What to write.
      path: The file.

    Returns:
      Its size in bytes.
    """
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name, content in _members(delta):
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    packed = body.getvalue()
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f".{path.name}.tmp")
    with beside.open("wb") as file:
        file.write(_seal(packed))
        file.write(packed)
        file.flush()
        os.fsync(file.fileno())
    beside.rename(path)
    return _SEAL_BYTES + len(packed)


def read_delta(path: str | Path) -> Delta:
    """Reads a delta.

    Args:
      path: The file.

    Raises:
      DeltaRefusedError: if it is none, was damaged, or would write outside of a version's folder.
    """
    path = Path(path)
    if not path.is_file():
        raise DeltaRefusedError(path, "no such file", "a delta", "See `equipoise delta export`.")
    content = path.read_bytes()
    packed = content[_SEAL_BYTES:]
    if content[:_SEAL_BYTES] != _seal(packed):
        raise DeltaRefusedError(path, *_fault(content), _AGAIN)
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        manifest = json.loads(archive.read(_MANIFEST))
        for name in manifest["extra"]:
            # The checksum says that it arrived whole, not who made it.
            if not _stays_below(name):
                raise DeltaRefusedError(
                    path,
                    f"a file to be written to {name!r}",
                    "paths under assets.extra/",
                    "It was not made by `equipoise delta export`: find out where it comes from.",
                )
        return Delta(
            parent=manifest["parent"],
            parent_place=Place(**manifest["parent_place"]),
            result=manifest["result"],
            place=Place(**manifest["place"]),
            lineage=read_lineage(manifest["lineage"]),
            graph=archive.read(SAVED_MODEL),
            object_graph=archive.read(_OBJECT_GRAPH),
            variables={
                name: _array(archive, f"variables/{i}")
                for i, name in enumerate(manifest["variables"])
            },
            tables={
                path: _table(archive, f"tables/{i}") for i, path in enumerate(manifest["tables"])
            },
            extra={name: archive.read(f"{_EXTRA}/{name}") for name in manifest["extra"]},
            about=manifest["about"],
        )


def _stays_below(name: str) -> bool:
    """Whether a path leads to below the folder that it is appended to."""
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts


def _seal(packed: bytes) -> bytes:
    return _MAGIC + f"{_FORMAT} {hashlib.sha256(packed).hexdigest()}\n".encode()


def _fault(content: bytes) -> tuple[str, str]:
    """What was found and expected of a file whose seal is not right."""
    if not content.startswith(_MAGIC):
        return "what is no delta", "a file that `equipoise delta export` wrote"
    number = content[len(_MAGIC) : _SEAL_BYTES].split(b" ")[0].decode(errors="replace")
    if number != str(_FORMAT):
        return f"a delta of format {number}", f"format {_FORMAT}"
    return "a damaged delta: its checksum is not that of its content", "a whole one"


def _members(delta: Delta) -> Iterator[tuple[str, bytes]]:
    for name in delta.extra:
        if not _stays_below(name):
            raise ValueError(f"extra: found {name}; expected paths under assets.extra/")
    manifest: dict[str, Any] = {
        "parent": delta.parent,
        "parent_place": dataclasses.asdict(delta.parent_place),
        "result": delta.result,
        "place": dataclasses.asdict(delta.place),
        "lineage": dataclasses.asdict(delta.lineage),
        "variables": list(delta.variables),
        "tables": list(delta.tables),
        "extra": list(delta.extra),
        "about": delta.about,
    }
    yield _MANIFEST, json.dumps(manifest).encode()
    yield SAVED_MODEL, delta.graph
    yield _OBJECT_GRAPH, delta.object_graph
    for i, values in enumerate(delta.variables.values()):
        yield _npy(f"variables/{i}", values)
    for i, table in enumerate(delta.tables.values()):
        yield _npy(f"tables/{i}/removed", table.removed)
        yield _npy(f"tables/{i}/keys", table.keys)
        yield from _rows(f"tables/{i}/rows", table.rows)
        yield from _rows(f"tables/{i}/shared", table.shared)
        for name, values in table.sync.columns().items():
            yield _npy(f"tables/{i}/sync/{name}", values)
    for name, content in delta.extra.items():
        yield f"{_EXTRA}/{name}", content


def _rows(name: str, rows: Rows) -> Iterator[tuple[str, bytes]]:
    yield _npy(f"{name}/values", rows.values)
    if rows.scales is not None:
        yield _npy(f"{name}/scales", rows.scales)


def _npy(name: str, values: np.ndarray) -> tuple[str, bytes]:
    content = io.BytesIO()
    np.save(content, values, allow_pickle=False)
    return f"{name}.npy", content.getvalue()


def _table(archive: zipfile.ZipFile, name: str) -> TableDelta:
    def rows(kind: str) -> Rows:
        scales = None
        if f"{name}/{kind}/scales.npy" in archive.namelist():
            scales = _array(archive, f"{name}/{kind}/scales")
        return Rows(_array(archive, f"{name}/{kind}/values"), scales)

    names = [f.name for f in dataclasses.fields(RowSync)]
    return TableDelta(
        removed=_array(archive, f"{name}/removed"),
        keys=_array(archive, f"{name}/keys"),
        rows=rows("rows"),
        sync=RowSync(*(_array(archive, f"{name}/sync/{column}") for column in names)),
        shared=rows("shared"),
    )


def _array(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    return np.load(io.BytesIO(archive.read(f"{name}.npy")), allow_pickle=False)
