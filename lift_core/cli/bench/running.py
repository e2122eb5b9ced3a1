"""What the benchmarks' commands share: options, threads, the progress bar and the pages."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable
from pathlib import Path

import click

from lift_core.benchmarks.report import Report, columns, write_report
from lift_core.cli.output import print_json, print_table
from lift_core.errors import LiftError

PLACE = Path(__file__).resolve().parents[3] / "docs" / "benchmarks"
_LINE_SECONDS = 60.0
Progress = Callable[[str, int, int], None]
"""Told the phase, how much of it is done, and how much there is (0: not known)."""

squad_option = click.option(
    "--data",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of public question sets; squad_dev.jsonl is taken.",
)
quick_option = click.option(
    "--quick", is_flag=True, help="The version that ends within 5 minutes on 2 cores; it only prints."
)


def share_cores() -> None:
    """Let this process's threads wait as those of `lift run` do, beside a generator on the same cores."""
    from lift_core.stack.service import SHARED_CORES

    # Read when torch is loaded, which is later.
    os.environ.update({**SHARED_CORES, **os.environ})


def measured(measure: Callable[[Progress], Report], quick: bool, as_json: bool) -> None:
    """Measure under a progress bar, print, and write the pages: not those of a quick run, which is rough."""
    from rich.console import Console
    from rich.progress import Progress as Bar

    from lift_core.log import configure

    # Steps that a benchmark takes log a line each: stdout is for the report alone.
    configure(level=logging.WARNING)
    console = Console(stderr=True)
    with Bar(console=console, transient=True) as bar:
        row = bar.add_task("measuring", total=None)
        said = time.monotonic()

        def on_progress(phase: str, done: int, total: int) -> None:
            nonlocal said
            bar.update(row, description=phase, completed=done, total=total or None)
            # A bar is nothing to a file: a line now and then is.
            if not console.is_terminal and time.monotonic() - said >= _LINE_SECONDS:
                said = time.monotonic()
                console.print(f"{phase} {done}/{total}" if total else phase, soft_wrap=True)

        report = measure(on_progress)
    if as_json:
        print_json(report.model_dump(mode="json"))
    else:
        names = columns(report.rows)
        print_table(names, [[each.get(name) for name in names] for each in report.rows])
    if quick:
        return
    try:
        page = write_report(report, PLACE)
    except OSError as error:
        raise LiftError(f"the report cannot be written to {PLACE}: {error}") from error
    click.echo(f"written to {page}", err=as_json)
