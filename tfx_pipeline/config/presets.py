"""The papers' combinations, by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from tfx_pipeline.config.merge import merged

PRESETS: dict[str, dict[str, Any]] = {
    "shared_bottom": {"backbone": "shared_bottom"},
    "mmoe": {"backbone": "mmoe"},
    "cgc": {"backbone": "ple", "ple": {"levels": 1}},
    "ple": {"backbone": "ple"},
    "hinet": {"backbone": "hinet", "loss": {"scenario_weights": "inverse_size"}},
    "star": {"backbone": "star"},
    "hmoe": {"backbone": "hmoe"},
    "esmm": {"backbone": "shared_bottom", "head": "esmm"},
    "pepnet": {"backbone": "shared_bottom", "epnet": {}, "ppnet": {}},
    "dupn": {"backbone": "shared_bottom", "behaviour_sequence": {}},
    "meituan": {"backbone": "shared_bottom", "missing_values": True},
    "deepfm": {"backbone": "deepfm"},
    "dcn_v2": {"backbone": "dcn_v2"},
}
"""What `model.preset` stands for: keys of the section `model`."""


def with_preset(model: Mapping[str, Any]) -> dict[str, Any]:
    """The section `model` with its preset filled in; keys that the section has itself stay.

    Args:
      model: The section as written. An unknown preset changes nothing.
    """
    return merged(PRESETS.get(str(model.get("preset")), {}), model)
