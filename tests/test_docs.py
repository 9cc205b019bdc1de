from __future__ import annotations

import runpy
from pathlib import Path

_DOCS = Path(__file__).parents[1] / "docs"


def test_the_reference_of_the_config_keys_is_up_to_date():
    page = runpy.run_path(str(_DOCS / "generate_config.py"))["render"]()

    assert (_DOCS / "reference" / "config.md").read_text(encoding="utf-8") == page, (
        "run `make docs`"
    )
