"""Waiting for documents, with live progress per stage."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence

import click

from lift_core.errors import NotFoundError
from lift_core.records import DocumentRecord
from lift_core.registry import Registry

ENDED = ("ready", "failed", "superseded", "removed")
POLL_SECONDS = 0.5


def wait_for_documents(
    registry: Registry, bucket: str, keys: Sequence[str], *, quiet: bool = False
) -> list[DocumentRecord]:
    """Wait until every key's newest version is ready or has failed; show stages as they change."""
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    states: dict[str, DocumentRecord] = {}
    shown: dict[str, str] = {}
    console = Console(file=sys.stderr, quiet=quiet)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        rows = {key: progress.add_task(f"{key}: put, waiting for its run", total=None) for key in keys}
        while len(states) < len(keys):
            for key in keys:
                if key in states:
                    continue
                try:
                    found = registry.document(key, bucket=bucket)
                except NotFoundError:
                    continue
                line = f"{key}: {describe(registry, found)}"
                progress.update(rows[key], description=line)
                if not console.is_terminal and shown.get(key) != found.state:
                    shown[key] = found.state
                    console.print(line)
                if found.state in ENDED:
                    states[key] = found
                    progress.stop_task(rows[key])
            time.sleep(POLL_SECONDS)
    for found in states.values():
        if not quiet:
            click.echo(
                f"{found.key}: {found.state}" + (f" ({found.reason})" if found.reason else ""), err=True
            )
    return [states[key] for key in keys]


def describe(registry: Registry, found: DocumentRecord) -> str:
    """One line: the state, and how long each stage so far took."""
    parts = []
    for stage in registry.stage_times_of(found.bucket, found.key):
        if stage.ended_at is None:
            parts.append(f"{stage.stage} …")
        else:
            parts.append(f"{stage.stage} {(stage.ended_at - stage.started_at).total_seconds():.1f} s")
    return " | ".join([found.state, *parts])
