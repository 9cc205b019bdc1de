"""A delta as a file: one line that seals it, then a zip archive.

The first line is `equipoise-delta 1 ` and the SHA-256 of all that follows, in hex. So a file that
was cut, or of which one bit changed, is refused before anything of it is read. That of a signed
delta is `equipoise-delta 2 `, the same, and the signature of the line up to there.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import os
import re
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from keras_models.disk_space import room_for
from serving.delta.delta import Delta
from serving.delta.refused import DeltaRefusedError
from serving.delta.signature import is_signed, sign
from serving.delta.sync_file import SYNC_FILE, RowSync, read_lineage, read_place
from serving.delta.table import Rows, TableDelta
from serving.versions import SAVED_MODEL

_PLAIN, _SIGNED = "1", "2"
_MAGIC = b"equipoise-delta "
_SEAL = re.compile(
    rb"(?P<line>equipoise-delta (?P<format>[12]) (?P<sha256>[0-9a-f]{64}))"
    rb"( (?P<signature>[0-9a-f]{64}))?\n"
)
_LONGEST_SEAL = 256
_MANIFEST, _OBJECT_GRAPH, _EXTRA = "manifest.json", "object_graph.pb", "extra"
_STRANGE = "Find out where it comes from."


def write_delta(delta: Delta, path: str | Path, key: bytes | None = None) -> int:
    """Writes a delta beside its place and renames it there.

    Args:
      delta: What to write.
      path: The file.
      key: Signs it, see `read_key`.

    Returns:
      Its size in bytes.

    Raises:
      DiskFullError: if there is no room for it; nothing of it stays.
    """
    body = io.BytesIO()
    with zipfile.ZipFile(body, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name, content in _members(delta):
            archive.writestr(zipfile.ZipInfo(name), content, zipfile.ZIP_DEFLATED)
    packed = body.getvalue()
    path = Path(path)
    content = _seal(packed, key) + packed
    beside = path.with_name(f".{path.name}.tmp")
    try:
        with room_for("a delta", path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with beside.open("wb") as file:
                file.write(content)
                file.flush()
                os.fsync(file.fileno())
            beside.rename(path)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    return len(content)


def read_delta(path: str | Path, key: bytes | None = None) -> Delta:
    """Reads a delta.

    Args:
      path: The file.
      key: That it has to be signed with; without one, whether it is signed is not looked at.

    Raises:
      DeltaRefusedError: if it is none, was damaged, is not signed with the key, or would write
        outside of a version's folder.
    """
    path = Path(path)
    if not path.is_file():
        raise DeltaRefusedError(path, "no such file", "a delta", "See `equipoise delta export`.")
    packed = _unseal(path, path.read_bytes(), key)
    try:
        return _unpack(path, packed)
    except DeltaRefusedError:
        raise
    except (
        *(AttributeError, EOFError, KeyError, NotImplementedError, RuntimeError, TypeError),
        *(ValueError, zipfile.BadZipFile, zlib.error),
    ) as error:
        raise DeltaRefusedError(
            path, f"what no export writes ({error})", "the members of a delta", _STRANGE
        ) from error


def has_signature(path: str | Path) -> bool:
    """Whether a delta is signed, by whomever.

    Args:
      path: Its file.
    """
    with open(path, "rb") as file:
        seal = _SEAL.match(file.read(_LONGEST_SEAL))
    return seal is not None and seal["signature"] is not None


def _unpack(path: Path, packed: bytes) -> Delta:
    with zipfile.ZipFile(io.BytesIO(packed)) as archive:
        manifest = json.loads(archive.read(_MANIFEST))
        for name in manifest["extra"]:
            # The checksum says that it arrived whole, not who made it.
            if not _stays_below(name):
                raise DeltaRefusedError(
                    path, f"a file to be written to {name!r}", "paths under assets.extra/", _STRANGE
                )
        return Delta(
            parent=manifest["parent"],
            parent_place=read_place(manifest["parent_place"]),
            result=manifest["result"],
            place=read_place(manifest["place"]),
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
    """Whether a path leads to below the folder that it is appended to, to no file of its own."""
    path = PurePosixPath(name)
    if not path.parts or path.is_absolute() or ".." in path.parts or "\0" in name:
        return False
    return path.parts != (SYNC_FILE,)


def _seal(packed: bytes, key: bytes | None) -> bytes:
    number = _PLAIN if key is None else _SIGNED
    line = _MAGIC + f"{number} {hashlib.sha256(packed).hexdigest()}".encode()
    return line + (b"" if key is None else f" {sign(line, key)}".encode()) + b"\n"


def _unseal(path: Path, content: bytes, key: bytes | None) -> bytes:
    """The archive, if the first line is right."""
    seal = _SEAL.match(content)
    packed = content[seal.end() :] if seal else b""
    if (
        seal is None
        or (seal["format"].decode() == _SIGNED) != (seal["signature"] is not None)
        or seal["sha256"].decode() != hashlib.sha256(packed).hexdigest()
    ):
        raise DeltaRefusedError(path, *_fault(content), "Copy or make the delta again.")
    if key is None:
        return packed
    expected = "one signed with the key that was given"
    if seal["signature"] is None:
        raise DeltaRefusedError(
            path, "an unsigned delta", expected, "`equipoise delta export --key FILE` signs it."
        )
    if not is_signed(seal["line"], seal["signature"].decode(), key):
        raise DeltaRefusedError(path, "a signature by another key", expected, _STRANGE)
    return packed


def _fault(content: bytes) -> tuple[str, str]:
    """What was found and expected of a file whose seal is not right."""
    if not content.startswith(_MAGIC):
        return "what is no delta", "a file that `equipoise delta export` wrote"
    start = content[len(_MAGIC) : _LONGEST_SEAL].split(b" ")[0].decode(errors="replace")
    if start not in (_PLAIN, _SIGNED):
        return f"a delta of format {start}", f"format {_PLAIN}, or {_SIGNED} if signed"
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
