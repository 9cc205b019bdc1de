"""What the schema says of a config, so that its owner can mend it."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias, get_args

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from tfx_pipeline.config.job import Config
from tfx_pipeline.config.secrets import may_be_secret
from tfx_pipeline.config.section import Section
from tfx_pipeline.config.yaml_text import Layers
from transforms.log_schema import did_you_mean
from transforms.problems import Problem

_KEY = "[key]"
"""Where the schema says of a key what is wrong, and not of its value."""

_MEMBERS = {
    "bool": "true or false",
    "int": "a number",
    "float": "a number",
    "str": "text",
    "list": "a list of these",
    "dict": "a mapping to these",
}
"""Kinds of values among which a key leaves the choice, as the schema names them."""

_MOST_SHOWN = 3

Path: TypeAlias = tuple[Any, ...]
Error: TypeAlias = Mapping[str, Any]
"""As `ValidationError.errors` gives it."""


def schema_errors(raw: Mapping[str, Any], layers: Layers) -> list[Error]:
    """What is wrong with a config by itself.

    Args:
      raw: The config, as YAML reads it.
      layers: How it is written.
    """
    found: list[Error] = [
        {"type": "string_type", "loc": path, "input": value, "msg": ""}
        for path, value in _misread_scenarios(raw, layers)
    ]
    try:
        Config.model_validate(raw)
    except ValidationError as error:
        found += error.errors(include_url=False)
    return found


def mistakes(errors: Sequence[Error], raw: Mapping[str, Any], layers: Layers) -> list[Problem]:
    """The errors as problems: one for all texts of a list, and one for each value.

    Args:
      errors: From `schema_errors`.
      raw: The config.
      layers: How it is written.
    """
    problems: list[Problem] = []
    members: dict[Path, list[Error]] = {}
    texts: dict[Path, list[Error]] = {}
    for error in errors:
        path, rest = _split(error, raw)
        if rest and str(rest[0]).partition("[")[0] in _MEMBERS:
            members.setdefault(path, []).append(error)
        elif error["type"] == "string_type":
            is_item = not rest and isinstance(path[-1], int)
            texts.setdefault(path[:-1] if is_item else error["loc"], []).append(error)
        else:
            problems.append(_problem(error, path, layers))
    problems += [_of_kinds(path, group, raw) for path, group in members.items()]
    problems += [_texts(path, group, raw, layers) for path, group in texts.items()]
    return problems


def without_mistakes(
    errors: Sequence[Error], raw: Mapping[str, Any], layers: Layers
) -> tuple[Config | None, set[str]]:
    """The config with names read as they are written, and without all else that is wrong.

    Args:
      errors: From `schema_errors`.
      raw: The config.
      layers: How it is written.

    Returns:
      None if something is wrong that no config can be without; and what was left out: its keys, or
      a task's name.
    """
    rest: Any = copy.deepcopy(raw)
    left_out: set[str] = set()
    for error in errors:
        path, below = _split(error, raw)
        written = layers.written(path, key=below == (_KEY,))
        if error["type"] == "string_type" and written is not None and written.text:
            parent = _at(rest, path[:-1])
            if below == (_KEY,):
                parent[written.text] = parent.pop(path[-1])
            elif not below:
                parent[path[-1]] = written.text
    while True:
        try:
            return Config.model_validate(rest), left_out
        except ValidationError as error:
            wrong = {_split(e, rest)[0] for e in error.errors(include_url=False)}
        # The last of a list first, so that the others keep their places.
        for path in sorted(wrong, key=_in_order, reverse=True):
            if not path:
                return None, left_out
            if path[0] == "tasks":
                path = path[:2]
            parent = _at(rest, path[:-1])
            left_out.add(str(path[-1]) if path[0] == "tasks" else ".".join(map(str, path)))
            if isinstance(parent, list):
                parent[path[-1] : path[-1] + 1] = []
            else:
                parent.pop(path[-1], None)


def _misread_scenarios(raw: Mapping[str, Any], layers: Layers) -> Iterator[tuple[Path, Any]]:
    """Names of scenarios that are other numbers than they seem: 25_34 is 2534 to YAML."""
    section = raw.get("scenario")
    values = section.get("values") if isinstance(section, dict) else None
    for i, value in enumerate(values if isinstance(values, list) else ()):
        path = ("scenario", "values", i)
        written = layers.written(path)
        if type(value) in (int, float) and written and written.text != str(value):
            yield path, value


def _split(error: Error, raw: Any) -> tuple[Path, Path]:
    """The part of an error's path that is in the config, and the rest of it."""
    path: Path = ()
    for part in error["loc"]:
        inside = isinstance(raw, Mapping) and part in raw
        if not inside and not (isinstance(raw, list) and part in range(len(raw))):
            break
        raw, path = raw[part], (*path, part)
    return path, tuple(error["loc"][len(path) :])


def _in_order(path: Path) -> list[tuple[int, str]]:
    return [(part, "") if isinstance(part, int) else (-1, str(part)) for part in path]


def _at(raw: Any, path: Path) -> Any:
    for part in path:
        raw = raw[part]
    return raw


def _problem(error: Error, path: Path, layers: Layers) -> Problem:
    where = ".".join(str(part) for part in error["loc"]) or "(top level)"
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        written = layers.written(path, key=True)
        return Problem(
            where,
            f"an unknown key ({written.place})" if written else "an unknown key",
            "a key of docs/reference/config.md",
            did_you_mean(str(path[-1]), _known_keys(path[:-1])),
        )
    if error["type"] == "missing":
        described = [d for d in _fields(error["loc"][:-1], error["loc"][-1]) if d.description]
        remedy = described[0].description or "" if described else ""
        return Problem(where, "nothing", "a value: the key is required", remedy)
    if error["type"] == "value_error":
        return Problem(where, message, "what docs/reference/config.md says of this key")
    if may_be_secret(error["loc"]):
        return Problem(where, _hidden(error["input"]), _as_phrase(message))
    found = _short(error["input"])
    written = layers.written(path) if path == tuple(error["loc"]) else None
    if written and written.text and written.text not in (found, str(error["input"])):
        found = f"`{written.text}` ({written.place}), which YAML reads as {found}"
    return Problem(where, found, _as_phrase(message))


def _of_kinds(path: Path, errors: Sequence[Error], raw: Mapping[str, Any]) -> Problem:
    """What is wrong with a value of a key that takes several kinds."""
    names = [str(e["loc"][len(path)]).partition("[")[0] for e in errors]
    *kinds, last = dict.fromkeys(_MEMBERS[name] for name in names)
    expected = f"{', '.join(kinds)} or {last}" if kinds else last
    value = _at(raw, path)
    found = _hidden(value) if may_be_secret(path) else _short(value)
    return Problem(".".join(map(str, path)), found, expected)


def _texts(path: Path, errors: Sequence[Error], raw: Mapping[str, Any], layers: Layers) -> Problem:
    """What is read as something else than a text, and how it is written."""
    found, quoted = [], []
    for error in errors:
        where, rest = _split(error, raw)
        written = layers.written(where, key=rest == (_KEY,))
        read = _kind(error["input"])
        if may_be_secret(error["loc"]):
            found.append(_hidden(error["input"]))
        elif written is None:
            found.append(read)
        elif written.text and read != "nothing":
            found.append(f"`{written.text}` ({written.place}), which YAML reads as {read}")
            quoted.append(f'"{written.text}"')
        else:
            found.append(f"{read} ({written.place})")
    more = f" and {len(found) - _MOST_SHOWN} more" if len(found) > _MOST_SHOWN else ""
    return Problem(
        ".".join(str(part) for part in path if part != _KEY),
        "; ".join(found[:_MOST_SHOWN]) + more,
        "text",
        f"Put it in quotes: {', '.join(quoted[:_MOST_SHOWN])}." if quoted else "",
    )


def _kind(value: Any) -> str:
    """What YAML has read, in words."""
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, (int, float)):
        return f"the number {value}"
    return "a list" if isinstance(value, list) else "a section"


def _known_keys(path: Path) -> list[str]:
    """Keys of the section at a path of the config."""
    return [key for section in _sections_at(path) for key in section.model_fields]


def _fields(path: Path, key: Any) -> list[FieldInfo]:
    """What the schema says of a key of the section at a path."""
    return [s.model_fields[key] for s in _sections_at(path) if key in s.model_fields]


def _sections_at(path: Path) -> list[type[Section]]:
    sections: list[type[Section]] = [Config]
    for part in path:
        fields = [s.model_fields[part] for s in sections if part in s.model_fields]
        # Else it is a name of the owner's choice, or a place in a list.
        if fields:
            sections = [s for field in fields for s in _sections(field.annotation)]
    return sections


def _sections(annotation: Any) -> Iterator[type[Section]]:
    if isinstance(annotation, type) and issubclass(annotation, Section):
        yield annotation
    for argument in get_args(annotation):
        yield from _sections(argument)


def _hidden(value: Any) -> str:
    return f"another {type(value).__name__}, not shown here"


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def _as_phrase(message: str) -> str:
    """Pydantic says `Input should be ...`; after `expected` only the rest reads well."""
    return message.removeprefix("Input should be ").removeprefix("Value should be ")
