"""How workers share transformed examples."""

from __future__ import annotations

from pathlib import Path

import pytest
import tensorflow as tf

from keras_models.tasks import Task
from tfx_pipeline.transformed_rows import dataset, totals

ROWS = (6, 2, 8)
"""Of the files, which Beam makes of whatever size."""
SPEC = {
    "row": tf.io.FixedLenFeature([], tf.int64),
    "labels": tf.io.FixedLenFeature([1], tf.float32),
}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Rows are numbered by file: 0 to 5, 100 and 101, 200 to 207."""
    folder = tmp_path_factory.mktemp("rows")
    for file, count in enumerate(ROWS):
        with tf.io.TFRecordWriter(str(folder / f"part-{file}.gz"), "GZIP") as out:
            for row in range(count):
                example = tf.train.Example()
                example.features.feature["row"].int64_list.value.append(100 * file + row)
                example.features.feature["labels"].float_list.value.append(0.0)
                out.write(example.SerializeToString())
    return str(folder / "*.gz")


def shares(files: str, workers: int, **more: int) -> list[list[int]]:
    found = []
    for worker in range(workers):
        batches = dataset([files], SPEC, 3, share=(worker, workers), **more)
        found.append([row for features, _ in batches for row in features["row"].numpy().tolist()])
    return found


@pytest.mark.parametrize("workers", [1, 2, 3, 5])
@pytest.mark.parametrize("more", [{}, {"shuffle_buffer": 100, "seed": 3}])
def test_every_row_is_some_workers(files: str, workers: int, more: dict[str, int]) -> None:
    everything = sorted(100 * file + row for file, count in enumerate(ROWS) for row in range(count))
    found = shares(files, workers, **more)
    assert sorted(row for share in found for row in share) == everything
    assert all(found)


def test_with_enough_files_each_reads_its_own(files: str) -> None:
    assert shares(files, 3) == [
        [0, 1, 2, 3, 4, 5],
        [100, 101],
        [200, 201, 202, 203, 204, 205, 206, 207],
    ]
    assert {row // 100 for row in shares(files, 2)[1]} == {1}


def test_with_fewer_files_requests_stay_whole(files: str) -> None:
    for share in shares(files, 4, block=2, shuffle_buffer=100, seed=1):
        pairs = list(zip(share[::2], share[1::2], strict=True))
        assert pairs and all(one % 2 == 0 and other == one + 1 for one, other in pairs)


def test_totals_of_labels_by_hand(tmp_path: Path) -> None:
    rows = [
        # scenario; labels of click, stars, seconds; spaces
        (0, (1, 2, 0.5), (1, 1, 1)),
        (2, (0, 0, 0.0), (1, 1, 0)),
        (2, (1, 2, 4.0), (0, 1, 1)),
    ]
    with tf.io.TFRecordWriter(str(tmp_path / "part.gz"), "GZIP") as out:
        for scenario, labels, spaces in rows:
            example = tf.train.Example()
            feature = example.features.feature
            feature["scenario"].int64_list.value.append(scenario)
            feature["labels"].float_list.value.extend(labels)
            feature["spaces"].float_list.value.extend(spaces)
            out.write(example.SerializeToString())
    spec = {
        "scenario": tf.io.FixedLenFeature([], tf.int64),
        "labels": tf.io.FixedLenFeature([3], tf.float32),
        "spaces": tf.io.FixedLenFeature([3], tf.float32),
    }
    tasks = [
        Task("click"),
        Task("stars", kind="multiclass", classes=3),
        Task("seconds", kind="regression"),
    ]
    found = totals([str(tmp_path / "*.gz")], spec, tasks, 4)
    assert (found.rows, found.scenarios) == (3, [1, 0, 2, 0])
    assert found.labelled == {"click": 2, "stars": 3, "seconds": 2}
    assert {name: sums.tolist() for name, sums in found.labels.items()} == {
        "click": [1.0],
        "stars": [1.0, 0.0, 2.0],
        "seconds": [4.5],
    }
