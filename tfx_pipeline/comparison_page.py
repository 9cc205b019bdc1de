"""The page that shows runs side by side."""

from __future__ import annotations

from pathlib import Path

import jinja2

from tfx_pipeline.compare import Comparison, Figure
from tfx_pipeline.evaluation import POOL
from tfx_pipeline.gate.metric_names import METRIC_NAMES
from tfx_pipeline.plots.comparison import comparison
from tfx_pipeline.plots.marks import task_marks
from tfx_pipeline.whole_file import write_whole


def write_comparison(found: Comparison, path: Path) -> None:
    """Writes one HTML file that needs no other.

    Args:
      found: The comparison.
      path: The file; it is replaced.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("tfx_pipeline", "templates/pages"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    marks = list(task_marks(found.runs[1:]).values())
    drawn = {}
    for metric in found.metrics:
        by_task: dict[str, list[Figure]] = {}
        for figure in found.of(metric):
            by_task.setdefault(figure.task, []).append(figure)
        drawn[metric] = [comparison(task, figures, marks) for task, figures in by_task.items()]
    page = environment.get_template("compare.html").render(
        found=found, marks=marks, drawn=drawn, names=METRIC_NAMES, POOL=POOL
    )
    write_whole(path, page, "the page")
