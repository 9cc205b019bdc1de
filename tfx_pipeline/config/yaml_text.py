"""YAML texts that remember how, and where, their values are written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import yaml

_TIMESTAMP = "tag:yaml.org,2002:timestamp"


class Written(NamedTuple):
    """How a value is written.

    Args:
      text: Its characters, without quotes; of a list or a section nothing.
      place: Where it stands, for messages.
    """

    text: str
    place: str


class YamlText:
    """A YAML text.

    Dates stay text: the schema reads them, and says what is wrong with those that are none.

    Args:
      text: The text.
      source: What messages call it.

    Attributes:
      value: What it says.

    Raises:
      yaml.YAMLError, ValueError, RecursionError: if it cannot be read.
    """

    def __init__(self, text: str, source: str):
        self._source = source
        self._loader = _Loader(text)
        self._root = self._loader.get_single_node()
        self.value: Any = None
        if self._root is not None:
            self.value = self._loader.construct_document(self._root)

    def written(self, path: Sequence[Any], key: bool = False) -> Written | None:
        """How a value in it is written.

        Args:
          path: Keys and places in lists that lead to it.
          key: Whether the last key of the path is meant, and not its value.

        Returns:
          None if there is no such value.
        """
        node, last = self._root, None
        for part in path:
            if isinstance(node, yaml.MappingNode):
                pairs = [pair for pair in node.value if self._says(pair[0], part)]
                if not pairs:
                    return None
                last, node = pairs[0]
            elif isinstance(node, yaml.SequenceNode) and part in range(len(node.value)):
                last, node = None, node.value[part]
            else:
                return None
        found = last if key else node
        if found is None:
            return None
        text = found.value if isinstance(found, yaml.ScalarNode) else ""
        mark = found.start_mark
        return Written(text, f"line {mark.line + 1}, column {mark.column + 1} of {self._source}")

    def _says(self, node: yaml.Node, key: Any) -> bool:
        return isinstance(node, yaml.ScalarNode) and self._loader.construct_object(node) == key


@dataclass(frozen=True)
class Layers:
    """Texts that are laid over each other, each with the keys that lead to its value."""

    texts: list[tuple[tuple[str, ...], YamlText]] = field(default_factory=list)

    def add(self, text: YamlText, *keys: str) -> None:
        """Lays one over all."""
        self.texts.append((keys, text))

    def written(self, path: Sequence[Any], key: bool = False) -> Written | None:
        """How a value is written, in the uppermost text that has it; as `YamlText.written`."""
        for keys, text in reversed(self.texts):
            if tuple(path[: len(keys)]) == keys:
                found = text.written(path[len(keys) :], key)
                if found is not None:
                    return found
        return None


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice; PyYAML would silently keep the last."""

    yaml_implicit_resolvers = {
        first: [(tag, pattern) for tag, pattern in resolvers if tag != _TIMESTAMP]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key `{key.value}` stands twice", key.start_mark
                )
            seen.add(str(key.value))
        return super().construct_mapping(node, deep)
