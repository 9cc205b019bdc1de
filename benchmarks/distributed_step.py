"""What two workers tell each other in a training step, against what the design asks for.

    python benchmarks/distributed_step.py

PLE with 4 tasks, 16 fields of 100,000 ids, 16 numbers a row, a global batch of 4,096: alone, then
as two processes over TF_CONFIG and loopback, one thread each. The bytes are those that the
loopback device sends. Reckoned are, for two workers that pass on what they gather (each tensor
once) and what they sum (each twice): keys, outputs and labels gathered; gradients of the step's
distinct rows and of the dense weights summed.

Both workers share the machine's caches and memory, so wall times say little of two machines. What
each computes says more: its CPU time beside that of one alone, and of one alone on half of a batch,
which is what it would be if the work were halved.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

BYTES_TARGET = 1.5


def start(tf_config: dict[str, Any] | None = None, shares: int = 1) -> subprocess.Popen[str]:
    """A worker, or the one that is alone and takes one of so many shares of each batch."""
    environment = {**os.environ, "TF_USE_LEGACY_KERAS": "1", "TF_CPP_MIN_LOG_LEVEL": "3"}
    environment["TF_CONFIG"] = json.dumps(tf_config or {})
    return subprocess.Popen(
        [sys.executable, "-m", "support.spread_worker", str(shares)],
        cwd=Path(__file__).parent,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def ended(process: subprocess.Popen[str]) -> dict[str, Any]:
    """What it printed last."""
    text, errors = process.communicate(timeout=600)
    if process.returncode:
        raise SystemExit(f"a worker ended with status {process.returncode}: {errors}")
    found: dict[str, Any] = json.loads(text.splitlines()[-1])
    return found


def free_addresses(count: int) -> list[str]:
    """Of this machine."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    addresses = [f"127.0.0.1:{s.getsockname()[1]}" for s in sockets]
    for s in sockets:
        s.close()
    return addresses


def main() -> None:
    """Prints what each worker took, then the claim."""
    alone, half = ended(start()), ended(start(shares=2))
    for batch, found in ((1, alone), (0.5, half)):
        print(json.dumps({"workers": 1, "of_a_batch": batch, **found}), flush=True)
    cluster = {"worker": free_addresses(2)}
    processes = [
        start({"cluster": cluster, "task": {"type": "worker", "index": index}})
        for index in range(2)
    ]
    pair = [ended(process) for process in processes]
    for found in pair:
        print(json.dumps({"workers": 2, **found}), flush=True)
    gathered = alone["keys_bytes"] + alone["outputs_bytes"]
    summed = alone["row_gradient_bytes"] + alone["dense_gradient_bytes"]
    reckoned = gathered + 2 * summed
    moved = max(found["bytes_sent"] for found in pair)
    print(
        json.dumps(
            {
                "name": "distributed_step_bytes",
                "value": round(moved / reckoned, 2),
                "unit": "bytes between two workers in a step / what the design asks for",
                "target": BYTES_TARGET,
                "holds": moved <= BYTES_TARGET * reckoned,
                "details": {
                    "moved_mb": round(moved / 1e6, 2),
                    "reckoned_mb": round(reckoned / 1e6, 2),
                    **{
                        what: {
                            "alone": round(alone[what]),
                            "alone_on_half": round(half[what]),
                            "each_of_two": [round(worker[what]) for worker in pair],
                        }
                        for what in ("wall_ms", "cpu_ms", "resident_mb")
                    },
                    "load": os.getloadavg()[0],
                },
            }
        )
    )


if __name__ == "__main__":
    main()
