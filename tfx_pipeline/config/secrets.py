"""Secrets, which belong into the environment and not into a config.

A config is written into ML Metadata, beside each pushed version and into deltas; messages quote it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from tfx_pipeline.config.job import Config
from transforms.problems import Problem

_SECRET = re.compile(
    r"secret|passw|token|credential|connection_string|private_key|api_key", re.IGNORECASE
)
_SECTIONS = ("beam", "kubeflow")
_WITH_PASSWORD = re.compile(r"://[^/@\s]*:[^/@\s]+@")
_ELSEWHERE = "it in the environment of the run, or of its workers"
_REMEDY = "docs/how-to/object-stores.md and kubeflow.md say how."


def check_secrets(config: Config) -> Iterator[Problem]:
    """Options of Beam that are secrets, and URIs with a password. No message holds any of them."""
    dumped = config.model_dump(mode="json")
    for path, value in _texts(dumped):
        where = ".".join(path)
        if path[0] == "beam" and any(map(_SECRET.search, path[1:])):
            yield Problem(
                where, "a secret, which a run writes into its records", _ELSEWHERE, _REMEDY
            )
        elif isinstance(value, str) and _WITH_PASSWORD.search(value):
            yield Problem(where, "a URI with a password in it", _ELSEWHERE, _REMEDY)


def may_be_secret(path: Iterable[object]) -> bool:
    """Whether what stands at a path of a config may be a secret, so that no message quotes it."""
    section, *rest = (str(part) for part in path)
    return section in _SECTIONS and any(map(_SECRET.search, rest))


def _texts(value: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """What a config holds that is neither a section nor a list, and the path to it."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _texts(inner, (*path, str(key)))
    elif isinstance(value, list):
        for i, inner in enumerate(value):
            yield from _texts(inner, (*path, str(i)))
    else:
        yield path, value
