"""Writes the model that the conformance suite asks for, and the files of a server for it.

    python tests/serving/conformance/fixture_model.py FOLDER [--base-path PATH]

FOLDER then holds versions 1 and 2 in `conformance/1` and `conformance/00000002`, beside a folder
that is no version, and `models.config` and `monitoring.config`.
PATH is where the server sees `FOLDER/conformance`; that folder itself by default.

Of version v, `serving_default` answers y = x / 2 + v.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path

os.environ.setdefault("TF_USE_LEGACY_KERAS", "1")

import tensorflow as tf

MODEL = "conformance"
# Their folders; a name is a number of at most 63 bits, with or without zeros before it.
VERSIONS = {1: "1", 2: "00000002"}
NO_VERSION = str(2**63)
LABELS = {"stable": 1, "canary": 2}
CLASSES = [b"no", b"yes"]

_MONITORING = """prometheus_config {
  enable: true
  path: "/monitoring/prometheus/metrics"
}
"""


def write(folder: Path) -> Path:
    """Writes the versions; returns their base folder."""
    (folder / MODEL / NO_VERSION).mkdir(parents=True)
    for version, name in VERSIONS.items():
        path = str(folder / MODEL / name)
        model = _Model(version)
        tf.saved_model.save(
            model, path, signatures={name: getattr(model, name) for name in _SIGNATURES}
        )
        # Servers may ask for the method's name; saving writes Predict's everywhere.
        names = tf.compat.v1.saved_model.signature_def_utils.MethodNameUpdater(path)
        for method in ("classify", "regress"):
            names.replace_method_name(method, f"tensorflow/serving/{method}")
        names.save()
    return folder / MODEL


def models_config(base_path: str) -> str:
    """A ModelServerConfig in text format."""
    versions = " ".join(f"versions: {version}" for version in VERSIONS)
    labels = "\n".join(
        f'    version_labels {{ key: "{label}" value: {version} }}'
        for label, version in LABELS.items()
    )
    return f"""model_config_list {{
  config {{
    name: "{MODEL}"
    base_path: "{base_path}"
    model_platform: "tensorflow"
    model_version_policy {{ specific {{ {versions} }} }}
{labels}
  }}
}}
"""


_SIGNATURES = ("serving_default", "mixed", "scalar", "types", "positive", "classify", "regress")


class _Model(tf.Module):
    def __init__(self, version: int):
        super().__init__()
        self.shift = tf.Variable(float(version))

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def serving_default(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": x / 2 + self.shift}

    @tf.function(
        input_signature=[
            tf.TensorSpec([None, 2], tf.float32, "numbers"),
            tf.TensorSpec([None], tf.int64, "ids"),
            tf.TensorSpec([None], tf.string, "words"),
        ]
    )
    def mixed(self, numbers: tf.Tensor, ids: tf.Tensor, words: tf.Tensor) -> dict[str, tf.Tensor]:
        loud = tf.strings.upper(words)
        total = tf.reduce_sum(numbers, 1) + tf.cast(ids, tf.float32)
        return {"total": total, "ids": ids + 0, "loud": loud, "loud_bytes": tf.identity(loud)}

    @tf.function(input_signature=[tf.TensorSpec([], tf.float32, "x")])
    def scalar(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"y": x / 2 + self.shift}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def types(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        kinds = (tf.float64, tf.int8, tf.int32, tf.int64, tf.uint8, tf.bool, tf.half)
        return {kind.name: tf.cast(x, kind) for kind in kinds}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, "x")])
    def positive(self, x: tf.Tensor) -> dict[str, tf.Tensor]:
        # A reshape that cannot be, where a value is negative.
        rows = tf.size(x) + tf.cast(tf.reduce_any(x < 0), tf.int32)
        return {"y": tf.reshape(x, [rows])}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "inputs")])
    def classify(self, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        yes = tf.sigmoid(self._parsed(inputs))
        scores = tf.stack([1 - yes, yes], 1)
        return {"classes": tf.tile([CLASSES], [tf.size(yes), 1]), "scores": scores}

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "inputs")])
    def regress(self, inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        return {"outputs": self._parsed(inputs)[:, None] / 2 + self.shift}

    def _parsed(self, examples: tf.Tensor) -> tf.Tensor:
        spec = {name: tf.io.FixedLenFeature([], tf.float32, 0.0) for name in ("x", "more")}
        parsed = tf.io.parse_example(examples, spec)
        return parsed["x"] + parsed["more"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--base-path", help="where the server sees FOLDER/conformance")
    arguments = parser.parse_args()
    base = write(arguments.folder.resolve())
    config = models_config(arguments.base_path or str(base))
    (arguments.folder / "models.config").write_text(config)
    (arguments.folder / "monitoring.config").write_text(_MONITORING)


if __name__ == "__main__":
    main()
