"""Rows a second that `equipoise simulate` draws and writes, on one core.

    python benchmarks/simulate_throughput.py

The rate is per second of CPU time, so that other work on the machine does not count.
"""

from __future__ import annotations

import json
import statistics
import tempfile
import time

from tfx_pipeline.simulate import simulate

_TARGET = 200_000
_ROWS_PER_DAY = 200_000
_DAYS = 3
_REPEATS = 5


def main() -> None:
    """Prints the rate of each repeat, then the result as JSON."""
    rates = []
    with tempfile.TemporaryDirectory() as folder:
        simulate(folder, days=1, rows_per_day=1_000)
        for _ in range(_REPEATS):
            cpu, wall = time.process_time(), time.perf_counter()
            files = simulate(folder, days=_DAYS, rows_per_day=_ROWS_PER_DAY)
            cpu, wall = time.process_time() - cpu, time.perf_counter() - wall
            rates.append(_DAYS * _ROWS_PER_DAY / cpu)
            print(f"{rates[-1]:,.0f} rows per CPU second ({wall:.2f} s wall, {cpu:.2f} s CPU)")
        size = sum(file.stat().st_size for file in files) / (_DAYS * _ROWS_PER_DAY)
    rate = statistics.median(rates)
    print(
        json.dumps(
            {
                "name": "simulate_throughput",
                "value": round(rate),
                "unit": "rows per second on one core, Parquet written",
                "target": _TARGET,
                "holds": rate >= _TARGET,
                "details": {
                    "slowest": round(min(rates)),
                    "rows_per_day": _ROWS_PER_DAY,
                    "bytes_per_row": round(size, 1),
                },
            }
        )
    )


if __name__ == "__main__":
    main()
