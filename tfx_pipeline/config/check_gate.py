"""Which rules of the gate fit the tasks and scenarios."""

from __future__ import annotations

from collections.abc import Iterator

from tfx_pipeline.config.gate import KINDS_OF_THRESHOLDS
from tfx_pipeline.config.job import Config
from transforms.problems import Problem


def check_gate(config: Config) -> Iterator[Problem]:
    """Rules of `gate` that name what is not there, or that nothing can come of."""
    scenarios = [*config.scenario.names, "*"]
    for i, rule in enumerate(config.gate.rules):
        where = f"gate.rules.{i}"
        if rule.task is not None and rule.task not in config.tasks:
            yield Problem(f"{where}.task", f"`{rule.task}`", f"a task: {', '.join(config.tasks)}")
            continue
        if rule.scenario is not None and rule.scenario not in scenarios:
            yield Problem(
                f"{where}.scenario",
                f"`{rule.scenario}`",
                f"a scenario: {', '.join(scenarios)} (`*` is the pool)",
            )
        if not rule.given:
            yield Problem(where, "no threshold", "a threshold that differs in these cells")
        tasks = [rule.task] if rule.task is not None else list(config.tasks)
        kinds = {config.tasks[task].kind for task in tasks}
        for name in rule.given:
            fitting = KINDS_OF_THRESHOLDS.get(name)
            if fitting is not None and not kinds & set(fitting):
                of = f"`{rule.task}`, a {kinds.pop()} task" if rule.task else "tasks of other kinds"
                yield Problem(
                    f"{where}.{name}", f"a threshold of {of}", f"{' or '.join(fitting)} tasks"
                )
