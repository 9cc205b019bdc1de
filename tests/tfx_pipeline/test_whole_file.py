from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest

from tfx_pipeline.whole_file import write_whole

from ..file_calls import Ended, fill_before, kill_before

BEFORE, AFTER = "before\n" * 1000, "after\n" * 2000


@pytest.mark.parametrize("stopped", [kill_before, fill_before])
def test_a_file_is_whole_whatever_the_moment(stopped: Callable[..., Ended], tmp_path: Path) -> None:
    for moment in itertools.count(1):
        path = tmp_path / "file"
        path.write_text(BEFORE)
        ended = stopped(moment, write_whole, path, AFTER, "a file")
        done = not ended.killed and not ended.error
        assert path.read_text() == (AFTER if done else BEFORE)
        if ended.error:
            assert f"DiskFullError: {path}: found no room" in ended.error.splitlines()[-1]
            assert [file.name for file in tmp_path.iterdir()] == ["file"]
        write_whole(path, AFTER, "a file")
        assert path.read_text() == AFTER
        assert [file.name for file in tmp_path.iterdir()] == ["file"]
        if done:
            break
    assert moment > 2
