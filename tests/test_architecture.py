from __future__ import annotations

from pathlib import Path

from importlinter.cli import EXIT_STATUS_SUCCESS, lint_imports

_ROOT = Path(__file__).resolve().parents[1]


def test_imports_point_one_way(capsys):
    status = lint_imports(config_filename=str(_ROOT / "pyproject.toml"))

    assert status == EXIT_STATUS_SUCCESS, capsys.readouterr().out
