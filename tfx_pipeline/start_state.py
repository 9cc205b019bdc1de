"""Whether a feature state of an earlier run is one that a config can go on from."""

from __future__ import annotations

import datetime
import json

from tfx_pipeline.config import Config
from tfx_pipeline.inputs import history, log_schema, splits
from tfx_pipeline.same_meaning import differences
from transforms.problems import InputError, Problem

_REMEDY = (
    "Change the config back, or leave `data.state` out: then nothing is known of earlier days."
)


def start_state_problems(config: Config) -> list[Problem]:
    """What keeps a run from going on from `data.state`; nothing where none is named."""
    if config.data.state is None:
        return []
    import tensorflow as tf

    from transforms.feature_state import read_state

    where = f"data.state {config.data.state}"
    try:
        state = read_state(str(config.data.state))
    except InputError as error:
        return list(error.problems)
    except (tf.errors.OpError, OSError, json.JSONDecodeError, KeyError) as error:
        return [
            Problem(
                where,
                f"{type(error).__name__}: {error}",
                "a feature state of an earlier run",
                "They lie in the workdir, under pipeline/LogExampleGen/feature_state.",
            )
        ]
    problems = differences(where, state.settings, log_schema(config).past_settings, _REMEDY)
    for what, found, expected in (
        ("statistics", state.statistics, config.features.past_days),
        ("histories", state.history, history(config)),
        ("event key", state.event_key, tuple(config.data.event_key)),
    ):
        if found != expected:
            problems.append(
                Problem(where, f"the {what} {found}", f"{expected}, the config's", _REMEDY)
            )
    first = min(splits(config).days)
    last = datetime.date.fromordinal(state.last_day)
    if last >= first:
        problems.append(
            Problem(
                where,
                f"a state as of the end of {last}",
                f"one of a day before {first}, the first of `data`",
                "A row must not count among those before it.",
            )
        )
    return problems
