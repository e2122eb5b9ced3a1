"""``lift registry``: look after the registry's database."""

from __future__ import annotations

import click

from lift_core.registry import Registry
from lift_core.settings import get_settings


@click.group()
def registry() -> None:
    """Look after the registry's database.

    \b
    Example:
      lift registry upgrade
    """


@registry.command()
def upgrade() -> None:
    """Bring the database at LIFT_DATABASE_URL to this version's schema.

    \b
    Example:
      LIFT_DATABASE_URL=postgresql+psycopg2://… lift registry upgrade
    """
    Registry.from_settings(get_settings()).upgrade()
    click.echo("the registry's schema is current")
