from __future__ import annotations

import gzip
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf.meta_graph_pb2 import MetaGraphDef
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog

from serving import cpp_loader
from serving.cpp_loader import (
    CppLoaderError,
    answer_in_fresh_process,
    read_records,
    read_signatures,
    run_in_fresh_process,
)
from serving.warmup import write_requests


@pytest.fixture(scope="module")
def records(tmp_path_factory: pytest.TempPathFactory, log_rows: Any, as_examples: Any) -> Path:
    """A gzipped TFRecord file, checksums and all."""
    path = tmp_path_factory.mktemp("records") / "examples.tfrecord.gz"
    with tf.io.TFRecordWriter(str(path), "GZIP") as writer:
        for example in as_examples(log_rows):
            writer.write(example)
    return path


def run_script(*arguments: str | Path, python: tuple[str, ...] = ()) -> Any:
    return subprocess.run(
        [sys.executable, *python, cpp_loader.__file__, *arguments],
        capture_output=True,
        text=True,
        check=False,
    )


def test_scores_equal_those_of_python(exported: Path, log_rows: Any, as_examples: Any) -> None:
    examples = as_examples(log_rows)
    assert len(examples) >= 200
    expected = tf.saved_model.load(str(exported)).signatures["serving_default"](
        examples=tf.constant(examples)
    )
    scores = run_in_fresh_process(exported, examples)
    assert set(scores) == set(expected) == {"like", "click"}
    for task, values in scores.items():
        assert values.dtype == np.float32
        np.testing.assert_allclose(values, expected[task].numpy(), rtol=0, atol=1e-6)


def test_the_script_alone_imports_neither_tensorflow_nor_the_project(
    exported: Path, records: Path, tmp_path: Path
) -> None:
    out = tmp_path / "scores.npz"
    done = run_script(exported, records, "--out", out, python=("-X", "importtime"))
    assert done.returncode == 0, done.stderr
    imported = {line.rsplit("|", 1)[-1].strip() for line in done.stderr.splitlines()}
    assert {"numpy", "ctypes"} <= imported
    foreign = {"tensorflow", "google", "serving", "keras_models", "transforms", "tfx_pipeline"}
    assert {name.split(".")[0] for name in imported} & foreign == set()
    with np.load(out) as scores:
        assert scores["click"].shape == (300,)


def test_no_rows(exported: Path) -> None:
    assert {k: v.shape for k, v in run_in_fresh_process(exported, []).items()} == {
        "like": (0,),
        "click": (0,),
    }


def test_long_and_empty_strings_arrive_whole(tmp_path: Path) -> None:
    class Lengths(tf.Module):
        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, name="texts")])
        def lengths(self, texts: tf.Tensor) -> dict[str, tf.Tensor]:
            return {
                "file": tf.strings.length(texts),
                "hash": tf.strings.to_hash_bucket_fast(texts, 1 << 40),
            }

    module = Lengths()
    tf.saved_model.save(module, str(tmp_path / "m"), signatures=module.lengths)
    texts = [b"", b"\0", b"inside" * 3, b"23 bytes and no more...", b"\0\xff" * 100_000]
    got = run_in_fresh_process(tmp_path / "m", texts)
    assert got["file"].tolist() == [len(text) for text in texts]
    assert got["file"].dtype == np.int32
    assert got["hash"].tolist() == module.lengths(tf.constant(texts))["hash"].numpy().tolist()


def test_signatures_are_read_as_by_protobuf(exported: Path) -> None:
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        meta_graph: MetaGraphDef = tf.compat.v1.saved_model.load(session, ["serve"], str(exported))
    expected = {
        name: (
            {alias: info.name for alias, info in signature.inputs.items()},
            {alias: info.name for alias, info in signature.outputs.items()},
        )
        for name, signature in meta_graph.signature_def.items()
        if not name.startswith("__")
    }
    found = read_signatures(meta_graph.SerializeToString())
    assert {name: found[name] for name in expected} == expected
    assert {"serving_default", "request_columns", "classify", "rank"} <= set(expected)


def test_records(records: Path, tmp_path: Path) -> None:
    expected = list(tf.data.TFRecordDataset(str(records), "GZIP").as_numpy_iterator())
    assert len(expected) == 300
    assert read_records(records) == expected
    plain = tmp_path / "examples.tfrecord"
    plain.write_bytes(gzip.decompress(records.read_bytes()))
    assert read_records(plain) == expected
    plain.write_bytes(b"")
    assert read_records(plain) == []


@pytest.mark.parametrize("cut", [5, 12, 13, 16])
def test_a_record_that_is_cut_short(cut: int, tmp_path: Path) -> None:
    path = tmp_path / "cut.tfrecord"
    path.write_bytes(
        struct.pack("<QI1sI", 1, 0, b"a", 0) + struct.pack("<QI1sI", 1, 0, b"b", 0)[:cut]
    )
    with pytest.raises(CppLoaderError, match=rf"found {17 + cut} bytes; expected .* of record 1"):
        read_records(path)


def test_a_gzip_that_is_cut_short(records: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.tfrecord.gz"
    path.write_bytes(records.read_bytes()[:-20])
    with pytest.raises(CppLoaderError, match="expected a whole gzip file"):
        read_records(path)


def test_errors_of_the_loader_come_back(exported: Path, tmp_path: Path) -> None:
    with pytest.raises(CppLoaderError, match="Could not find SavedModel .pb"):
        run_in_fresh_process(tmp_path, [])
    with pytest.raises(CppLoaderError, match="Could not parse example input"):
        run_in_fresh_process(exported, [b"no example"])


def test_errors_of_the_script_name_the_file(exported: Path, tmp_path: Path) -> None:
    done = run_script(exported, tmp_path / "absent", "--out", tmp_path / "out.npz")
    assert (done.returncode, done.stdout) == (1, "")
    assert "absent" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "out.npz").exists()


def test_a_model_without_the_signature(tmp_path: Path) -> None:
    module = tf.Module()
    module.f = tf.function(lambda: {"one": tf.constant(1)}, input_signature=[])
    tf.saved_model.save(module, str(tmp_path / "m"), signatures={"other": module.f})
    with pytest.raises(CppLoaderError, match="found the signatures .*other; expected serving_def"):
        run_in_fresh_process(tmp_path / "m", [])
    tf.saved_model.save(module, str(tmp_path / "n"), signatures={"serving_default": module.f})
    with pytest.raises(CppLoaderError, match="found 0 inputs in serving_default; expected 1"):
        run_in_fresh_process(tmp_path / "n", [])


class Everything(tf.Module):
    """Takes and gives each type that requests have, in several shapes."""

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, 2], tf.string, name="text"),
            tf.TensorSpec([None, 3], tf.float32, name="wide"),
            tf.TensorSpec([], tf.int64, name="scale"),
        ]
    )
    def mixed(self, text: tf.Tensor, wide: tf.Tensor, scale: tf.Tensor) -> dict[str, tf.Tensor]:
        return {
            "joined": tf.strings.reduce_join(text, axis=1),
            "echo": text,
            "scaled": wide * tf.cast(scale, tf.float32),
            "scale": scale,
            "classes": tf.constant(["like", "click"]),
        }


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("everything") / "m"
    module = Everything()
    tf.saved_model.save(module, str(path), signatures={"mixed": module.mixed})
    return path


def _requests(tmp_path: Path, *requests: Any) -> Path:
    write_requests(str(tmp_path / "requests"), requests)
    return tmp_path / "requests"


def test_requests_of_every_type_and_shape(everything: Path, tmp_path: Path) -> None:
    text = np.array([[b"a", b"\xff no UTF-8"], [b"", b"x" * 1000]], object)
    wide = np.arange(6, dtype=np.float32).reshape(2, 3)
    given = {"text": text, "wide": wide, "scale": np.int64(-3)}
    nothing = {"text": text[:0], "wide": wide[:0], "scale": np.int64(1 << 40)}
    answers = answer_in_fresh_process(
        everything, _requests(tmp_path, ("mixed", given), ("mixed", nothing))
    )
    first, second = answers.outputs
    assert first["joined"].tolist() == [b"a\xff no UTF-8", b"x" * 1000]
    assert first["echo"].tolist() == text.tolist()
    np.testing.assert_array_equal(first["scaled"], wide * -3)
    assert first["scale"] == -3 and second["scale"] == 1 << 40
    assert first["classes"].tolist() == [b"like", b"click"]
    assert second["joined"].shape == (0,) and second["scaled"].shape == (0, 3)
    assert answers.milliseconds == [[], []]


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (("x", {}), "request 1, x: .*found the signatures .*mixed; expected x"),
        (("mixed", {"text": np.array([[b""] * 2], object)}), "found the inputs text; expected sc"),
        (("mixed", {"wide": np.float64([[1]])}), "input wide: found DataType 2; expected 7"),
    ],
)
def test_requests_that_cannot_be_answered(
    request_: Any, message: str, everything: Path, tmp_path: Path
) -> None:
    good = {
        "text": np.array([[b"", b""]], object),
        "wide": np.zeros((1, 3), np.float32),
        "scale": np.int64(1),
    }
    with pytest.raises(CppLoaderError, match=message):
        answer_in_fresh_process(everything, _requests(tmp_path, ("mixed", good), request_))


def test_a_record_that_is_no_predict_request(everything: Path, tmp_path: Path) -> None:
    path = str(tmp_path / "requests")
    for record, message in (
        (PredictionLog(classify_log={}).SerializeToString(), "PredictionLog of the fields"),
        (b"\x32\xff", "expected more of a varint"),
        (b"\x32\x09ab", "found 4 bytes; expected 11"),
        (b"\x33", "found wire type 3"),
    ):
        with tf.io.TFRecordWriter(path) as writer:
            writer.write(record)
        with pytest.raises(CppLoaderError, match=message):
            answer_in_fresh_process(everything, path)
