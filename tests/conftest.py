"""Fixtures that every tier shares, and how processes share the tests."""

from __future__ import annotations

import os
from collections import Counter
from pathlib import Path

import hypothesis
import pytest
from xdist.scheduler import LoadScopeScheduling

_KUAIRAND = Path(__file__).resolve().parents[2] / "shared" / "data" / "kuairand_pure"

_SHARED_RUNS = {
    "tests/tfx_pipeline/kubeflow/test_local_execution.py": "backfilled",
    "tests/tfx_pipeline/daily/test_backfill.py": "backfilled",
    "tests/tfx_pipeline/test_main_job.py": "finished_run",
    "tests/tfx_pipeline/test_workers.py": "finished_run",
}
"""Modules that share a finished run, and the fixture that makes it: one process runs them."""

# No test fails for its time. Where the variable CI is set, Hypothesis draws the same each time.
hypothesis.settings.register_profile("here", deadline=None)
hypothesis.settings.register_profile("ci", deadline=None, derandomize=True, print_blob=True)
hypothesis.settings.load_profile("ci" if os.environ.get("CI") else "here")


@pytest.fixture(scope="session")
def kuairand_dir() -> Path:
    """Folder with days of KuaiRand-Pure; `EQUIPOISE_KUAIRAND` points elsewhere."""
    folder = Path(os.environ.get("EQUIPOISE_KUAIRAND", _KUAIRAND))
    if not folder.is_dir():
        pytest.skip(f"KuaiRand-Pure is not at {folder}; set EQUIPOISE_KUAIRAND to its folder")
    return folder


class _ByModule(LoadScopeScheduling):
    """A process gets whole modules, and those together that share a run."""

    def _split_scope(self, nodeid: str) -> str:
        module = nodeid.partition("::")[0]
        return _SHARED_RUNS.get(module, module)


def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> _ByModule:
    # The order is that of the collection: what takes longest comes first.
    config.option.loadscopereorder = False
    return _ByModule(config, log)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begins with what takes longest, so that the processes end together."""

    def rank(item: pytest.Item) -> int:
        if item.location[0] in _SHARED_RUNS:
            return list(_SHARED_RUNS).index(item.location[0])
        return len(_SHARED_RUNS) + (item.get_closest_marker("e2e") is None)

    items.sort(key=rank)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Says what each package takes, where `--durations` is asked for."""
    if terminalreporter.config.option.durations is None:
        return
    seconds: Counter[str] = Counter()
    tests: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                package = "/".join(Path(report.location[0]).parts[:2])
                seconds[package] += report.duration
                tests[package] += report.when == "call"
    terminalreporter.write_sep("=", "seconds and tests by package")
    for package, total in seconds.most_common():
        terminalreporter.write_line(f"{total:7.0f} s {tests[package]:5} tests  {package}")
