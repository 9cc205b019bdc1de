"""A Beam runner that does what runners may do: it splits, retries and mixes as chance has it."""

from __future__ import annotations

import pickle
import random
from collections.abc import Iterator
from typing import Any
from unittest import mock

from apache_beam.coders.coder_impl import create_InputStream, create_OutputStream
from apache_beam.internal import pickler
from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions
from apache_beam.runners.portability.fn_api_runner import execution
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner


class RandomBundles(FnApiRunner):
    """Beam's FnApiRunner, with the elements of every stage in bundles of random sizes.

    Every bundle runs twice, the first time with other elements beside its own and its outputs
    thrown away. Elements, and the values of a key, come in random order; some bundles are empty.

    Args:
      seed: Of what is random.
      workers: Bundles that a stage's elements are split into, each in a thread of its own.
    """

    def __init__(self, seed: int, workers: int):
        super().__init__(bundle_repeat=1)
        self.random = random.Random(seed)
        self.workers = workers
        self.sizes: list[int] = []

    def run_pipeline(self, pipeline: Any, options: PipelineOptions) -> Any:
        options.view_as(DirectOptions).direct_num_workers = self.workers
        with (
            mock.patch.object(execution.ListBuffer, "partition", self._split_list()),
            mock.patch.object(execution.GroupingBuffer, "partition", self._split_groups()),
        ):
            result = super().run_pipeline(pipeline, options)
            result.wait_until_finish()
            return result

    def _split_list(self) -> Any:
        def partition(buffer: Any, n: int) -> list[list[bytes]]:
            return self._split(buffer._inputs, buffer._coder_impl, n)

        return partition

    def _split_groups(self) -> Any:
        group = execution.GroupingBuffer.partition

        def partition(buffer: Any, n: int) -> list[list[bytes]]:
            for values in buffer._table.values():
                self.random.shuffle(values)
            # Grouped once, as one part.
            whole = group(buffer, 1)[0]
            return self._split(whole, buffer._post_grouped_coder.get_impl(), n)

        return partition

    def _split(self, chunks: list[bytes], coder: Any, n: int) -> list[list[bytes]]:
        elements = [element for chunk in chunks for element in _decoded(chunk, coder)]
        self.random.shuffle(elements)
        cuts = sorted(self.random.randint(0, len(elements)) for _ in range(n - 1))
        parts = []
        for start, end in zip([0, *cuts], [*cuts, len(elements)], strict=True):
            stream = create_OutputStream()
            for element in elements[start:end]:
                coder.encode_to_stream(element, stream, True)
            parts.append([stream.get()])
            self.sizes.append(end - start)
        return parts


def _decoded(chunk: bytes, coder: Any) -> Iterator[Any]:
    stream = create_InputStream(chunk)
    while stream.size() > 0:
        yield coder.decode_from_stream(stream, True)


def combined(fn: Any, elements: list[Any], seed: int) -> Any:
    """What a CombineFn makes of elements when a runner combines them in a tree that chance draws.

    Accumulators travel between workers, are compacted or not, and some are of nothing.
    """
    drawn = random.Random(seed)
    elements = list(elements)
    drawn.shuffle(elements)
    fn = pickler.loads(pickler.dumps(fn))
    fn.setup()

    def sent(accumulator: Any) -> Any:
        if drawn.random() < 0.5:
            accumulator = fn.compact(accumulator)
        return pickle.loads(pickle.dumps(accumulator))

    accumulators = []
    while elements or not accumulators:
        accumulator = fn.create_accumulator()
        for _ in range(drawn.randint(0, 3)):
            if elements:
                accumulator = fn.add_input(accumulator, elements.pop())
        accumulators.append(sent(accumulator))
    while len(accumulators) > 1:
        drawn.shuffle(accumulators)
        size = drawn.randint(2, len(accumulators))
        accumulators = [
            sent(fn.merge_accumulators(accumulators[:size])),
            *accumulators[size:],
        ]
    return fn.extract_output(accumulators[0])
