"""Waiting for documents, with live progress per stage."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping

import click

from lift_core.errors import NotFoundError
from lift_core.records import DocumentRecord
from lift_core.registry import AdapterRegistry

ENDED = ("ready", "failed", "superseded", "removed")
POLL_SECONDS = 0.5
UNSEEN_SECONDS = 90
"""The clock wakes the dispatcher each minute: what is not recorded by then waits for something else."""


def wait_for_documents(
    registry: AdapterRegistry, bucket: str, etags: Mapping[str, str], *, quiet: bool = False
) -> list[DocumentRecord]:
    """Wait until what was put is ready or has failed; show stages as they change.

    ``etags`` maps each key to the ETag of its put: an older version that is still the newest one
    in the registry is not what is waited for.
    """
    from rich.console import Console
    from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

    states: dict[str, DocumentRecord] = {}
    shown: dict[str, str] = {}
    console = Console(file=sys.stderr, quiet=quiet)
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        rows = {key: progress.add_task(f"{key}: put, waiting for its run", total=None) for key in etags}
        began = time.monotonic()
        while len(states) < len(etags):
            for key, etag in etags.items():
                if key in states:
                    continue
                try:
                    found = registry.document(key, bucket=bucket)
                except NotFoundError:
                    found = None
                if found is None or found.etag != etag:
                    if time.monotonic() - began > UNSEEN_SECONDS:
                        hint = "nobody lists the bucket: is Airflow up? see `lift status`"
                        progress.update(rows[key], description=f"{key}: {hint}")
                        if shown.get(key) != hint:
                            shown[key] = hint
                            console.print(f"{key}: {hint}", soft_wrap=True)
                    continue
                line = f"{key}: {describe(registry, found)}"
                progress.update(rows[key], description=line)
                if not console.is_terminal and shown.get(key) != found.state:
                    shown[key] = found.state
                    console.print(line, soft_wrap=True)
                if found.state in ENDED:
                    states[key] = found
                    progress.stop_task(rows[key])
            time.sleep(POLL_SECONDS)
    for found in states.values():
        if not quiet and (console.is_terminal or found.reason):
            click.echo(
                f"{found.key}: {found.state}" + (f" ({found.reason})" if found.reason else ""), err=True
            )
    return [states[key] for key in etags]


def describe(registry: AdapterRegistry, found: DocumentRecord) -> str:
    """One line: the state, and how long each stage so far took."""
    parts = []
    for stage in registry.stage_times_of(found.bucket, found.key):
        if stage.ended_at is None:
            parts.append(f"{stage.stage} …")
        else:
            parts.append(f"{stage.stage} {(stage.ended_at - stage.started_at).total_seconds():.1f} s")
    return " | ".join([found.state, *parts])
