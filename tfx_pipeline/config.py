"""The typed schema of a config file.

One YAML file describes a whole job. Every key is defined, typed, defaulted and
documented here and nowhere else; `docs/reference/config.md` is generated from
this file (`make docs`). Unknown keys are errors.

Nothing here imports TensorFlow, so that `equipoise check` and `--help` are quick.
"""

from __future__ import annotations

import datetime
import re
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from transforms.labels import ExpressionError, parse_expression
from transforms.problems import InputError, Problem
from transforms.statistics import Statistic, feature_names

OTHER = "other"
"""The scenario that every value not listed in `scenario.values` is mapped to."""

_NAME = r"^[a-z][a-z0-9_]*$"


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


Positive = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class DaySource(_Section):
    """Where the day of a row comes from."""

    column: str | None = Field(
        None, description="Column that holds the day. Leave out to take it from the file's path."
    )
    format: str = Field(
        "%Y-%m-%d",
        description="strptime format of the column's text, for example `%Y%m%d` for 20220425.",
    )


class SideTable(_Section):
    """A user or item table joined to every row by its key."""

    files: str = Field(description="Glob below `data.path` of the table's files.")
    key: str = Field(description="Column, in the table and in the log, that joins them.")


class DayRange(_Section):
    """Days from `start` to `end`, both included."""

    start: datetime.date
    end: datetime.date

    @model_validator(mode="after")
    def _ordered(self) -> DayRange:
        if self.end < self.start:
            raise ValueError(f"ends ({self.end}) before it starts ({self.start})")
        return self

    def days(self) -> list[datetime.date]:
        """All days of the range, in order."""
        return [
            self.start + datetime.timedelta(days=i) for i in range((self.end - self.start).days + 1)
        ]


def _range_from_text(value: Any) -> Any:
    """Accepts `2022-04-25` and `2022-04-25..2022-05-03` beside `{start:, end:}`."""
    if isinstance(value, datetime.date):
        return {"start": value, "end": value}
    if isinstance(value, str):
        first, _, last = value.partition("..")
        return {"start": first.strip(), "end": (last or first).strip()}
    return value


Days = Annotated[DayRange, BeforeValidator(_range_from_text)]


class DataConfig(_Section):
    """Which logs are read, and how rows become examples."""

    path: Path = Field(description="Folder that holds the logs and the joined tables.")
    logs: str = Field(
        description="Glob below `data.path` of the log files. `{YYYY}`, `{MM}` and `{DD}` in it "
        "stand for the day; files of days that are not needed are then not opened."
    )
    format: Literal["auto", "csv", "parquet", "jsonl"] = Field(
        "auto",
        description="Format of the logs and tables; `auto` goes by the file name "
        "(.csv, .csv.gz, .parquet, .jsonl, .jsonl.gz).",
    )
    day: DaySource = Field(default_factory=DaySource, description="Where a row's day comes from.")
    event_key: list[str] = Field(
        min_length=1,
        description="Columns that together identify an event; rows that repeat a key are dropped "
        "after the first.",
    )
    event_time: str = Field(description="Numeric column with the event's time, in any unit.")
    user: str = Field(description="Column that identifies the user; GAUC is grouped by it.")
    tables: dict[str, SideTable] = Field(
        default_factory=dict, description="User and item tables to join, by a name of your choice."
    )
    train: Days = Field(description="Days to train on: `2022-04-25..2022-05-03`, or one day.")
    valid: Days = Field(description="Days for early stopping.")
    eval: Days = Field(description="Days to evaluate and gate on.")
    max_rejected_fraction: float = Field(
        0.01,
        ge=0,
        le=1,
        description="The run stops when more than this share of the rows read is rejected.",
    )

    @model_validator(mode="after")
    def _in_time_order(self) -> DataConfig:
        if not self.train.end < self.valid.start or not self.valid.end < self.eval.start:
            raise ValueError(
                "train, valid and eval must follow each other in time without overlap; found "
                f"train to {self.train.end}, valid {self.valid.start} to {self.valid.end}, "
                f"eval from {self.eval.start}"
            )
        return self


class StatisticConfig(_Section):
    """Counts and smoothed rates over strictly earlier days, of a row's user, item or the like.

    See docs/reference/statistics.md.
    """

    by: list[str] = Field(
        min_length=1,
        description="Columns whose values together are the key: categorical ones, or the "
        "scenario's.",
    )
    of: list[str] = Field(min_length=1, description="Tasks whose rates are computed.")
    prior: Positive = Field(
        20.0,
        description="How many rows of the global rate a key starts with: rate = (positives + "
        "prior * global rate) / (rows + prior).",
    )
    half_life_days: Positive | None = Field(
        None, description="Age at which a row counts half. Default: all earlier rows count alike."
    )


class FeaturesConfig(_Section):
    """Which columns the model sees. All come from the log or a joined table."""

    categorical: list[str] = Field(
        min_length=1,
        description="Columns read as text and embedded by the fingerprint of (column, value). "
        "A missing value has an embedding of its own.",
    )
    numeric: list[str] = Field(
        default_factory=list,
        description="Columns read as numbers. Each is embedded by its quantile bucket (missing is "
        "a bucket of its own) and given to the model as a z-score of log1p with a presence mask.",
    )
    statistics: list[StatisticConfig] = Field(
        default_factory=list,
        description="Past-days statistics. Each adds the numeric features `stat:BY:count` and, for "
        "every task, `stat:BY:TASK:rate`, where BY is `user_id`, `user_id+tab` or, with a "
        "half-life, `user_id@3d`.",
    )
    num_buckets: int = Field(32, ge=2, le=1024, description="Quantile buckets per numeric column.")
    transform_graph: Path | None = Field(
        None,
        description="Transform graph fitted by an earlier run, to be applied as it is: bucket 7 "
        "must mean today what its embedding learned then. Default: fit one on the training days.",
    )

    @property
    def past_days(self) -> tuple[Statistic, ...]:
        """The statistics, in the terms of `transforms`."""
        return tuple(
            Statistic(tuple(s.by), tuple(s.of), s.prior, s.half_life_days) for s in self.statistics
        )

    @property
    def numbers(self) -> list[str]:
        """Numeric features, in the order of the number matrix: columns, then statistics."""
        return [*self.numeric, *feature_names(self.past_days)]

    @property
    def fields(self) -> list[str]:
        """Features that are embedded, in the order of the key matrix."""
        return [*self.categorical, *self.numbers]


class ScenarioConfig(_Section):
    """The tabs, pages or feeds that the model serves."""

    column: str = Field(description="Column that names the scenario of a row.")
    values: list[str] = Field(
        min_length=1,
        description=f"Scenarios with parameters of their own. All other values become `{OTHER}`.",
    )

    @model_validator(mode="before")
    @classmethod
    def _values_as_text(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("values"), list):
            # YAML reads 1 as a number; anything but numbers and texts was hardly meant.
            texts = [str(v) if type(v) in (int, float) else v for v in data["values"]]
            data = {**data, "values": texts}
        return data

    @model_validator(mode="after")
    def _distinct(self) -> ScenarioConfig:
        repeated = sorted({v for v in self.values if self.values.count(v) > 1})
        if repeated:
            raise ValueError(f"values repeat: {', '.join(repeated)}")
        taken = [v for v in self.values if v in (OTHER, "*", "all", "")]
        if taken:
            raise ValueError(
                f"{taken[0]!r} must not be listed: `{OTHER}` is added by itself, `*` and `all` "
                "stand for the pool, and no scenario is without a name"
            )
        return self

    @property
    def names(self) -> list[str]:
        """All scenarios, `other` last; a scenario's id is its position."""
        return [*self.values, OTHER]


class TaskConfig(_Section):
    """One binary prediction task."""

    label: str = Field(
        description="Expression over log columns that is true for a positive, for example "
        "`play_time_ms >= 0.5 * duration_ms`. See docs/reference/expressions.md."
    )
    weight: float = Field(1.0, gt=0, description="Weight of the task's loss.")
    engagement: float = Field(
        0.0,
        ge=0,
        allow_inf_nan=False,
        description="What a positive label adds, beside the 1 of every occurrence, to the scores "
        "that decide which keys keep their embedding rows.",
    )
    true_probability: str | None = Field(
        None,
        description="Column with the true probability of the label, where it is known (simulated "
        "logs). The report then prints the AUC ceiling beside the AUC.",
    )

    @model_validator(mode="after")
    def _label_parses(self) -> TaskConfig:
        try:
            parse_expression(self.label)
        except ExpressionError as error:
            raise ValueError(f"label: {error}") from error
        return self


Width = Annotated[int, Field(ge=1)]


Share = Annotated[float, Field(gt=0, le=1)]


class EmbeddingConfig(_Section):
    """The dynamic embedding tables: keys get rows, and lose them, while the model trains."""

    dim: Width = Field(16, description="Width of an embedding row.")
    dims: dict[str, Width] = Field(
        default_factory=dict,
        description="Widths that differ, by feature column. Each width has a table of its own.",
    )
    capacity: int = Field(
        1 << 18, ge=64, le=1 << 31, description="Rows of a table, for all its columns together."
    )
    capacities: dict[Width, Annotated[int, Field(ge=64, le=1 << 31)]] = Field(
        default_factory=dict, description="Capacities that differ, by width."
    )
    min_count: int = Field(
        2,
        ge=1,
        description="Occurrences before a key gets a row of its own; until then it reads the "
        "shared row of its column.",
    )
    half_life: Positive = Field(
        1_000_000,
        description="Age at which an occurrence counts half in a key's score. Where a table is "
        "full, the lowest score goes.",
    )
    half_life_unit: Literal["examples", "days"] = Field(
        "examples", description="What `half_life` is measured in."
    )
    expire_days: int | None = Field(
        None,
        ge=1,
        description="A key that no example held for more than this many days loses its row, even "
        "where there is room. Default: never.",
    )
    pinned: list[str] = Field(
        default_factory=list,
        description="Columns of small closed sets: their keys get rows at first sight, are never "
        "evicted, never expire and are always served.",
    )
    score_weights: dict[str, Positive] = Field(
        default_factory=dict,
        description="What an occurrence counts in the score, by column; 1 by default. See also "
        "`engagement` of a task.",
    )
    quotas: dict[str, Share] = Field(
        default_factory=dict,
        description="Most that a column may hold of its table's rows, as a share, so that a huge "
        "one does not starve the others. Default: no limit.",
    )
    serving_min_score: float = Field(
        0.0,
        ge=0,
        allow_inf_nan=False,
        description="Rows of a lower score are trained but not served; their keys then read the "
        "shared row.",
    )
    optimizer: Literal["adagrad", "row_wise_adagrad", "lazy_adam"] = Field(
        "adagrad",
        description="How rows learn. It keeps as many numbers a row as the row itself, one, or "
        "twice as many and one.",
    )
    learning_rate: Positive | None = Field(
        None, description="Of the rows. Default: 0.05, for `lazy_adam` 0.001."
    )
    initial_accumulator: Positive | None = Field(
        None, description="Adagrad's, for a fresh row. Default: 0.1."
    )
    l2: float = Field(
        0.0,
        ge=0,
        allow_inf_nan=False,
        description="Weight of half a row's squared length in the loss, in steps that read it.",
    )
    clip_norm: Positive | None = Field(
        None, description="Longest gradient of a row; longer ones are shortened. Default: no limit."
    )

    @model_validator(mode="after")
    def _accumulator_is_adagrads(self) -> EmbeddingConfig:
        if self.optimizer == "lazy_adam" and self.initial_accumulator is not None:
            raise ValueError("`lazy_adam` has no accumulator: leave `initial_accumulator` out")
        return self

    @model_validator(mode="after")
    def _capacities_of_tables(self) -> EmbeddingConfig:
        widths = sorted({self.dim, *self.dims.values()})
        unknown = sorted(set(self.capacities) - set(widths))
        if unknown:
            raise ValueError(f"capacities: no table of width {unknown[0]}; widths are {widths}")
        return self


class PleConfig(_Section):
    """Progressive Layered Extraction (Tang et al., RecSys 2020)."""

    levels: int = Field(2, ge=1, description="Extraction levels.")
    experts_per_task: int = Field(2, ge=1, description="Experts of each task, per level.")
    shared_experts: int = Field(2, ge=1, description="Experts shared by all tasks, per level.")
    expert_units: list[Width] = Field([64], min_length=1, description="Layer widths of an expert.")


class ModelConfig(_Section):
    """The network."""

    backbone: Literal["ple"] = Field("ple", description="Which backbone shares among the tasks.")
    ple: PleConfig = Field(default_factory=PleConfig)
    tower_units: list[Width] = Field([32], description="Layer widths of each task's tower.")
    dropout: float = Field(0.0, ge=0, lt=1, description="Dropout after the embeddings.")
    embedding: EmbeddingConfig = Field(default_factory=EmbeddingConfig)


class TrainingConfig(_Section):
    """How the model is fitted."""

    batch_size: int = Field(1024, ge=1, le=1 << 20, description="Examples per step.")
    epochs: int = Field(5, ge=1, description="Passes over the training days, at most.")
    patience: int = Field(
        1,
        ge=1,
        description="Epochs without a better mean AUC on the valid days before training stops; "
        "the best epoch's weights are kept.",
    )
    learning_rate: float = Field(0.001, gt=0, description="Adam's, for all but the embeddings.")
    clip_norm: Positive | None = Field(
        None,
        description="Longest gradient of all weights but the embeddings together; longer ones are "
        "shortened. Default: no limit.",
    )
    precision: Literal["float32", "mixed_bfloat16"] = Field(
        "float32",
        description="What all but the embeddings compute in; weights are float32 either way. "
        "`mixed_bfloat16` is for hardware that is faster in it, and is served as it was trained.",
    )
    shuffle_buffer: int = Field(65_536, ge=1, description="Examples held for shuffling.")
    checkpoint_every_steps: int = Field(
        500, ge=1, description="Steps between checkpoints; a killed training goes on from the last."
    )
    seed: int = Field(1, ge=0, lt=1 << 32, description="Seeds initialisation and shuffling.")
    xla: bool = Field(True, description="Compile the dense part of the step with XLA.")


class GateConfig(_Section):
    """What a candidate must show, in every task x scenario cell, to be pushed."""

    min_positives: int = Field(
        50, ge=1, description="A cell with fewer positives is listed as not judged."
    )
    min_negatives: int = Field(
        50, ge=1, description="A cell with fewer negatives is listed as not judged."
    )
    auc_floor: float = Field(0.5, ge=0, le=1, description="Least AUC of every judged cell.")
    auc_floors: dict[str, float] = Field(
        default_factory=dict,
        description="Floors that differ: by `task`, or by `task/scenario` (`*` is the pool).",
    )
    max_auc_drop: float = Field(
        0.01,
        ge=0,
        le=1,
        description="Most that the AUC of a judged cell may lie below that of the last pushed "
        "version on the same rows; 1 compares nothing.",
    )


class ServingConfig(_Section):
    """How the pushed model is laid out."""

    model_name: str | None = Field(
        None, pattern=_NAME, description="Name under which it is served. Default: the job's name."
    )
    keep_versions: int = Field(5, ge=1, description="Versions kept in the push destination.")


class Config(_Section):
    """A job: what to read, what to learn, when to push."""

    name: str = Field(pattern=_NAME, description="Name of the job; its workdir is `runs/<name>`.")
    data: DataConfig
    features: FeaturesConfig
    scenario: ScenarioConfig
    tasks: Annotated[dict[str, TaskConfig], Field(min_length=1)] = Field(
        description="Tasks by name (lower case, digits, underscores)."
    )
    model: ModelConfig = Field(default_factory=ModelConfig)
    training: TrainingConfig = Field(default_factory=TrainingConfig)
    gate: GateConfig = Field(default_factory=GateConfig)
    serving: ServingConfig = Field(default_factory=ServingConfig)

    @property
    def model_name(self) -> str:
        """Name under which the model is served."""
        return self.serving.model_name or self.name


class _UniqueKeyLoader(yaml.SafeLoader):
    """Refuses a key that stands twice; PyYAML would silently keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key, _ in node.value:
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"the key `{key.value}` stands twice", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def load_config(path: str | Path, overrides: list[str] | None = None) -> Config:
    """Reads a config file.

    Args:
      path: The YAML file.
      overrides: `dotted.key=value` texts; the value is read as YAML.

    Returns:
      The checked config.

    Raises:
      InputError: with every mistake in the file, each under its key's path.
    """
    path = Path(path)
    try:
        raw = yaml.load(path.read_text(encoding="utf-8"), _UniqueKeyLoader)
    except FileNotFoundError:
        raise InputError(
            [Problem(str(path), "no such file", "a config file", "configs/ holds examples.")]
        ) from None
    except OSError as error:
        raise InputError(
            [Problem(str(path), error.strerror or str(error), "a config file")]
        ) from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(
            [Problem(str(path), " ".join(str(error).split()), "a YAML file in UTF-8")]
        ) from error
    if not isinstance(raw, dict):
        raise InputError([Problem(str(path), type(raw).__name__, "a mapping of keys to values")])
    problems = [p for text in overrides or [] if (p := _apply_override(raw, text))]
    try:
        config = Config.model_validate(raw)
    except ValidationError as error:
        problems += [_to_problem(e) for e in error.errors(include_url=False)]
    else:
        problems += _cross_check(config)
    if problems:
        raise InputError(problems)
    return config


def _apply_override(raw: dict[str, Any], text: str) -> Problem | None:
    key, equals, value = text.partition("=")
    where = f"--set {text}"
    if not equals or not key.strip():
        return Problem(where, repr(text), "dotted.key=value", "For example training.epochs=3.")
    *parents, last = key.strip().split(".")
    node: Any = raw
    for i, part in enumerate(parents):
        node = node.setdefault(part, {})
        if not isinstance(node, dict):
            inner = ".".join(parents[: i + 1])
            return Problem(where, f"`{inner}` is {node!r}", "a section with keys below it")
    try:
        node[last] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        return Problem(where, " ".join(str(error).split()), "a value in YAML")
    return None


def _to_problem(error: Any) -> Problem:
    where = ".".join(str(part) for part in error["loc"]) or "(top level)"
    message = error["msg"].removeprefix("Value error, ")
    if error["type"] == "extra_forbidden":
        return Problem(
            where, "an unknown key", "a key of docs/reference/config.md", "Is it misspelt?"
        )
    if error["type"] == "missing":
        return Problem(where, "nothing", "a value: the key is required")
    if error["type"] == "value_error":
        return Problem(where, message, "what docs/reference/config.md says of this key")
    found = repr(error["input"])
    return Problem(where, found if len(found) <= 80 else found[:77] + "...", _as_phrase(message))


def _as_phrase(message: str) -> str:
    """Pydantic says `Input should be ...`; after `expected` only the rest reads well."""
    return message.removeprefix("Input should be ").removeprefix("Value should be ")


def _cross_check(config: Config) -> list[Problem]:
    problems = _check_statistics(config)
    features = config.features.fields
    for name in sorted({f for f in features if features.count(f) > 1}):
        problems.append(Problem("features", f"`{name}` twice", "each column once"))
    for name in config.tasks:
        if not _is_name(name):
            problems.append(
                Problem(f"tasks.{name}", repr(name), "lower case letters, digits, underscores")
            )
        if name in features:
            problems.append(
                Problem(
                    f"tasks.{name}",
                    "a feature of the same name",
                    "a task that no feature shares its name with: a label as a feature would leak",
                    f"Take `{name}` out of `features`, or rename the task.",
                )
            )
    for name, task in config.tasks.items():
        columns = parse_expression(task.label).columns
        if len(columns) == 1 and columns & set(features):
            problems.append(
                Problem(
                    f"tasks.{name}.label",
                    f"an expression of `{min(columns)}` alone, which is a feature",
                    "a label that no feature gives away",
                    f"Take `{min(columns)}` out of `features`.",
                )
            )
    embedding = config.model.embedding
    for key in ("dims", "pinned", "score_weights", "quotas"):
        for name in sorted(set(getattr(embedding, key)) - set(features)):
            problems.append(
                Problem(
                    f"model.embedding.{key}",
                    f"`{name}`, which is no feature",
                    f"columns of `features`: {', '.join(features)}",
                )
            )
    for name in sorted(set(embedding.pinned) & {*embedding.score_weights, *embedding.quotas}):
        problems.append(
            Problem(
                "model.embedding.pinned",
                f"`{name}`, which has a score weight or a quota too",
                "columns without: keys of a pinned column always have rows",
            )
        )
    graph = config.features.transform_graph
    if graph is not None and "://" not in str(graph) and not graph.is_dir():
        problems.append(
            Problem(
                "features.transform_graph",
                f"no folder {graph}",
                "a transform graph of an earlier run",
                "They lie in the workdir, under pipeline/Transform/transform_graph.",
            )
        )
    cells = {f"{task}/{s}" for task in config.tasks for s in [*config.scenario.names, "*"]}
    for key, floor in config.gate.auc_floors.items():
        where = f"gate.auc_floors.{key}"
        if key not in config.tasks and key not in cells:
            problems.append(
                Problem(
                    where,
                    "no such task or task/scenario",
                    f"a task ({', '.join(config.tasks)}), alone or with /scenario",
                )
            )
        if not 0 <= floor <= 1:
            problems.append(Problem(where, str(floor), "an AUC between 0 and 1"))
    return problems


def _check_statistics(config: Config) -> list[Problem]:
    problems = []
    columns = list(dict.fromkeys([*config.features.categorical, config.scenario.column]))
    seen: dict[tuple[frozenset[str], float | None], int] = {}
    if config.features.statistics and config.data.train.start == config.data.train.end:
        problems.append(
            Problem(
                "data.train",
                f"one day, {config.data.train.start}, and features.statistics",
                "two days or more: nothing is known of the days before the first",
            )
        )
    for i, statistic in enumerate(config.features.statistics):
        where = f"features.statistics.{i}"
        for part, names, known, kind in (
            ("by", statistic.by, columns, "categorical features and the scenario's column"),
            ("of", statistic.of, list(config.tasks), "tasks"),
        ):
            for name in sorted(set(names) - set(known)):
                problems.append(
                    Problem(f"{where}.{part}", f"`{name}`", f"{kind}: {', '.join(known)}")
                )
            for name in sorted({name for name in names if names.count(name) > 1}):
                problems.append(Problem(f"{where}.{part}", f"`{name}` twice", "each once"))
        key = (frozenset(statistic.by), statistic.half_life_days)
        first = seen.setdefault(key, i)
        if first < i:
            problems.append(
                Problem(
                    where,
                    f"the columns and the half-life of features.statistics.{first}",
                    "statistics that differ in one of them",
                    "Name the tasks of both in one of them.",
                )
            )
    return problems


def _is_name(text: str) -> bool:
    return re.fullmatch(_NAME, text) is not None
