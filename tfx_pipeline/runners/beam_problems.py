"""Beam's options, held against Beam's own parser and validators before anything starts."""

from __future__ import annotations

import contextlib
import difflib
import importlib
import io
import os
import shutil
from collections.abc import Iterator, Mapping
from typing import Any

import apache_beam as beam
from apache_beam.options import pipeline_options
from apache_beam.options.pipeline_options import PipelineOptions

from tfx_pipeline.config import Config
from tfx_pipeline.config.beam import BEAM_COMPONENTS, Option, Runner
from tfx_pipeline.runners.beam_options import option_args, pipeline_args
from transforms.problems import Problem

_ONE_RUNNERS: Mapping[Runner, type[PipelineOptions]] = {
    "direct": pipeline_options.DirectOptions,
    "flink": pipeline_options.FlinkRunnerOptions,
    "spark": pipeline_options.SparkRunnerOptions,
}
"""Options that other runners do not read; a job server may be of any kind."""

_FILES = ("setup_file", "requirements_file", "extra_package", "extra_packages")


def beam_problems(config: Config) -> list[Problem]:
    """What keeps the components of a config from starting on their runners."""
    problems: dict[Problem, None] = {}
    for component in BEAM_COMPONENTS:
        runner, options = config.beam.of(component)
        own = config.beam.components.get(component)
        section = f"beam.components.{component}"
        keys = {
            name: f"{section}.options.{name}"
            if own is not None and name in own.options
            else f"beam.options.{name}"
            for name in options
        }
        where = f"{section}.runner" if own is not None and own.runner is not None else "beam.runner"
        found = [p for name in options for p in _option(keys[name], runner, name, options[name])]
        found = found or list(_runner(where, runner, options))
        if not found:
            try:
                # A dry run keeps the validators from asking the cloud.
                beam.Pipeline(argv=[*pipeline_args(config.beam, component), "--dry_run=True"])
            except ValueError as error:
                found = [
                    Problem(where, f"{runner}, to which Beam says: {line}", "options that fit it")
                    for line in str(error).splitlines()[1:]
                ]
        problems |= dict.fromkeys(found)
    return list(problems)


def _option(where: str, runner: Runner, name: str, value: Option) -> Iterator[Problem]:
    """What is wrong with an option by itself."""
    defaults, _ = _parsed([])
    # A flag that is left out has to be one that can be given.
    parsed, unknown = _parsed(list(option_args(name, True if value is False else value)))
    if isinstance(parsed, str):
        yield Problem(where, repr(value), "a value that Beam takes", f"Beam says: {parsed}.")
        return
    if unknown:
        near = difflib.get_close_matches(name, defaults, 1)
        yield Problem(
            where,
            "an option that Beam does not know",
            "one of its Python options",
            f"Is `{near[0]}` meant?" if near else "Is it misspelt?",
        )
        return
    changed = {key for key in parsed if parsed[key] != defaults[key]}
    if value is False and any(defaults[key] is not False for key in changed):
        yield Problem(
            where, "false", "true, or the option left out", "A flag can only be given, or not."
        )
    for other, kind in _ONE_RUNNERS.items():
        if other != runner and runner != "portable" and changed & _names(kind):
            yield Problem(where, f"an option of {other} alone", f"options that {runner} reads")
    if name in _FILES:
        for path in value if isinstance(value, list) else [value]:
            if "://" not in str(path) and not os.path.isfile(str(path)):
                yield Problem(where, f"no file {path}", "a file for the workers to install")


def _parsed(args: list[str]) -> tuple[Any, bool]:
    """What Beam reads, or says, and whether it left something over."""

    def whole_names(parser: Any) -> None:
        # Which option an abbreviation stands for depends on where in Beam it is parsed.
        parser.allow_abbrev = False

    said = io.StringIO()
    try:
        with contextlib.redirect_stderr(said):
            options = PipelineOptions(args)
            known = options.get_all_options(add_extra_args_fn=whole_names)
            rest = options.get_all_options(
                add_extra_args_fn=whole_names, retain_unknown_options=True
            )
    except SystemExit:
        return said.getvalue().strip().rpartition("error: ")[2], False
    return known, len(rest) > len(known)


def _names(kind: type[PipelineOptions]) -> set[str]:
    return set(dir(kind([]))) - set(dir(PipelineOptions([])))


def _runner(where: str, runner: Runner, options: Mapping[str, Option]) -> Iterator[Problem]:
    """What a runner needs on this machine, and of the options."""
    if runner == "dataflow":
        try:
            importlib.import_module("apache_beam.runners.dataflow.internal.apiclient")
        except ImportError as error:
            yield Problem(
                where,
                f"dataflow, and no package of its client ({error})",
                "Beam with its Google Cloud parts",
                "pip install apache-beam[gcp]",
            )
        for option in ("project", "region", "temp_location"):
            if option not in options:
                yield Problem(where, f"dataflow without {option}", f"beam.options.{option}")
        # Beam would go and make a bucket of its own.
        if not str(temporary := options.get("temp_location", "gs://")).startswith("gs://"):
            yield Problem("beam.options.temp_location", f"{temporary}", "a folder in gs://")
    elif runner == "portable" and "job_endpoint" not in options:
        yield Problem(
            where,
            "portable without job_endpoint",
            "beam.options.job_endpoint, HOST:PORT of a Beam job server",
        )
    elif runner in ("flink", "spark"):
        java = str(options.get("job_server_java_launcher", "java"))
        starts = "job_endpoint" not in options and not options.get(f"{runner}_submit_uber_jar")
        if starts and shutil.which(java) is None:
            yield Problem(
                where,
                f"{runner}, whose job server is started with `{java}`, which is not installed",
                "a Java runtime, or beam.options.job_endpoint of a job server that runs",
            )
