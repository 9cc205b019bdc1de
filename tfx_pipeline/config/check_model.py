"""Which backbones, plug-ins and features make sense together."""

from __future__ import annotations

from collections.abc import Iterator

from tfx_pipeline.config.check_tasks import check_head
from tfx_pipeline.config.job import Config
from tfx_pipeline.config.plug_in_columns import (
    domain_columns,
    lhuc_column,
    prior_columns,
    query_columns,
)
from transforms.problems import Problem


def check_model(config: Config) -> Iterator[Problem]:
    """Combinations that make no sense, each with the reason."""
    yield from _check_backbone(config)
    yield from _check_tower_gates(config)
    yield from _check_columns(config)
    model, features = config.model, config.features
    yield from check_head(config.tasks, features.numeric, model.head, model.fusion, model.loss)
    if model.preset == "meituan" and not model.loss.kl_bounds:
        yield Problem(
            "model.loss.kl_bounds",
            "nothing, and the preset `meituan`",
            "the bound that is part of it: three binary tasks a, b, c with P(a) P(b) = P(c)",
            "For example tasks click, order given a click (with a `space`), and order.",
        )
    if model.missing_values and not features.numbers:
        yield Problem(
            "model.missing_values",
            "no numeric features",
            "numbers that can be missing",
            "Name some in features.numeric, or leave model.missing_values out.",
        )
    if model.behaviour_sequence is not None and features.history is None:
        yield Problem(
            "model.behaviour_sequence",
            "no features.history",
            "histories for it to read",
            "Say in features.history what of a user's past behaviours is kept.",
        )
    if model.behaviour_sequence is None and features.history is not None:
        yield Problem(
            "features.history",
            "no part of the model that reads it",
            "model.behaviour_sequence beside it",
            "`model.behaviour_sequence: {}` or `model.preset: dupn` reads it.",
        )


def _check_backbone(config: Config) -> Iterator[Problem]:
    model, name = config.model, config.model.backbone
    scenarios, needed = len(config.scenario.values), model.backbone_settings.min_scenarios
    if scenarios < needed:
        yield Problem(
            "model.backbone",
            f"`{name}` with {scenarios} scenario",
            f"{needed} scenarios or more: `{name}` is about what scenarios take from one another",
            "List more in scenario.values, or take a backbone that shares among tasks only, "
            "such as `ple`.",
        )
    others = {t.kind for t in config.tasks.values()} - {"binary"}
    unfit = others & {"hmoe": {"regression", "multiclass"}, "star": {"multiclass"}}.get(name, set())
    if unfit:
        yield Problem(
            "model.backbone",
            f"`{name}` with a {min(unfit)} task",
            "tasks that it can score: `hmoe` mixes probabilities, and the auxiliary network of "
            "`star` adds one logit a task",
            "Take another backbone, such as `ple`.",
        )
    if name == "deepfm":
        widths = {model.embedding.dims.get(f, model.embedding.dim) for f in config.features.fields}
        if len(widths) > 1:
            yield Problem(
                "model.embedding.dims",
                f"widths {', '.join(map(str, sorted(widths)))} with the backbone `deepfm`",
                "one width: it multiplies the embeddings of every two fields",
            )
        if len(config.features.fields) < 2:
            yield Problem(
                "model.backbone", "`deepfm` with one feature", "two or more, to make a pair"
            )


def _check_tower_gates(config: Config) -> Iterator[Problem]:
    model = config.model
    gates_outputs_only = {
        "ppnet": model.ppnet is not None and model.ppnet.position == "output",
        "lhuc": model.lhuc is not None,
    }
    for key, needs_hidden in gates_outputs_only.items():
        if getattr(model, key) is None:
            continue
        if model.backbone_settings.scores:
            yield Problem(
                f"model.{key}",
                f"the backbone `{model.backbone}`, which scores by itself",
                "a backbone with towers, which is what it gates",
                f"Leave model.{key} out, or take another backbone.",
            )
        elif needs_hidden and not model.tower_units:
            yield Problem(
                f"model.{key}", "towers without hidden layers", "hidden units, which it gates"
            )
    if model.ppnet is not None and model.lhuc is not None:
        yield Problem(
            "model.lhuc",
            "model.ppnet beside it",
            "one of them: LHUC is PPNet with the user alone and no hidden layer",
        )


def _check_columns(config: Config) -> Iterator[Problem]:
    model, fields = config.model, config.features.fields
    read: dict[str, list[str]] = {}
    if model.epnet is not None:
        read["epnet.domain"] = domain_columns(config)
    if model.ppnet is not None:
        read["ppnet.prior"] = prior_columns(config)
        if not read["ppnet.prior"]:
            yield Problem(
                "model.ppnet.prior",
                "nothing, and no column of data.user and data.event_key among the features",
                "the features that stand for user, item and author",
            )
    if model.lhuc is not None:
        read["lhuc.user"] = [lhuc_column(config)]
    if model.behaviour_sequence is not None:
        read["behaviour_sequence.query"] = query_columns(config)
    for key, columns in read.items():
        for name in sorted(set(columns) - set(fields)):
            yield Problem(
                f"model.{key}", f"`{name}`, which is no feature", f"features: {', '.join(fields)}"
            )
        for name in sorted({name for name in columns if columns.count(name) > 1}):
            yield Problem(f"model.{key}", f"`{name}` twice", "each once")
