"""Reads a config file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tfx_pipeline.config.cross_check import cross_check
from tfx_pipeline.config.job import Config
from tfx_pipeline.config.merge import merged
from tfx_pipeline.config.mistakes import mistakes, schema_errors, without_mistakes
from tfx_pipeline.config.secrets import may_be_secret
from tfx_pipeline.config.yaml_text import Layers, YamlText
from transforms.problems import InputError, Problem

_NOT_YAML = (yaml.YAMLError, ValueError, RecursionError)


@dataclass(frozen=True)
class ReadConfig:
    """A config file, as far as it can be read.

    Args:
      config: What is right in it; None where too little is.
      problems: Every mistake.
    """

    config: Config | None
    problems: tuple[Problem, ...]


def load_config(path: str | Path, overrides: list[str] | None = None) -> Config:
    """Reads a config file.

    Args:
      path: The YAML file. `extends: PATH` in it names another, beside it, whose keys it changes.
      overrides: `dotted.key=value` texts; the value is read as YAML.

    Returns:
      The checked config.

    Raises:
      InputError: with every mistake in the file, each under its key's path.
    """
    read = read_config(path, overrides)
    if read.problems or read.config is None:
        raise InputError(read.problems)
    return read.config


def read_config(path: str | Path, overrides: list[str] | None = None) -> ReadConfig:
    """Reads as much of a config file as can be read.

    What else is wrong shows where the mistakes are left out, unless it may come of that.

    Args:
      path: As of `load_config`.
      overrides: Likewise.

    Raises:
      InputError: if it is no YAML file, or extends none.
    """
    layers = Layers()
    raw = _read(Path(path), (), layers)
    problems = [p for text in overrides or [] if (p := _apply_override(raw, text, layers))]
    errors = schema_errors(raw, layers)
    problems += mistakes(errors, raw, layers)
    config, left_out = without_mistakes(errors, raw, layers)
    if config is not None:
        also = cross_check(config)
        problems += [p for p in also if not any(_comes_of(p, name) for name in left_out)]
    return ReadConfig(config, tuple(problems))


def _comes_of(problem: Problem, left_out: str) -> bool:
    """Whether a problem may only be there because something was left out."""
    return left_out in str(problem) or f"{left_out}.".startswith(f"{problem.where}.")


def _read(path: Path, extended_by: tuple[Path, ...], layers: Layers) -> dict[str, Any]:
    """The file's keys over those of the file that it extends."""
    try:
        text = YamlText(path.read_text(encoding="utf-8"), str(path))
    except FileNotFoundError:
        remedy = f"{extended_by[-1]} extends it." if extended_by else "configs/ holds examples."
        raise InputError([Problem(str(path), "no such file", "a config file", remedy)]) from None
    except OSError as error:
        raise InputError(
            [Problem(str(path), error.strerror or str(error), "a config file")]
        ) from error
    except _NOT_YAML as error:
        raise InputError(
            [Problem(str(path), _without_content(error), "a YAML file in UTF-8")]
        ) from error
    raw = text.value
    if not isinstance(raw, dict):
        found = "nothing" if raw is None else type(raw).__name__
        raise InputError([Problem(str(path), found, "a mapping of keys to values")])
    if "extends" not in raw:
        layers.add(text)
        return raw
    base = raw.pop("extends")
    chain = (*extended_by, path.resolve())
    if not isinstance(base, str):
        raise InputError([Problem(f"{path}: extends", repr(base), "the path of a config file")])
    if (path.parent / base).resolve() in chain:
        raise InputError([Problem(f"{path}: extends", f"{base}, which extends it", "another file")])
    under = _read(path.parent / base, chain, layers)
    layers.add(text)
    return merged(under, raw)


def _apply_override(raw: dict[str, Any], text: str, layers: Layers) -> Problem | None:
    key, equals, value = text.partition("=")
    where = f"--set {key.strip()}" if equals else "--set"
    if not equals or not key.strip():
        return Problem(where, repr(text), "dotted.key=value", "For example training.epochs=3.")
    *parents, last = key.strip().split(".")
    node: Any = raw
    for i, part in enumerate(parents):
        node = node.setdefault(part, {})
        if not isinstance(node, dict):
            inner = ".".join(parents[: i + 1])
            found = "a value" if may_be_secret(parents[: i + 1]) else repr(node)
            return Problem(where, f"`{inner}` is {found}", "a section with keys below it")
    try:
        read = YamlText(value, where)
    except _NOT_YAML as error:
        return Problem(where, _without_content(error), "a value in YAML")
    node[last] = read.value
    layers.add(read, *parents, last)
    return None


def _without_content(error: Exception) -> str:
    """What is wrong, and where; the line itself may hold a secret."""
    if not isinstance(error, yaml.MarkedYAMLError):
        return " ".join(str(error).split()) or type(error).__name__
    parts = [error.context, error.problem]
    said = ", ".join(part for part in parts if part) or "no YAML"
    mark = error.problem_mark or error.context_mark
    return said if mark is None else f"{said} in line {mark.line + 1}, column {mark.column + 1}"
