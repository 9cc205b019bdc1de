"""Plots of the report, one a file, as SVG that takes its ink from the page."""

from tfx_pipeline.plots.calibration import calibration
from tfx_pipeline.plots.component_times import component_times
from tfx_pipeline.plots.drift import drift
from tfx_pipeline.plots.gates import gates
from tfx_pipeline.plots.marks import Mark, scenario_marks, task_marks
from tfx_pipeline.plots.roc import roc
from tfx_pipeline.plots.seesaw import seesaw
from tfx_pipeline.plots.svg import Plot
from tfx_pipeline.plots.table_life import table_life
from tfx_pipeline.plots.training_curves import training_curves

__all__ = [
    "Mark",
    "Plot",
    "calibration",
    "component_times",
    "drift",
    "gates",
    "roc",
    "scenario_marks",
    "seesaw",
    "table_life",
    "task_marks",
    "training_curves",
]
