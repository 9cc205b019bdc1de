"""A fingerprint of the code behind a component, for cache keys.

TFX reuses a component's outputs when its inputs and parameters are unchanged; it does not look at
the code that ran. So each component has this as a parameter: a hash of all modules of this project
that its entry point imports, found in their syntax trees, and of the platform's versions.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import importlib.metadata
from collections.abc import Iterable, Iterator
from pathlib import Path

_ROOT = Path(__file__).resolve().parents[1]
_OURS = ("keras_models", "serving", "tfx_pipeline", "transforms")
PLATFORM = (
    *("apache-beam", "ml-metadata", "numpy", "pyarrow", "tensorflow", "tensorflow-data-validation"),
    *("tensorflow-model-analysis", "tensorflow-transform", "tf-keras", "tfx", "tfx-bsl"),
)


def code_version(*entry_points: str, root: Path = _ROOT) -> str:
    """Hash of what modules import of this project, and of the versions of the platform.

    Args:
      entry_points: Dotted names of modules. One that is not of this project counts for nothing by
        itself: the platform is counted by its versions.
      root: Folder that holds this project's packages.

    Returns:
      16 hexadecimal digits.

    Raises:
      ModuleNotFoundError: if an entry point is of one of this project's packages and not there.
    """
    files = import_closure(entry_points, root)
    digest = hashlib.sha256()
    for file in files:
        digest.update(f"{file.relative_to(root)}\n".encode())
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    for package in PLATFORM:
        digest.update(f"{package}=={importlib.metadata.version(package)}\n".encode())
    return digest.hexdigest()[:16]


def import_closure(entry_points: Iterable[str], root: Path = _ROOT) -> list[Path]:
    """The files of this project that modules import, one through the other, themselves included.

    Imports within functions count, those for type checkers do not. A module that loads templates
    with Jinja's `PackageLoader` counts with these.

    Args:
      entry_points: Dotted names of modules.
      root: Folder that holds this project's packages.

    Returns:
      Sorted paths.

    Raises:
      ModuleNotFoundError: as `code_version`.
    """
    found: set[Path] = set()
    waiting = []
    for name in entry_points:
        if name.partition(".")[0] in _OURS:
            if _file(name, root) is None:
                raise ModuleNotFoundError(f"no module {name} under {root}")
            waiting.append(name)
    while waiting:
        # Importing a module first imports the packages that it lies in.
        file, parent = _file(name := waiting.pop(), root), name.rpartition(".")[0]
        if file is not None and file not in found:
            imported, templates = _named_in(file.read_bytes())
            found |= {file, *(f for t in templates for f in (root / t).rglob("*") if f.is_file())}
            waiting += [*imported, *([parent] if parent else [])]
    return sorted(found)


def _file(name: str, root: Path) -> Path | None:
    path = root.joinpath(*name.split("."))
    package = path / "__init__.py"
    module = path.with_suffix(".py")
    return package if package.is_file() else module if module.is_file() else None


@functools.cache
def _named_in(source: bytes) -> tuple[set[str], set[str]]:
    """The names that a module imports of this project, modules or not, and folders of templates."""
    imported, templates = set(), set()
    for node in _walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            # What is imported from a package may be a module of it.
            assert node.module and not node.level, f"a relative import: {ast.unparse(node)}"
            imported |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("PackageLoader"):
            templates.add("/".join(ast.literal_eval(argument) for argument in node.args))
    return {name for name in imported if name.partition(".")[0] in _OURS}, templates


def _walk(node: ast.AST) -> Iterator[ast.AST]:
    """All below a node, without what only type checkers run."""
    yield node
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.If) and ast.unparse(child.test) == "TYPE_CHECKING":
            for other in child.orelse:
                yield from _walk(other)
        else:
            yield from _walk(child)
