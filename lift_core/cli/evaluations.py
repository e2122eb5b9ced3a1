"""``lift eval``: measure what adapters forgot, and see what was found."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from lift_core.cli.output import json_option, local_time, print_json, print_table
from lift_core.errors import LiftError, NotFoundError
from lift_core.evaluation_records import AdapterVerdict, Measured, Measurement
from lift_core.settings import get_settings
from lift_core.steps import Steps


@click.group("eval")
def eval() -> None:
    """Measure what adapters forgot, and see what was found.

    \b
    Example:
      lift eval run report --data ../shared/data
      lift eval show report
    """


@eval.command()
@click.argument("names", metavar="ADAPTER|ALIAS...", nargs=-1)
@click.option("--due", is_flag=True, help="Measure the adapters that the scheduled run would take now.")
@click.option("--tasks", metavar="NAMES", help="Separated by commas.  [default: LIFT_EVALUATION_TASKS]")
@click.option(
    "--data",
    metavar="FOLDER|s3://…",
    help="Where the items are.  [default: LIFT_EVALUATION_DATA or the hub]",
)
@click.option("--items", type=click.IntRange(min=20), help="Items of the first look.")
@click.option("--full", is_flag=True, help="Look once, at all items, instead of at a first part.")
@click.option("--max-items", type=click.IntRange(min=20), help="At most so many items of a task.")
@click.option(
    "--act",
    is_flag=True,
    help="Do what LIFT_EVALUATION_POLICY says; without it a regression is an event only.",
)
@json_option
def run(names: tuple[str, ...], due: bool, act: bool, as_json: bool, **options: Any) -> None:
    """Measure adapters against their base model, give a verdict each, and record it.

    What was measured before under the same conditions is not measured again: a run that was stopped goes
    on where it was. Exit code 1 when an adapter regressed or could not be measured.

    \b
    Example:
      lift eval run report contract-v3 --data ../shared/data --items 200
      lift eval run --due --act --json
    """
    from lift_core.forgetting_guard import UNMEASURABLE, ForgettingGuard

    if due == bool(names):
        raise click.UsageError("name the adapters to measure, or --due")
    steps = _steps(**options)
    guard = ForgettingGuard(steps)
    wanted = [each.name for each in guard.due()] if due else [_adapter_name(steps, name) for name in names]
    run_id = datetime.now(UTC).strftime("cli-%Y%m%dT%H%M%SZ")
    measured: list[Measured] = []
    unmeasured: dict[str, str] = {}
    for name in dict.fromkeys(wanted):
        with _progress() as on_progress:
            try:
                measured.append(guard.measure(name, on_progress))
            except UNMEASURABLE as error:
                unmeasured[name] = str(error)
    verdicts = guard.judge(run_id, measured, unmeasured, act=act)
    if as_json:
        bodies = [as_body(verdict) for verdict in verdicts]
        bodies += [{"adapter": name, "verdict": None, "reason": why} for name, why in unmeasured.items()]
        print_json(bodies[0] if len(bodies) == 1 else bodies)
    else:
        for verdict in verdicts:
            _print_verdict(verdict)
        for name, reason in unmeasured.items():
            click.echo(f"{name} could not be measured: {reason}")
        if not wanted:
            click.echo("no adapter is due")
    if unmeasured or any(verdict.verdict == "regressed" for verdict in verdicts):
        raise SystemExit(1)


@eval.command()
@click.argument("name", metavar="ADAPTER|ALIAS")
@click.option("--limit", default=10, show_default=True, type=click.IntRange(min=1), help="Verdicts to show.")
@json_option
def show(name: str, limit: int, as_json: bool) -> None:
    """Show an adapter's verdicts, the newest first, with every measure of the newest.

    \b
    Example:
      lift eval show report
    """
    steps = Steps.connect()
    adapter = _adapter_name(steps, name)
    verdicts = steps.registry.verdicts(adapter, limit)
    if as_json:
        print_json([as_body(verdict) for verdict in verdicts])
        return
    if not verdicts:
        click.echo(f"{adapter} was never measured; `lift eval run {adapter}` does it")
        return
    _print_verdict(verdicts[0])
    if len(verdicts) > 1:
        print_table(
            ("when", "run", "verdict", "action"),
            [(local_time(each.created_at), each.run, each.verdict, each.action) for each in verdicts],
        )


@eval.command()
@click.argument("one", metavar="ADAPTER")
@click.argument("other", metavar="ADAPTER")
@json_option
def compare(one: str, other: str, as_json: bool) -> None:
    """Compare two adapters on the items that both were asked under the same conditions.

    The difference is the second minus the first, with its 95 % interval on the same items. No verdict: two
    adapters have no margin.

    \b
    Example:
      lift eval compare report-v1 report-v2
    """
    from lift_core.evaluation.comparing import compare

    steps = Steps.connect()
    names = _adapter_name(steps, one), _adapter_name(steps, other)
    rows = compare(steps.registry, steps.store, steps.settings.work_bucket, *names)
    if not rows:
        raise LiftError(
            f"{names[0]} and {names[1]} have no item that both were asked under the same conditions"
        )
    if as_json:
        print_json([row.model_dump(mode="json") for row in rows])
        return
    print_table(
        ("task", "measure", "items", *names, "difference", "95 % interval"),
        [
            (
                row.task,
                row.measure,
                row.n,
                f"{row.first:.3f}",
                f"{row.second:.3f}",
                f"{row.difference:+.3f}",
                f"{row.low:+.3f} to {row.high:+.3f}",
            )
            for row in rows
        ],
    )


@eval.command()
@click.argument("name", metavar="ADAPTER|ALIAS")
@click.option("--run", "run_id", metavar="RUN", help="That run's report instead of the newest.")
@click.option(
    "-o",
    "--output",
    type=click.Path(file_okay=False, path_type=Path),
    default=".",
    show_default=True,
    help="Folder to write to.",
)
def report(name: str, run_id: str | None, output: Path) -> None:
    """Fetch an adapter's report: HTML, Markdown and plots.

    \b
    Example:
      lift eval report report -o /tmp/report
    """
    steps = Steps.connect()
    adapter = _adapter_name(steps, name)
    found = [v for v in steps.registry.verdicts(adapter) if run_id in (None, v.run) and v.report]
    if not found:
        where = f" by run '{run_id}'" if run_id else ""
        raise NotFoundError(f"{adapter} has no report{where}; `lift eval show {adapter}` lists its runs")
    prefix = str(found[0].report)
    output.mkdir(parents=True, exist_ok=True)
    for each in steps.store.list(steps.settings.work_bucket, prefix):
        place = output / Path(each.key).name
        steps.store.get_file(steps.settings.work_bucket, each.key, place)
        click.echo(place)


def as_body(verdict: AdapterVerdict) -> dict[str, Any]:
    """The stable JSON form of a verdict."""
    body = verdict.model_dump(mode="json")
    decided = {tuple(each) for each in verdict.decided_by}
    return {
        "adapter": verdict.adapter,
        "base": verdict.base_model,
        "tasks": [
            {**each, "decides": (each["task"], each["measure"]) in decided} for each in body["measurements"]
        ],
        "verdict": verdict.verdict,
        **{
            key: body[key]
            for key in ("sentence", "run", "p_value", "adjusted_p_value", "alerted", "action", "signs")
        },
        "created_at": body["created_at"],
        "report": verdict.report,
    }


def _print_verdict(verdict: AdapterVerdict) -> None:
    click.secho(f"{verdict.adapter}: {verdict.verdict}", bold=True)
    click.echo(verdict.sentence)
    if verdict.action != "none":
        click.echo(f"action: {verdict.action}")
    print_table(
        ("task", "measure", "items", "base", "adapter", "difference", "interval", "margin", "verdict"),
        [_measurement_row(each) for each in verdict.measurements],
    )
    for name, value in verdict.signs.items():
        click.echo(f"{name.replace('_', ' ')}: {value:.3g}")
    click.echo(f"report: lift eval report {verdict.adapter} --run {verdict.run}")


def _measurement_row(each: Measurement) -> Sequence[object]:
    interval = None if each.low is None else f"{each.low:+.3f} to {each.high:+.3f}"
    return (
        each.task,
        each.measure,
        each.n,
        f"{each.base:.3f}",
        None if each.adapter is None else f"{each.adapter:.3f}",
        None if each.difference is None else f"{each.difference:+.3f}",
        interval,
        f"{each.margin:g}",
        each.verdict,
    )


def _steps(
    tasks: str | None, data: str | None, items: int | None, full: bool, max_items: int | None
) -> Steps:
    """The steps, with the settings of the guard that were given."""
    given = {
        "evaluation_tasks": tasks,
        "evaluation_data": data,
        "evaluation_max_items": max_items,
        # A first look at more items than there are is the only look.
        "evaluation_items": 10**9 if full else items,
    }
    update = {name: value for name, value in given.items() if value is not None}
    return Steps.connect(get_settings().model_copy(update=update))


def _adapter_name(steps: Steps, name: str) -> str:
    """The immutable name behind an alias; an adapter out of service has only that one."""
    try:
        return steps.registry.adapter(name).name
    except NotFoundError:
        return steps.registry.resolve(name).name


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True), transient=True) as progress:
        row = progress.add_task("loading", total=None)

        def on_progress(what: str, done: int, items: int) -> None:
            progress.update(row, description=what, completed=done, total=items)

        yield on_progress
