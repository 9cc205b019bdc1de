"""Reads a config file."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from tfx_pipeline.config.cross_check import cross_check
from tfx_pipeline.config.job import Config
from tfx_pipeline.config.merge import merged
from tfx_pipeline.config.secrets import may_be_secret
from transforms.problems import InputError, Problem


class _UniqueKeyLoader(yaml.SafeLoader):
    """Refuses a key that stands twice; PyYAML would silently keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key `{key.value}` stands twice", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


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
    raw = _read(Path(path), ())
    problems = [p for text in overrides or [] if (p := _apply_override(raw, text))]
    try:
        config = Config.model_validate(raw)
    except ValidationError as error:
        problems += [_to_problem(e) for e in error.errors(include_url=False)]
    else:
        problems += cross_check(config)
    if problems:
        raise InputError(problems)
    return config


def _read(path: Path, extended_by: tuple[Path, ...]) -> dict[str, Any]:
    """The file's keys over those of the file that it extends."""
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), _UniqueKeyLoader)
    except FileNotFoundError:
        remedy = f"{extended_by[-1]} extends it." if extended_by else "configs/ holds examples."
        raise InputError([Problem(str(path), "no such file", "a config file", remedy)]) from None
    except OSError as error:
        raise InputError(
            [Problem(str(path), error.strerror or str(error), "a config file")]
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(
            [Problem(str(path), _without_content(error), "a YAML file in UTF-8")]
        ) from error
    if not isinstance(raw, dict):
        raise InputError([Problem(str(path), type(raw).__name__, "a mapping of keys to values")])
    if "extends" not in raw:
        return raw
    base = raw.pop("extends")
    chain = (*extended_by, path.resolve())
    if not isinstance(base, str):
        raise InputError([Problem(f"{path}: extends", repr(base), "the path of a config file")])
    if (path.parent / base).resolve() in chain:
        raise InputError([Problem(f"{path}: extends", f"{base}, which extends it", "another file")])
    return merged(_read(path.parent / base, chain), raw)


def _apply_override(raw: dict[str, Any], text: str) -> Problem | None:
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
        node[last] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        return Problem(where, _without_content(error), "a value in YAML")
    return None


def _without_content(error: yaml.YAMLError | UnicodeDecodeError) -> str:
    """What is wrong, and where; the line itself may hold a secret."""
    if not isinstance(error, yaml.MarkedYAMLError):
        return " ".join(str(error).split())
    parts = [error.context, error.problem]
    said = ", ".join(part for part in parts if part) or "no YAML"
    mark = error.problem_mark or error.context_mark
    return said if mark is None else f"{said} in line {mark.line + 1}, column {mark.column + 1}"


def _to_problem(error: Any) -> Problem:
    where = ".".join(str(part) for part in error["loc"]) or "(top level)"
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        return Problem(
            where, "an unknown key", "a key of docs/reference/config.md", "Is it misspelt?"
        )
    if error["type"] == "missing":
        return Problem(where, "nothing", "a value: the key is required")
    if error["type"] == "value_error":
        return Problem(where, message, "what docs/reference/config.md says of this key")
    if may_be_secret(error["loc"]):
        kind = type(error["input"]).__name__
        return Problem(where, f"another {kind}, not shown here", _as_phrase(message))
    found = repr(error["input"])
    return Problem(where, found if len(found) <= 80 else found[:77] + "...", _as_phrase(message))


def _as_phrase(message: str) -> str:
    """Pydantic says `Input should be ...`; after `expected` only the rest reads well."""
    return message.removeprefix("Input should be ").removeprefix("Value should be ")
