"""What the server counts, for Prometheus, under TensorFlow Serving's names."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Histogram, generate_latest
from prometheus_client.core import Metric
from prometheus_client.registry import Collector

# TensorFlow Serving's scales: 10 us times 1.8, 33 times over (20 minutes), and powers of two.
_MICROSECONDS = [10 * 1.8**power for power in range(33)]
_POWERS_OF_TWO = [float(2**power) for power in range(15)]


class Metrics:
    """The counts of one server.

    Latencies are in microseconds of wall time. Beside the requests and their latency these are the
    time in TensorFlow alone, examples a request, attempts to load a version, the time of its
    warm-up, and the rows of the batches that were merged.
    """

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._request_count = self._count(
            ":tensorflow:serving:request_count",
            "The total number of requests.",
            ("model_name", "status"),
        )
        self._load_count = self._count(
            ":tensorflow:cc:saved_model:load_attempt_count",
            "The number of times a SavedModel was loaded.",
            ("model_path", "status"),
        )
        self._example_count = self._count(
            ":tensorflow:serving:request_example_count_total",
            "The total number of tensorflow.Examples.",
            ("model",),
        )
        self._request_latency = self._histogram(
            "request_latency",
            "Wall time (in microseconds) of requests that were answered.",
            ("model_name", "API", "entrypoint"),
            _MICROSECONDS,
        )
        self._runtime_latency = self._histogram(
            "runtime_latency",
            "Wall time (in microseconds) in the TensorFlow runtime.",
            ("model_name", "API", "runtime"),
            _MICROSECONDS,
        )
        self._examples = self._histogram(
            "request_example_counts",
            "The number of tensorflow.Examples per request.",
            ("model",),
            _POWERS_OF_TWO,
        )
        self._warmup_latency = self._histogram(
            "model_warmup_latency",
            "Wall time (in microseconds) for warming up the model.",
            ("model_path", "status"),
            _MICROSECONDS,
        )
        self._batch_size = self._histogram(
            "batching_session:processed_batch_size",
            "Rows of a batch that was run, with those that pad it.",
            (),
            _POWERS_OF_TWO,
        )

    def request(self, model: str, api: str, entrypoint: str, status: str, seconds: float) -> None:
        """One request was answered or refused.

        Args:
          model: Name of a model that is served, or "".
          api: Predict, Classify, Regress or MultiInference.
          entrypoint: GRPC or REST.
          status: The status' name, such as OK.
          seconds: Its time.
        """
        self._request_count.add(model, status)
        if status == "OK":
            self._request_latency.labels(model, api, entrypoint).observe(seconds * 1e6)

    def run(self, model: str, api: str, seconds: float) -> None:
        """The graph of a model was run for a request."""
        self._runtime_latency.labels(model, api, "TF1").observe(seconds * 1e6)

    def examples(self, model: str, count: int) -> None:
        """A request of Classify, Regress or MultiInference carried examples."""
        self._examples.labels(model).observe(count)
        self._example_count.add(model, amount=count)

    def load(self, path: str, status: str) -> None:
        """A version was loaded: `success` or `fail`."""
        self._load_count.add(path, status)

    def warm_up(self, path: str, status: str, seconds: float) -> None:
        """The warm-up requests of a version were run."""
        self._warmup_latency.labels(path, status).observe(seconds * 1e6)

    def batch(self, rows: int) -> None:
        """A batch of that many rows was run."""
        self._batch_size.observe(rows)

    def page(self) -> bytes:
        """All of it in Prometheus' text format."""
        return generate_latest(self._registry)

    def _count(self, name: str, text: str, labels: tuple[str, ...]) -> _Count:
        count = _Count(name, text, labels)
        self._registry.register(count)
        return count

    def _histogram(
        self, name: str, text: str, labels: tuple[str, ...], buckets: list[float]
    ) -> Histogram:
        name = f":tensorflow:serving:{name}"
        return Histogram(name, text, labels, buckets=buckets, registry=self._registry)


class _Count(Collector):
    """A counter under exactly its name; the library's own would end in `_total`."""

    def __init__(self, name: str, text: str, labels: tuple[str, ...]):
        self._name, self._text, self._labels = name, text, labels
        self._counts: Counter[tuple[str, ...]] = Counter()
        self._lock = threading.Lock()

    def add(self, *values: str, amount: int = 1) -> None:
        with self._lock:
            self._counts[values] += amount

    def collect(self) -> Iterator[Metric]:
        # Of an untyped metric the library leaves the name as it is.
        metric = Metric(self._name, self._text, "unknown")
        with self._lock:
            counts = dict(self._counts)
        for values, count in counts.items():
            labels = dict(zip(self._labels, values, strict=True))
            metric.add_sample(self._name, labels, count)
        yield metric
