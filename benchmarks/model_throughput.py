"""A training step takes a fraction of the time that it takes in torch-rechub and in DeepCTR.

    python benchmarks/model_throughput.py --setup    # makes the rivals' environments, then measures
    python benchmarks/model_throughput.py --only ple_2_tasks

16 fields of 100,000 ids each (1M in one claim), all as likely, 16 numbers an embedding, batches of
4,096, one thread. PLE has 3 experts a task and 2 shared ones of 64 units and 2 levels, MMoE 8
experts; towers have 32 units. Ours is the step that `fit` takes, with Adam for the network and
Adagrad for the rows of a dynamic embedding whose policy is on. The rivals are as they come, with
Adam for everything, see `support/torch_rechub_worker.py` and `support/deepctr_worker.py`. Each
works in a process and an environment of its own, and they take turns; CPU time counts. With 1M ids
the three need 15 GB of memory together. A claim whose rivals are not set up is not judged.

Then, of ours alone: how HiNet's cost grows from 4 to 32 scenarios, and whether the Trainer's input
pipeline keeps up with the quickest step.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from support.environments import make_environment
from support.impressions import BATCH
from support.workers import Worker, ratio, take_turns

ROOT = Path(__file__).resolve().parents[1]
RIVALS = ("torch-rechub", "deepctr")
STEPS = 4

Result = dict[str, Any]
"""A claim as JSON."""


class Claim(NamedTuple):
    """How many times the examples a second of the faster rival.

    Args:
      target: At least so many.
      model: `ple` or `mmoe`.
      tasks: K.
      ids: Of each field.
    """

    target: float
    model: str
    tasks: int
    ids: int = 100_000


CLAIMS = {
    "ple_2_tasks": Claim(1.8, "ple", 2),
    "mmoe_2_tasks": Claim(1.8, "mmoe", 2),
    "ple_4_tasks": Claim(1.6, "ple", 4),
    "ple_2_tasks_1m_ids": Claim(5.0, "ple", 2, ids=1_000_000),
}


def against_rivals(claim: Claim, rivals: dict[str, Path], rounds: int) -> dict[str, Any]:
    """The claim's value and what it was made of."""
    arguments = (claim.model, claim.tasks, claim.ids)
    missing = [str(python) for python in rivals.values() if not python.is_file()]
    if missing:
        return {"value": None, "details": {"skipped": f"no {missing[0]}; --setup makes it"}}
    workers = {"equipoise": _ours(claim)}
    for name, python in rivals.items():
        module = f"support.{name.replace('-', '_')}_worker"
        workers[name] = Worker(python, module, *arguments)
    seconds = take_turns(workers, rounds=rounds, steps=STEPS)
    for worker in workers.values():
        worker.close()
    times_faster = {name: ratio(seconds[name], seconds["equipoise"]) for name in rivals}
    return {
        "value": round(min(times_faster.values()), 2),
        "details": {
            "examples_per_second": {
                name: round(BATCH / median(values)) for name, values in seconds.items()
            },
            "milliseconds": {
                name: [round(1000 * value, 1) for value in values]
                for name, values in seconds.items()
            },
            "times_faster": {name: round(value, 2) for name, value in times_faster.items()},
            "about": {name: worker.about for name, worker in workers.items()},
            "load": os.getloadavg()[0],
        },
    }


def _ours(claim: Claim) -> Worker:
    module = "support.equipoise_worker"
    return Worker(sys.executable, module, claim.model, claim.tasks, claim.ids)


def hinet(steps: int) -> list[Result]:
    """What 32 scenarios cost beside 4."""
    taken = _run_apart("support.hinet_growth", "--steps", str(steps))
    few, many = taken["multiplications"]

    def growth(part: str) -> float:
        return float(taken[part][many] / taken[part][few])

    return [
        _result(
            "hinet_task_layer",
            round(growth("task_layer"), 2),
            f"times the task layer's cost with {few} scenarios, with {many}",
            target=1.2,
            at_most=True,
            details=taken,
        ),
        _result(
            "hinet_step",
            round(growth("whole_step") / growth("multiplications"), 2),
            f"times what multiplications predict, from {few} to {many} scenarios",
            target=1.3,
            at_most=True,
            details={"step": growth("whole_step"), "multiplications": growth("multiplications")},
        ),
    ]


def input_pipeline(rounds: int) -> Result:
    """How many times the quickest model's examples a second the input pipeline reads."""
    claim = CLAIMS["mmoe_2_tasks"]
    worker = _ours(claim)
    step = median(take_turns({"step": worker}, rounds=rounds, steps=STEPS)["step"])
    worker.close()
    taken = _run_apart("support.input_pipeline")
    return _result(
        "input_pipeline",
        round(step / BATCH / taken["seconds"], 2),
        "times the examples a CPU second of MMoE's step",
        target=1.0,
        details={"examples_per_second": round(1 / taken["seconds"]), **taken},
    )


def _run_apart(module: str, *arguments: str) -> dict[str, Any]:
    command = [sys.executable, "-m", module, *arguments]
    done = subprocess.run(command, cwd=Path(__file__).parent, stdout=subprocess.PIPE, check=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def _result(
    name: str,
    value: float | None,
    unit: str,
    *,
    target: float,
    details: dict[str, Any],
    at_most: bool = False,
) -> Result:
    holds = None if value is None else value <= target if at_most else value >= target
    result = {
        "name": f"model_throughput/{name}",
        "value": value,
        "unit": unit,
        "target": target,
        "holds": holds,
        "details": details,
    }
    print(json.dumps(result), flush=True)
    return result


def main() -> None:
    """Measures each claim, prints it, and ends with all of them as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=9, help="turns of each process that count")
    parser.add_argument("--setup", action="store_true", help="make the rivals' environments")
    parser.add_argument("--only", choices=[*CLAIMS, "hinet", "input_pipeline"], action="append")
    for name in RIVALS:
        python = ROOT / f".venv-{name}/bin/python"
        parser.add_argument(f"--{name}", type=Path, default=python, metavar="PYTHON")
    arguments = parser.parse_args()
    if arguments.setup:
        for name in RIVALS:
            make_environment(name)
    rivals = {name: getattr(arguments, name.replace("-", "_")) for name in RIVALS}
    asked = arguments.only or [*CLAIMS, "hinet", "input_pipeline"]
    results = [
        _result(
            name,
            unit="times the examples a second of the faster rival",
            target=claim.target,
            **against_rivals(claim, rivals, arguments.rounds),
        )
        for name, claim in CLAIMS.items()
        if name in asked
    ]
    if "hinet" in asked:
        results += hinet(STEPS * arguments.rounds)
    if "input_pipeline" in asked:
        results.append(input_pipeline(arguments.rounds))
    print(json.dumps(results))


if __name__ == "__main__":
    main()
