"""Runs a SavedModel through TensorFlow's C++ loader, without Python's TensorFlow.

    python cpp_loader.py MODEL_DIR EXAMPLES.tfrecord[.gz] --out scores.npz
    python cpp_loader.py MODEL_DIR REQUESTS --requests [--repeats N] --out answers.npz

TensorFlow Serving loads a SavedModel with C++ code that the TensorFlow wheel ships as
a library. This script calls that library through its C interface. It imports neither
tensorflow nor anything of this project, only the standard library and numpy: a model
that scores here holds all it needs, in stock ops. `run_in_fresh_process` and
`answer_in_fresh_process` call it in an interpreter of its own.

The first form gives serialized tf.Examples to `serving_default`. The second answers a
file of requests as TensorFlow Serving takes them for its warm-up, a TFRecord of
PredictionLog, and prints what loading and answering cost, as JSON. Both read protobuf's
wire format themselves, for the few fields needed.
"""

from __future__ import annotations

import argparse
import contextlib
import ctypes
import gzip
import importlib.util
import json
import os
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

_DT_FLOAT, _DT_STRING, _DT_INT64 = 1, 7, 9
_NUMPY_TYPES: dict[int, Any] = {
    1: np.float32,
    2: np.float64,
    3: np.int32,
    9: np.int64,
    10: np.bool_,
}
_DATA_TYPES = {np.dtype("<f4"): _DT_FLOAT, np.dtype("<i8"): _DT_INT64}
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
        records = Path(folder, "examples.tfrecord")
        records.write_bytes(b"".join(map(_record, examples)))
        return _fresh_process(model_dir, records, [], timeout)[0]


@dataclass(frozen=True)
class Answers:
    """What a model said in a fresh process, and what it cost.

    Args:
      signatures: By request: the signature's name.
      outputs: By request: each output by name; text as numpy's bytes.
      milliseconds: By request: of each repeated run of the graph; not of the first, which prepares
        what the others use.
      load_seconds: Of loading, variables and tables included.
      memory_mb: Most memory that the process held resident, in 2^20 bytes.
      memory_before_mb: What it held before it loaded the model.
    """

    signatures: list[str]
    outputs: list[dict[str, np.ndarray]]
    milliseconds: list[list[float]]
    load_seconds: float
    memory_mb: float
    memory_before_mb: float


def answer_in_fresh_process(
    model_dir: str | Path, requests: str | Path, repeats: int = 0, timeout: float = 300.0
) -> Answers:
    """Answers requests in a new interpreter, likewise.

    Args:
      model_dir: Folder of the SavedModel.
      requests: TFRecord file of PredictionLog, of Predict requests only.
      repeats: How often each is answered after the first time.
      timeout: Seconds after which the process is killed.

    Raises:
      CppLoaderError: with the loader's message, and the request's number if the model failed on it.
      subprocess.TimeoutExpired: if it took longer than `timeout`.
    """
    options = ["--requests", "--repeats", str(repeats)]
    arrays, printed = _fresh_process(model_dir, Path(requests).absolute(), options, timeout)
    measured = json.loads(printed)
    outputs: list[dict[str, np.ndarray]] = [{} for _ in measured["milliseconds"]]
    for key, values in arrays.items():
        number, _, name = key.partition("/")
        outputs[int(number)][name] = values
    return Answers(outputs=outputs, **measured)


def _fresh_process(
    model_dir: str | Path, file: Path, options: Sequence[str], timeout: float
) -> tuple[dict[str, np.ndarray], str]:
    """Runs this script; gives the arrays that it wrote and what it printed."""
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "out.npz")
        # The loader is to be checked, not the accelerator, which training may hold.
        environment = {**os.environ, "CUDA_VISIBLE_DEVICES": "-1", "TF_CPP_MIN_LOG_LEVEL": "3"}
        done = subprocess.run(
            [sys.executable, __file__, Path(model_dir).absolute(), file, "--out", out, *options],
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
        with np.load(out) as arrays:
            return dict(arrays), done.stdout


# --- In the fresh process ---------------------------------------------------------------------


def _score(model_dir: str, examples: Sequence[bytes]) -> dict[str, np.ndarray]:
    """What `serving_default`, with one input, says of examples."""
    with _Session(_Library(), model_dir) as session:
        inputs, _ = session.signature("serving_default")
        if len(inputs) != 1:
            raise CppLoaderError(
                f"{model_dir}: found {len(inputs)} inputs in serving_default; expected 1"
            )
        (name,) = inputs
        return session.run("serving_default", {name: _texts(examples)})[0]


def _answer(
    model_dir: str, requests: Sequence[tuple[str, Mapping[str, np.ndarray]]], repeats: int
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Outputs under `<request>/<name>`, and what `Answers` holds besides."""
    library = _Library()
    before, start = _memory_mb("VmRSS"), time.perf_counter()
    with _Session(library, model_dir) as session:
        loaded = time.perf_counter() - start
        arrays: dict[str, np.ndarray] = {}
        milliseconds = []
        for number, (signature, inputs) in enumerate(requests):
            try:
                outputs, times = session.run(signature, inputs, repeats)
            except CppLoaderError as error:
                raise CppLoaderError(f"request {number}, {signature}: {error}") from error
            arrays |= {f"{number}/{name}": values for name, values in outputs.items()}
            milliseconds.append(times)
        measured = {
            "signatures": [signature for signature, _ in requests],
            "milliseconds": milliseconds,
            "load_seconds": loaded,
            "memory_mb": _memory_mb("VmHWM"),
            "memory_before_mb": before,
        }
    return arrays, measured


def _memory_mb(key: str) -> float:
    """A line of this process's /proc/self/status, in 2^20 bytes."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith(f"{key}:"):
            return int(line.split()[1]) / 1024
    raise CppLoaderError(f"/proc/self/status: found no {key}; expected it, as Linux has it")


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


def _fields(message: bytes) -> Iterator[tuple[int, Any]]:
    """Numbers and contents of the fields: of a varint the int, of others their bytes."""
    at = 0
    while at < len(message):
        tag, at = _varint(message, at)
        kind, length = tag & 7, 0
        if kind == 0:
            value, at = _varint(message, at)
            yield tag >> 3, value
            continue
        if kind == 2:
            length, at = _varint(message, at)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise CppLoaderError(f"protobuf: found wire type {kind}; expected 0, 1, 2 or 5")
        if at + length > len(message):
            raise CppLoaderError(f"protobuf: found {len(message)} bytes; expected {at + length}")
        yield tag >> 3, message[at : at + length]
        at += length


def _varint(message: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if at == len(message):
            raise CppLoaderError(f"protobuf: found {at} bytes; expected more of a varint")
        byte = message[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def read_request(prediction_log: bytes) -> tuple[str, dict[str, np.ndarray]]:
    """Reads a Predict request.

    Args:
      prediction_log: A serialized PredictionLog.

    Returns:
      The signature's name, and the inputs by name; text as objects.

    Raises:
      CppLoaderError: if it holds another request, or an input of another type than string, float32
        or int64.
    """
    fields = dict(_fields(prediction_log))
    if 6 not in fields:  # PredictionLog.predict_log
        raise CppLoaderError(f"found a PredictionLog of the fields {sorted(fields)}; expected 6")
    request = next(_submessages(fields[6], 1), b"")  # PredictLog.request
    spec = next(_submessages(request, 1), b"")  # PredictRequest.model_spec
    signature = next(_submessages(spec, 3), b"").decode() or "serving_default"
    inputs = dict(map(_map_entry, _submessages(request, 2)))
    return signature, {name: _read_tensor(name, tensor) for name, tensor in inputs.items()}


def _read_tensor(name: str, tensor: bytes) -> np.ndarray:
    found: dict[int, list[Any]] = {}
    for number, value in _fields(tensor):
        found.setdefault(number, []).append(value)
    dtype = found.get(1, [0])[0]
    dims = list(_submessages(b"".join(found.get(2, [])), 2))
    shape = [dict(_fields(dim)).get(1, 0) for dim in dims]
    content = b"".join(found.get(4, []))
    if dtype == _DT_STRING:
        values = _texts(found.get(8, []))
    elif dtype == _DT_FLOAT:
        values = np.frombuffer(content or b"".join(found.get(5, [])), "<f4")
    elif dtype == _DT_INT64 and content:
        values = np.frombuffer(content, "<i8")
    elif dtype == _DT_INT64:
        values = np.array([_signed(v) for part in found.get(10, []) for v in _varints(part)], "<i8")
    else:
        raise CppLoaderError(
            f"input {name}: found DataType {dtype}; expected {_DT_STRING} (string), {_DT_FLOAT} "
            f"(float32) or {_DT_INT64} (int64)"
        )
    count = int(np.prod(shape))
    if 0 < len(values) < count:
        # The last value stands for those that are left out.
        values = np.concatenate([values, np.repeat(values[-1:], count - len(values))])
    if len(values) != count:
        raise CppLoaderError(f"input {name}: found {len(values)} values; expected shape {shape}")
    return values.reshape(shape)


def _varints(packed: bytes | int) -> Iterator[int]:
    if isinstance(packed, int):
        yield packed
        return
    at = 0
    while at < len(packed):
        value, at = _varint(packed, at)
        yield value


def _signed(value: int) -> int:
    return value - (1 << 64) if value >> 63 else value


def _texts(values: Sequence[bytes]) -> np.ndarray:
    return np.array(values, object)


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
    "StringGetDataPointer": (_POINTER, [_POINTER]),
    "StringGetSize": (_SIZE, [_POINTER]),
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
        self._model_dir = model_dir
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
            self._signatures = read_signatures(ctypes.string_at(content.data, content.length))
        finally:
            library.DeleteBuffer(meta_graph)
            library.DeleteSessionOptions(options)

    def __enter__(self) -> _Session:
        return self

    def __exit__(self, *_: Any) -> None:
        self._library.checked(self._library.CloseSession, self._session)
        self._library.checked(self._library.DeleteSession, self._session)
        self._library.DeleteGraph(self._graph)

    def signature(self, name: str) -> tuple[dict[str, str], dict[str, str]]:
        """Tensor names of a signature's inputs and outputs, by alias."""
        if name not in self._signatures:
            raise CppLoaderError(
                f"{self._model_dir}: found the signatures {', '.join(sorted(self._signatures))}; "
                f"expected {name}"
            )
        return self._signatures[name]

    def run(
        self, signature: str, inputs: Mapping[str, np.ndarray], repeats: int = 0
    ) -> tuple[dict[str, np.ndarray], list[float]]:
        """Outputs by name, and milliseconds of each of `repeats` further runs."""
        feeds, fetches = self.signature(signature)
        if set(inputs) != set(feeds):
            raise CppLoaderError(
                f"found the inputs {', '.join(sorted(inputs))}; expected {', '.join(sorted(feeds))}"
            )
        with contextlib.ExitStack() as held:
            tensors = [held.enter_context(self._tensor(value)) for value in inputs.values()]
            places = [self._output(feeds[name]) for name in inputs]
            outputs = [self._output(name) for name in fetches.values()]
            values = self._run(places, tensors, outputs)[0]
            times = [self._run(places, tensors, outputs)[1] for _ in range(repeats)]
        return dict(zip(fetches, values, strict=True)), times

    def _run(
        self, places: Sequence[_Output], tensors: Sequence[Any], outputs: Sequence[_Output]
    ) -> tuple[list[np.ndarray], float]:
        """Values of the outputs, and the milliseconds that the graph ran."""
        library = self._library
        results = (ctypes.c_void_p * len(outputs))()
        try:
            start = time.perf_counter()
            library.checked(
                library.SessionRun,
                self._session,
                None,
                (_Output * len(places))(*places),
                (ctypes.c_void_p * len(tensors))(*tensors),
                len(tensors),
                (_Output * len(outputs))(*outputs),
                results,
                len(outputs),
                None,
                0,
                None,
            )
            took = 1000 * (time.perf_counter() - start)
            return [self._to_numpy(result) for result in results], took
        finally:
            for result in filter(None, results):
                library.DeleteTensor(result)

    @contextlib.contextmanager
    def _tensor(self, value: np.ndarray) -> Iterator[Any]:
        """A tensor of text, float32 or int64, freed in the end."""
        library = self._library
        texts = value.ravel().tolist() if value.dtype == object else []
        kind = _DT_STRING if value.dtype == object else _DATA_TYPES[value.dtype]
        size = len(texts) * _TSTRING_BYTES if kind == _DT_STRING else value.nbytes
        shape = (ctypes.c_int64 * value.ndim)(*value.shape)
        tensor = library.AllocateTensor(kind, shape, value.ndim, size)
        start = library.TensorData(tensor) or 0
        addresses = [start + _TSTRING_BYTES * i for i in range(len(texts))]
        for address, text in zip(addresses, texts, strict=True):
            library.StringInit(address)
            library.StringCopy(address, text, len(text))
        if kind != _DT_STRING and size:
            ctypes.memmove(start, np.ascontiguousarray(value).tobytes(), size)
        try:
            yield tensor
        finally:
            for address in addresses:
                library.StringDealloc(address)
            library.DeleteTensor(tensor)

    def _output(self, tensor_name: str) -> _Output:
        name, _, index = tensor_name.partition(":")
        operation = self._library.GraphOperationByName(self._graph, name.encode())
        if not operation:
            raise CppLoaderError(f"found no operation {name}; expected it in the graph")
        return _Output(operation, int(index or 0))

    def _to_numpy(self, tensor: Any) -> np.ndarray:
        library = self._library
        kind = library.TensorType(tensor)
        shape = [library.Dim(tensor, i) for i in range(library.NumDims(tensor))]
        start = library.TensorData(tensor)
        if kind == _DT_STRING:
            addresses = [start + _TSTRING_BYTES * i for i in range(int(np.prod(shape)))]
            texts = [
                ctypes.string_at(library.StringGetDataPointer(a), library.StringGetSize(a))
                for a in addresses
            ]
            return np.array(texts, np.bytes_).reshape(shape)
        if kind not in _NUMPY_TYPES:
            raise CppLoaderError(
                f"found an output of DataType {kind}; expected one of "
                f"{sorted([*_NUMPY_TYPES, _DT_STRING])}"
            )
        data = ctypes.string_at(start, library.TensorByteSize(tensor))
        return np.frombuffer(data, _NUMPY_TYPES[kind]).reshape(shape)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command line; see the top of this file."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("model_dir", help="folder of a SavedModel")
    parser.add_argument("records", help="serialized tf.Examples, TFRecord: .tfrecord[.gz]")
    parser.add_argument("--requests", action="store_true", help="they are PredictionLogs instead")
    parser.add_argument("--repeats", type=int, default=0, help="times to answer each again")
    parser.add_argument("--out", required=True, help="file for the outputs: .npz")
    options = parser.parse_args(arguments)
    try:
        records = read_records(options.records)
        if options.requests:
            requests = [read_request(record) for record in records]
            arrays, measured = _answer(options.model_dir, requests, options.repeats)
            print(json.dumps(measured))
        else:
            arrays = _score(options.model_dir, records)
    except (CppLoaderError, OSError) as error:
        print(error, file=sys.stderr)
        return 1
    # As numpy.savez does, which cannot take an output named `file`.
    with zipfile.ZipFile(options.out, "w") as archive:
        for name, values in arrays.items():
            with archive.open(f"{name}.npy", "w") as member:
                np.lib.format.write_array(member, values)
    return 0


if __name__ == "__main__":
    sys.exit(main())
