"""Quality over seeds, on real logs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).resolve().parents[2] / "benchmarks" / "kuairand_seeds.py"


@pytest.mark.slow
@pytest.mark.kuairand
def test_clicks_and_long_views_reach_their_auc_as_the_mean_of_three_seeds(
    kuairand_dir: Path,
) -> None:
    done = subprocess.run([sys.executable, SCRIPT, kuairand_dir], stdout=subprocess.PIPE, text=True)
    print(done.stdout)
    assert done.returncode == 0
    claims = json.loads(done.stdout.splitlines()[-1])
    assert [claim["name"] for claim in claims] == ["kuairand_auc_click", "kuairand_auc_long_view"]
    for claim in claims:
        assert claim["value"] >= 0.70, claim
