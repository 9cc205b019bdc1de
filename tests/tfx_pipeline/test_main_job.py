"""The main job, run as a user runs it: `equipoise` in a process of its own."""

from __future__ import annotations

import datetime
import glob
import json
import os
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet as pq
import pytest
import yaml

from keras_models import metrics
from serving import versions
from tfx_pipeline.simulate import simulate

from ..command_line import EQUIPOISE, equipoise
from .simulated_job import CONFIG, FinishedRun, run, summary_of

pytestmark = pytest.mark.e2e

COMPONENTS = [
    "LogExampleGen",
    "StatisticsGen",
    "SchemaGen",
    "ExampleValidator",
    "Transform",
    "Trainer",
    "Evaluator",
    "ModelCheck",
    "Baseline",
    "Gate",
    "Pusher",
    "Report",
]


def cached(summary: dict[str, Any]) -> dict[str, bool]:
    return {component["name"]: component["cached"] for component in summary["components"]}


def eval_examples(job: Path) -> list[bytes]:
    from serving.cpp_loader import read_records

    (folder,) = glob.glob(str(job / "work/pipeline/LogExampleGen/examples/*"))
    return [r for f in sorted(glob.glob(f"{folder}/Split-eval/*")) for r in read_records(f)]


@pytest.fixture(scope="module")
def job(finished_run: FinishedRun) -> Path:
    """The folder of a finished first run."""
    return finished_run.folder


def test_the_screen_shows_progress_and_a_table_and_no_noise(finished_run: FinishedRun) -> None:
    out = finished_run.process.stdout
    lines = [line.split() for line in out.splitlines()]
    assert [line[1] for line in lines if line and line[0] == "✓"] == COMPONENTS
    assert len([line for line in lines if line[:1] == ["epoch"]]) == 2
    cells = [tuple(line[:2]) for line in lines if len(line) > 2]
    for task in ("click", "long_view", "like", "profile_enter"):
        for scenario in ("all", "feed", "search", "nearby", "other"):
            assert (task, scenario) in cells
    assert max(map(len, out.splitlines())) < 130
    assert finished_run.process.stderr == ""
    assert not re.search("warning|cuda|deprecat|tensorflow", out, re.IGNORECASE)


def test_the_summary_keeps_its_contract(job: Path) -> None:
    summary = summary_of(job)
    data = summary["data"]
    parts = ("duplicates", "rejected", "out_of_range", "train", "valid", "eval")
    assert data["read"] == 7 * 3_000 == sum(data[part] for part in parts)
    # The simulator draws 0.5% equal rows and 0.2% equal keys.
    assert (data["equal_rows"], data["equal_keys"]) == (7 * 15, 7 * 6)
    assert [c["name"] for c in summary["components"]] == COMPONENTS
    assert all(c["seconds"] >= 0 and not c["cached"] for c in summary["components"])
    assert len(summary["metrics"]) == 4 * 5
    for cell in summary["metrics"]:
        assert cell["status"] in ("judged", "not_judged")
        for value in ("auc", "gauc", "logloss", "calibration", "ci"):
            assert cell[value] is not None or value in cell["why_null"]
        if cell["scenario"] == "*":
            assert cell["examples"] == data["eval"]
            assert cell["ci"][0] < cell["auc"] < cell["ci"][1]
            assert cell["auc"] < cell["auc_ceiling"]
    assert summary["gate"]["blessed"] and summary["gate"]["failures"] == []
    assert {c["scenario"] for c in summary["gate"]["not_judged"]} >= {"other"}
    assert summary["model"] == "simulated" and summary["pushed_version"]


def test_the_pushed_version_scores_as_the_evaluator_did(job: Path) -> None:
    from serving.cpp_loader import run_in_fresh_process

    summary = summary_of(job)
    version = job / "work/serving/simulated" / str(summary["pushed_version"])
    examples = eval_examples(job)
    assert len(examples) >= 200
    scores = run_in_fresh_process(version, examples)
    columns = _columns(examples, list(scores))
    for cell in summary["metrics"]:
        rows = (columns["_scenario"] == cell["scenario"].encode()) | (cell["scenario"] == "*")
        assert (cell["examples"], cell["positives"]) == (
            rows.sum(),
            columns[cell["task"]][rows].sum(),
        )
        labels, predicted = columns[cell["task"]][rows], scores[cell["task"]][rows]
        expected = {
            "auc": metrics.auc(labels, predicted),
            "gauc": metrics.gauc(labels, predicted, columns["user_id"][rows]),
            "logloss": metrics.logloss(labels, predicted),
            "calibration": metrics.calibration(labels, predicted),
        }
        for name, value in expected.items():
            assert cell[name] == (None if value is None else pytest.approx(value, abs=1e-6))


def test_the_pushed_version_is_the_model_that_was_checked_and_its_card(job: Path) -> None:
    from serving.cpp_loader import read_records, read_request
    from serving.warmup import WARMUP_REQUESTS
    from tfx_pipeline.file_hashes import file_hashes

    summary = summary_of(job)
    version = job / "work/serving/simulated" / str(summary["pushed_version"])
    (trained,) = glob.glob(str(job / "work/pipeline/Trainer/model/*/Format-Serving"))
    (checked,) = glob.glob(str(job / "work/pipeline/ModelCheck/result/*/model_check.json"))
    card = json.loads((version / "assets.extra/model_card.json").read_text())
    pushed = file_hashes(str(version))
    cards = {f"assets.extra/model_card.{kind}" for kind in ("json", "md")}
    assert {k: v for k, v in pushed.items() if k not in cards} == file_hashes(trained)
    assert card["sha256"]["model"] == file_hashes(trained)
    assert card["metrics"] == summary["metrics"] and card["version"] == summary["pushed_version"]
    found = json.loads(Path(checked).read_text())
    assert found["passed"] and card["model_check"] == found
    assert len(found["differences"]) == 6 and max(found["differences"].values()) <= 1e-6

    requests = [read_request(record) for record in read_records(version / WARMUP_REQUESTS)]
    assert [name for name, _ in requests] == ["serving_default", "serving_default", "rank"]
    assert len(requests[2][1]["item_text"]) == 100
    raw = [_features(example) for example in eval_examples(job)[:32]]
    for given, example in zip(raw, requests[1][1]["examples"], strict=True):
        asked = _features(example)
        assert asked == {name: given[name] for name in asked}
        kept = {"user_id", "item_id", "tab", "hour", "item_age_days", "user_activity"}
        assert kept <= set(asked) and not set(asked) & {"click", "like", "_day", "_true_click"}
        assert not [name for name in asked if name.startswith("stat:")]


def _features(example: bytes) -> dict[str, str]:
    import tensorflow as tf

    features = tf.train.Example.FromString(example).features.feature
    return {name: str(feature) for name, feature in features.items()}


def test_the_evaluators_own_scores_equal_the_fresh_process(job: Path) -> None:
    import tensorflow_model_analysis as tfma

    from serving.cpp_loader import run_in_fresh_process
    from tfx_pipeline.config import load_config
    from tfx_pipeline.evaluation import eval_config

    version = job / "work/serving/simulated" / str(summary_of(job)["pushed_version"])
    examples = eval_examples(job)[:200]
    loaded = tfma.default_eval_shared_model(
        str(version), eval_config=eval_config(load_config(CONFIG))
    ).model_loader.construct_fn()
    import tensorflow as tf

    by_tfma = loaded.signatures["serving_default"](examples=tf.constant(examples))
    fresh = run_in_fresh_process(version, examples)
    for task, values in by_tfma.items():
        np.testing.assert_allclose(fresh[task], values.numpy(), atol=1e-6, rtol=0)


def test_a_request_gets_the_statistics_as_of_the_end_of_the_last_day(job: Path) -> None:
    import tensorflow as tf

    from serving.cpp_loader import run_in_fresh_process
    from transforms.feature_state import read_state
    from transforms.served_statistics import ServedStatistics

    (folder,) = glob.glob(str(job / "work/pipeline/LogExampleGen/feature_state/*"))
    state = read_state(folder)
    assert datetime.date.fromordinal(state.last_day) == datetime.date(2024, 1, 7)
    statistics = ServedStatistics(state)
    by = {column for statistic in state.statistics for column in statistic.by}
    spec = {column: tf.io.VarLenFeature(tf.string) for column in by}
    spec |= {name: tf.io.VarLenFeature(tf.float32) for name in statistics.by}

    carrying = eval_examples(job)[:200]
    asking = [_without(record, tuple(statistics.by)) for record in carrying]
    looked_up = statistics(tf.io.parse_example(asking, spec))
    told = [tf.train.Example.FromString(record) for record in asking]
    for name in statistics.by:
        values = tf.sparse.to_dense(looked_up[name])[:, 0].numpy()
        for example, value in zip(told, values, strict=True):
            example.features.feature[name].float_list.value.append(value)

    version = job / "work/serving/simulated" / str(summary_of(job)["pushed_version"])
    scores = run_in_fresh_process(version, asking)
    for task, expected in run_in_fresh_process(
        version, [example.SerializeToString() for example in told]
    ).items():
        np.testing.assert_allclose(scores[task], expected, atol=1e-6, rtol=0)
    # On their own day the last day's rows did not count yet.
    then = run_in_fresh_process(version, carrying)
    assert np.abs(scores["click"] - then["click"]).mean() > 1e-4


def _without(record: bytes, names: tuple[str, ...]) -> bytes:
    import tensorflow as tf

    example = tf.train.Example.FromString(record)
    for name in names:
        del example.features.feature[name]
    return example.SerializeToString()


def test_the_report_stands_alone(job: Path) -> None:
    page = (job / "work/report/index.html").read_text()
    assert "Blessed" in page and "<svg" in page and "profile_enter" in page
    assert not re.search(r"""(src|href)=["']?(https?:)?//""", page)
    assert "level 1 · task gates · click" in page, "the means of the gates"
    assert "Jensen-Shannon divergence" in page and "LogExampleGen" in page.split('id="times"')[1]


def test_the_report_is_written_again(job: Path) -> None:
    page = job / "work/report/index.html"
    before = page.read_text()
    page.write_text("")
    done = equipoise("report", job / "work")
    assert done.returncode == 0, done.stdout + done.stderr
    assert page.read_text() == before
    nowhere = equipoise("report", job)
    assert nowhere.returncode == 2 and str(job) in nowhere.stderr


def test_a_server_answers_as_the_model_scores(job: Path) -> None:
    base = job / "work/serving/simulated"
    row = {"user_id": "5", "tab": "feed", "hour": "12", "item_age_days": 1.5}
    server = subprocess.Popen(
        [EQUIPOISE, "serve", str(base), "--port", "0"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert server.stdout is not None
        address = next(
            match[0] for line in server.stdout if (match := re.search(r"127\.0\.0\.1:\d+", line))
        )
        done = equipoise("predict", "simulated", json.dumps(row), "--address", address, "--json")
        assert done.returncode == 0, done.stderr
        scores = json.loads(done.stdout)
        assert set(scores) == {"click", "long_view", "like", "profile_enter"}
        assert all(0 < score < 1 for score in scores.values())
        wrong = equipoise("predict", "nothing", json.dumps(row), "--address", address)
        assert wrong.returncode == 1 and "NOT_FOUND" in wrong.stderr
    finally:
        server.send_signal(signal.SIGTERM)
        assert server.wait(20) == 0


class TestSecondRun:
    """What a run reuses, in the order in which these change things."""

    def test_nothing_changed(self, job: Path) -> None:
        first = summary_of(job)
        done = run(job)
        assert done.returncode == 0, done.stdout + done.stderr
        second = summary_of(job)
        reused = cached(second)
        assert [name for name in COMPONENTS if not reused[name]] == [
            "Baseline",
            "Gate",
            "Pusher",
            "Report",
        ]
        assert second["pushed_version"] == first["pushed_version"], "it is served already"
        assert second["gate"]["baseline_version"] == first["pushed_version"]
        for cell in second["metrics"]:
            assert cell["auc_baseline"] == pytest.approx(cell["auc"], abs=1e-6)
            for change in (cell["change"] or {}).values():
                assert change["difference"] == 0 and change["interval"] == [0, 0]
        explained = equipoise("gate", job / "work", "--explain")
        assert explained.returncode == 0
        assert f"compared with version {first['pushed_version']}" in explained.stdout

    def test_a_cell_below_its_floor_and_a_model_too_slow_block_the_push(self, job: Path) -> None:
        versions = os.listdir(job / "work/serving/simulated")
        rule = "{task: click, scenario: search, auc_floor: 0.99}"
        done = run(job, f"gate.rules=[{rule}]", "model_check.max_latency_ms=0.0001")
        assert done.returncode == 3
        assert "click in search" in done.stdout
        explained = equipoise("gate", job / "work", "--explain")
        assert explained.returncode == 3 and "click in search" in explained.stdout
        summary = summary_of(job)
        by_kind: dict[str, list[dict[str, Any]]] = {}
        for failure in summary["gate"]["failures"]:
            by_kind.setdefault(failure["kind"], []).append(failure)
        assert set(by_kind) == {"floor", "model_check"}
        (floor,) = by_kind["floor"]
        assert (floor["task"], floor["scenario"], floor["threshold"]) == ("click", "search", 0.99)
        slow = by_kind["model_check"][0]["why"]
        assert "expected at most 0.0001" in slow and slow[:40] in done.stdout
        assert slow in (job / "work/report/index.html").read_text()
        assert summary["pushed_version"] is None
        assert os.listdir(job / "work/serving/simulated") == versions
        assert cached(summary)["Trainer"]

    def test_what_cannot_be_read_stops_the_run_and_the_remedy_mends_it(self, job: Path) -> None:
        # A verdict that was given before would be reused.
        again = "gate.draws=100"
        (evaluation,) = glob.glob(str(job / "work/pipeline/Evaluator/evaluation/*"))
        for metrics_file in Path(evaluation).glob("metrics*"):
            metrics_file.write_bytes(b"broken")
        done = run(job, again)
        assert done.returncode == 2 and "Traceback" not in done.stdout + done.stderr
        assert evaluation in done.stderr and "Remove this folder and run again" in done.stderr
        shutil.rmtree(evaluation)

        (version,) = [v for v in os.listdir(job / "work/serving/simulated") if v.isdecimal()]
        graph = job / "work/serving/simulated" / version / "saved_model.pb"
        content = graph.read_bytes()
        graph.write_bytes(content[:1_000])
        done = run(job, again)
        assert done.returncode == 2 and "Traceback" not in done.stdout + done.stderr
        assert f"version {version} in {graph.parent}" in done.stderr
        assert "gate.compare=false" in done.stderr
        graph.write_bytes(content)
        done = run(job, again)
        assert done.returncode == 0, done.stdout + done.stderr

    def test_a_changed_byte_is_noticed_and_graph_and_weights_are_gone_on_with(
        self, job: Path
    ) -> None:
        (trained,) = glob.glob(str(job / "work/pipeline/Trainer/model_run/*/trained.index"))
        trained = trained.removesuffix(".index")
        (graph,) = glob.glob(str(job / "work/pipeline/Transform/transform_graph/*"))
        day = job / "logs/day=2024-01-02.parquet"
        table = pq.read_table(day)
        # Ten times the durations: a graph that is fitted again would have other buckets.
        durations = pa.array(np.asarray(table["item_duration_s"]) * 10, pa.float32())
        position = table.column_names.index("item_duration_s")
        pq.write_table(table.set_column(position, "item_duration_s", durations), day)
        going_on = (f"features.transform_graph={graph}", f"training.start={trained}")
        done = run(job, *going_on, "training.epochs=1")
        assert done.returncode in (0, 3), done.stdout + done.stderr
        assert not cached(summary_of(job))["LogExampleGen"]
        assert len(glob.glob(str(job / "work/pipeline/Transform/transform_graph/*"))) == 1
        _assert_transformed_by(graph, job)
        newest = max(glob.glob(str(job / "work/pipeline/Trainer/model_run/*")), key=_number)
        assert _epochs(f"{newest}/trained") == _epochs(trained) + 1


def _number(path: str) -> int:
    return int(os.path.basename(path))


def _epochs(checkpoint: str) -> int:
    import tensorflow as tf

    return int(tf.train.load_variable(checkpoint, "epochs/.ATTRIBUTES/VARIABLE_VALUE"))


def _assert_transformed_by(graph: str, job: Path) -> None:
    """The newest transformed examples equal the graph applied to the newest raw ones."""
    import tensorflow as tf
    import tensorflow_transform as tft

    def newest(kind: str) -> list[bytes]:
        folder = max(glob.glob(str(job / "work/pipeline" / kind / "*")), key=os.path.getmtime)
        files = sorted(glob.glob(f"{folder}/Split-eval/*"))
        return list(tf.data.TFRecordDataset(files, "GZIP").as_numpy_iterator())

    output = tft.TFTransformOutput(graph)
    raw = tf.io.parse_example(newest("LogExampleGen/examples"), output.raw_feature_spec())
    expected = output.transform_features_layer()(raw)
    found = tf.io.parse_example(
        newest("Transform/transformed_examples"), output.transformed_feature_spec()
    )
    for name in ("keys", "numbers", "scenario", "labels"):
        # The writer may order rows otherwise than the reader found them.
        for values in (expected, found):
            values[name] = np.sort(np.asarray(values[name]).reshape(len(values[name]), -1), axis=0)
        np.testing.assert_allclose(found[name], expected[name], atol=1e-6)


def _columns(examples: list[bytes], tasks: list[str]) -> dict[str, np.ndarray]:
    import tensorflow as tf

    spec = {task: tf.io.FixedLenFeature([], tf.int64) for task in tasks}
    spec |= {name: tf.io.FixedLenFeature([], tf.string) for name in ("_scenario", "user_id")}
    return {k: v.numpy() for k, v in tf.io.parse_example(examples, spec).items()}


def test_one_tab_learned_wrong_is_named(tmp_path: Path) -> None:
    """The second model was shown the labels of `search` shuffled, and nothing else.

    What the other tabs lose through the embeddings that all share is within the tolerance: when
    this was written, beyond the noise .007 at most. The pool holds the rows of `search` too, so it
    may fall with it. The statistics of `search` are wrong, too, also in the examples that the
    version before is scored on: it is compared with what it said in its own run as well.
    """
    rng = np.random.default_rng(0)
    for day in simulate(tmp_path / "logs", days=7, rows_per_day=8_000)[:-1]:
        table = pq.read_table(day)
        search = np.flatnonzero(np.asarray(table["tab"]) == "search")
        order = np.arange(table.num_rows)
        order[search] = rng.permutation(search)
        for name in ("is_click", "play_time_s", "is_like", "is_profile_enter"):
            column = table.column_names.index(name)
            table = table.set_column(column, name, table[name].take(pa.array(order)))
        (tmp_path / "shuffled").mkdir(exist_ok=True)
        pq.write_table(table, tmp_path / "shuffled" / day.name)
    shutil.copy(tmp_path / "logs" / "day=2024-01-07.parquet", tmp_path / "shuffled")
    sets = ["training.epochs=3", "training.batch_size=256", "gate.max_auc_drop=0.02"]
    sets.append("features.statistics=[{by: [item_id, tab], of: [click, long_view]}]")
    arguments = ["--workdir", tmp_path / "work", *(part for s in sets for part in ("--set", s))]
    first = equipoise("run", CONFIG, *arguments, "--set", f"data.path={tmp_path / 'logs'}")
    assert first.returncode == 0, first.stdout + first.stderr
    summary = json.loads((tmp_path / "work/summary.json").read_text())
    pushed = summary["pushed_version"]
    before = {(cell["task"], cell["scenario"]): cell["auc"] for cell in summary["metrics"]}
    second = equipoise("run", CONFIG, *arguments, "--set", f"data.path={tmp_path / 'shuffled'}")
    assert second.returncode == 3, second.stdout + second.stderr
    summary = json.loads((tmp_path / "work/summary.json").read_text())
    failures = summary["gate"]["failures"]
    assert {(f["metric"], f["kind"]) for f in failures} == {("auc", "change")}
    assert {f["scenario"] for f in failures} - {"*"} == {"search"}
    assert all(failure["why"] in second.stdout for failure in failures)
    long_view = {
        f["against"]: f for f in failures if (f["task"], f["scenario"]) == ("long_view", "search")
    }
    assert long_view["own"]["baseline"] == pytest.approx(before["long_view", "search"], abs=1e-7)
    assert abs(long_view["pushed"]["baseline"] - long_view["own"]["baseline"]) > 1e-4
    for against, also in (("pushed", ""), ("own", " with the features of its own run")):
        fall = long_view[against]
        assert (
            f"AUC of long_view in search fell from {fall['baseline']:.4f} in version {pushed}"
            f"{also} to {fall['value']:.4f}"
        ) in second.stdout
    assert versions.numbers(tmp_path / "work/serving/simulated") == [pushed]


@pytest.fixture
def csv_job(tmp_path: Path) -> Iterator[Path]:
    """Logs as CSV, to be broken, and a config of them."""
    (tmp_path / "logs").mkdir()
    for day in simulate(tmp_path / "parquet", days=7, rows_per_day=300):
        pa.csv.write_csv(pq.read_table(day), tmp_path / "logs" / f"{day.stem}.csv")
    raw = yaml.safe_load(CONFIG.read_text())
    raw["data"] |= {"path": str(tmp_path / "logs"), "logs": "day={YYYY}-{MM}-{DD}.csv"}
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(raw))
    yield tmp_path


def test_broken_rows_stop_the_run_and_are_left_to_look_at(csv_job: Path) -> None:
    day = csv_job / "logs/day=2024-01-03.csv"
    lines = day.read_text().splitlines()
    lines[1:200] = [line + ",surplus" for line in lines[1:200]]
    day.write_text("\n".join(lines) + "\n")
    done = equipoise("run", csv_job / "job.yaml", "--workdir", csv_job / "work")
    assert done.returncode == 2
    assert "199" in done.stderr and "data.max_rejected_fraction" in done.stderr
    assert "Traceback" not in done.stdout + done.stderr
    rejected = pa.concat_tables(
        pq.read_table(file) for file in glob.glob(str(csv_job / "work/rejected/*.parquet"))
    )
    assert rejected.num_rows == 199
    assert not (csv_job / "work/summary.json").exists()


def test_every_broken_file_is_named_at_once(csv_job: Path) -> None:
    (csv_job / "logs/day=2024-01-02.csv").unlink()
    gone = csv_job / "logs/day=2024-01-03.csv"
    table = pa.csv.read_csv(gone).drop(["is_click"])
    pa.csv.write_csv(table, gone)
    done = equipoise("check", csv_job / "job.yaml")
    assert done.returncode == 2
    assert "2024-01-02" in done.stderr and "is_click" in done.stderr


def test_a_workdir_that_cannot_be_written(csv_job: Path) -> None:
    (csv_job / "file").write_text("")
    done = equipoise("run", csv_job / "job.yaml", "--workdir", csv_job / "file" / "work")
    assert done.returncode == 2
    assert str(csv_job / "file" / "work") in done.stderr and "--workdir" in done.stderr


def test_simulate_draws_the_days_that_are_asked_for(tmp_path: Path) -> None:
    done = equipoise(
        "simulate",
        "--out",
        tmp_path,
        "--days",
        "1",
        "--rows-per-day",
        "100",
        "--start",
        "2025-02-03",
    )
    assert done.returncode == 0, done.stderr
    assert [p.name for p in tmp_path.iterdir()] == [f"day={datetime.date(2025, 2, 3)}.parquet"]


@pytest.mark.kuairand
def test_real_logs(kuairand_dir: Path, tmp_path: Path) -> None:
    """Four days; `components/test_log_example_gen.py` counts all of them."""
    days = ("data.train=2022-05-02..2022-05-03", "data.valid=2022-05-04", "data.eval=2022-05-05")
    settings = (f"data.path={kuairand_dir}", "training.epochs=1", *days)
    sets = [part for setting in settings for part in ("--set", setting)]
    config = CONFIG.with_name("kuairand.yaml")
    done = equipoise("run", config, "--workdir", tmp_path, *sets)
    assert done.returncode == 0, done.stdout + done.stderr
    summary = json.loads((tmp_path / "summary.json").read_text())
    data = summary["data"]
    assert data["read"] == 198_895 and data["out_of_range"] > 100_000
    parts = ("duplicates", "rejected", "out_of_range", "train", "valid", "eval")
    assert data["read"] == sum(data[part] for part in parts)
    pooled = {c["task"]: c for c in summary["metrics"] if c["scenario"] == "*"}
    # One epoch; the tab alone ranks clicks at .592.
    assert pooled["click"]["auc"] > 0.65 and pooled["long_view"]["auc"] > 0.65
    assert pooled["click"]["positives"] > 0
