"""``lift run``: the chain in one process."""

from __future__ import annotations

import os
import time
from pathlib import Path

import click

from lift_core.cli.output import json_option, print_json
from lift_core.log import configure
from lift_core.pipeline import run_file
from lift_core.recipes import load_recipe
from lift_core.stack.service import SHARED_CORES
from lift_core.steps import Steps


@click.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--recipe", help="A shipped recipe or the path of a .json file (default: LIFT_RECIPE).")
@json_option
def run(file: Path, recipe: str | None, as_json: bool) -> None:
    """Turn FILE into an adapter in this process, without Airflow.

    It needs PostgreSQL, an object store and the models' servers: those of `lift up`, or your
    own by LIFT_* settings.

    \b
    Example:
      lift run report.md
    """
    # Read when torch is loaded, which is later.
    os.environ.update({**SHARED_CORES, **os.environ})
    steps = Steps.connect()
    configure(steps.settings.log_format)
    started = time.monotonic()
    adapter = run_file(
        steps,
        file,
        load_recipe(recipe or steps.settings.recipe),
        on_stage=lambda stage: click.echo(f"[{time.monotonic() - started:6.1f} s] {stage}", err=True),
    )
    if as_json:
        print_json({"adapter": adapter.name, "aliases": list(adapter.aliases), "scores": adapter.scores})
        return
    click.echo(f'{adapter.name} is active. Ask it: lift ask {adapter.document} "…"')
