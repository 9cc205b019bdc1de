"""Runs a SavedModel through TensorFlow's C++ loader, without Python's TensorFlow.

    python cpp_loader.py MODEL_DIR EXAMPLES.tfrecord[.gz] --out scores.npz

TensorFlow Serving loads a SavedModel with C++ code that the TensorFlow wheel ships as
a library. This script calls that library through its C interface. It imports neither
tensorflow nor anything of this project, only the standard library and numpy: a model
that scores here holds all it needs, in stock ops. `run_in_fresh_process` calls it in
an interpreter of its own.

The signature is read from the MetaGraphDef that the loader returns, with a reader of
protobuf's wire format for the few fields needed.
"""

from __future__ import annotations

import argparse
import ctypes
import gzip
import importlib.util
import os
import struct
import subprocess
import sys
import tempfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

_DT_STRING = 7
_NUMPY_TYPES: dict[int, Any] = {
    1: np.float32,
    2: np.float64,
    3: np.int32,
    9: np.int64,
    10: np.bool_,
}
_TSTRING_BYTES = 24
_RECORD_HEAD = 12  # uint64 length and its checksum
_RECORD_TAIL = 4  # checksum of the payload


class CppLoaderError(ValueError):
    """Raised where the C++ loader, or what it is given, fails."""


def run_in_fresh_process(
    model_dir: str | Path, examples: Sequence[bytes], timeout: float = 300.0
) -> dict[str, np.ndarray]:
    """Scores examples in a new interpreter that has neither TensorFlow nor this project loaded.

    Args:
      model_dir: Folder of the SavedModel.
      examples: B serialized tf.Examples.
      timeout: Seconds after which the process is killed.

    Returns:
      Each output of `serving_default` by name, [B].

    Raises:
      CppLoaderError: with the loader's message.
      subprocess.TimeoutExpired: if it took longer than `timeout`.
    """
    with tempfile.TemporaryDirectory() as folder:
        records, scores = Path(folder, "examples.tfrecord"), Path(folder, "scores.npz")
        records.write_bytes(b"".join(map(_record, examples)))
        # The loader is to be checked, not the accelerator, which training may hold.
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
        done = subprocess.run(
            [sys.executable, __file__, Path(model_dir).absolute(), records, "--out", scores],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )
        if done.returncode:
            said = done.stderr.strip() or f"it said nothing and ended with {done.returncode}"
            raise CppLoaderError(said)
        with np.load(scores) as arrays:
            return dict(arrays)


def load_and_run(
    model_dir: str | Path, examples: Sequence[bytes], signature: str = "serving_default"
) -> dict[str, np.ndarray]:
    """Scores examples in this process.

    Args:
      model_dir: Folder of the SavedModel.
      examples: B serialized tf.Examples.
      signature: A signature with one string [B] input.

    Returns:
      Each output by name.

    Raises:
      CppLoaderError: with the loader's message.
    """
    with _Session(_Library(), str(model_dir)) as session:
        signatures = read_signatures(session.meta_graph)
        if signature not in signatures:
            raise CppLoaderError(
                f"{model_dir}: found the signatures {', '.join(sorted(signatures))}; expected "
                f"{signature}"
            )
        inputs, outputs = signatures[signature]
        if len(inputs) != 1:
            raise CppLoaderError(
                f"{model_dir}: found {len(inputs)} inputs in {signature}; expected 1"
            )
        (feed,) = inputs.values()
        values = session.run(feed, examples, list(outputs.values()))
    return dict(zip(outputs, values, strict=True))


# --- TFRecord ---------------------------------------------------------------------------------


def read_records(path: str | Path) -> list[bytes]:
    """Reads a TFRecord file, gzipped where its name ends in .gz.

    The checksums are not verified: gzip has one of its own, and a record cut short is noticed
    by its length.

    Args:
      path: The file.

    Returns:
      The records.

    Raises:
      CppLoaderError: if the file ends within a record, or its gzip stream is broken.
    """
    data = Path(path).read_bytes()
    if str(path).endswith(".gz"):
        try:
            data = gzip.decompress(data)
        except (EOFError, OSError, zlib.error) as error:
            raise CppLoaderError(f"{path}: found {error}; expected a whole gzip file") from error
    records: list[bytes] = []
    at = 0
    while at < len(data):
        start = at + _RECORD_HEAD
        length = struct.unpack_from("<Q", data, at)[0] if start <= len(data) else 0
        at = start + length + _RECORD_TAIL
        if at > len(data):
            raise CppLoaderError(
                f"{path}: found {len(data)} bytes; expected at least {at}, the end of record "
                f"{len(records)}"
            )
        records.append(data[start : start + length])
    return records


def _record(payload: bytes) -> bytes:
    """A record with its checksums left zero: this module's reader skips them."""
    return struct.pack("<QI", len(payload), 0) + payload + struct.pack("<I", 0)


# --- protobuf's wire format -------------------------------------------------------------------


def read_signatures(meta_graph: bytes) -> dict[str, tuple[dict[str, str], dict[str, str]]]:
    """Reads the signatures out of a serialized MetaGraphDef.

    Args:
      meta_graph: The message.

    Returns:
      By signature, the tensor names of its inputs and of its outputs, each by alias.
    """
    signatures = {}
    for entry in _submessages(meta_graph, 5):  # MetaGraphDef.signature_def
        name, definition = _map_entry(entry)
        inputs = dict(map(_tensor_info, _submessages(definition, 1)))
        outputs = dict(map(_tensor_info, _submessages(definition, 2)))
        signatures[name] = (inputs, outputs)
    return signatures


def _tensor_info(entry: bytes) -> tuple[str, str]:
    alias, info = _map_entry(entry)
    return alias, next(iter(_submessages(info, 1))).decode()  # TensorInfo.name


def _map_entry(entry: bytes) -> tuple[str, bytes]:
    fields = dict(_fields(entry))
    return fields[1].decode(), fields[2]


def _submessages(message: bytes, number: int) -> Iterator[bytes]:
    return (value for found, value in _fields(message) if found == number)


def _fields(message: bytes) -> Iterator[tuple[int, bytes]]:
    """Numbers and contents of the length-delimited fields; the others are skipped."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind = tag & 7
        if kind == 0:
            _, at = _varint(message, at)
        elif kind == 1:
            at += 8
        elif kind == 2:
            length, at = _varint(message, at)
            yield tag >> 3, message[at : at + length]
            at += length
        elif kind == 5:
            at += 4
        else:
            raise CppLoaderError(f"MetaGraphDef: found wire type {kind}; expected 0, 1, 2 or 5")


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


# --- TensorFlow's C interface -----------------------------------------------------------------


class _Buffer(ctypes.Structure):
    _fields_ = (
        ("data", ctypes.c_void_p),
        ("length", ctypes.c_size_t),
        ("data_deallocator", ctypes.c_void_p),
    )


class _Output(ctypes.Structure):
    _fields_ = (("operation", ctypes.c_void_p), ("index", ctypes.c_int))


def _library_path() -> Path:
    """The C++ library of the installed wheel, found without importing the package."""
    found = importlib.util.find_spec("tensorflow")
    for folder in (found.submodule_search_locations or []) if found else []:
        for path in sorted(Path(folder).glob("libtensorflow_cc.so*")):
            return path
    raise CppLoaderError("found no libtensorflow_cc.so; expected it in the tensorflow package")


_POINTER, _SIZE, _INT = ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int
_OUTPUTS, _TENSORS = ctypes.POINTER(_Output), ctypes.POINTER(ctypes.c_void_p)

# Result and arguments of the functions that are called, without their prefix TF_.
_FUNCTIONS: dict[str, tuple[Any, list[Any]]] = {
    "NewStatus": (_POINTER, []),
    "GetCode": (_INT, [_POINTER]),
    "Message": (ctypes.c_char_p, [_POINTER]),
    "DeleteStatus": (None, [_POINTER]),
    "NewBuffer": (ctypes.POINTER(_Buffer), []),
    "DeleteBuffer": (None, [ctypes.POINTER(_Buffer)]),
    "NewGraph": (_POINTER, []),
    "DeleteGraph": (None, [_POINTER]),
    "GraphOperationByName": (_POINTER, [_POINTER, ctypes.c_char_p]),
    "NewSessionOptions": (_POINTER, []),
    "DeleteSessionOptions": (None, [_POINTER]),
    "LoadSessionFromSavedModel": (
        _POINTER,
        [_POINTER, _POINTER, ctypes.c_char_p, ctypes.POINTER(ctypes.c_char_p), _INT]
        + [_POINTER, ctypes.POINTER(_Buffer), _POINTER],
    ),
    "SessionRun": (
        None,
        [_POINTER, _POINTER]
        + [_OUTPUTS, _TENSORS, _INT]
        + [_OUTPUTS, _TENSORS, _INT]
        + [_POINTER, _INT, _POINTER, _POINTER],
    ),
    "CloseSession": (None, [_POINTER, _POINTER]),
    "DeleteSession": (None, [_POINTER, _POINTER]),
    "AllocateTensor": (_POINTER, [_INT, ctypes.POINTER(ctypes.c_int64), _INT, _SIZE]),
    "DeleteTensor": (None, [_POINTER]),
    "TensorData": (_POINTER, [_POINTER]),
    "TensorByteSize": (_SIZE, [_POINTER]),
    "TensorType": (_INT, [_POINTER]),
    "NumDims": (_INT, [_POINTER]),
    "Dim": (ctypes.c_int64, [_POINTER, _INT]),
    "StringInit": (None, [_POINTER]),
    "StringCopy": (None, [_POINTER, ctypes.c_char_p, _SIZE]),
    "StringDealloc": (None, [_POINTER]),
}


class _Library:
    """The library's functions, with their types."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(str(_library_path()))

    def __getattr__(self, name: str) -> Any:
        function = getattr(self._library, f"TF_{name}")
        function.restype, function.argtypes = _FUNCTIONS[name]
        setattr(self, name, function)
        return function

    def checked(self, function: Any, *arguments: Any) -> Any:
        """Calls a function whose last argument is a status."""
        status = self.NewStatus()
        try:
            result = function(*arguments, status)
            if self.GetCode(status):
                raise CppLoaderError(self.Message(status).decode(errors="replace"))
            return result
        finally:
            self.DeleteStatus(status)


class _Session:
    """A loaded SavedModel: variables restored, tables initialised."""

    def __init__(self, library: _Library, model_dir: str):
        self._library = library
        self._graph = library.NewGraph()
        options = library.NewSessionOptions()
        meta_graph = library.NewBuffer()
        tags = (ctypes.c_char_p * 1)(b"serve")
        try:
            self._session = library.checked(
                library.LoadSessionFromSavedModel,
                options,
                None,
                model_dir.encode(),
                tags,
                1,
                self._graph,
                meta_graph,
            )
            content = meta_graph.contents
            self.meta_graph = ctypes.string_at(content.data, content.length)
        finally:
            library.DeleteBuffer(meta_graph)
            library.DeleteSessionOptions(options)

    def __enter__(self) -> _Session:
        return self

    def __exit__(self, *_: Any) -> None:
        self._library.checked(self._library.CloseSession, self._session)
        self._library.checked(self._library.DeleteSession, self._session)
        self._library.DeleteGraph(self._graph)

    def run(self, feed: str, texts: Sequence[bytes], fetches: Iterable[str]) -> list[np.ndarray]:
        library = self._library
        inputs = (_Output * 1)(self._output(feed))
        outputs = [self._output(name) for name in fetches]
        results = (ctypes.c_void_p * len(outputs))()
        shape = (ctypes.c_int64 * 1)(len(texts))
        tensor = library.AllocateTensor(_DT_STRING, shape, 1, len(texts) * _TSTRING_BYTES)
        start = library.TensorData(tensor) or 0
        addresses = [start + _TSTRING_BYTES * i for i in range(len(texts))]
        for address, text in zip(addresses, texts, strict=True):
            library.StringInit(address)
            library.StringCopy(address, text, len(text))
        try:
            library.checked(
                library.SessionRun,
                self._session,
                None,
                inputs,
                (ctypes.c_void_p * 1)(tensor),
                1,
                (_Output * len(outputs))(*outputs),
                results,
                len(outputs),
                None,
                0,
                None,
            )
            return [self._to_numpy(result) for result in results]
        finally:
            for address in addresses:
                library.StringDealloc(address)
            library.DeleteTensor(tensor)
            for result in filter(None, results):
                library.DeleteTensor(result)

    def _output(self, tensor_name: str) -> _Output:
        name, _, index = tensor_name.partition(":")
        operation = self._library.GraphOperationByName(self._graph, name.encode())
        if not operation:
            raise CppLoaderError(f"found no operation {name}; expected it in the graph")
        return _Output(operation, int(index or 0))

    def _to_numpy(self, tensor: Any) -> np.ndarray:
        library = self._library
        kind = library.TensorType(tensor)
        if kind not in _NUMPY_TYPES:
            raise CppLoaderError(
                f"found an output of DataType {kind}; expected one of {sorted(_NUMPY_TYPES)}"
            )
        shape = [library.Dim(tensor, i) for i in range(library.NumDims(tensor))]
        data = ctypes.string_at(library.TensorData(tensor), library.TensorByteSize(tensor))
        return np.frombuffer(data, _NUMPY_TYPES[kind]).reshape(shape)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; see the top of this file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model_dir", help="folder of a SavedModel")
    parser.add_argument("examples", help="serialized tf.Examples: .tfrecord or .tfrecord.gz")
    parser.add_argument("--out", required=True, help="file for the outputs: .npz")
    options = parser.parse_args(arguments)
    try:
        scores = load_and_run(options.model_dir, read_records(options.examples))
    except (CppLoaderError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    # As numpy.savez does, which cannot take an output named `file`.
    with zipfile.ZipFile(options.out, "w") as archive:
        for name, values in scores.items():
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, values)
    return 0


if __name__ == "__main__":
    sys.exit(main())
