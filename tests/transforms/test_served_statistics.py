"""The same numbers: what a SavedModel looks up is what the next day's ingestion computes."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from transforms.feature_state import read_state
from transforms.served_statistics import ServedStatistics
from transforms.statistics import feature_names

from . import past_logs

NAMES = feature_names(past_logs.STATISTICS)
COLUMNS = ("user", "author", "tab")
LAST_DAY = 4


class _Service(tf.Module):
    """Examples in, statistics out."""

    def __init__(self, statistics: ServedStatistics):
        super().__init__()
        self.statistics = statistics

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def __call__(self, examples: tf.Tensor) -> dict[str, tf.Tensor]:
        spec = {name: tf.io.VarLenFeature(tf.string) for name in COLUMNS}
        spec |= {name: tf.io.VarLenFeature(tf.float32) for name in NAMES}
        features = self.statistics(tf.io.parse_example(examples, spec))
        return {name: tf.sparse.to_dense(features[name])[:, 0] for name in NAMES}


@pytest.fixture(scope="module")
def rows():
    return past_logs.draw(seed=4)


@pytest.fixture(scope="module")
def examples(rows, tmp_path_factory):
    """Examples of the last day, as the ingestion of all days wrote them."""
    folder = tmp_path_factory.mktemp("all")
    past_logs.ingest(folder, rows, days=(0, LAST_DAY))
    parsed = [tf.train.Example.FromString(record) for record in past_logs.records(folder)]
    day = past_logs.FIRST_DAY + LAST_DAY
    return [e for e in parsed if e.features.feature["_day"].int64_list.value == [day]]


@pytest.fixture(scope="module")
def service(rows, tmp_path_factory):
    """The SavedModel, loaded, with the state as of the end of the day before."""
    folder = tmp_path_factory.mktemp("before")
    past_logs.ingest(folder, rows, days=(0, LAST_DAY - 1), partitions=4)
    model = _Service(ServedStatistics(read_state(str(folder / "state"))))
    path = str(folder / "model")
    tf.saved_model.save(model, path, signatures={"serving_default": model.__call__})
    return path, tf.saved_model.load(path).signatures["serving_default"]


def without_statistics(example, **changes):
    """A request: raw columns only."""
    copy = tf.train.Example()
    for column in COLUMNS:
        copy.features.feature[column].CopyFrom(example.features.feature[column])
    for column, value in changes.items():
        copy.features.feature[column].bytes_list.value[:] = [] if value is None else [value]
    return copy.SerializeToString()


def ask(service, requests):
    return {k: v.numpy() for k, v in service[1](examples=tf.constant(requests, tf.string)).items()}


def test_a_request_with_two_values_of_a_column_is_an_error(service, examples):
    example = tf.train.Example.FromString(without_statistics(examples[0]))
    example.features.feature["author"].bytes_list.value[:] = [b"a", b"b"]
    with pytest.raises(tf.errors.InvalidArgumentError, match=r"it has more of\] \[author\]"):
        ask(service, [example.SerializeToString()])


def carried(examples, name):
    return np.float32([e.features.feature[name].float_list.value[0] for e in examples])


def test_requests_get_what_the_next_day_was_ingested_with(service, examples):
    answers = ask(service, [without_statistics(example) for example in examples])
    for name in NAMES:
        np.testing.assert_array_equal(answers[name], carried(examples, name))
        assert len(set(answers[name])) > 2
    authors = [len(e.features.feature["author"].bytes_list.value) for e in examples]
    assert set(authors) == {0, 1}, "with missing values"


def test_the_tf1_session_loader_gives_the_same(service, examples):
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        loaded = tf.compat.v1.saved_model.load(session, ["serve"], service[0])
        signature = loaded.signature_def["serving_default"]
        requests = [without_statistics(example) for example in examples]
        (fed,) = signature.inputs.values()
        for name in NAMES:
            values = session.run(signature.outputs[name].name, {fed.name: requests})
            np.testing.assert_array_equal(values, carried(examples, name))


def test_what_an_example_carries_itself_stays(service, examples):
    example = tf.train.Example.FromString(without_statistics(examples[0]))
    example.features.feature[NAMES[1]].float_list.value[:] = [0.125]
    answers = ask(service, [example.SerializeToString(), without_statistics(examples[1])])
    for name in NAMES:
        expected = carried(examples[:2], name)
        if name == NAMES[1]:
            expected[0] = 0.125
        np.testing.assert_array_equal(answers[name], expected)


def test_an_unknown_key_has_the_global_rate_and_the_count_0(service, rows, examples):
    requests = [
        without_statistics(examples[0], user=b"u9"),
        without_statistics(examples[0], user=None),
        without_statistics(examples[0], user=b"\xff not UTF-8"),
    ]
    answers = ask(service, requests)
    earlier = [row["click"] for row in rows if row["day"] < LAST_DAY]
    np.testing.assert_array_equal(answers["stat:user:count"], [0, 0, 0])
    np.testing.assert_allclose(
        answers["stat:user:click:rate"], 3 * [sum(earlier) / len(earlier)], rtol=1e-6
    )


def test_no_requests(service):
    for values in ask(service, []).values():
        assert values.shape == (0,)
