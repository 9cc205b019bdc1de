"""`equipoise`: the command line.

Heavy modules are imported inside the commands, so that `--help` answers at once.
"""

from __future__ import annotations

import datetime
import importlib.metadata
import json
import logging
import os
import sys
import time
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from transforms.problems import InputError, Problem

app = typer.Typer(
    name="equipoise",
    help="Ranking for many scenarios and many tasks with one model.",
    epilog="A first run: [bold]equipoise simulate && equipoise run configs/simulated.yaml[/bold]",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _show_version(asked: bool) -> None:
    if asked:
        print(f"equipoise {importlib.metadata.version('equipoise')}")
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool,
        typer.Option(
            "--version", is_eager=True, callback=_show_version, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    del version


ConfigPath = Annotated[Path, typer.Argument(metavar="CONFIG", help="A config file (YAML).")]
Workdir = Annotated[
    Path | None,
    typer.Option(
        help="Folder for everything the run writes.", show_default="runs/<name of the config>"
    ),
]
Overrides = Annotated[
    list[str] | None,
    typer.Option(
        "--set",
        metavar="KEY=VALUE",
        help="Changes a key of the config, for example [bold]--set training.epochs=3[/bold]. "
        "May be repeated.",
    ),
]
Verbose = Annotated[
    bool, typer.Option("--verbose", "-v", help="Shows what TensorFlow, TFX and Beam print.")
]

_AS_MODEL_SERVER = "As tensorflow_model_server's, with its files in protobuf text format"


@app.command(epilog="Example: equipoise run configs/kuairand.yaml --set data.path=PATH")
def run(
    config: ConfigPath,
    workdir: Workdir = None,
    overrides: Overrides = None,
    verbose: Verbose = False,
) -> None:
    """Run the main job: logs in, a gated model out.

    Ends with a table, a row per task and scenario, and leaves [bold]summary.json[/bold],
    [bold]report/index.html[/bold], [bold]rejected/[/bold] and the pushed version in the workdir.
    Finished components are reused when a run is repeated. The exit status is 0 when the model was
    blessed, 3 when the gate held it back, 2 for bad input.
    """
    from tfx_pipeline.config import load_config
    from tfx_pipeline.progress import component_lines
    from tfx_pipeline.workdir import exclusive

    started = time.monotonic()
    with _explain_errors():
        settings = load_config(config, overrides)
        workdir = workdir or Path("runs") / settings.name
        with exclusive(workdir), _output(workdir, verbose) as console:
            console.print(f"[bold]{settings.name}[/bold] in {escape(str(workdir))}")
            with console.status("Starting …"):
                from tfx_pipeline.runners import local
            with component_lines(console):
                summary = local.run(settings, config_path=str(config), workdir=workdir)
            _print_outcome(console, summary, workdir, time.monotonic() - started)
    if not summary["gate"]["blessed"]:
        raise typer.Exit(3)


@app.command(epilog="Example: equipoise check configs/kuairand.yaml --set data.path=PATH")
def check(config: ConfigPath, overrides: Overrides = None) -> None:
    """Check a config and a sample of its data before anything runs.

    Reports every mistake at once: unknown keys, columns that are missing, types that do not match,
    label expressions that fail, scenarios that do not occur.
    """
    from tfx_pipeline.check import check as check_data
    from tfx_pipeline.config import load_config

    console = Console(highlight=False, soft_wrap=True)
    with _explain_errors():
        result = check_data(load_config(config, overrides))
    for line in result.summary:
        console.print(escape(line))
    for warning in result.warnings:
        console.print(f"[yellow]warning[/yellow] {escape(str(warning))}")
    if result.problems:
        _print_problems(result.problems)
        raise typer.Exit(2)
    console.print("[green]✓[/green] nothing stands against running it")


@app.command(epilog="Example: equipoise simulate --days 14 --rows-per-day 100000 --out runs/logs")
def simulate(
    out: Annotated[Path, typer.Option(help="Folder for the logs.")] = Path("runs/simulated/logs"),
    days: Annotated[int, typer.Option(min=1, help="Days to draw.")] = 7,
    rows_per_day: Annotated[int, typer.Option(min=1, help="Rows a day.")] = 20_000,
    start: Annotated[
        datetime.datetime, typer.Option(formats=["%Y-%m-%d"], help="First day.")
    ] = datetime.datetime(2024, 1, 1),
    seed: Annotated[int, typer.Option(help="Seed; the same seed draws the same logs.")] = 1,
) -> None:
    """Draw days of logs from a known model.

    Correlated tasks, scenarios of very unequal size, new items every day, popularity by Zipf,
    drift; the true probability of every label stands beside it.
    """
    from tfx_pipeline.simulate import simulate as draw

    with _explain_errors():
        files = draw(out, days=days, rows_per_day=rows_per_day, seed=seed, start=start.date())
    Console(highlight=False, soft_wrap=True).print(
        f"[green]✓[/green] {len(files)} days of {rows_per_day:,} rows in {out}", highlight=False
    )


@app.command(
    epilog="Example: equipoise serve runs/simulated/serving/simulated --rest-api-port 8501"
)
def serve(
    directory: Annotated[
        Path | None,
        typer.Argument(metavar="DIR", help="Folder of version folders, as `run` leaves it."),
    ] = None,
    name: Annotated[
        str | None,
        typer.Option(help="Name of the model.", show_default="the folder's name"),
    ] = None,
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(min=0, max=65_535, help="Port for gRPC; 0 picks a free one.")
    ] = 8500,
    rest_api_port: Annotated[
        int | None,
        typer.Option(
            min=0,
            max=65_535,
            help="Port for REST and Prometheus metrics; 0 picks a free one.",
            show_default="no REST",
        ),
    ] = None,
    poll_seconds: Annotated[
        float, typer.Option(min=0.1, help="How often to look for new versions.")
    ] = 2.0,
    model_config_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Several models, their version policies and labels, instead of DIR: a "
            "ModelServerConfig.",
            rich_help_panel=_AS_MODEL_SERVER,
        ),
    ] = None,
    config_poll_seconds: Annotated[
        float,
        typer.Option(
            metavar="SECONDS",
            min=0,
            help="How often to read that file again; 0 is never.",
            rich_help_panel=_AS_MODEL_SERVER,
        ),
    ] = 0.0,
    allow_unavailable_labels: Annotated[
        bool,
        typer.Option(
            "--allow-unavailable-labels",
            help="Lets a new label name a version that is not loaded yet, as none is at the start.",
            rich_help_panel=_AS_MODEL_SERVER,
        ),
    ] = False,
    batching_parameters_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Merges concurrent requests: BatchingParameters.",
            rich_help_panel=_AS_MODEL_SERVER,
        ),
    ] = None,
    ssl_config_file: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="TLS, and mutual TLS, for gRPC: an SSLConfig.",
            rich_help_panel=_AS_MODEL_SERVER,
        ),
    ] = None,
    verbose: Verbose = False,
) -> None:
    """Serve pushed models: a local stand-in for TensorFlow Serving.

    Answers TensorFlow Serving's gRPC and REST calls. For production, point
    tensorflow_model_server at DIR.
    """
    if not verbose:
        os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from serving.model_server import serve as serve_forever

    def text(path: Path | None) -> str | None:
        return None if path is None else str(path)

    with _explain_errors(ValueError, OSError):
        serve_forever(
            text(directory),
            name or (directory.resolve().name if directory else "default"),
            model_config_file=text(model_config_file),
            config_poll_seconds=config_poll_seconds,
            labels_of_unavailable=allow_unavailable_labels,
            host=host,
            port=port,
            rest_port=rest_api_port,
            poll_seconds=poll_seconds,
            batching_parameters_file=text(batching_parameters_file),
            ssl_config_file=text(ssl_config_file),
        )


@app.command(epilog="""Example: equipoise predict simulated '{"user_id": "7", "item_id": "42"}'""")
def predict(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Name of the served model.")],
    rows: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="ROW...",
            help="Rows as JSON objects; without any, lines of standard input.",
        ),
    ] = None,
    address: Annotated[str, typer.Option(help="Where the server listens.")] = "127.0.0.1:8500",
    state: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Feature state to look up users' histories in, as a feature store would; rows "
            "then also hold the event time.",
        ),
    ] = None,
    timeout: Annotated[float, typer.Option(min=0.001, help="Seconds to wait.")] = 5.0,
    as_json: Annotated[bool, typer.Option("--json", help="Prints JSON lines.")] = False,
) -> None:
    """Ask a server for predictions.

    Columns that a row leaves out count as missing.
    """
    import numpy as np

    from serving.client import Client, PredictError

    texts = rows or [line for line in sys.stdin if line.strip()]
    if not texts:
        _print_error("no row: expected JSON objects as arguments or on standard input")
        raise typer.Exit(2)
    with _explain_errors(ValueError):
        parsed = [_parse_object(f"row {i}", text) for i, text in enumerate(texts, 1)]
        try:
            with Client(address, timeout=timeout) as client:
                if state is not None:
                    from transforms.behaviour_store import BehaviourStore

                    columns = client.columns(model)
                    parsed = BehaviourStore(state).fill(parsed, [*columns.text, *columns.numeric])
                scores = client.predict(model, parsed)
        except PredictError as error:
            _print_error(str(error))
            raise typer.Exit(1) from error
    if as_json:
        for i in range(len(parsed)):
            print(json.dumps({task: values[i].tolist() for task, values in scores.items()}))
        return
    table = Table("row", *scores)
    for i in range(len(parsed)):
        cells = (np.atleast_1d(values[i]) for values in scores.values())
        table.add_row(str(i + 1), *(" ".join(f"{v:.4f}" for v in cell) for cell in cells))
    Console().print(table)


@app.command(
    epilog="""Example: equipoise rank simulated --user '{"user_id": "7", "tab": "feed"}' """
    """--items '[{"item_id": "42"}, {"item_id": "43"}]'"""
)
def rank(
    model: Annotated[str, typer.Argument(metavar="MODEL", help="Name of the served model.")],
    user: Annotated[
        str, typer.Option(metavar="JSON", help="Columns of the user and the context, an object.")
    ],
    items: Annotated[
        str,
        typer.Option(
            metavar="JSON",
            help="Columns of the candidates, an array of objects; [bold]-[/bold] reads objects, "
            "one a line, from standard input.",
        ),
    ],
    by: Annotated[
        str | None,
        typer.Option(
            metavar="OUTPUT",
            help="What to sort by.",
            show_default="the fused score if the model has one, else its first task",
        ),
    ] = None,
    top: Annotated[int | None, typer.Option(min=1, help="Shows only the best so many.")] = None,
    address: Annotated[str, typer.Option(help="Where the server listens.")] = "127.0.0.1:8500",
    state: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Feature state to look up the user's history in, as a feature store would; the "
            "user then also has the event time.",
        ),
    ] = None,
    timeout: Annotated[float, typer.Option(min=0.001, help="Seconds to wait.")] = 5.0,
    as_json: Annotated[bool, typer.Option("--json", help="Prints JSON lines, best first.")] = False,
) -> None:
    """Rank candidates for one user: ask a server, and show them best first.

    Columns that are left out count as missing.
    """
    import numpy as np

    from serving.client import Client, PredictError

    with _explain_errors(ValueError):
        if items == "-":
            candidates = [
                _parse_object(f"item {i}", t) for i, t in enumerate(sys.stdin, 1) if t.strip()
            ]
        else:
            candidates = _parse_items(items)
        context = _parse_object("--user", user)
        try:
            with Client(address, timeout=timeout) as client:
                columns = client.columns(model)
                if state is not None:
                    from transforms.behaviour_store import BehaviourStore

                    known = [*columns.text, *columns.numeric]
                    (context,) = BehaviourStore(state).fill([context], known)
                scores = client.rank(model, context, candidates)
        except PredictError as error:
            _print_error(str(error))
            raise typer.Exit(1) from error
        one = [name for name, values in scores.items() if values.ndim == 1]
        by = by or ("score" if "score" in one else next(iter(one), None))
        if by not in one:
            raise ValueError(f"--by: found {by}; expected one of {', '.join(one)}")
    best = np.argsort(-scores[by], kind="stable")[:top].tolist()
    if as_json:
        for i in best:
            found = {name: values[i].tolist() for name, values in scores.items()}
            print(json.dumps({"item": candidates[i], **found}))
        return
    shown = [name for name in columns.matrices["item_text"] if any(name in c for c in candidates)]
    table = Table("", *shown, *(f"{name} ↓" if name == by else name for name in scores))
    for position, i in enumerate(best, 1):
        cells = (np.atleast_1d(values[i]) for values in scores.values())
        table.add_row(
            str(position),
            *(escape(str(candidates[i].get(name, "–"))) for name in shown),
            *(" ".join(f"{v:.4f}" for v in cell) for cell in cells),
        )
    Console().print(table)


@app.command(
    epilog="Example: equipoise fuse runs/simulated --objective "
    "'0.7 * gauc(click) + 0.3 * gauc(like)'"
)
def fuse(
    workdir: Annotated[
        Path, typer.Argument(metavar="WORKDIR", help="Folder of a run that pushed a model.")
    ],
    objective: Annotated[
        str,
        typer.Option(
            help="What the score is for: a task, whose GAUC is meant, or a weighted sum of "
            "[bold]gauc(TASK)[/bold] and [bold]auc(TASK)[/bold]."
        ),
    ],
) -> None:
    """Search the weights of the fused score on the evaluation days.

    Scores the days with the pushed model, searches on half of the users, and shows what the weights
    are worth to both halves. Prints the lines for the config; changes nothing.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from tfx_pipeline.progress import quiet

    with _explain_errors():
        if not (workdir / "logs").is_dir():
            raise InputError([Problem(str(workdir), "no run", "a run's workdir, as runs/NAME")])
        log_file = workdir / "logs" / f"fuse-{datetime.datetime.now():%Y%m%d-%H%M%S}.log"
        with quiet(log_file) as console:
            with console.status("Scoring the evaluation days …") as status:
                from tfx_pipeline.fuse import fuse as search

                found = search(
                    workdir,
                    objective,
                    lambda trials, best: status.update(f"{trials} trials, best {best:.4f}"),
                )
            _print_fused(console, found)


@app.command(epilog="Example: equipoise gate runs/simulated --explain")
def gate(
    workdir: Annotated[Path, typer.Argument(metavar="WORKDIR", help="Workdir of some runs.")],
    explain: Annotated[
        bool, typer.Option("--explain", help="Shows why the newest verdict is what it is.")
    ] = False,
    number: Annotated[
        int | None,
        typer.Option("--run", metavar="N", help="Explains that run, of any age."),
    ] = None,
) -> None:
    """List the gate's verdicts on a workdir's runs, or explain one.

    Of one that is explained the exit status is as that of the run: 0 when the model was blessed, 3
    when it was held back. A list ends with 0.
    """
    from tfx_pipeline.gate import explain as verdicts

    console = Console(highlight=False)
    with _explain_errors():
        runs = verdicts.read_verdicts(workdir)
        if not explain and number is None:
            console.print(verdicts.list_runs(runs))
            return
        chosen = verdicts.one_verdict(runs, number, workdir)
    for part in verdicts.explain(chosen):
        console.print(part)
    if chosen.verdict is not None and not chosen.verdict["blessed"]:
        raise typer.Exit(3)


@app.command(epilog="Example: equipoise compare runs/ple runs/mmoe runs/pepnet")
def compare(
    workdirs: Annotated[
        list[Path],
        typer.Argument(metavar="RUN_A RUN_B [RUN_C...]", help="Workdirs of two runs or more."),
    ],
    out: Annotated[
        Path, typer.Option(metavar="FILE", help="Where the page with the plots is written.")
    ] = Path("compare.html"),
) -> None:
    """Compare the newest models of several runs, cell by cell, on the same rows.

    Blessed or not. Prints AUC and GAUC of every task and scenario with the paired difference to
    RUN_A and its 95% interval, bold where that leaves out 0, and draws them on a page of its own.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from tfx_pipeline.progress import quiet

    with _explain_errors():
        _check_comparable(workdirs, out)
        log_file = workdirs[0] / "logs" / f"compare-{datetime.datetime.now():%Y%m%d-%H%M%S}.log"
        with quiet(log_file) as console:
            with console.status("Scoring the evaluation days …"):
                from tfx_pipeline.compare import compare as compare_runs
                from tfx_pipeline.comparison_page import write_comparison

                found = compare_runs(workdirs)
                write_comparison(found, out)
            _print_comparison(console, found)
            console.print(f"page {escape(str(out))}")


def _check_comparable(workdirs: Sequence[Path], out: Path) -> None:
    problems = []
    if len({workdir.resolve() for workdir in workdirs}) < 2:
        problems.append(Problem("RUN_A RUN_B", "one workdir", "two different ones, or more"))
    for workdir in workdirs:
        if not (workdir / "logs").is_dir():
            problems.append(Problem(str(workdir), "no run", "a run's workdir, as runs/NAME"))
    if out.is_dir() or not out.absolute().parent.is_dir():
        found = "a folder" if out.is_dir() else f"no folder {out.absolute().parent}"
        problems.append(Problem(f"--out {out}", found, "a file in a folder that exists"))
    if problems:
        raise InputError(problems)


def _print_comparison(console: Console, found: Any) -> None:
    from tfx_pipeline.gate.metric_names import METRIC_NAMES

    first, *others = found.runs
    for metric in found.metrics:
        table = Table(box=None, padding=(0, 1, 0, 0))
        for name in (METRIC_NAMES[metric], "scenario"):
            table.add_column(name, no_wrap=True)
        table.add_column(escape(first), justify="right", overflow="fold")
        for run in others:
            table.add_column(escape(run), justify="right", overflow="fold")
            table.add_column("difference (95%)", justify="right", no_wrap=True)
        for figure in found.of(metric):
            row = [_number(figure.values[0], 4)]
            for value, difference in zip(figure.values[1:], figure.differences, strict=True):
                row += [_number(value, 4), _difference(difference, figure.more_is_better)]
            scenario = "all" if figure.scenario == "*" else escape(figure.scenario)
            table.add_row(escape(figure.task), scenario, *row)
        console.print(table, soft_wrap=False)
        console.print()
    if found.left_out:
        console.print(f"not in all runs, and left out: {escape(', '.join(found.left_out))}")
    console.print(
        f"{found.rows:,} evaluation rows of {found.users:,} users; differences to {escape(first)}, "
        "paired, each interval for itself"
    )


def _difference(difference: Any, more_is_better: bool) -> str:
    if difference is None:
        return "–"
    text = f"{difference.value:+.4f} ({difference.low:+.3f} {difference.high:+.3f})"
    if not difference.clear:
        return text
    return f"[bold {'green' if (difference.value > 0) == more_is_better else 'red'}]{text}[/]"


@app.command(epilog="Example: equipoise report runs/simulated")
def report(
    workdir: Annotated[Path, typer.Argument(metavar="DIR", help="Workdir of a finished run.")],
) -> None:
    """Write the report of a workdir's newest run again.

    For example after an upgrade, to see the same run on the new page. Runs no component.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    from tfx_pipeline.progress import quiet

    with _explain_errors():
        if not (workdir / "logs").is_dir():
            raise InputError([Problem(str(workdir), "no run", "a run's workdir, as runs/NAME")])
        log_file = workdir / "logs" / f"report-{datetime.datetime.now():%Y%m%d-%H%M%S}.log"
        with quiet(log_file) as console:
            with console.status("Writing the report …"):
                from tfx_pipeline.report import rewrite

                page = rewrite(workdir)
            console.print(f"report {escape(str(page))}")


def _print_fused(console: Console, found: Any) -> None:
    from tfx_pipeline.fuse import objective

    for name, weights in (("before", found.before), ("after", found.after)):
        shown = "  ".join(f"{task} {weight:g}" for task, weight in weights.items())
        console.print(f"weights {name}: {shown}")
    table = Table(box=None, padding=(0, 2, 0, 0))
    table.add_column("", no_wrap=True)
    for half in ("searched", "held out"):
        for moment in ("before", "after"):
            table.add_column(f"{half},\n{moment}", justify="right")
    columns = [*found.searched, *found.held_out]
    for i, term in enumerate(found.terms):
        weight = "" if term.weight == 1 else f"{term.weight:g} * "
        table.add_row(weight + term.name, *(_number(column[i], 4) for column in columns))
    table.add_row("objective", *(f"{objective(found.terms, c):.4f}" for c in columns), style="bold")
    console.print(table, soft_wrap=False)
    console.print(f"version {found.version}, {found.rows:,} rows of the evaluation days")
    console.print("For the config:", found.config_lines, sep="\n\n")


@contextmanager
def _output(workdir: Path, verbose: bool) -> Iterator[Console]:
    """The screen; without `-v`, all that libraries print goes to a file in `logs/`."""
    from tfx_pipeline.progress import quiet

    if verbose:
        yield Console(highlight=False, soft_wrap=True)
        return
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "1")
    log_file = workdir / "logs" / f"{datetime.datetime.now():%Y%m%d-%H%M%S}.log"
    with quiet(log_file) as console:
        try:
            yield console
        except (InputError, typer.Exit):
            raise
        except KeyboardInterrupt:
            console.print("interrupted; run it again and it goes on from here")
            raise typer.Exit(130) from None
        except Exception as error:
            logging.getLogger(__name__).exception("The run failed")
            console.print(f"[red]failed[/red] {escape(_first_line(error))}")
            console.print(f"Everything that was printed is in {escape(str(log_file))}")
            raise typer.Exit(1) from error


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines() or ["no message"]
    return f"{type(error).__name__}: {lines[0]}"


@contextmanager
def _explain_errors(*also: type[Exception]) -> Iterator[None]:
    """Prints what is wrong with the input, and ends with status 2.

    Args:
      also: Further errors whose text is meant for the user.
    """
    try:
        yield
    except InputError as error:
        _print_problems(error.problems)
        raise typer.Exit(2) from error
    except also as error:
        _print_error(str(error))
        raise typer.Exit(2) from error


def _print_error(text: str) -> None:
    Console(stderr=True, highlight=False, soft_wrap=True).print(f"[red]error[/red] {escape(text)}")


def _print_problems(problems: Sequence[Problem]) -> None:
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    for problem in problems:
        console.print(
            f"[red]error[/red] [bold]{escape(problem.where)}[/bold]\n"
            f"  found     {escape(problem.found)}\n  expected  {escape(problem.expected)}"
        )
        if problem.remedy:
            console.print(f"  {escape(problem.remedy)}")


def _print_outcome(
    console: Console, summary: dict[str, Any], workdir: Path, seconds: float
) -> None:
    from tfx_pipeline.gate.explain import sentence

    failed = {(f["task"], f["scenario"]) for f in summary["gate"]["failures"]}
    open_cells = {(n["task"], n["scenario"]): n["why"] for n in summary["gate"]["not_judged"]}
    with_ceiling = any(cell["auc_ceiling"] is not None for cell in summary["metrics"])
    # 80 columns hold it when nothing but a blank stands between two columns.
    table = Table(box=None, padding=(0, 1, 0, 0))
    for name in ("task", "scenario"):
        table.add_column(name, no_wrap=True)
    # The mean squared error of a regression, the log loss of classes; other tasks have an AUC.
    with_loss = any(cell["kind"] in ("regression", "multiclass") for cell in summary["metrics"])
    columns = ["rows", "pos.", "AUC", *(["ceiling"] if with_ceiling else [])]
    for name in [*columns, "GAUC", *(["loss"] if with_loss else []), "calib."]:
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("gate", no_wrap=True)
    for cell in summary["metrics"]:
        why = open_cells.get((cell["task"], cell["scenario"]))
        verdict = "[green]holds[/green]"
        if why is not None:
            verdict = f"[yellow]{'too few' if 'fewer' in why else 'open'}[/yellow]"
        if (cell["task"], cell["scenario"]) in failed:
            verdict = "[red]fails[/red]"
        table.add_row(
            cell["task"],
            "all" if cell["scenario"] == "*" else escape(cell["scenario"]),
            f"{cell['examples']:,}",
            "–" if cell["positives"] is None else f"{cell['positives']:,}",
            _number(cell["auc"], 4),
            *([_number(cell["auc_ceiling"], 4)] if with_ceiling else []),
            _number(cell["gauc"], 4),
            *([_number(_loss(cell), 4)] if with_loss else []),
            _number(cell["calibration"], 3),
            verdict,
            style="bold" if cell["scenario"] == "*" else "",
        )
    console.print(table, soft_wrap=False)
    if any("fewer" in why for why in open_cells.values()):
        console.print("[yellow]too few[/yellow]: not judged, for want of rows of either class")
    if not all("fewer" in why for why in open_cells.values()):
        console.print(
            "[yellow]open[/yellow]: not judged; why, says "
            f"[bold]equipoise gate {escape(str(workdir))} --explain[/bold]"
        )
    data = summary["data"]
    console.print(
        f"{data['read']:,} rows read: {data['train']:,} train, {data['valid']:,} valid, "
        f"{data['eval']:,} eval; {data['duplicates']:,} duplicates, {data['rejected']:,} rejected, "
        f"{data['out_of_range']:,} of other days"
    )
    for failure in summary["gate"]["failures"]:
        console.print(f"[red]{failure['kind'].replace('_', ' ')}[/red] {escape(sentence(failure))}")
    for note in summary["gate"]["notes"]:
        console.print(f"[cyan]note[/cyan] {escape(note['why'])}")
    if summary["gate"]["blessed"]:
        console.print(
            f"[green]blessed[/green], version {summary['pushed_version']} in "
            f"{escape(str(workdir / 'serving' / summary['model']))}"
        )
    else:
        console.print("[red]not blessed[/red], nothing was pushed")
    console.print(f"report {escape(str(workdir / 'report' / 'index.html'))}   {seconds:.0f} s")


def _loss(cell: dict[str, Any]) -> float | None:
    if cell["kind"] in ("regression", "multiclass"):
        return cell["mse"] if cell["kind"] == "regression" else cell["logloss"]
    return None


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:.{digits}f}"


def _parse_object(where: str, text: str) -> dict[str, Any]:
    found = _parse_json(text)
    if not isinstance(found, dict):
        raise InputError([Problem(where, repr(text[:80]), "a JSON object of columns and values")])
    return found


def _parse_items(text: str) -> list[dict[str, Any]]:
    found = _parse_json(text)
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise InputError([Problem("--items", repr(text[:80]), "a JSON array of objects")])
    return found


def _parse_json(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        return error


def main() -> None:
    """Entry point of the `equipoise` script."""
    if not {"-v", "--verbose"} & set(sys.argv):
        # The pinned platform warns of its own age at every import.
        warnings.filterwarnings("ignore", category=FutureWarning)
    app()
