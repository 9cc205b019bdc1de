"""All that a version holds, in memory: read from its SavedModel, and written as one."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow as tf

from serving.delta.refused import MEND, PUSH_WHOLE, DeltaRefusedError
from serving.delta.sync_file import SYNC_FILE, Lineage, Place, SyncFile, keys_sha256
from serving.delta.table import Rows, Table
from serving.versions import EXTRA, SAVED_MODEL

OBJECT_GRAPH = "_CHECKPOINTABLE_OBJECT_GRAPH"
"""Name among a SavedModel's variables of the string that says which object has which."""

_VALUE = "/.ATTRIBUTES/VARIABLE_VALUE"
_TABLE_KEYS = re.compile(rf"(.*/tables/(\d+))/keys{_VALUE}")
_BUNDLE = "variables/variables"
_ASSETS = "assets"


@dataclass(frozen=True)
class Version:
    """A version of a model.

    Args:
      graph: `saved_model.pb`.
      object_graph: Which object of it has which variable, a serialized proto.
      variables: By name, all but those of the tables.
      tables: The embedding tables, by the path of their variables.
      assets: Contents of the files under `assets/`, by their paths there.
      lineage: Where its rows come from.
      place: Where it stands in a chain of deltas.
      applied: Digests of the versions that the chain's deltas made so far, in order.
    """

    graph: bytes
    object_graph: bytes
    variables: Mapping[str, np.ndarray]
    tables: Mapping[str, Table]
    assets: Mapping[str, bytes]
    lineage: Lineage
    place: Place
    applied: tuple[str, ...] = ()

    def digest(self) -> str:
        """SHA-256 of all that it serves and knows of its rows, however its files lay it out."""
        digest = hashlib.sha256()
        for name, content in self._contents():
            digest.update(f"{name} {len(content)}\n".encode())
            digest.update(content)
        return digest.hexdigest()

    def _contents(self) -> Iterator[tuple[str, bytes | memoryview]]:
        header = [dataclasses.asdict(self.lineage), dataclasses.asdict(self.place)]
        yield "header", json.dumps(header, sort_keys=True).encode()
        yield SAVED_MODEL, self.graph
        yield OBJECT_GRAPH, self.object_graph
        yield from sorted(_under(_ASSETS, self.assets).items())
        arrays = dict(self.variables)
        for path, table in self.tables.items():
            arrays |= {f"{path}/sync/{name}": a for name, a in table.sync.columns().items()}
            arrays |= _table_variables(path, table)
        for name, values in sorted(arrays.items()):
            # `reshape` for scalars, of which there is no memory to view.
            flat = np.ascontiguousarray(values).reshape(-1)
            yield f"{name} {values.dtype} {values.shape}", flat.view(np.uint8).data


def read_version(folder: str | Path) -> Version:
    """Reads a version.

    Args:
      folder: Of its SavedModel.

    Raises:
      DeltaRefusedError: if it is none that was exported for delta sync, or is damaged.
    """
    folder = Path(folder)
    if not (folder / SAVED_MODEL).is_file():
        raise DeltaRefusedError(
            folder, f"no {SAVED_MODEL}", "the folder of a version", "Name a version's folder."
        )
    known = SyncFile.read(folder)
    try:
        reader = tf.train.load_checkpoint(str(folder / _BUNDLE))
        variables = {name: reader.get_tensor(name) for name in reader.get_variable_to_shape_map()}
        object_graph = bytes(variables.pop(OBJECT_GRAPH))
    except (tf.errors.OpError, LookupError, RuntimeError, ValueError) as error:
        raise DeltaRefusedError(
            (folder / _BUNDLE).parent, f"what cannot be read ({error})", "a model's variables", MEND
        ) from error
    paths = {int(match[2]): match[1] for match in map(_TABLE_KEYS.fullmatch, variables) if match}
    tables = {}
    for i, fields in enumerate(known.lineage.fields):
        path = paths.get(i, "")
        keys = variables.pop(f"{path}/keys{_VALUE}", np.zeros(0, np.int64))
        rows = Rows(
            variables.pop(f"{path}/rows/_values{_VALUE}", np.zeros([0, 0], np.float32)),
            variables.pop(f"{path}/rows/_scales{_VALUE}", None),
        )
        # A table without keys has one that stands for none, and no rows but the shared ones.
        keys = keys[: len(rows) - len(fields)]
        if keys_sha256(keys) != known.keys_sha256[i]:
            raise DeltaRefusedError(
                folder / EXTRA / SYNC_FILE,
                "the keys of another model",
                "those of the model that it lies in",
                PUSH_WHOLE,
            )
        tables[path] = Table(
            keys,
            rows.take(slice(len(fields), None)),
            known.rows[i],
            rows.take(slice(len(fields))),
        )
    assets = {
        str(path.relative_to(folder / _ASSETS)): path.read_bytes()
        for path in (folder / _ASSETS).rglob("*")
        if path.is_file()
    }
    return Version(
        (folder / SAVED_MODEL).read_bytes(),
        object_graph,
        variables,
        tables,
        assets,
        known.lineage,
        known.place,
        known.applied,
    )


def write_version(version: Version, folder: str | Path) -> None:
    """Writes a version as a SavedModel, and what is known of its rows beside it.

    Args:
      version: What to write.
      folder: New.
    """
    folder = Path(folder)
    for name, content in {SAVED_MODEL: version.graph, **_under(_ASSETS, version.assets)}.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)
    variables: dict[str, np.ndarray | bytes] = dict(version.variables)
    for path, table in version.tables.items():
        variables |= _table_variables(path, table)
    variables[OBJECT_GRAPH] = version.object_graph
    names = sorted(variables)
    (folder / _BUNDLE).parent.mkdir()
    tf.raw_ops.SaveV2(
        prefix=str(folder / _BUNDLE),
        tensor_names=names,
        shape_and_slices=[""] * len(names),
        tensors=[tf.constant(variables[name]) for name in names],
    )
    tables = version.tables.values()
    SyncFile(
        version.lineage,
        version.place,
        tuple(table.sync for table in tables),
        tuple(keys_sha256(table.keys) for table in tables),
        version.applied,
    ).write(folder)


def _table_variables(path: str, table: Table) -> dict[str, np.ndarray]:
    """A table as the variables of `keras_models.embeddings.ExportedTable`."""
    rows = Rows.joined(table.shared, table.rows)
    found = {
        f"{path}/keys{_VALUE}": table.keys if len(table.keys) else np.zeros(1, np.int64),
        f"{path}/rows/_values{_VALUE}": rows.values,
    }
    if rows.scales is not None:
        found[f"{path}/rows/_scales{_VALUE}"] = rows.scales
    return found


def _under(folder: str, files: Mapping[str, bytes]) -> dict[str, bytes]:
    return {f"{folder}/{name}": content for name, content in files.items()}
