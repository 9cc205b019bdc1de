"""Deltas of exported models, applied to version folders and served."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import tensorflow as tf

from serving import versions
from serving.cpp_loader import run_in_fresh_process
from serving.delta import (
    Delta,
    DeltaRefusedError,
    SyncFile,
    SyncPolicy,
    make_delta,
    push_delta,
    read_version,
)
from serving.export import export

FEATURES = ["user_id", "item_id", "duration_s", "tab"]
TASKS = ["like", "click"]
WARM_UP = "tf_serving_warmup_requests"


class Days(NamedTuple):
    """Exports of one model, each after a day of training."""

    folders: list[Path]

    def delta(self, base: Path, day: int, policy: SyncPolicy | None = None) -> Delta:
        """From the newest version of a base folder to a day's export."""
        number, folder = versions.latest(base) or (0, base)
        return make_delta(
            read_version(folder),
            read_version(self.folders[day]),
            policy or SyncPolicy(),
            number=number,
            where="candidate",
            extra={WARM_UP: b"requests"},
        )[0]


@pytest.fixture(scope="module")
def days(
    transform_output: Any,
    parse_rows: Any,
    log_rows: list[dict[str, Any]],
    tmp_path_factory: pytest.TempPathFactory,
) -> Days:
    from keras_models.backbones.ple import Ple
    from keras_models.embeddings import (
        Adagrad,
        CountUpdates,
        DynamicEmbedding,
        DynamicEmbeddingConfig,
        MinCount,
        Policy,
    )
    from keras_models.model import RankingModel

    policy = Policy(admission=MinCount(2), sync=CountUpdates())
    config = DynamicEmbeddingConfig(
        fields=tuple(FEATURES[:3]),
        dim=8,
        dims={"item_id": 4},
        capacity=1024,
        policy=policy,
        optimizer=Adagrad(learning_rate=3.0),
    )
    tf.keras.utils.set_random_seed(3)
    model = RankingModel(
        tasks=TASKS,
        num_numbers=2,
        num_scenarios=3,
        backbone=Ple(len(TASKS), levels=1, expert_units=[8]),
        tower_units=[4],
        embedding=DynamicEmbedding(config),
    )
    folders = []
    for day in range(3):
        # On the first day no key has a row.
        rows = log_rows[100 * (day - 1) : 100 * day] if day else []
        if rows:
            keys = parse_rows(rows)["keys"]
            moment = tf.fill([len(rows)], tf.constant(day, tf.int64))
            embedded, lookup = model.embedding.train_lookup(keys, day=moment)
            gradients = tf.random.stateless_normal(embedded.fields.shape, [day, 7], stddev=30.0)
            model.embedding.apply_gradients(lookup, embedded._replace(fields=gradients))
            for weight in model.network.trainable_weights:
                weight.assign_add(tf.random.stateless_normal(weight.shape, [day, 8], stddev=0.1))
        folder = tmp_path_factory.mktemp("days") / "model"
        export(
            model,
            transform_output,
            FEATURES,
            TASKS,
            str(folder),
            binary_tasks=TASKS,
        )
        SyncFile.of_export(model.embedding.sync_states(), "of the graph").write(folder)
        folders.append(folder)
    return Days(folders)


def served(base: Path) -> Path:
    found = versions.latest(base)
    assert found is not None
    return found[1]


def scores(model_dir: Path, examples: list[bytes]) -> dict[str, np.ndarray]:
    signature = tf.saved_model.load(str(model_dir)).signatures["serving_default"]
    outputs = signature(examples=tf.constant(examples, tf.string))
    return {name: values.numpy() for name, values in outputs.items()}


def test_a_chain_of_deltas_serves_what_full_pushes_do(
    days: Days, as_examples: Any, log_rows: Any, tmp_path: Path
) -> None:
    examples = as_examples(log_rows)
    versions.push(days.folders[0], tmp_path, keep=5)
    for day in (1, 2):
        number, is_new = push_delta(days.delta(tmp_path, day), tmp_path, keep=5)
        assert is_new and versions.numbers(tmp_path)[-1] == number
        expected = scores(days.folders[day], examples)
        found = scores(served(tmp_path), examples)
        # TensorFlow Serving's loader, in a process without this project.
        in_cpp = run_in_fresh_process(served(tmp_path), examples)
        for task in TASKS:
            assert np.std(expected[task]) > 0.01
            np.testing.assert_array_equal(found[task], expected[task])
            np.testing.assert_allclose(in_cpp[task], expected[task], rtol=0, atol=1e-6)
    assert (served(tmp_path) / "assets.extra" / WARM_UP).read_bytes() == b"requests"
    assert len(versions.numbers(tmp_path)) == 3


def test_rows_that_wait_are_served_as_before(
    days: Days, as_examples: Any, log_rows: Any, tmp_path: Path
) -> None:
    versions.push(days.folders[1], tmp_path, keep=5)
    before = read_version(served(tmp_path))
    push_delta(days.delta(tmp_path, 2, SyncPolicy(min_updates=2)), tmp_path, keep=5)
    after, whole = read_version(served(tmp_path)), read_version(days.folders[2])
    # A step a day: what both days read has had one update since, what is new has had one in all.
    for path, table in after.tables.items():
        np.testing.assert_array_equal(table.keys, before.tables[path].keys)
        assert not table.rows.differ(before.tables[path].rows).any()
        assert table.shared.differ(before.tables[path].shared).any()
    np.testing.assert_equal(after.variables, whole.variables)
    examples = as_examples(log_rows)
    found, expected = scores(served(tmp_path), examples), scores(days.folders[2], examples)
    assert not np.allclose(found["click"], expected["click"], atol=1e-3)
    # In the end a delta of all brings what waited.
    push_delta(days.delta(tmp_path, 2), tmp_path, keep=5)
    np.testing.assert_array_equal(scores(served(tmp_path), examples)["click"], expected["click"])


def test_the_same_delta_again_changes_nothing(days: Days, tmp_path: Path) -> None:
    versions.push(days.folders[0], tmp_path, keep=5)
    delta = days.delta(tmp_path, 1)
    number, _ = push_delta(delta, tmp_path, keep=5)
    assert push_delta(delta, tmp_path, keep=5) == (number, False)
    assert len(versions.numbers(tmp_path)) == 2


def test_a_refused_delta_leaves_all_as_it_was(days: Days, tmp_path: Path) -> None:
    versions.push(days.folders[0], tmp_path / "a", keep=5)
    versions.push(days.folders[1], tmp_path / "b", keep=5)
    delta = days.delta(tmp_path / "a", 2)
    (tmp_path / "empty").mkdir()
    found = {"b": "another one", "empty": "no version", "mistyped": "no such folder"}
    for base, words in found.items():
        with pytest.raises(DeltaRefusedError, match=f"{words}.* Push the whole version"):
            push_delta(delta, tmp_path / base, keep=5)
    assert len(versions.numbers(tmp_path / "b")) == 1
    assert not list((tmp_path / "empty").iterdir()) and not (tmp_path / "mistyped").exists()


def test_what_was_not_trained_for_deltas_is_refused(days: Days, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    with pytest.raises(DeltaRefusedError, match="no saved_model.pb"):
        read_version(folder)
    shutil.copytree(days.folders[1], folder)
    file = folder / "assets.extra" / "embedding_sync.npz"
    shutil.copyfile(days.folders[2] / "assets.extra" / "embedding_sync.npz", file)
    with pytest.raises(DeltaRefusedError, match="keys of another model"):
        read_version(folder)
    file.write_bytes(file.read_bytes()[:100])
    with pytest.raises(DeltaRefusedError, match="cannot be read"):
        read_version(folder)
    file.unlink()
    with pytest.raises(DeltaRefusedError, match="no such file.*Set `serving.delta` and train"):
        read_version(folder)


@pytest.mark.parametrize("file", ["variables.index", "variables.data-00000-of-00001"])
@pytest.mark.parametrize("how", ["cut", "turned", "gone"])
def test_a_damaged_parent_is_refused_in_words(
    days: Days, tmp_path: Path, file: str, how: str
) -> None:
    versions.push(days.folders[0], tmp_path, keep=5)
    delta = days.delta(tmp_path, 1)
    path = served(tmp_path) / "variables" / file
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 255
    path.unlink()
    if how != "gone":
        path.write_bytes(content[: len(content) // 2] if how == "cut" else content)
    with pytest.raises(DeltaRefusedError, match="variables: found what cannot be read .* Copy it"):
        push_delta(delta, tmp_path, keep=5)
    assert len(versions.numbers(tmp_path)) == 1 and not list(tmp_path.glob(".tmp-*"))
