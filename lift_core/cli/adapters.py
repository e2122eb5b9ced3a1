"""``lift adapters``: list and inspect adapters."""

from __future__ import annotations

from typing import Any

import click

from lift_core.cli.output import json_option, local_time, print_json, print_table
from lift_core.records import AdapterRecord
from lift_core.registry import Registry
from lift_core.settings import get_settings

FIELDS = ("name", "aliases", "document", "version", "base_model", "recipe", "state", "created_at", "scores")


def as_row(adapter: AdapterRecord) -> dict[str, Any]:
    """The stable JSON form of an adapter."""
    body = adapter.model_dump(mode="json")
    return {field: body[field] for field in FIELDS}


@click.group()
def adapters() -> None:
    """List and inspect adapters.

    \b
    Example:
      lift adapters ls
      lift adapters show report-v1
    """


@adapters.command()
@json_option
def ls(as_json: bool) -> None:
    """List the adapters, newest first.

    \b
    Example:
      lift adapters ls --json
    """
    found = Registry.from_settings(get_settings()).adapters()
    if as_json:
        print_json([as_row(adapter) for adapter in found])
        return
    print_table(
        ("adapter", "aliases", "document", "base model", "recipe", "state", "held-out gain", "created"),
        [
            (
                a.name,
                ", ".join(a.aliases) or None,
                f"{a.document} (v{a.version})",
                a.base_model,
                a.recipe[:8],
                a.state,
                f"{a.scores['gain']:.2f}" if "gain" in a.scores else None,
                local_time(a.created_at),
            )
            for a in found
        ],
    )


@adapters.command()
@click.argument("adapter")
@json_option
def show(adapter: str, as_json: bool) -> None:
    """Show one ADAPTER (its name, or an alias): scores, files with their sha256, events.

    \b
    Example:
      lift adapters show report
    """
    registry = Registry.from_settings(get_settings())
    found = registry.adapter(adapter)
    events = registry.events(found.name)
    if as_json:
        print_json({**as_row(found), "files": found.files, "events": events})
        return
    print_table(("field", "value"), list(as_row(found).items()), title=found.title)
    print_table(("file", "sha256"), list(found.files.items()))
    print_table(("at", "event", "detail"), [(e["at"], e["kind"], e["detail"]) for e in events])
