"""``lift registry``: look after the registry: its schema, and what nothing refers to."""

from __future__ import annotations

from datetime import timedelta

import click

from lift_core.cli.output import json_option, print_json, print_table
from lift_core.registry import AdapterRegistry
from lift_core.settings import get_settings


@click.group()
def registry() -> None:
    """Look after the registry: its schema, and what nothing refers to.

    \b
    Example:
      lift registry upgrade
      lift registry gc
    """


@registry.command()
def upgrade() -> None:
    """Bring the database at LIFT_DATABASE_URL to this version's schema.

    \b
    Example:
      LIFT_DATABASE_URL=postgresql+psycopg2://… lift registry upgrade
    """
    AdapterRegistry.from_settings(get_settings()).upgrade()
    click.echo("the registry's schema is current")


@registry.command()
@click.option("--delete", is_flag=True, help="Delete the store's orphans; without it they are only listed.")
@click.option(
    "--older-than",
    "hours",
    default=24.0,
    show_default=True,
    type=click.FloatRange(min=0),
    metavar="HOURS",
    help="Leave younger objects alone: an attempt may be about to register them.",
)
@json_option
def gc(delete: bool, hours: float, as_json: bool) -> None:
    """Find orphans: objects that the registry does not refer to, and files that the store lacks.

    Nothing that is referred to is ever deleted, nor anything of a job that may still go on, but for
    checkpoints that a newer attempt replaced. Files that the registry has and the store lacks are only named;
    then the exit code is 1.

    \b
    Example:
      lift registry gc
      lift registry gc --delete --older-than 48
    """
    from rich.console import Console
    from rich.progress import Progress

    from lift_core.housekeeping import Housekeeping
    from lift_core.store import ObjectStore

    settings = get_settings()
    keeper = Housekeeping(
        AdapterRegistry.from_settings(settings), ObjectStore.from_settings(settings), settings
    )
    found = []
    with Progress(console=Console(stderr=True), transient=True) as progress:
        row = progress.add_task("comparing store and registry", total=None)
        for each in keeper.orphans(older_than=timedelta(hours=hours), delete=delete):
            found.append(each)
            progress.advance(row)
    missing = [each for each in found if each.side == "registry"]
    if as_json:
        print_json([each.model_dump(mode="json") for each in found])
    else:
        if found:
            print_table(
                ("side", "object", "bytes", "why", "deleted"),
                [
                    (e.side, f"s3://{e.bucket}/{e.key}", e.size, e.why, "yes" if e.deleted else None)
                    for e in found
                ],
            )
        size = sum(each.size for each in found if each.side == "store")
        click.echo(
            f"{len(found) - len(missing)} orphans in the store ({size:,} bytes"
            f"{', deleted' if delete else ''}), {len(missing)} files missing from it"
        )
    if missing:
        raise SystemExit(1)


@registry.command()
def metrics() -> None:
    """Print the registry's figures in Prometheus's text format, as Airflow's API server shows them.

    \b
    Example:
      lift registry metrics > /var/lib/node_exporter/lift.prom
    """
    from lift_core.metrics import exposition

    click.echo(exposition(AdapterRegistry.from_settings(get_settings())), nl=False)
