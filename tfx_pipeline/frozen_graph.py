"""Whether a transform graph that was frozen earlier gives what a config needs today."""

from __future__ import annotations

from tfx_pipeline.config import Config
from tfx_pipeline.inputs import history, request_columns
from transforms.problems import Problem

_REMEDY = (
    "Change the config back, or leave `features.transform_graph` out to fit a new one, which "
    "starts from cold weights."
)


def frozen_graph_problems(config: Config) -> list[Problem]:
    """What `features.transform_graph` lacks; nothing where none is named.

    A graph knows the features that it was fitted for, in order, but of the tasks only how many they
    are, and by name what it reads; so a config that only changes the tasks' order goes unnoticed.
    """
    graph = config.features.transform_graph
    if graph is None:
        return []
    import tensorflow_transform as tft

    from transforms.dense_transform import DenseTransform

    found = tft.TFTransformOutput(str(graph))
    where = f"features.transform_graph {graph}"
    try:
        reads, gives = set(found.raw_feature_spec()), found.transformed_feature_spec()
    except OSError as error:
        expected = "a transform graph of an earlier run"
        remedy = "They lie in the workdir, under pipeline/Transform/transform_graph."
        return [Problem(where, f"none: {error}", expected, remedy)]
    kept = history(config)
    needed = {
        *config.features.fields,
        config.scenario.column,
        *config.tasks,
        *(kept.features if kept else ()),
    }
    problems = []
    if lacking := sorted(needed - reads):
        problems.append(
            Problem(
                where,
                f"a graph that does not read {', '.join(lacking)}",
                "one that was fitted with all features and tasks of the config",
                _REMEDY,
            )
        )
    widths = {
        "keys": ("features", len(config.features.fields)),
        "numbers": ("numeric features, twice", 2 * len(config.features.numbers)),
        "labels": ("tasks", len(config.tasks)),
    }
    if any(task.labelling.may_be_absent for task in config.tasks.values()):
        widths["spaces"] = ("tasks' sample spaces", len(config.tasks))
    for name, (what, width) in widths.items():
        fitted = gives[name].shape[0] if name in gives else None
        if fitted != width:
            problems.append(
                Problem(
                    where,
                    f"a graph that gives no `{name}`"
                    if fitted is None
                    else f"a graph that gives `{name}` for {fitted}",
                    f"`{name}` for {width} {what}",
                    _REMEDY,
                )
            )
    try:
        dense = DenseTransform(found.transform_savedmodel_dir)
    except ValueError as error:
        why = str(error).partition(": found ")[2].partition(";")[0]
        problems.append(Problem(where, why, "a graph that this version fitted", _REMEDY))
    else:
        for what, fitted_for, wanted_now in (
            ("categorical features", dense.text_names, config.features.categorical),
            ("numeric features", dense.number_names, config.features.numbers),
        ):
            if set(fitted_for) == set(wanted_now) and list(fitted_for) != list(wanted_now):
                problems.append(
                    Problem(
                        where,
                        f"the {what} in the order {', '.join(fitted_for)}",
                        f"that of the config, {', '.join(wanted_now)}",
                        _REMEDY,
                    )
                )
    for name, wanted in (("request", request_columns(config)), ("history_keys", kept)):
        if wanted and name not in gives:
            problems.append(
                Problem(where, f"a graph that gives no `{name}`", "one that does", _REMEDY)
            )
    return problems
