"""Loads a candidate as TensorFlow Serving does, and looks at what it says and costs."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import tensorflow as tf
from google.protobuf.message import DecodeError

from serving.cpp_loader import Answers, CppLoaderError, answer_in_fresh_process
from serving.stock_ops import foreign_ops, graph_ops, read_graph
from serving.warmup import WARMUP_REQUESTS
from tfx_pipeline.config import Config
from tfx_pipeline.config.model_check import ModelCheckConfig
from tfx_pipeline.model_check.agreement import answers_to_compare, comparisons
from tfx_pipeline.model_check.outputs import check_outputs, difference
from tfx_pipeline.model_check.problem import CheckProblem
from transforms.task_labels import LabelKind

_TOLERANCE, _TOLERANCE_BFLOAT16 = 1e-6, 0.02


@dataclass
class _Findings:
    """What is known of a candidate so far."""

    problems: list[CheckProblem] = field(default_factory=list)
    measured: dict[str, Any] = field(default_factory=dict)

    def against(self, what: str, found: str, expected: str) -> None:
        self.add([CheckProblem(what, found, expected)])

    def add(self, problems: Iterable[CheckProblem]) -> None:
        """Adds problems, one of a kind: several requests ask the same."""
        for problem in problems:
            if all(problem.what != known.what for known in self.problems):
                self.problems.append(problem)


def check_candidate(
    model_dir: str, examples: Sequence[bytes], config: Config, served: bool | None
) -> dict[str, Any]:
    """Checks the candidate of a run.

    Args:
      model_dir: Folder of the SavedModel.
      examples: Raw evaluation rows, serialized tf.Examples.
      config: The run's config.
      served: Whether InfraValidator found that the official image serves it; None if not asked.

    Returns:
      What `model_check.json` holds, see docs/reference/model-check.md.
    """
    limits = config.model_check
    exact = config.training.precision == "float32"
    tolerance = limits.tolerance or (_TOLERANCE if exact else _TOLERANCE_BFLOAT16)
    kinds = {name: task.kind for name, task in config.tasks.items()}
    result = check_model(model_dir, examples, kinds, limits, tolerance)
    if served is False:
        refused = CheckProblem(
            "InfraValidator",
            "a model that the official image did not serve",
            "one that it serves; what it said is in the log of the run",
        )
        result |= {"passed": False, "problems": [*result["problems"], asdict(refused)]}
    return result


def check_model(
    model_dir: str,
    examples: Sequence[bytes],
    kinds: Mapping[str, LabelKind],
    settings: ModelCheckConfig,
    tolerance: float,
) -> dict[str, Any]:
    """Checks a candidate.

    Args:
      model_dir: Folder of the SavedModel.
      examples: Raw evaluation rows, serialized tf.Examples.
      kinds: Kind of every task, in the config's order.
      settings: The limits.
      tolerance: By how much two signatures may differ on a row.

    Returns:
      What `model_check.json` holds, see docs/reference/model-check.md.
    """
    found = _Findings(measured={"rows": len(examples), "tolerance": tolerance})
    if not examples:
        found.against("evaluation rows", "none", "at least one, to ask the model about")
    elif _consists_of_stock_ops(model_dir, found) and _answers(model_dir, kinds, settings, found):
        _agrees(model_dir, examples, kinds, settings, tolerance, found)
    return {
        "passed": not found.problems,
        "problems": [asdict(problem) for problem in found.problems],
        **found.measured,
    }


def _consists_of_stock_ops(model_dir: str, found: _Findings) -> bool:
    try:
        graph = read_graph(model_dir)
    except (DecodeError, IndexError, OSError) as error:
        found.against("saved_model.pb", f"{type(error).__name__}: {error}", "that of a SavedModel")
        return False
    found.measured["ops"] = len(graph_ops(graph))
    foreign = sorted(foreign_ops(graph))
    if foreign:
        found.against("ops", ", ".join(foreign), "ops of TensorFlow, which a stock server knows")
    return not foreign


def _answers(
    model_dir: str,
    kinds: Mapping[str, LabelKind],
    settings: ModelCheckConfig,
    found: _Findings,
) -> bool:
    """Runs the warm-up requests: whether they are answered, in which range, at what cost."""
    requests = os.path.join(model_dir, WARMUP_REQUESTS)
    if not os.path.isfile(requests):
        found.against("warm-up requests", f"no file {WARMUP_REQUESTS}", "one, with the model")
        return False
    answers = _run(model_dir, requests, settings.repeats, settings, found)
    if answers is None:
        return False
    if not answers.outputs:
        found.against("warm-up requests", "none in the file", "one at least")
        return False
    times: dict[str, list[float]] = {}
    for signature, outputs, milliseconds in zip(
        answers.signatures, answers.outputs, answers.milliseconds, strict=True
    ):
        found.add(check_outputs(signature, outputs, kinds))
        rows = len(next(iter(outputs.values())))
        times.setdefault(f"{signature}[{rows}]", []).extend(milliseconds)
    latency = {
        name: {f"p{q}": round(float(np.percentile(values, q)), 3) for q in (50, 99)}
        for name, values in times.items()
    }
    found.measured |= {
        "latency_ms": latency,
        "memory_mb": round(answers.memory_mb, 1),
        "memory_before_mb": round(answers.memory_before_mb, 1),
        "load_seconds": round(answers.load_seconds, 3),
    }
    limit = settings.max_latency_ms
    for name, quantiles in latency.items():
        if limit is not None and quantiles["p99"] > limit:
            expected = f"at most {limit:g} ms (model_check.max_latency_ms)"
            found.against(f"latency of {name}", f"a p99 of {quantiles['p99']:g} ms", expected)
    most = settings.max_memory_mb
    if most is not None and answers.memory_mb > most:
        expected = f"at most {most:g} MiB (model_check.max_memory_mb)"
        found.against("memory", f"{answers.memory_mb:.1f} MiB", expected)
    return True


def _agrees(
    model_dir: str,
    examples: Sequence[bytes],
    kinds: Mapping[str, LabelKind],
    settings: ModelCheckConfig,
    tolerance: float,
    found: _Findings,
) -> None:
    """Compares what signatures, and the two loaders, say of the same rows."""
    try:
        model = tf.saved_model.load(model_dir)
        found.measured["signatures"] = sorted(model.signatures)
        asked = answers_to_compare(model, examples)
    # TensorFlow raises whatever its reader of the broken part, or the failing op, does.
    except Exception as error:
        found.against("TensorFlow in Python", _first_line(error), "the answers of the C++ loader")
        return
    with tempfile.TemporaryDirectory() as folder:
        requests = os.path.join(folder, "requests")
        asked.write(requests)
        answers = _run(model_dir, requests, 0, settings, found)
    if answers is None:
        return
    outputs = dict(zip(asked.names, answers.outputs, strict=True))
    for signature, values in zip(answers.signatures, answers.outputs, strict=True):
        found.add(check_outputs(signature, values, kinds))
    differences: dict[str, float] = {}
    for what, one, other in comparisons(outputs, asked.by_python, list(kinds)):
        differences[what] = max(differences.get(what, 0.0), difference(one, other))
    for what, apart in differences.items():
        if not apart <= tolerance:
            found.against(what, f"a difference of {apart:.2g}", f"at most {tolerance:g}")
    found.measured["differences"] = {
        what: apart if np.isfinite(apart) else None for what, apart in differences.items()
    }


def _run(
    model_dir: str, requests: str, repeats: int, settings: ModelCheckConfig, found: _Findings
) -> Answers | None:
    try:
        return answer_in_fresh_process(model_dir, requests, repeats, settings.timeout_s)
    except CppLoaderError as error:
        said = str(error).splitlines()[0]
        found.against("TensorFlow's C++ loader", said, "a model that loads and answers")
    except subprocess.TimeoutExpired:
        found.against(
            "time to load and answer",
            f"more than {settings.timeout_s:g} s",
            "less (model_check.timeout_s)",
        )
    return None


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or ["no message"]
    return f"{type(error).__name__}: {lines[0]}"
