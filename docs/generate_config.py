"""Writes docs/reference/config.md from the schema in tfx_pipeline/config/ (`make docs`)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tfx_pipeline.config import Config

PAGE = Path(__file__).parent / "reference" / "config.md"

_INTRODUCTION = """\
<!-- Generated from tfx_pipeline/config/ by `make docs`; change it there. -->

# Config file

One YAML file describes a whole job; [configs](../../configs) holds examples. On the command line
`--set dotted.key=value` replaces a key. `extends: simulated.yaml` at the top of a file takes all of
another, beside it, and changes what stands in this one: sections key by key, all else as a whole.
Unknown keys are errors, and `equipoise check CONFIG` names
every mistake at once.
"""
_TYPES = {"string": "text", "integer": "integer", "number": "number", "boolean": "true, false"}
_LIMITS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}

_Schema = dict[str, Any]


def render() -> str:
    """The page's text."""
    schema = Config.model_json_schema()
    return "\n".join([_INTRODUCTION, *_section("", schema, schema["$defs"])])


def _section(path: str, section: _Schema, sections: _Schema) -> Iterator[str]:
    """The table of a section's keys, then those of the sections below it."""
    if path:
        yield f"## {path}\n"
    yield f"{section['description']}\n"
    yield "| key | type | default | meaning |"
    yield "| --- | --- | --- | --- |"
    below = []
    for key, value in section["properties"].items():
        meaning = value.get("description")
        inner = _section_below(value, sections)
        if inner:
            name, inner_section = inner
            inner_path = ".".join(filter(None, [path, key, name]))
            below.append((inner_path, inner_section))
            kind = f"[{inner_path}](#{inner_path.lower().replace('.', '')})"
            meaning = meaning or inner_section["description"]
        else:
            kind = _type(value)
        default = "required" if key in section.get("required", []) else _default(value)
        if inner and "anyOf" in value:
            default = "none"
        yield f"| `{key}` | {kind} | {default} | {meaning} |"
    yield ""
    for inner_path, inner_section in below:
        yield from _section(inner_path, inner_section, sections)


def _section_below(value: _Schema, sections: _Schema) -> tuple[str, _Schema] | None:
    """The section that a key holds, with `NAME` or `ITEM` where it is one of several."""
    several = {"NAME": value.get("additionalProperties"), "ITEM": value.get("items")}
    optional = [("", inner) for inner in value.get("anyOf", [])]
    for name, inner in [("", value), *optional, *several.items()]:
        reference = (inner or {}).get("$ref")
        if reference and not _is_days(value):
            return name, sections[reference.split("/")[-1]]
    return None


def _is_days(value: _Schema) -> bool:
    return str(value.get("$ref")).endswith("/DayRange")


def _type(value: _Schema) -> str:
    if _is_days(value):
        return "days"
    if "anyOf" in value:
        return " or ".join(_type(v) for v in value["anyOf"] if v["type"] != "null")
    if "enum" in value or "const" in value:
        return ", ".join(f"`{v}`" for v in value.get("enum", [value.get("const")]))
    if value["type"] == "array":
        return f"list: {_type(value['items'])}"
    if value["type"] == "object":
        return f"map: name to {_type(value['additionalProperties'])}"
    limits = [f"{sign} {value[name]}" for name, sign in _LIMITS.items() if name in value]
    return ", ".join([_TYPES[value["type"]], *limits])


def _default(value: _Schema) -> str:
    """What the key is where it is left out; nothing where the section below has defaults."""
    default = value.get("default")
    if default is None:
        return {"array": "`[]`", "object": "`{}`"}.get(value.get("type", ""), "")
    return f"`{default if isinstance(default, str) else json.dumps(default)}`"


if __name__ == "__main__":
    PAGE.write_text(render(), encoding="utf-8")
