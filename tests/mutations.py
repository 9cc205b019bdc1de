"""Breaks the code on purpose, and says which breaks the fast tests notice.

    make coverage
    python tests/mutations.py --coverage .coverage --seed 1 --count 60

Each mutant is one expression or statement of the four packages that is another, drawn at random,
as many of each package. It counts as caught if one of the fast tests that run its line fails, or,
where fixtures or other processes run it, one of the module's own or of its importers'. Tests run
in a copy of the checkout, forked from a process that has imported the platform. First all of them
run on the copy as it is: there they have to pass.
"""

from __future__ import annotations

import argparse
import ast
import copy
import importlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import coverage

PACKAGES = ("keras_models", "serving", "tfx_pipeline", "transforms")
_PLATFORM = (
    *("numpy", "pyarrow", "tensorflow", "tf_keras", "apache_beam", "tensorflow_transform.beam"),
    *("tensorflow_model_analysis", "tfx.v1", "pytest", "hypothesis", "matplotlib.figure", "moto"),
)
_SECONDS = 600
_OTHER = {
    **{ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt, ast.Eq: ast.NotEq},
    **{ast.NotEq: ast.Eq, ast.In: ast.NotIn, ast.NotIn: ast.In, ast.Is: ast.IsNot},
    **{ast.IsNot: ast.Is, ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Add},
    **{ast.Div: ast.Mult, ast.FloorDiv: ast.Mult, ast.Mod: ast.Mult, ast.And: ast.Or},
    **{ast.Or: ast.And, ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd},
}


@dataclass(frozen=True)
class Mutant:
    """A changed place.

    Args:
      file: Below the root.
      line: From 1.
      before: The place's source.
      after: What stands there instead.
      text: The whole file with it.
    """

    file: str
    line: int
    before: str
    after: str
    text: str


def mutants(root: Path, file: str) -> Iterator[Mutant]:
    """Every mutant of a file."""
    source = (root / file).read_text()
    lines = source.splitlines(keepends=True)
    for node in _code(ast.parse(source)):
        for other in _mutated(node):
            before, after = ast.get_source_segment(source, node), ast.unparse(other)
            if before is None:
                continue
            if isinstance(other, ast.expr):
                after = f"({after})"
            first, last = lines[node.lineno - 1], lines[node.end_lineno - 1]
            head = first.encode()[: node.col_offset].decode()
            tail = last.encode()[node.end_col_offset :].decode()
            text = "".join(
                [*lines[: node.lineno - 1], head, after, tail, *lines[node.end_lineno :]]
            )
            yield Mutant(file, node.lineno, before, after, text)


def _code(node: ast.AST) -> Iterator[ast.AST]:
    """All that runs: no annotation, docstring or message, and nothing for type checkers."""
    if isinstance(node, ast.Raise | ast.JoinedStr | ast.Import | ast.ImportFrom):
        return
    if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
        return
    yield node
    for name, value in ast.iter_fields(node):
        if name not in ("annotation", "returns", "decorator_list"):
            for child in value if isinstance(value, list) else [value]:
                if isinstance(child, ast.AST):
                    yield from _code(child)


def _mutated(node: ast.AST) -> Iterator[ast.AST]:
    other = copy.deepcopy(node)
    match node:
        case ast.Compare(ops=[operator]) if type(operator) in _OTHER:
            other.ops = [_OTHER[type(operator)]()]
            yield other
        case ast.BinOp(op=operator) | ast.BoolOp(op=operator) if type(operator) in _OTHER:
            other.op = _OTHER[type(operator)]()
            yield other
        case ast.UnaryOp(op=ast.Not(), operand=operand):
            yield operand
        case ast.Constant(value=bool(value)):
            yield ast.Constant(not value)
        case ast.Constant(value=int(value) | float(value)):
            yield ast.Constant(value + 1)
        case ast.Expr(value=ast.Call()):
            yield ast.Pass()
        case ast.Return(value=ast.expr()):
            yield ast.Return(ast.Constant(None))


def drawn(root: Path, same_as: Path | None, count: int, seed: int) -> list[Mutant]:
    """A sample, as many of each package.

    Args:
      root: The checkout.
      same_as: Another; files that differ there are left out, so that both give the same sample.
      count: How many.
      seed: Of the draw.
    """
    draw, found = random.Random(seed), []
    for package in PACKAGES:
        files = sorted(str(path.relative_to(root)) for path in (root / package).rglob("*.py"))
        if same_as is not None:
            files = [f for f in files if _read(same_as / f) == _read(root / f)]
        every = [mutant for file in files for mutant in mutants(root, file)]
        found += draw.sample(every, count // len(PACKAGES))
    return found


def _read(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def tests_of(mutant: Mutant, data: coverage.CoverageData, root: Path) -> list[str]:
    """Ids of the tests that may notice a mutant."""
    (measured,) = (f for f in data.measured_files() if f.endswith(f"/{mutant.file}"))
    contexts = set(data.contexts_by_lineno(measured).get(mutant.line, []))
    named = sorted(context for context in contexts if context.startswith("tests."))
    ids = [_test_id(context, root) for context in named]
    if len(named) < len(contexts) or not ids:
        # Fixtures, Hypothesis and other processes have no name there.
        stems = {Path(mutant.file).stem, *_importers(mutant.file, root)}
        modules = [p for stem in sorted(stems) for p in (root / "tests").rglob(f"test_{stem}.py")]
        ids += [str(path.relative_to(root)) for path in modules]
    return ids or [str(Path("tests", Path(mutant.file).parts[0]))]


def _importers(file: str, root: Path) -> list[str]:
    """The names of the modules that import one."""
    module = file.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    return [
        path.stem if path.stem != "__init__" else path.parent.name
        for package in PACKAGES
        for path in (root / package).rglob("*.py")
        if f"from {module} import" in path.read_text()
    ]


def _test_id(context: str, root: Path) -> str:
    """Of `tests.package.test_module.test_function`, perhaps with a class before the function."""
    parts = context.split(".")
    for length in range(len(parts) - 1, 0, -1):
        path = Path(*parts[:length]).with_suffix(".py")
        if (root / path).is_file():
            return "::".join([str(path), *parts[length:]])
    raise ValueError(f"no test module for {context}")


def copy_of(root: Path, folder: Path) -> None:
    """Copies what git knows of a checkout."""
    listed = subprocess.run(
        ["git", "ls-files", "-z"], cwd=root, capture_output=True, text=True, check=True
    )
    for file in filter(None, listed.stdout.split("\0")):
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / file, folder / file)


def caught(ids: list[str], root: Path, seconds: float = _SECONDS) -> str:
    """`failed`, `survived`, or `too slow`, of tests in a fork of this process."""
    if not (child := os.fork()):
        os.setsid()
        os.chdir(root)
        sys.path.insert(0, str(root))
        os.environ["PYTHONPATH"] = str(root)
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, 1)
        os.dup2(nowhere, 2)
        import pytest

        chosen = ["-m", "not slow and not e2e", "-x", "-q", "-p", "no:cacheprovider"]
        os._exit(int(pytest.main([*chosen, *ids])))
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            # 0: all passed; 5: there was none.
            return "survived" if os.waitstatus_to_exitcode(status) in (0, 5) else "failed"
        time.sleep(0.1)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    return "too slow"


def main() -> None:
    """Prints a line a mutant, and how many were caught."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--coverage", type=Path, required=True, help="data with contexts")
    parser.add_argument("--root", type=Path, default=Path(__file__).resolve().parents[1])
    parser.add_argument("--same-as", type=Path, help="leave out files that differ there")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--count", type=int, default=60)
    given = parser.parse_args()
    data = coverage.CoverageData(str(given.coverage))
    data.read()
    sample = drawn(given.root, given.same_as, given.count, given.seed)
    os.environ.setdefault(
        "EQUIPOISE_KUAIRAND", str(given.root.parent / "shared" / "data" / "kuairand_pure")
    )
    os.environ |= {"TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "3", "CI": "true"}
    for name in _PLATFORM:
        importlib.import_module(name)
    # An editable install finds the packages of the checkout before those of the copy.
    sys.meta_path[:] = [f for f in sys.meta_path if "editable" not in f"{f} {type(f)}".lower()]
    ids = {mutant: tests_of(mutant, data, given.root) for mutant in sample}
    total = 0
    with tempfile.TemporaryDirectory() as folder:
        tree = Path(folder, "as_it_is")
        copy_of(given.root, tree)
        every = sorted({one for of_mutant in ids.values() for one in of_mutant})
        if (found := caught(every, tree, 3600)) != "survived":
            sys.exit(f"the {len(every)} tests {found} on the code as it is")
        for i, mutant in enumerate(sample, 1):
            tree = Path(folder, str(i))
            copy_of(given.root, tree)
            (tree / mutant.file).write_text(mutant.text)
            started = time.monotonic()
            found = caught(ids[mutant], tree)
            total += found != "survived"
            shutil.rmtree(tree)
            record = {
                **{"file": mutant.file, "line": mutant.line, "before": mutant.before},
                **{"after": mutant.after, "tests": len(ids[mutant]), "found": found},
                "seconds": round(time.monotonic() - started),
            }
            print(json.dumps(record), flush=True)
    print(f"{total} of {len(sample)} caught")


if __name__ == "__main__":
    main()
