from __future__ import annotations

import hashlib
import importlib.metadata
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tfx_pipeline.file_hashes import file_hashes, folder_hash
from tfx_pipeline.model_card import card_files, model_card

from .outcomes import make_cell, make_config

CHECK = {
    "passed": True,
    "problems": [],
    "latency_ms": {"rank[100]": {"p50": 1.25, "p99": 7.5}},
    "memory_mb": 404.2,
    "memory_before_mb": 264.0,
    "load_seconds": 0.51,
}


@pytest.fixture
def folders(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "model" / "variables").mkdir(parents=True)
    (tmp_path / "model" / "saved_model.pb").write_bytes(b"graph")
    (tmp_path / "model" / "variables" / "rows").write_bytes(b"rows" * 1_000_000)
    (tmp_path / "graph").mkdir()
    (tmp_path / "graph" / "saved_model.pb").write_bytes(b"transform")
    return {"model_dir": str(tmp_path / "model"), "transform_graph": str(tmp_path / "graph")}


def _card(folders: dict[str, str], baseline: str | None = "41", **check: Any) -> dict[str, Any]:
    config = make_config({"click": "binary", "length": "regression"}, ["feed"])
    cells = [
        make_cell(task, "*", kind, np.random.default_rng(1), rows=500, baseline=False)
        for task, kind in (("click", "binary"), ("length", "regression"))
    ]
    return model_card(
        42,
        config,
        **folders,
        counts={"read": 900, "train": 600, "valid": 100, "eval": 200},
        verdict={"baseline_version": baseline, "metrics": cells, "not_judged": []},
        check=check or CHECK,
    )


def test_what_a_card_holds(folders: dict[str, str]) -> None:
    card = json.loads(card_files(_card(folders))["model_card.json"])
    assert (card["model"], card["version"], card["baseline_version"]) == ("job", 42, "41")
    assert card["days"]["train"] == {"start": "2024-01-01", "end": "2024-01-05"}
    assert card["rows"]["train"] == 600
    assert [cell["task"] for cell in card["metrics"]] == ["click", "length"]
    assert card["sha256"]["model"] == {
        "saved_model.pb": hashlib.sha256(b"graph").hexdigest(),
        "variables/rows": hashlib.sha256(b"rows" * 1_000_000).hexdigest(),
    }
    config = make_config({"click": "binary", "length": "regression"}, ["feed"])
    assert card["config"] == json.loads(config.model_dump_json())
    whole = config.model_dump_json().encode()
    assert card["sha256"]["config"] == hashlib.sha256(whole).hexdigest()
    assert card["packages"]["tensorflow"] == importlib.metadata.version("tensorflow")
    assert card["model_check"] == CHECK


def test_a_hash_changes_with_a_name_and_with_a_byte(folders: dict[str, str]) -> None:
    graph = Path(folders["transform_graph"])
    first = folder_hash(str(graph))
    assert first == folder_hash(str(graph))
    (graph / "saved_model.pb").rename(graph / "saved_model.pbtxt")
    renamed = folder_hash(str(graph))
    (graph / "saved_model.pbtxt").write_bytes(b"Transform")
    assert len({first, renamed, folder_hash(str(graph))}) == 3
    assert list(file_hashes(str(graph))) == ["saved_model.pbtxt"]


def test_the_card_to_read(folders: dict[str, str]) -> None:
    text = card_files(_card(folders))["model_card.md"]
    assert text.startswith("# job, version 42\n")
    assert "Compared with version 41" in text
    assert "| train | 2024-01-01 | 2024-01-05 | 600 |" in text
    assert "| `rank[100]` | 1.25 | 7.50 |" in text and "404 MiB" in text
    assert '"label": "click == 1"' in text, "as it stands in the config"
    rows = [line for line in text.splitlines() if line.startswith("| length | * |")]
    assert len(rows) == 1 and "| – |" in rows[0], "a regression has no AUC"
    first = card_files(_card(folders, baseline=None))["model_card.md"]
    assert "there was none to compare it with" in first


def test_a_model_that_was_not_timed(folders: dict[str, str]) -> None:
    text = card_files(_card(folders, passed=False, problems=[]))["model_card.md"]
    assert "p99" not in text
