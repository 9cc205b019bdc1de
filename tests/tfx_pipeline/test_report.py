"""The page: every section, whatever the run had."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from tfx_pipeline.report import component_times, heat, model_parts, read_outcome, render, rewrite
from transforms.problems import InputError

from .outcomes import make_config, make_outcome

SECTIONS = "cells seesaw calibration roc metrics training gates embedding drift rows times".split()
MIXED = {"click": "binary", "watch": "regression", "stars": "multiclass", "rank": "ranking"}


class _Page(HTMLParser):
    """Text, ids and counts of tags; fails where tags do not match."""

    VOID = ("meta", "link", "br")

    def __init__(self, page: str):
        super().__init__()
        self.ids: list[str] = []
        self.open: list[str] = []
        self.count: dict[str, int] = {}
        self.by_section: dict[str, str] = {}
        self._section = ""
        self.feed(page)
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.count[tag] = self.count.get(tag, 0) + 1
        known = dict(attrs)
        if known.get("id"):
            self.ids.append(str(known["id"]))
        if tag == "section":
            self._section = str(known["id"])
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attrs)
        self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        text = " ".join(data.split())
        self.by_section[self._section] = f"{self.by_section.get(self._section, '')} {text}".strip()


@pytest.fixture(scope="module")
def page() -> str:
    return render(make_outcome())


def test_is_one_file_with_every_section(page: str) -> None:
    parsed = _Page(page)
    assert [i for i in parsed.ids if i in SECTIONS] == SECTIONS
    assert re.findall('<a href="#([a-z]+)"', page) == SECTIONS
    assert len(parsed.ids) == len(set(parsed.ids)), "ids of two plots clash"
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", page)
    assert "<script" not in page and "url(http" not in page
    # 6 pairs of tasks, 4 + 4 curves, 2 of training, 2 + 2 x 4 + 1 gates, 2 of the table, 2 of drift
    # and 1 of times.
    assert parsed.count["svg"] == 6 + 8 + 2 + 11 + 2 + 2 + 1 == page.count('role="img"')
    assert len(page) < 1.5e6


def test_the_verdict_comes_first_with_every_why(page: str) -> None:
    before = page[: page.index("<nav")]
    assert "Not blessed" in before and "Compared with version 1732271045" in before
    assert "click in follow: the AUC fell from 0.6400 to 0.6100 &amp; more." in before
    assert "follow is new." in before
    assert before.index("like in other fell and blocks nothing.") < before.index("follow is new.")
    assert "4 of 28 cells were not judged" in before
    assert "like in other: 6 positives, fewer than 50" in before
    assert "<details>" in before


def test_says_what_ran_on_what(page: str) -> None:
    before = page[: page.index("<nav")]
    for text in ("100,000 rows", "2024-01-01", "2024-01-05", "ple", "independent"):
        assert text in before
    assert model_parts(make_config({"click": "binary"}, ["a"]))[:2] == [
        ("preset", "ple"),
        ("backbone", "ple"),
    ]


def test_a_gauc_of_few_users_is_marked(page: str) -> None:
    metrics = page[page.index('<section id="metrics">') :]
    rows = metrics[: metrics.index("</section>")].split("<tr")
    marked = [row for row in rows if '<abbr title="of 9 users">*</abbr>' in row]
    assert marked and all(">other<" in row for row in marked)
    assert "fewer than 50 users with both classes" in " ".join(metrics.split())


def _heat_cell(page: str, task: str, scenario: str) -> str:
    (cell,) = re.findall(rf'<td class="[^"]*"[^>]*title="{task} in {scenario}:.*?</td>', page, re.S)
    return str(cell)


def test_the_heat_table_shows_value_change_and_interval(page: str) -> None:
    cells = {(c["task"], c["scenario"]): c for c in make_outcome().verdict["metrics"]}
    cell = cells["like", "search"]
    shown = _heat_cell(page, "like", "search")
    change = cell["change"]["auc"]["difference"]
    assert f"<b>{cell['auc']:.4f}</b>" in shown
    assert f"{change:+.4f}".replace("-", "−") in shown
    assert f"{cell['ci'][0]:.3f}–{cell['ci'][1]:.3f}" in shown
    assert ("gains" if change > 0 else "falls") in shown[: shown.index("style")]
    low, high = cell["change"]["auc"]["interval"]
    assert ("▲" if low > 0 else "▼" if high < 0 else "≈") in shown
    assert "fails" in _heat_cell(page, "click", "follow")
    assert "not judged" in _heat_cell(page, "like", "other")


def test_how_strongly_cells_are_coloured() -> None:
    def cell(scenario: str, kind: str, before: float, difference: float) -> dict[str, Any]:
        metric = {"regression": "mse"}.get(kind, "auc")
        interval = [difference, difference]
        change = {"baseline": before, "difference": difference, "interval": interval}
        status = "not_judged" if scenario == "few" else "judged"
        made = {"task": kind, "scenario": scenario, "kind": kind, "status": status}
        return {**made, "change": {metric: change}}

    found = heat(
        [
            cell("a", "binary", 0.7, 0.02),
            cell("b", "binary", 0.7, -0.04),
            cell("few", "binary", 0.7, -0.3),
            cell("a", "regression", 100.0, 10.0),
            cell("b", "regression", 10.0, -0.5),
        ]
    )
    assert found == pytest.approx(
        {
            ("binary", "a"): 0.5,
            ("binary", "b"): -1,
            ("binary", "few"): -1,
            ("regression", "a"): -1,
            ("regression", "b"): 0.5,
        }
    )
    tiny = heat([cell("a", "binary", 0.7, 0.001)])
    assert tiny == pytest.approx({("binary", "a"): 0.1}), "a small change is pale"


def test_a_first_run() -> None:
    page = render(make_outcome(baseline=False, blessed=True))
    parsed = _Page(page)
    assert "Blessed" in page and "Pushed as version 1732357440" in page
    assert "nothing to compare with" in page[: page.index("<nav")]
    assert "Nothing was pushed before" in parsed.by_section["seesaw"]
    assert "no cell is coloured" in parsed.by_section["cells"]
    assert not re.search(r'class="\s*(gains|falls)', page)
    assert parsed.count["svg"] == 8 + 2 + 11 + 2 + 2 + 1
    assert "dotted" not in page


def test_tasks_of_every_kind() -> None:
    page = render(make_outcome(MIXED))
    parsed = _Page(page)
    assert "less is better" in parsed.by_section["cells"]
    assert "watch: fall of mean squared error" in page and "stars: fall of log loss" in page
    for heading in ("mean squared error", "log loss", "AUC", "normalized entropy"):
        assert f"<th>{heading}</th>" in page
    assert "<th>NDCG</th>" not in page, "no cell has one here"
    cell = next(c for c in make_outcome(MIXED).verdict["metrics"] if c["task"] == "watch")
    assert f"<b>{cell['mse']:.4f}</b>" in page
    # Of a ranking there is no calibration curve.
    figures = re.findall(r"<figcaption>(.*?)</figcaption>", page.split('id="calibration"')[1])
    assert figures[: figures.index("rank")] == ["click", "click"]


def test_no_task_with_classes() -> None:
    parsed = _Page(render(make_outcome({"watch": "regression"})))
    assert "No task predicts a probability" in parsed.by_section["calibration"]
    assert "No cell has both classes" in parsed.by_section["roc"]
    assert "Needs two tasks" in parsed.by_section["seesaw"]


def test_what_is_not_to_be_had_is_said() -> None:
    outcome = make_outcome()
    gates = {**outcome.gates, "gates": {}}
    counts = {**outcome.counts, "reasons": []}
    bare = replace(outcome, gates=gates, counts=counts, anomalies=[], components=[], drift=[])
    parsed = _Page(render(bare))
    assert "This model has no gates" in parsed.by_section["gates"]
    assert "None: the examples of all days fit the schema" in parsed.by_section["drift"]
    assert "Rejected rows None." in parsed.by_section["rows"]
    assert "Not to be had here" in parsed.by_section["times"]


def test_data_sections(page: str) -> None:
    sections = _Page(page).by_section
    assert "Examples contain values missing from the schema: new." in sections["drift"]
    assert "20.0%" in sections["drift"] and "700 values" in sections["drift"]
    assert 'no time {"user": "<7>"}' in sections["rows"]
    assert "LogExampleGen" in page.split('id="times"')[1]
    assert "11.2 s, reused" in page


def test_logs_as_they_are(page: str) -> None:
    text = " ".join(page.split())
    assert "7 cells of age could not be read and count as missing." in text
    assert "No row is of 2024-01-03." in text
    assert "The time of 4 rows is of another day; that of 5 is off by no more" in text
    assert "Of 1,015 outcomes, 900 belong to a row, 90 to none, 20 came too late, 3 repeat" in text
    assert "not closed of 2024-01-07: rates of these days are too low." in text
    assert (
        "2024-01-05 arrived again, version 1: 20,000 rows, before 19,000; click 5,000, before"
        in text
    )
    assert "a new column `&lt;session&gt;`" in text


def test_names_cannot_break_the_page() -> None:
    odd = 'x"><b>&$y$'
    page = render(make_outcome({"click": "binary", "like": "binary"}, scenarios=[odd, "_hidden"]))
    parsed = _Page(page)
    assert '"><b>&$' not in page
    assert odd in parsed.by_section["seesaw"] and "_hidden" in parsed.by_section["seesaw"]


def test_times_that_cannot_be_read(tmp_path: Path) -> None:
    assert component_times("") == []
    assert component_times(str(tmp_path / "no.db")) == []
    (tmp_path / "metadata.db").write_bytes(b"not a database, but long enough to be looked at" * 9)
    assert component_times(str(tmp_path / "metadata.db")) == []


def test_a_verdict_of_another_format(tmp_path: Path) -> None:
    (tmp_path / "verdict.json").write_text(json.dumps({"blessed": True}))
    with pytest.raises(InputError) as caught:
        read_outcome(
            make_config({"click": "binary"}, ["a"]),
            ingest_report="",
            statistics="",
            before=None,
            anomalies_found="",
            model_run="",
            verdict=str(tmp_path),
            components=[],
            pushed_version=None,
        )
    (problem,) = caught.value.problems
    assert "verdict.json" in problem.where and problem.found == "format 1"
    assert "run the config again" in problem.remedy


def test_a_folder_without_a_run(tmp_path: Path) -> None:
    with pytest.raises(InputError) as caught:
        rewrite(tmp_path / "nowhere")
    assert "nowhere" in caught.value.problems[0].where
    assert not (tmp_path / "nowhere").exists()
