"""Runs side by side."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

from keras_models import metrics
from tfx_pipeline.cli import app
from tfx_pipeline.cli.compare import print_comparison
from tfx_pipeline.compare import Run, compare_runs
from tfx_pipeline.comparison_page import write_comparison
from tfx_pipeline.config import load_config
from tfx_pipeline.scoring import EvaluationRows
from transforms.problems import InputError

CONFIG = Path(__file__).resolve().parents[2] / "configs" / "simulated.yaml"
SIZE = 3_000


def make_run(name: str, noise: float, seed: int, *overrides: str) -> Run:
    """One that was evaluated on the same rows as all others, in an order of its own."""
    config = load_config(CONFIG, list(overrides))
    log = np.random.default_rng(0)
    users = np.array([b"u%d" % u for u in log.integers(400, size=SIZE)], object)
    tabs = log.choice(np.array([b"feed", b"search", b"nearby", b"attic"], object), SIZE)
    scenario = np.array([t if t.decode() in config.scenario.values else b"other" for t in tabs])
    columns = {}
    for task in ("click", "long_view", "like", "profile_enter"):
        truth = log.normal(size=SIZE)
        columns[task] = ((log.random(SIZE) < 1 / (1 + np.exp(-truth))).astype(np.float32), truth)
    order = np.random.default_rng(seed).permutation(SIZE)
    outputs = {
        task: columns[task][1][order] + noise * np.random.default_rng(seed).normal(size=SIZE)
        for task in config.tasks
    }
    rows = EvaluationRows(
        np.zeros(SIZE),
        {task: columns[task][0][order] for task in config.tasks},
        scenario[order],
        columns={config.data.user: users[order]},
    )
    return Run(name, config, rows, {t: 1 / (1 + np.exp(-v)) for t, v in outputs.items()})


def test_every_cell_has_values_and_paired_differences() -> None:
    runs = [make_run("poor", 3.0, 1), make_run("good", 0.1, 2), make_run("equal", 3.0, 1)]
    found = compare_runs(runs)
    assert found.runs == ["poor", "good", "equal"] and found.metrics == ["auc", "gauc"]
    assert (found.rows, found.users, found.left_out) == (SIZE, 400, [])
    assert len(found.of("auc")) == 4 * 5
    for figure in found.of("auc"):
        for run, value in zip(runs, figure.values, strict=True):
            inside = (run.rows.scenario == figure.scenario.encode()) | (figure.scenario == "*")
            labels, scores = run.rows.labels[figure.task][inside], run.outputs[figure.task][inside]
            assert value == pytest.approx(metrics.auc(labels, scores))
        good, equal = figure.differences
        assert good.value == pytest.approx(figure.values[1] - figure.values[0])
        assert good.clear and 0 < good.low < good.value < good.high
        # The same scores: paired, nothing is left of the noise.
        assert (equal.value, equal.low, equal.high) == (0, 0, 0) and not equal.clear


def test_what_not_all_runs_have_is_left_out() -> None:
    one = make_run("one", 1.0, 1)
    other = make_run("other", 1.0, 2, "scenario.values=[feed, search]")
    config = other.config.model_copy(
        update={"tasks": {"click": other.config.tasks["click"], "buy": other.config.tasks["like"]}}
    )
    found = compare_runs([one, Run("other", config, other.rows, other.outputs)])
    assert {figure.task for figure in found.figures} == {"click"}
    # Rows of `nearby` are in the second run's `other`.
    assert {figure.scenario for figure in found.figures} == {"*", "feed", "search"}
    assert found.left_out == ["long_view", "like", "profile_enter", "nearby", "buy"]


def test_no_task_in_common() -> None:
    one, other = make_run("one", 1.0, 1), make_run("other", 1.0, 2)
    tasks = {"buy": other.config.tasks["click"]}
    config = other.config.model_copy(update={"tasks": tasks})
    with pytest.raises(InputError, match="like, profile_enter in one; buy in other"):
        compare_runs([one, Run("other", config, other.rows, other.outputs)])


@pytest.mark.parametrize("change", ["a label", "a row's user", "a row's scenario", "a row less"])
def test_other_rows_are_refused_with_what_differs(change: str) -> None:
    one, other = make_run("one", 1.0, 1), make_run("other", 1.0, 2)
    rows: Any = other.rows
    if change == "a label":
        rows.labels["like"][0] = 1 - rows.labels["like"][0]
    elif change == "a row's user":
        rows.columns["user_id"][0] = b"stranger"
    elif change == "a row's scenario":
        rows.scenario[0] = b"feed" if rows.scenario[0] != b"feed" else b"search"
    else:
        rows.labels["click"][0] = np.nan
    with pytest.raises(InputError) as error:
        compare_runs([one, other])
    (problem,) = error.value.problems
    assert problem.where == "one and other"
    task = "like" if change == "a label" else "click"
    scenario = " in feed" if change == "a row's scenario" else ""
    users = "2 users differ" if change == "a row's user" else "1 users differ"
    assert f"other evaluation rows: of {task}{scenario} {users}, for example" in problem.found


def test_the_table_and_the_page(tmp_path: Path) -> None:
    found = compare_runs([make_run("poor", 3.0, 1), make_run("a<b>", 2.5, 2)])
    console = Console(width=80, highlight=False)
    with console.capture() as capture:
        print_comparison(console, found)
    lines = capture.get().splitlines()
    assert max(map(len, lines)) <= 80
    row = next(line.split() for line in lines if line.startswith("click"))
    figure = found.figures[0]
    assert row[:5] == [
        *("click", "all", f"{figure.values[0]:.4f}", f"{figure.values[1]:.4f}"),
        f"{figure.differences[0].value:+.4f}",
    ]
    # A difference that leaves out 0 has a star where there are no colours.
    starred = [line.split()[:2] for line in lines if line.rstrip().endswith("*")]
    clear = [figure for figure in found.figures if figure.differences[0].clear]
    names = [[f.task, "all" if f.scenario == "*" else f.scenario] for f in clear]
    assert starred == names and 0 < len(names) < len(found.figures)
    write_comparison(found, tmp_path / "compare.html")
    page = (tmp_path / "compare.html").read_text()
    assert page.count("<svg") == 2 * 4 and "a&lt;b&gt;" in page and "a<b>" not in page
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", page)
    assert [path.name for path in tmp_path.iterdir()] == ["compare.html"]


def test_what_cannot_be_compared(tmp_path: Path) -> None:
    (tmp_path / "a" / "logs").mkdir(parents=True)
    for arguments, says in (
        ([tmp_path / "a"], "one workdir"),
        ([tmp_path / "a", tmp_path / "a"], "one workdir"),
        ([tmp_path / "a", tmp_path / "nothing"], "no run"),
        ([tmp_path / "a", tmp_path / "b", "--out", tmp_path / "c" / "page.html"], "no folder"),
    ):
        done = CliRunner().invoke(app, ["compare", *map(str, arguments)])
        assert done.exit_code == 2 and says in done.output
