"""Rows a CPU second that LogExampleGen ingests, from 50,000 rows to two million.

    python benchmarks/ingest_throughput.py
    python benchmarks/ingest_throughput.py --rows 200000 --profile

Two logs, both of gzipped CSV files, a day each:

- simulated ones, with a user and an item table to join, about 0.7% of repeated events, statistics
  of past days by user and by item, 10 features;
- where there are days of KuaiRand-Pure, those by `configs/kuairand.yaml`: 2.7% of repeated events,
  two tables, four statistics, 46 features; and five times over, each copy with users of its own.

What is measured is the component's whole function: the tables, the pass on Beam's in-memory runner,
examples, feature state and counts; not the imports. Each size runs in a process of its own.
"""

from __future__ import annotations

import argparse
import collections
import gzip
import json
import os
import re
import resource
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import nullcontext
from pathlib import Path
from types import FrameType

import pyarrow as pa
import pyarrow.csv as pa_csv
import pyarrow.parquet as pq

from tfx_pipeline.simulate import simulate

TARGET = 10_000
TARGET_ROWS = 1_000_000
ROWS = (50_000, 200_000, TARGET_ROWS, 2_000_000)
DAYS = 7
USER_COLUMNS = ("user_group", "user_activity")
ITEM_COLUMNS = ("author_id", "item_category", "item_duration_s")
KUAIRAND_COPIES = (1, 5)
_ROOT = Path(__file__).resolve().parents[1]
_KUAIRAND = os.environ.get("EQUIPOISE_KUAIRAND", _ROOT.parent / "shared/data/kuairand_pure")
_SHOWN = 15

CONFIG = """
name: ingest
data:
  logs: "{YYYY}-{MM}-{DD}.csv.gz"
  event_key: [event_id]
  event_time: time_ms
  user: user_id
  tables:
    user: {files: user.csv, key: user_id}
    item: {files: item.csv, key: item_id}
  path: .
  train: 2024-01-01..2024-01-05
  valid: 2024-01-06
  eval: 2024-01-07
features:
  categorical: [user_id, item_id, author_id, tab, user_group, item_category, hour]
  numeric: [item_age_days, item_duration_s, user_activity]
  statistics:
    - {by: [user_id], of: [click, long_view]}
    - {by: [item_id], of: [click, long_view]}
scenario: {column: tab, values: [feed, search, nearby]}
tasks:
  click: {label: is_click == 1}
  long_view: {label: play_time_s >= 0.5 * item_duration_s}
  like: {label: is_like == 1}
  profile_enter: {label: is_profile_enter == 1}
"""


def write_logs(folder: Path, rows: int) -> None:
    """Draws days and takes what belongs to users and items out into tables."""
    tables: dict[str, list[pa.Table]] = {"user_id": [], "item_id": []}
    users = max(1_000, rows // 50)
    for path in simulate(folder, days=DAYS, rows_per_day=rows // DAYS, users=users):
        day = pq.read_table(path)
        path.unlink()
        for key, columns in (("user_id", USER_COLUMNS), ("item_id", ITEM_COLUMNS)):
            kept = tables[key] + [day.select([key, *columns])]
            grouped = pa.concat_tables(kept).group_by(key)
            taken = grouped.aggregate([(column, "max") for column in columns])
            tables[key] = [taken.rename_columns([*columns, key]).select([key, *columns])]
        true = [column for column in day.column_names if column.startswith("p_")]
        log = day.drop([*USER_COLUMNS, *ITEM_COLUMNS, *true])
        name = path.stem.removeprefix("day=")
        with pa.CompressedOutputStream(str(folder / f"{name}.csv.gz"), "gzip") as out:
            pa_csv.write_csv(log, out)
    for key, (table,) in tables.items():
        pa_csv.write_csv(table, folder / f"{key.removesuffix('_id')}.csv")


def copy_kuairand(folder: Path, copies: int) -> None:
    """Writes the real slice so many times over; the first column of both files is the user."""
    for source in Path(_KUAIRAND).glob("*.csv.gz"):
        header, rows = gzip.decompress(source.read_bytes()).split(b"\n", 1)
        if not source.name.startswith("video"):
            of_copies = [re.sub(rb"(?m)^(?=.)", b"%dx" % i, rows) for i in range(copies)]
            rows = b"".join(of_copies)
        (folder / source.name).write_bytes(gzip.compress(header + b"\n" + rows, 6))


class Sampler(threading.Thread):
    """Looks every few milliseconds where each thread is, and counts lines of this project."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.counts: collections.Counter[str] = collections.Counter()
        self.running = True

    def __enter__(self) -> None:
        self.start()

    def __exit__(self, *_: object) -> None:
        self.running = False
        total = sum(self.counts.values())
        for place, count in self.counts.most_common(_SHOWN):
            print(f"{count / total:6.1%} {place}")

    def run(self) -> None:
        """Samples until the block ends."""
        while self.running:
            time.sleep(0.005)
            for frame in sys._current_frames().values():
                place = self._place(frame)
                if place is not None:
                    self.counts[place] += 1

    @staticmethod
    def _place(frame: FrameType | None) -> str | None:
        """The innermost line of `transforms`; none where a thread waits or is elsewhere."""
        while frame is not None:
            code = frame.f_code
            if Path(code.co_filename).parent == _ROOT / "transforms":
                return f"transforms/{Path(code.co_filename).name}:{frame.f_lineno} {code.co_name}"
            frame = frame.f_back
        return None


def ingest(config: Path, folder: Path, profile: bool) -> dict[str, float]:
    """Runs the component on the logs of a folder; CPU seconds, rows and peak memory."""
    import apache_beam as beam
    from apache_beam.options.pipeline_options import PipelineOptions
    from tfx import v1 as tfx

    from tfx_pipeline.artifacts import FeatureState, IngestReport
    from tfx_pipeline.components.log_example_gen import LogExampleGen
    from tfx_pipeline.config import load_config
    from tfx_pipeline.runners.beam_options import LOCAL

    settings = load_config(config, [f"data.path={folder}"])
    artifacts = {
        "examples": tfx.types.standard_artifacts.Examples(),
        "ingest_report": IngestReport(),
        "feature_state": FeatureState(),
    }
    out = Path(tempfile.mkdtemp(dir=folder))
    for name, artifact in artifacts.items():
        artifact.uri = str(out / name)
    cpu, wall = time.process_time(), time.perf_counter()
    with Sampler() if profile else nullcontext():
        LogExampleGen.test_call(
            **artifacts,
            config=settings.model_dump_json(include={"data", "features", "scenario", "tasks"}),
            inputs="",
            rejected_dir=str(out / "rejected"),
            days_dir=str(out / "days"),
            beam_pipeline=beam.Pipeline(options=PipelineOptions(LOCAL)),
        )
    cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
    counts = json.loads((out / "ingest_report" / "counts.json").read_text())
    return {
        "rows": counts["read"],
        "duplicates": counts["duplicates"],
        "cpu": round(cpu, 1),
        "wall": round(wall, 1),
        "rows_per_cpu_second": round(counts["read"] / cpu),
        "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def measure(name: str, config: Path, folder: Path, profile: bool) -> dict[str, float]:
    """Runs `ingest` in a process of its own."""
    command = [sys.executable, __file__, "--config", str(config), "--folder", str(folder)]
    command += ["--profile"] if profile else []
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    *sampled, last = done.stdout.splitlines()
    found: dict[str, float] = json.loads(last)
    rate = f"{found['rows_per_cpu_second']:,} a CPU second, {found['peak_mib']:,} MiB"
    print("\n".join([*sampled, f"{name} {found['rows']:>9,} rows: {rate}"]), flush=True)
    return found


def claim(name: str, sizes: list[dict[str, float]]) -> dict[str, object]:
    """The result at the size that is nearest to the target's."""
    at = min(sizes, key=lambda found: abs(found["rows"] - TARGET_ROWS))
    return {
        "name": f"ingest_throughput_{name}",
        "value": at["rows_per_cpu_second"],
        "unit": f"rows a CPU second, at {at['rows']:,} rows",
        "target": TARGET,
        "holds": at["rows_per_cpu_second"] >= TARGET,
        "details": {"sizes": sizes},
    }


def main() -> None:
    """Prints each size's rate, then the results as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rows", type=int, nargs="*", default=ROWS, help="of the simulated logs")
    parser.add_argument("--copies", type=int, nargs="*", default=KUAIRAND_COPIES)
    parser.add_argument("--profile", action="store_true", help="print where the time goes")
    parser.add_argument("--config", type=Path, help="ingest what lies in --folder by it, alone")
    parser.add_argument("--folder", type=Path)
    arguments = parser.parse_args()
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    if arguments.folder:
        print(json.dumps(ingest(arguments.config, arguments.folder, arguments.profile)))
        return
    claims = []
    simulated, real = [], []
    for rows in arguments.rows:
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            write_logs(folder, rows)
            config = folder / "config.yaml"
            config.write_text(CONFIG)
            simulated.append(measure("simulated", config, folder, arguments.profile))
    if simulated:
        claims.append(claim("simulated", simulated))
    for copies in arguments.copies if Path(_KUAIRAND).is_dir() else ():
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            copy_kuairand(folder, copies)
            config = _ROOT / "configs" / "kuairand.yaml"
            real.append(measure("kuairand", config, folder, arguments.profile))
    if real:
        claims.append(claim("kuairand", real))
    print(json.dumps(claims))


if __name__ == "__main__":
    main()
