"""The config file: what it accepts, and what it says of mistakes."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from tfx_pipeline.config import Config, load_config
from transforms.problems import InputError

CONFIGS = Path(__file__).resolve().parents[2] / "configs"

MINIMAL = {
    "name": "job",
    "data": {
        "path": "logs",
        "logs": "*.csv",
        "event_key": ["id"],
        "event_time": "time",
        "user": "user",
        "train": "2024-01-01..2024-01-03",
        "valid": "2024-01-04",
        "eval": {"start": "2024-01-05", "end": "2024-01-06"},
    },
    "features": {"categorical": ["user", "tab"]},
    "scenario": {"column": "tab", "values": [1, 0]},
    "tasks": {"click": {"label": "is_click == 1"}},
}


def write(tmp_path: Path, changes: dict | None = None, drop: str | None = None) -> Path:
    raw = yaml.safe_load(yaml.safe_dump(MINIMAL))
    for key, value in (changes or {}).items():
        *parents, last = key.split(".")
        node = raw
        for part in parents:
            node = node.setdefault(part, {})
        node[last] = value
    if drop:
        *parents, last = drop.split(".")
        node = raw
        for part in parents:
            node = node[part]
        del node[last]
    path = tmp_path / "job.yaml"
    path.write_text(yaml.safe_dump(raw))
    return path


def _rule(**rule: Any) -> dict[str, Any]:
    return {"gate.rules": [rule]}


def _history(**changes: object) -> dict:
    """Changes that ask for histories, and for a model that reads them."""
    return {
        "features.history": {"items": ["tab"], **changes},
        "model.behaviour_sequence": {},
    }


def problems(path: Path, overrides: list[str] | None = None) -> dict[str, str]:
    with pytest.raises(InputError) as caught:
        load_config(path, overrides)
    return {p.where: str(p) for p in caught.value.problems}


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda p: p.name)
def test_shipped_configs_load(path: Path) -> None:
    assert load_config(path).name == path.stem


def test_defaults_and_short_forms(tmp_path: Path) -> None:
    config = load_config(write(tmp_path))
    assert config.model_name == "job"
    assert config.data.train.days() == [datetime.date(2024, 1, d) for d in (1, 2, 3)]
    assert config.data.valid.start == config.data.valid.end
    assert config.scenario.names == ["1", "0", "other"]


def test_statistics_are_numeric_features(tmp_path: Path) -> None:
    statistics = [
        {"by": ["user"], "of": ["click"]},
        {"by": ["user", "tab"], "of": ["click"], "half_life_days": 3},
    ]
    names = [
        *("stat:user:count", "stat:user:click:rate"),
        *("stat:user+tab@3d:count", "stat:user+tab@3d:click:rate"),
    ]
    features = {"features.numeric": ["age"], "features.statistics": statistics}
    config = load_config(
        write(tmp_path, {**features, "model.embedding.dims": {"stat:user:click:rate": 4}})
    )
    assert config.features.numbers == ["age", *names]
    assert config.features.fields == ["user", "tab", "age", *names]


def test_histories(tmp_path: Path) -> None:
    config = load_config(write(tmp_path, _history(labels=["click"])))
    history = config.features.history
    assert (history.properties, history.length) == (["scenario", "age"], 20)
    assert history.width(len(config.scenario.names)) == 3 + 8 + 1
    assert load_config(write(tmp_path)).features.history is None


def test_json_round_trip(tmp_path: Path) -> None:
    config = load_config(write(tmp_path))
    assert type(config).model_validate_json(config.model_dump_json()) == config


def test_overrides_are_read_as_yaml(tmp_path: Path) -> None:
    config = load_config(write(tmp_path), ["training.epochs=3", "data.path=elsewhere"])
    assert config.training.epochs == 3 and config.data.path == "elsewhere"


def test_every_mistake_is_reported_at_once(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        {
            "training.epoch": 3,
            "training.batch_size": 0,
            "tasks.click.label": "is_click = = 1",
            "gate.auc_floor": "high",
        },
        drop="data.user",
    )
    found = problems(path)
    assert set(found) == {
        "training.epoch",
        "training.batch_size",
        "tasks.click",
        "gate.auc_floor",
        "data.user",
    }
    assert "unknown key" in found["training.epoch"]
    assert "required" in found["data.user"]
    assert "In logs without users, that of the device, the session" in found["data.user"]
    assert "greater than or equal to 1" in found["training.batch_size"]


@pytest.mark.parametrize(
    ("changes", "where", "says"),
    [
        ({"data.valid": "2024-01-03"}, "data", "without overlap"),
        ({"data.train": "2024-01-03..2024-01-01"}, "data.train", "before it starts"),
        ({"scenario.values": ["1", "1"]}, "scenario", "repeat: 1"),
        ({"scenario.values": ["other"]}, "scenario", "must not be listed"),
        ({"scenario.values": ["1", "*"]}, "scenario", "stand for the pool"),
        ({"scenario.values": [True]}, "scenario.values", "`true` (line"),
        ({"features.categorical": ["is_click"]}, "tasks.click.label", "a feature"),
        ({"training.start": "/nope"}, "training.start", "and no features.transform_graph"),
        (
            {"training.start": "/nope", "features.transform_graph": "/"},
            "training.start",
            "no checkpoint /nope",
        ),
        ({"features.transform_graph": "/nope"}, "features.transform_graph", "no folder /nope"),
        ({"training.learning_rate": float("inf")}, "training.learning_rate", "finite"),
        ({"training.seed": 1 << 32}, "training.seed", "less than"),
        ({"model.tower_units": [0]}, "model.tower_units.0", "greater than or equal to 1"),
        ({"features.categorical": ["user", "user"]}, "features", "`user` twice"),
        ({"features.categorical": ["click"]}, "tasks.click", "would leak"),
        ({"tasks.Click": {"label": "a == 1"}}, "tasks.Click", "lower case"),
        (
            {"model.embedding.pinned": ["tub"]},
            "model.embedding.pinned",
            "`tub`, which is no feature",
        ),
        (
            {"model.embedding.dims": {"tub": 4}},
            "model.embedding.dims",
            "`tub`, which is no feature",
        ),
        (
            {"features.statistics": [{"by": ["tab"], "of": ["clik"]}]},
            "features.statistics.0.of",
            "found `clik`; expected tasks: click",
        ),
        (
            {"features.statistics": [{"by": ["item"], "of": ["click"]}]},
            "features.statistics.0.by",
            "found `item`; expected categorical features and the scenario's column: user, tab",
        ),
        (
            {"features.statistics": [{"by": ["tab", "tab"], "of": ["click"]}]},
            "features.statistics.0.by",
            "`tab` twice",
        ),
        (
            {
                "features.statistics": [{"by": ["tab"], "of": ["click"]}],
                "data.train": "2024-01-03",
            },
            "data.train",
            "one day, 2024-01-03, and features.statistics",
        ),
        ({"features.statistics": [{"by": [], "of": ["click"]}]}, "features.statistics.0.by", "1"),
        (
            {"features.statistics": [{"by": ["tab"], "of": ["click"], "prior": 0}]},
            "features.statistics.0.prior",
            "greater than 0",
        ),
        (
            {
                "features.statistics": [
                    {"by": ["tab", "user"], "of": ["click"]},
                    {"by": ["tab", "user"], "of": ["click"], "half_life_days": 2},
                    {"by": ["user", "tab"], "of": ["click"], "half_life_days": 2, "prior": 5},
                ]
            },
            "features.statistics.2",
            "the columns and the half-life of features.statistics.1",
        ),
        (
            _history(items=["item"]),
            "features.history.items",
            "found `item`; expected columns of features.categorical: user, tab",
        ),
        (_history(items=["tab", "tab"]), "features.history.items", "`tab` twice"),
        (_history(items=["user"]), "features.history.items", "which is data.user"),
        (_history(labels=["clik"]), "features.history.labels", "expected tasks: click"),
        (_history(properties=["age", "age"]), "features.history.properties", "`age` twice"),
        (_history(properties=[]), "features.history", "neither properties nor labels"),
        (
            {**_history(items=["age"]), "features.categorical": ["user", "tab", "age"]},
            "features.history.properties",
            "`age` beside a column or a task of that name",
        ),
        (
            {
                **_history(),
                "scenario.column": "age",
                "features.categorical": ["user", "tab"],
            },
            "features.history.properties",
            "`age` beside a column or a task of that name",
        ),
        (
            {"features.categorical": ["user", "examples"]},
            "features.categorical",
            "`examples`, which is the input of the served model; expected another name",
        ),
        ({"data.user": "examples"}, "data.user", "`examples`, which is the input of the served"),
        ({"tasks.examples": {"label": "a == 1"}}, "tasks.examples", "the input of the served"),
        ({"features.numeric": ["a/"]}, "features.numeric", "`a/`; expected a name that does not"),
        ({"features.categorical": ["user", ""]}, "features.categorical", "the name of a column"),
        (
            {
                "features.categorical": ["user", "tab", "user+tab"],
                "features.statistics": [
                    {"by": ["user", "tab"], "of": ["click"]},
                    {"by": ["user+tab"], "of": ["click"]},
                ],
            },
            "features.statistics.1",
            "the name `user+tab`, which features.statistics.0 has too",
        ),
        (
            {
                "features.statistics": [
                    {"by": ["tab"], "of": ["click"], "half_life_days": 3},
                    {"by": ["tab"], "of": ["click"], "half_life_days": 3.0000001},
                ],
            },
            "features.statistics.1",
            "the name `tab@3d`, which features.statistics.0 has too",
        ),
        (_history(length=0), "features.history.length", "greater than or equal to 1"),
        ({"gate.auc_floor": 1.5}, "gate.auc_floor", "found 1.5; expected less than or equal to 1"),
        ({"gate.auc_floors": {}}, "gate.auc_floors", "an unknown key"),
        ({"gate.confidence": 1}, "gate.confidence", "less than 1"),
        ({"gate.max_noise": 0}, "gate.max_noise", "greater than 0"),
        ({"gate.calibration_band": [1.2, 0.8]}, "gate.calibration_band", "low below high"),
        ({"gate.calibration_band": [1.2]}, "gate.calibration_band", "at least 2 items"),
        ({"gate.calibration_band": [-1, 1]}, "gate.calibration_band.0", "equal to 0"),
        (_rule(task="clik", auc_floor=0.6), "gate.rules.0.task", "a task: click"),
        (_rule(scenario="9", auc_floor=0.6), "gate.rules.0.scenario", "`*` is the pool"),
        (_rule(auc_floor=1.6), "gate.rules.0.auc_floor", "less than or equal to 1"),
        (_rule(task="click"), "gate.rules.0", "a threshold that differs"),
        (_rule(max_loss_rise=0.1), "gate.rules.0.max_loss_rise", "regression or multiclass tasks"),
        (_rule(auc_flor=0.1), "gate.rules.0.auc_flor", "an unknown key"),
    ],
)
def test_mistake(tmp_path: Path, changes: dict, where: str, says: str) -> None:
    found = problems(write(tmp_path, changes))
    assert list(found) == [where]
    assert says in found[where]


def test_missing_file(tmp_path: Path) -> None:
    path = tmp_path / "none.yaml"
    assert "no such file" in problems(path)[str(path)]


def test_a_folder(tmp_path: Path) -> None:
    assert "directory" in problems(tmp_path)[str(tmp_path)]


def test_a_key_twice(tmp_path: Path) -> None:
    path = write(tmp_path)
    path.write_text(path.read_text() + "name: again\n")
    assert "`name` stands twice" in problems(path)[str(path)]


def test_names_that_yaml_reads_as_something_else(tmp_path: Path) -> None:
    path = write(tmp_path)
    text = path.read_text()
    for written, odd in (
        ("  - user\n  - tab\n", "  - user\n  - 101\n  - 109_14\n  - NO\n  - ~\n"),
        ("column: tab", "column: 0x1F"),
        ("  - 1\n  - 0\n", "  - 25_34\n  - NO\n  - 7\n"),
        ("  click:\n", "  1e+3:\n"),
    ):
        assert written in text
        text = text.replace(written, odd)
    path.write_text(text)
    lines = {line.strip(): n for n, line in enumerate(text.splitlines(), 1)}

    def read(written: str, kind: str, column: int) -> str:
        line = lines.get(f"- {written}") or lines.get(f"{written}:") or lines[f"column: {written}"]
        return f"`{written}` (line {line}, column {column} of {path}), which YAML reads as {kind}"

    found = problems(path)
    assert found["features.categorical"] == (
        f"features.categorical: found {read('101', 'the number 101', 5)}; "
        f"{read('109_14', 'the number 10914', 5)}; "
        f"`NO` (line {lines['- 109_14'] + 1}, column 5 of {path}), which YAML reads as false "
        'and 1 more; expected text. Put it in quotes: "101", "109_14", "NO".'
    )
    assert found["scenario.column"] == (
        f"scenario.column: found {read('0x1F', 'the number 31', 11)}; expected text. "
        'Put it in quotes: "0x1F".'
    )
    assert found["scenario.values"] == (
        f"scenario.values: found {read('25_34', 'the number 2534', 5)}; "
        f"`NO` (line {lines['- 25_34'] + 1}, column 5 of {path}), which YAML reads as false; "
        'expected text. Put it in quotes: "25_34", "NO".'
    )
    # As 1e+3 is a text to YAML, it is a name, if none that a task may have.
    assert set(found) == {
        "features.categorical",
        "scenario.column",
        "scenario.values",
        "tasks.1e+3",
    }


def test_an_override_that_yaml_reads_as_something_else(tmp_path: Path) -> None:
    overrides = ["scenario.values=[25_34, on]", "model.embedding.dims={101: 8}"]
    assert problems(write(tmp_path), overrides) == {
        "scenario.values": (
            "scenario.values: found `25_34` (line 1, column 2 of --set scenario.values)"
            ", which YAML reads as the number 2534; `on` (line 1, column 9 of --set "
            "scenario.values), which YAML reads as true; expected text. Put it in "
            'quotes: "25_34", "on".'
        ),
        "model.embedding.dims.101": (
            "model.embedding.dims.101: found `101` (line 1, column 2 of --set "
            "model.embedding.dims), which YAML reads as the number 101; expected text. "
            'Put it in quotes: "101".'
        ),
        "model.embedding.dims": (
            "model.embedding.dims: found `101`, which is no feature; expected columns of "
            "`features`: user, tab."
        ),
    }


def test_whole_numbers_as_they_are_written_are_names_of_scenarios(tmp_path: Path) -> None:
    assert load_config(write(tmp_path), ["scenario.values=[12, 0, 1.5]"]).scenario.values == [
        *("12", "0", "1.5")
    ]


def test_a_value_of_no_kind_that_a_key_takes_is_one_mistake(tmp_path: Path) -> None:
    found = problems(write(tmp_path), ["beam.options={experiments: [[a], [b], [c]]}"])
    assert found == {
        "beam.options.experiments": (
            "beam.options.experiments: found [['a'], ['b'], ['c']]; expected true or false, a "
            "number, text, a list of these or a mapping to these."
        )
    }


@pytest.mark.parametrize(
    ("key", "nearest"),
    [
        ("catagorical", ""),
        ("features.catagorical", "Did you mean `categorical`?"),
        ("tasks.click.lable", "Did you mean `label`?"),
        ("model.embedding.capcity", "Did you mean `capacity`?"),
        ("data.tables.item.fils", "Did you mean `files`?"),
        ("beam.components.Transform.runer", "Did you mean `runner`?"),
    ],
)
def test_a_misspelt_key_names_the_nearest(tmp_path: Path, key: str, nearest: str) -> None:
    found = problems(write(tmp_path, {key: 1}))[key]
    assert found.endswith(nearest or "There are: " + ", ".join(sorted(Config.model_fields)) + ".")


def test_what_comes_of_a_mistake_is_not_another(tmp_path: Path) -> None:
    changes = {
        "tasks.order": {"label": "is_order = 1", "after": "click"},
        "tasks.long": {"label": "play > 1"},
        "features.statistics": [{"by": ["tub"], "of": ["order"]}],
        "model.head": "esm",
        "features.categorical": ["user", "tab", "play"],
        "training.epochs": 0,
    }
    assert set(problems(write(tmp_path, changes))) == {
        "tasks.order",
        "features.statistics.0.by",
        "model.head",
        "tasks.long.label",
        "training.epochs",
    }


@pytest.mark.parametrize(
    "text", ["a: 2024-02-30", "? [1]\n: 2", "", "a: &a [*a]", "a: " + "9" * 5000, "[" * 9000]
)
def test_odd_yaml_is_an_error_and_no_crash(text: str, tmp_path: Path) -> None:
    path = tmp_path / "job.yaml"
    path.write_text(text)
    assert problems(path)


def test_not_yaml(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text("a: [")
    assert "YAML" in problems(path)[str(path)]


@pytest.mark.parametrize("override", ["training.epochs", "name.x=1", "training.epochs=[", "x=1"])
def test_bad_override(tmp_path: Path, override: str) -> None:
    assert problems(write(tmp_path), [override])


SECRET = "wJalrXUtnFEMI"


@pytest.mark.parametrize(
    ("override", "where"),
    [
        (f"beam.options.s3_secret_access_key={SECRET}", "beam.options.s3_secret_access_key"),
        (
            f"beam.components.Transform.options={{azure_connection_string: 'Key={SECRET}'}}",
            "beam.components.Transform.options.azure_connection_string",
        ),
        (f"beam.options.environment_options={{db_password: {SECRET}}}", "db_password"),
        (f"beam.options.s3_secret_access_key=[[{SECRET}]]", "beam.options.s3_secret_access_key"),
        (
            f"beam.options.s3_secret_access_key={{{SECRET}",
            "--set beam.options.s3_secret_access_key",
        ),
        (f"kubeflow.secrets={{logs: {SECRET}}}", "kubeflow.secrets.logs"),
        (f"kubeflow.secrets={{logs: {{key: {SECRET}/K7}}}}", "kubeflow.secrets.logs.key"),
        (f"data.path=s3://user:{SECRET}@bucket/logs", "data.path"),
        (f"beam.options.job_endpoint=http://user:{SECRET}@host:1", "beam.options.job_endpoint"),
    ],
)
def test_no_message_holds_a_secret(tmp_path: Path, override: str, where: str) -> None:
    found = problems(write(tmp_path), [override])
    assert any(key.endswith(where) or where in key for key in found), found
    assert SECRET not in str(found)


def test_no_message_holds_a_line_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "bad.yaml"
    path.write_text(f"name: a\nbeam:\n  options: {{s3_secret_access_key: {SECRET}\nx: [")
    (found,) = problems(path).values()
    assert SECRET not in found and "in line 4, column 2" in found


def test_words_of_columns_are_no_secrets(tmp_path: Path) -> None:
    """RecBole names its columns so."""
    names = ["user:token", "password_age"]
    config = load_config(write(tmp_path), [f"features.categorical={names}"])
    assert config.features.categorical == names


def test_a_file_changes_another_that_it_extends(tmp_path: Path) -> None:
    write(tmp_path)
    child = tmp_path / "child.yaml"
    child.write_text(
        "extends: job.yaml\nname: child\nmodel: {tower_units: [8]}\n"
        "tasks: {like: {label: is_like == 1}}\nfeatures: {categorical: [tab]}\n"
    )
    config = load_config(child, ["training.epochs=2"])
    assert config.name == "child" and config.data.user == "user"
    assert list(config.tasks) == ["click", "like"]
    assert config.features.categorical == ["tab"]
    assert config.model.tower_units == [8] and config.training.epochs == 2


@pytest.mark.parametrize(
    ("extends", "message"),
    [
        ("none.yaml", "no such file"),
        ("[a]", "the path of a config file"),
        ("child.yaml", "which extends it"),
        ("parent.yaml", "which extends it"),
    ],
)
def test_a_file_that_cannot_be_extended(extends: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "parent.yaml").write_text("extends: child.yaml\n")
    child = tmp_path / "child.yaml"
    child.write_text(f"extends: {extends}\nname: child\n")
    with pytest.raises(InputError, match=message):
        load_config(child)


@pytest.mark.parametrize("name", ["simulated.yaml", "kuairand.yaml"])
def test_a_preset_on_the_command_line_is_what_runs(name: str) -> None:
    """A shipped base config names no backbone, which would win over the preset's."""
    config = load_config(CONFIGS / name, ["model.preset=mmoe", "model.epnet={}"])
    assert config.model.backbone == "mmoe" and config.model.epnet is not None
