"""Verdicts for the terminal: of all runs of a workdir, or why of one.

Reads verdicts of older versions of this program too: those hold fewer keys.
"""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import RenderableType
from rich.markup import escape
from rich.table import Table

from tfx_pipeline.gate.metric_names import METRIC_NAMES
from tfx_pipeline.run_record import all_runs
from transforms.problems import InputError, Problem

_HIDDEN = ("too_few_rows", "not_comparable")
"""Kinds of failures that a sentence says better than numbers."""

_MARGINS = 10
"""Thresholds that are shown, of all that were judged."""

_AGAINST = {"pushed": "last pushed", "own": "own features", "series": "series"}
"""What a change is against, in a word or two."""


@dataclass(frozen=True)
class Judged:
    """A run and its verdict.

    Args:
      number: The run's, 1 for the first in its workdir.
      started: When.
      verdict: `verdict.json`; None of a run that never came so far, or whose verdict is gone.
      pushed_version: None where none was pushed.
    """

    number: int
    started: datetime.datetime
    verdict: Mapping[str, Any] | None
    pushed_version: str | None


def read_verdicts(workdir: Path) -> list[Judged]:
    """The verdicts of all runs of a workdir, the oldest first.

    Raises:
      InputError: if it is no workdir of a run.
    """
    database = workdir / "metadata.db"
    runs = all_runs(str(database)) if database.is_file() else []
    if not runs:
        raise InputError([Problem(str(workdir), "no run", "a run's workdir, as runs/NAME")])
    return [
        Judged(
            run.number,
            run.started,
            _read(run.components["Gate"].outputs) if "Gate" in run.components else None,
            _pushed(run.components["Pusher"].properties) if "Pusher" in run.components else None,
        )
        for run in runs
    ]


def one_verdict(runs: Sequence[Judged], number: int | None, workdir: Path) -> Judged:
    """The run of that number, or else the newest with a verdict.

    Raises:
      InputError: if there is no such run, or it has no verdict.
    """
    if number is None:
        chosen = next((run for run in reversed(runs) if run.verdict is not None), runs[-1])
    elif 1 <= number <= len(runs):
        chosen = runs[number - 1]
    else:
        raise InputError([Problem("--run", str(number), f"a run of {workdir}: 1 to {len(runs)}")])
    if chosen.verdict is None:
        raise InputError(
            [
                Problem(
                    f"run {chosen.number} of {workdir}",
                    "no verdict",
                    "a run that came as far as the gate",
                    "What stopped it stands in the workdir's logs/.",
                )
            ]
        )
    return chosen


def list_runs(runs: Sequence[Judged]) -> Table:
    """A line a run."""
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("run", justify="right", no_wrap=True)
    for name in ("started", "verdict", "pushed", "compared with"):
        table.add_column(name, no_wrap=True)
    for run in runs:
        verdict, compared = "[dim]none[/dim]", "–"
        if run.verdict is not None:
            verdict = "[green]blessed[/green]"
            number = len(run.verdict["failures"])
            if not run.verdict["blessed"]:
                verdict = f"[red]{number} failure{'s' if number != 1 else ''}[/red]"
            compared = str(run.verdict.get("baseline_version") or "–")
        table.add_row(
            str(run.number),
            f"{run.started:%Y-%m-%d %H:%M:%S}",
            verdict,
            run.pushed_version or "–",
            compared,
        )
    return table


def explain(run: Judged) -> Iterator[RenderableType]:
    """Why a run was blessed, or not, on 80 columns."""
    verdict = run.verdict or {}
    failures = verdict["failures"]
    outcome = "[green]blessed[/green]" if verdict["blessed"] else "[red]not blessed[/red]"
    yield f"run {run.number} of {run.started:%Y-%m-%d %H:%M:%S}: {outcome}"
    yield _versions(run, verdict)
    yield _cells(verdict)
    numbers = [f for f in failures if f["kind"] not in _HIDDEN and f["threshold"] is not None]
    if numbers:
        yield ""
        yield _failed_cells(numbers, verdict["metrics"])
        yield "[dim]interval: 95%, of the value, or of its change to the baseline[/dim]"
    margins = verdict.get("margins", ())
    if margins:
        yield ""
        yield _margins(margins)
        yield (
            f"[dim]{min(len(margins), _MARGINS)} of {len(margins)} thresholds, the nearest in "
            "units of their noise first; room: how far the value keeps from its threshold; noise: "
            "the least breach that counts[/dim]"
        )
    if failures:
        yield ""
        for failure in failures:
            yield f"[red]{failure['kind'].replace('_', ' ')}[/red] {escape(sentence(failure))}"
    if verdict["not_judged"]:
        yield ""
        yield "[yellow]not judged[/yellow]"
        yield _not_judged(verdict["not_judged"])
    for warning in verdict.get("warnings", ()):
        yield f"[yellow]warning[/yellow] {escape(warning['why'])}"
    for note in verdict.get("notes", ()):
        yield f"[cyan]note[/cyan] {escape(note['why'])}"


def sentence(failure: Mapping[str, Any]) -> str:
    """A failure for people, also one of an older verdict, which may hold numbers only."""
    if "why" in failure:
        return str(failure["why"])
    value = "–" if failure["value"] is None else f"{failure['value']:.4f}"
    return (
        f"{failure['task']} in {failure['scenario']}: {failure['metric']} {value} against "
        f"{failure['threshold']:.4f}"
    )


def _versions(run: Judged, verdict: Mapping[str, Any]) -> str:
    candidate = "was not pushed"
    if run.pushed_version:
        candidate = f"is version {run.pushed_version}"
    elif verdict.get("candidate"):
        candidate = f"lies in {escape(verdict['candidate'])}"
    baseline = verdict.get("baseline_version")
    against = f"compared with version {baseline}" if baseline else "compared with no version"
    confidence = verdict.get("confidence")
    level = f", confidence {confidence:g}" if confidence else ""
    return f"The candidate {candidate}; {against}{level}."


def _cells(verdict: Mapping[str, Any]) -> str:
    """How many cells the verdict rests on."""
    cells = {(cell["task"], cell["scenario"]) for cell in verdict["metrics"]}
    judged = cells - {(entry["task"], entry["scenario"]) for entry in verdict["not_judged"]}
    failed = judged & {(failure["task"], failure["scenario"]) for failure in verdict["failures"]}
    return f"Of {len(cells)} cells {len(judged)} were judged, of which {len(failed)} failed."


def _failed_cells(
    failures: Sequence[Mapping[str, Any]], cells: Sequence[Mapping[str, Any]]
) -> Table:
    by_cell = {(cell["task"], cell["scenario"]): cell for cell in cells}
    table = Table(box=None, padding=(0, 1, 0, 0))
    for name in ("task", "scenario", "metric"):
        table.add_column(name, overflow="fold")
    for name in ("value", "threshold", "baseline", "interval"):
        table.add_column(name, justify="right", no_wrap=True)
    for failure in failures:
        cell, metric = by_cell.get((failure["task"], failure["scenario"]), {}), failure["metric"]
        change = (cell.get("change") or {}).get(metric, {})
        interval = None
        if failure["kind"] == "change":
            interval = failure.get("interval", change.get("interval"))
        if failure["kind"] == "floor" and metric == "auc":
            interval = cell.get("ci")
        signed = "+" if failure["kind"] == "change" else ""
        baseline = failure.get("baseline")
        if baseline is None and failure["kind"] == "change":
            baseline = cell.get("auc_baseline" if metric == "auc" else "loss_baseline")
        table.add_row(
            escape(failure["task"]),
            "all" if failure["scenario"] == "*" else escape(failure["scenario"]),
            METRIC_NAMES.get(metric, metric),
            _number(failure["value"]),
            _number(failure["threshold"]),
            _number(baseline),
            f"{interval[0]:{signed}.4f} {interval[1]:{signed}.4f}" if interval else "–",
        )
    return table


def _margins(margins: Sequence[Mapping[str, Any]]) -> Table:
    """The thresholds that a candidate came nearest to, or that it breached the most."""
    table = Table(box=None, padding=(0, 1, 0, 0))
    for name in ("task", "scenario", "metric", "threshold"):
        table.add_column(name, overflow="fold")
    for name in ("value", "room", "noise"):
        table.add_column(name, justify="right", no_wrap=True)

    def nearness(margin: Mapping[str, Any]) -> float:
        noise = margin["noise"]
        return float(margin["excess"] / noise) if noise else -math.inf

    for margin in sorted(margins, key=nearness, reverse=True)[:_MARGINS]:
        table.add_row(
            escape(margin["task"]),
            "all" if margin["scenario"] == "*" else escape(margin["scenario"]),
            METRIC_NAMES.get(margin["metric"], margin["metric"]),
            f"{_AGAINST.get(margin['against'], margin['kind'])} {margin['threshold']:.4f}",
            _number(margin["value"]),
            f"{-margin['excess']:+.4f}",
            _number(margin["noise"]),
        )
    return table


def _not_judged(entries: Sequence[Mapping[str, str]]) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), show_header=False)
    for _ in range(2):
        table.add_column(overflow="fold", max_width=20)
    table.add_column()
    for entry in entries:
        scenario = "all" if entry["scenario"] == "*" else entry["scenario"]
        table.add_row(escape(entry["task"]), escape(scenario), escape(entry["why"]))
    return table


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.4f}"


def _read(outputs: Mapping[str, str]) -> Mapping[str, Any] | None:
    """A run that was stopped while judging has no verdict, or half of one."""
    try:
        found = json.loads((Path(outputs["verdict"]) / "verdict.json").read_text("utf-8"))
    except (OSError, KeyError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _pushed(properties: Mapping[str, Mapping[str, int | float | str]]) -> str | None:
    version = properties.get("pushed_model", {}).get("pushed_version")
    return str(version) if version else None
