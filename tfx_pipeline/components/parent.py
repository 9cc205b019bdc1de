"""Finds what the run of a day goes on from."""

import datetime

from tfx import v1 as tfx
from tfx.v1.dsl.components import OutputArtifact, Parameter

from tfx_pipeline.artifacts import ParentPointer, write_text
from tfx_pipeline.config import Config
from tfx_pipeline.daily.ancestors import find_ancestors
from tfx_pipeline.daily.record import read_records
from transforms.problems import InputError, Problem


@tfx.dsl.components.component
def Parent(  # noqa: N802 - components are named like TFX's own
    parent: OutputArtifact[ParentPointer],
    daily_dir: Parameter[str],
    day: Parameter[str],
    config: Parameter[str],
    known: Parameter[str],
) -> None:
    """Points at the days whose weights, graph and feature state this one takes up.

    This is a component of ours and no Resolver, because open-source Kubeflow implements none.

    Args:
      parent: Where the pointer is written; as properties it has the parent's day and key.
      daily_dir: Where the records of days are kept.
      day: The day, YYYY-MM-DD.
      config: The job's config, as JSON; of it `daily`.
      known: What the records said when the pipeline was built. Only there to be part of the cache
        key: a day that was run in between must not reuse this result.

    Raises:
      InputError: if there is nothing to go on from.
    """
    del known
    settings = Config.model_validate_json(config)
    found = find_ancestors(read_records(daily_dir), settings, datetime.date.fromisoformat(day))
    if found.parent is None and not settings.daily.full:
        # Where the days are run one by one on this machine, such a day has been made a full one.
        raise InputError(
            [
                Problem(
                    f"day {day}",
                    f"no earlier day under {daily_dir} that it can go on from",
                    "a run of the day before, or one that begins a lineage",
                    "Run the pipeline that was compiled with --full once.",
                )
            ]
        )
    write_text(parent.uri, ParentPointer.FILE, found.model_dump_json(indent=2))
    if found.parent is not None:
        parent.set_string_custom_property("parent_day", str(found.parent.day))
        parent.set_string_custom_property("parent_key", found.parent.key)
