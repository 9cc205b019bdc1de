"""Finds the models that a candidate must not fall behind."""

import os
from pathlib import Path
from typing import Any

from tfx import v1 as tfx
from tfx.v1.dsl.components import InputArtifact, OutputArtifact, Parameter
from tfx.v1.dsl.io import fileio

from serving.versions import EXTRA, latest
from tfx_pipeline.artifacts import (
    BaselinePointer,
    ParentPointer,
    serving_dir,
    write_json,
)
from tfx_pipeline.daily.ancestors import read_ancestors
from tfx_pipeline.read_card import MODEL_CARD, read_card


@tfx.dsl.components.component
def Baseline(  # noqa: N802 - components are named like TFX's own
    baseline: OutputArtifact[BaselinePointer],
    push_destination: Parameter[str],
    known_version: Parameter[int],
    parent: InputArtifact[ParentPointer] = None,
) -> None:
    """Points at the newest version in the push destination, or at the last blessed day.

    In the run of a day it is the last one before that day: the newest version may be of a later
    one, where late rows had days run again, and so may have seen the rows that are evaluated on.

    This is a component of ours and no Resolver, because open-source Kubeflow
    implements none.

    Args:
      baseline: Where the pointer is written.
      push_destination: Folder of version folders.
      known_version: The newest version when the pipeline was built, 0 for none. Only
        there to be part of the cache key: a push in between must not reuse this result.
      parent: What the day goes on from.
    """
    del known_version
    if parent is None:
        found = latest(push_destination)
        version, path = (found[0], str(found[1])) if found else (None, None)
    else:
        last = read_ancestors(parent.uri).baseline
        version, path = (last.version, serving_dir(last.model)) if last else (None, None)
    write_json(
        baseline.uri,
        "baseline.json",
        {"version": version, "path": path, **_series(push_destination, version)},
    )


def _series(push_destination: str, version: int | None) -> dict[str, Any]:
    """What the version's card knows of those before it, and where the anchor lies.

    Returns:
      `series`, see `tfx_pipeline.gate.series`, null where no card holds it; and `anchor`, the
      folder of the version that the series is held against, null where it is gone.
    """
    folder = Path(push_destination, str(version))
    has_card = (folder / EXTRA / MODEL_CARD).is_file()
    series = read_card(folder).get("series") if has_card else None
    if series is None:
        return {"series": None, "anchor": None}
    pushed = os.path.join(push_destination, str(series["anchor"] or version))
    found = [path for path in (series["anchor_model"], pushed) if fileio.exists(path)]
    return {"series": series, "anchor": found[0] if found else None}
