"""What commands print: tables for people, one JSON document for programs."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from datetime import datetime
from typing import Any

import click

_PIPED_WIDTH = 240
"""Columns of a table that no terminal shows."""


def print_json(body: Any) -> None:
    """Print one JSON document to stdout and nothing else."""
    click.echo(json.dumps(body, ensure_ascii=False, indent=2, default=str))


def print_table(columns: Sequence[str], rows: Sequence[Sequence[object]], title: str | None = None) -> None:
    """Print a table; an absent value is shown as a dash."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left", header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*["–" if cell is None else str(cell) for cell in row])
    # What is piped is read by line: a cell that is folded at the 80th column is found by no grep.
    piped = not sys.stdout.isatty() and "COLUMNS" not in os.environ
    Console(width=_PIPED_WIDTH if piped else None).print(table)


def local_time(moment: datetime | None) -> str | None:
    """A time as people read it; None stays None."""
    return moment.astimezone().strftime("%Y-%m-%d %H:%M:%S") if moment else None


json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
