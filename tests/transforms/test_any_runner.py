"""Ingestion gives the same, row by row, whatever a runner does with its bundles."""

from __future__ import annotations

import inspect
import json
import pickle
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import apache_beam as beam
import pytest
from apache_beam.internal import pickler
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.pipeline import PipelineVisitor
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import transforms.readers
from transforms.ingest import Ingest
from transforms.past_days import _sum_columns
from transforms.tally import Example, Tally, total

from . import every_step
from .random_bundles import RandomBundles, combined

_RUNNER = "--runner=apache_beam.runners.portability.fn_api_runner.fn_runner.FnApiRunner"
_PASSES = {"first": (0, 2), "second": (3, 4)}
"""Days of two runs; the second goes on from the first's feature state."""
_Results = dict[str, tuple[dict[str, list[bytes]], Tally]]


@pytest.fixture(scope="module", autouse=True)
def small_blocks() -> Any:
    """So that there is more than one block a file."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(transforms.readers.read_blocks, "__defaults__", (1500,))
        yield


@pytest.fixture(scope="module")
def logs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("any_runner") / "logs"
    every_step.write_logs(folder)
    return folder


def _run(logs: Path, out: Path, make_runner: Any) -> _Results:
    found = {}
    start = None
    for name, days in _PASSES.items():
        plan = every_step.make_plan(logs, out / name, days, start)
        options = PipelineOptions([] if make_runner else [_RUNNER])
        with beam.Pipeline(runner=make_runner and make_runner(), options=options) as pipeline:
            pipeline | Ingest(plan)
        tally = Tally.from_json((out / name / "tally.json").read_text())
        found[name] = (every_step.written(out / name), tally)
        start = out / name / "state"
    return found


@pytest.fixture(scope="module")
def undisturbed(logs: Path) -> _Results:
    return _run(logs, logs.parent / "undisturbed", None)


def test_the_log_goes_through_every_step(undisturbed: Any) -> None:
    for name, (files, tally) in undisturbed.items():
        kinds = Counter(path.split("/")[0] for path in files)
        assert kinds["examples"] > 3 and kinds["state"] > 6 and kinds["rejected"] > 2
        assert {"equal_rows", "equal_keys"} <= set(tally.of("duplicates")), name
        assert {"duplicates", "matched", "late", "unmatched"} <= set(tally.of("outcomes"))
        assert sum(tally.of("out_of_range").values()) and len(tally.of("rejected")) == 2
        assert tally.of("split")["train"] > 20 and tally.of("outcome_rejected")


@pytest.mark.e2e
# To shrink an example takes minutes, and the first tells as much.
@settings(max_examples=4, deadline=None, derandomize=True, phases=[Phase.generate])
@given(seed=st.integers(0, 2**32), workers=st.integers(1, 5))
def test_bundles_split_and_retried_at_random_change_nothing(
    logs: Path, undisturbed: Any, tmp_path_factory: pytest.TempPathFactory, seed: int, workers: int
) -> None:
    runners = []

    def make_runner() -> RandomBundles:
        runners.append(RandomBundles(seed, workers))
        return runners[-1]

    found = _run(logs, tmp_path_factory.mktemp("disturbed"), make_runner)
    for runner in runners:
        assert max(runner.sizes) > 1 and (workers == 1 or 0 in runner.sizes)
    for name, (files, tally) in undisturbed.items():
        assert found[name][1] == tally
        assert found[name][0].keys() == files.keys()
        assert [path for path in files if files[path] != found[name][0][path]] == []


def test_a_dofn_that_is_not_safe_is_found_out(tmp_path: Path) -> None:
    """Elements are seen twice, in bundles of several sizes, and in an order of chance."""

    class Seen(beam.DoFn):
        def start_bundle(self) -> None:
            self.bundle: list[int] = []

        def process(self, element: int) -> Any:
            self.bundle.append(element)
            yield element

        def finish_bundle(self) -> None:
            with (tmp_path / "seen").open("a") as file:
                file.write(f"{self.bundle}\n")

    with beam.Pipeline(runner=RandomBundles(3, 4)) as pipeline:
        _ = pipeline | beam.Create(range(40)) | beam.Reshuffle() | beam.ParDo(Seen())
    bundles = [json.loads(line) for line in (tmp_path / "seen").read_text().splitlines()]
    assert len({len(bundle) for bundle in bundles}) > 2
    elements = [element for bundle in bundles for element in bundle]
    assert Counter(elements) == Counter([*range(40), *range(40)])
    assert all(bundle != sorted(bundle) for bundle in bundles if len(bundle) > 5)


def _functions(logs: Path, out: Path, start: Path) -> list[Any]:
    """Every DoFn and CombineFn of ours in a pass with every step."""
    found: list[Any] = []

    class Visitor(PipelineVisitor):
        def visit_transform(self, node: Any) -> None:
            if isinstance(node.transform, beam.ParDo):
                found.append(node.transform.fn)

        def enter_composite_transform(self, node: Any) -> None:
            if isinstance(node.transform, beam.CombinePerKey):
                found.append(node.transform.fn)

    # Not as a context: nothing runs.
    pipeline = beam.Pipeline(options=PipelineOptions([_RUNNER]))
    pipeline | Ingest(every_step.make_plan(logs, out, (3, 4), start))
    pipeline.visit(Visitor())
    return found


def test_everything_can_be_sent_to_workers(logs: Path, undisturbed: Any, tmp_path: Path) -> None:
    del undisturbed  # leaves the state to start from
    start = logs.parent / "undisturbed" / "first" / "state"
    functions = _functions(logs, tmp_path, start)
    ours = {type(fn) for fn in functions if type(fn).__module__.startswith("transforms.")}
    defined = {
        kind
        for base in (beam.DoFn, beam.CombineFn)
        for kind in _below(base)
        # What the transform graph is fitted with is no part of ingestion: see test_bucketize.
        if kind.__module__.startswith("transforms.") and kind.__module__ != "transforms.bucketize"
    }
    assert len(defined) > 10 and ours == defined
    for fn in functions:
        for dumps, loads in ((pickler.dumps, pickler.loads), (pickle.dumps, pickle.loads)):
            if dumps is pickle.dumps and type(fn) not in ours:
                continue  # Beam's own wrappers need Beam's pickler.
            again = loads(dumps(fn))
            assert type(again) is type(fn)
            assert dumps(loads(dumps(again))) == dumps(again)


def _below(kind: type) -> set[type]:
    return {kind}.union(*map(_below, kind.__subclasses__()))


@pytest.mark.e2e
def test_modules_hold_no_state(logs: Path, undisturbed: Any, tmp_path: Path) -> None:
    del undisturbed  # has imported everything, and filled whatever is filled once
    before = _globals()
    assert len(before) > 100
    _run(logs, tmp_path, lambda: RandomBundles(5, 3))
    assert _globals() == before


def _globals() -> dict[tuple[str, str], str]:
    """What stands in our modules and is no function, class or module."""
    return {
        (name, key): repr(value)
        for name, module in list(sys.modules.items())
        if name.startswith("transforms.")
        for key, value in vars(module).items()
        if not key.startswith("__") and not callable(value) and not inspect.ismodule(value)
    }


@pytest.mark.parametrize("seed", range(5))
def test_tallies_add_up_in_any_tree(seed: int) -> None:
    tallies = []
    for i in range(20):
        tally = Tally(columns={f"f{i % 3}": {"c": {"string" if i % 2 else "int64"}}})
        tally.count("read", f"f{i % 3}", rows=i)
        tally.count("rejected", "why", rows=1, example=Example(i % 3, 100 - i, str(i)))
        tally.add_checksum("day", 2**63 + i)
        tallies.append(tally)
    fn = beam.CombineFn.from_callable(total)
    found = combined(fn, tallies, seed)
    assert found.of("read") == {"f0": 63, "f1": 70, "f2": 57}
    assert found.of("rejected") == {"why": 20}
    assert found.examples["rejected", "why"] == Example(0, 82, "18")
    assert found.checksums == {"day": 190}
    assert found.columns == {f"f{i}": {"c": {"string", "int64"}} for i in range(3)}
    # What was combined may be combined again, in another try of the same bundle.
    assert combined(fn, tallies, seed + 100) == found


@pytest.mark.parametrize("seed", range(5))
def test_sums_of_days_add_up_in_any_tree(seed: int) -> None:
    fn = beam.CombineFn.from_callable(_sum_columns)
    assert combined(fn, [(i, i % 2, 1) for i in range(20)], seed) == (190, 10, 20)
