"""``lift adapters``: find, inspect and compare adapters. What changes one is in ``adapters_moves``."""

from __future__ import annotations

from datetime import datetime
from typing import Any, get_args

import click

from lift_core.cli import adapters_moves
from lift_core.cli.output import json_option, local_time, print_json, print_table
from lift_core.records import AdapterFilter, AdapterRecord, AdapterState
from lift_core.registry import AdapterRegistry, parse_score_condition
from lift_core.registry.browsing import MAX_PAGE, PAGE
from lift_core.settings import get_settings

FIELDS = (
    "name",
    "aliases",
    "document",
    "version",
    "title",
    "base_model",
    "recipe",
    "state",
    "created_at",
    "activated_at",
    "scores",
    "tags",
)


def as_row(adapter: AdapterRecord) -> dict[str, Any]:
    """The stable JSON form of an adapter."""
    body = adapter.model_dump(mode="json")
    return {field: body[field] for field in FIELDS}


class Moment(click.ParamType[datetime]):
    """A date or time in ISO 8601; without a zone it is local time."""

    name = "date"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Read it, or say how it is written."""
        if isinstance(value, datetime):
            return value
        try:
            return datetime.fromisoformat(value).astimezone()
        except ValueError:
            self.fail(f"'{value}' is no date or time; write 2026-11-25 or 2026-11-25T14:30", param, ctx)


@click.group()
def adapters() -> None:
    """Find, inspect, compare and manage adapters.

    \b
    Example:
      lift adapters ls --state active --text "steam engine"
      lift adapters show report
      lift adapters quarantine report-v3 --why "invents dates"
    """


for command in adapters_moves.COMMANDS:
    adapters.add_command(command)


@adapters.command()
@click.option("--document", metavar="KEY|SLUG", help="Adapters of this document.")
@click.option("--base-model", metavar="NAME", help="Adapters of this base model.")
@click.option("--recipe", metavar="DIGEST", help="Trained by this recipe; its first characters will do.")
@click.option(
    "--state",
    "states",
    multiple=True,
    type=click.Choice(get_args(AdapterState)),
    help="In this state; may be repeated (default: all but removed).",
)
@click.option("--since", type=Moment(), help="Created then or later.")
@click.option("--until", type=Moment(), help="Created before then.")
@click.option("--tag", "tags", multiple=True, metavar="KEY=VALUE", help="With this tag; may be repeated.")
@click.option("--score", "scores", multiple=True, metavar="'gain>=1.5'", help="Bound on a score; repeatable.")
@click.option("--text", metavar="WORDS", help='Words in the title: steam -engine, "exact words", a or b.')
@click.option(
    "--limit", type=click.IntRange(1, 1000), help="Lines a page (50; with --json all, if not given)."
)
@click.option("--cursor", help="Where the next page begins, as the page before said.")
@click.option("--all", "everything", is_flag=True, help="All pages.")
@json_option
def ls(
    document: str | None,
    base_model: str | None,
    recipe: str | None,
    states: tuple[AdapterState, ...],
    since: datetime | None,
    until: datetime | None,
    tags: tuple[str, ...],
    scores: tuple[str, ...],
    text: str | None,
    limit: int | None,
    cursor: str | None,
    everything: bool,
    as_json: bool,
) -> None:
    """List adapters, newest first; every filter that is given must hold.

    \b
    Example:
      lift adapters ls --state active --score 'gain>=1' --since 2026-11-01
      lift adapters ls --tag team=legal --all --json
    """
    registry = AdapterRegistry.from_settings(get_settings())
    wanted = AdapterFilter(
        document=document,
        base_model=base_model,
        recipe=recipe,
        states=states,
        since=since,
        until=until,
        tags=dict(adapters_moves.read_tag(tag) for tag in tags),
        scores=tuple(parse_score_condition(words) for words in scores),
        text=text,
    )
    # A program that does not ask for a page wants the whole list.
    everything = everything or (as_json and limit is None)
    size = limit or (MAX_PAGE if everything else PAGE)
    page = registry.adapters(wanted, size, cursor)
    found = list(page.adapters)
    while everything and page.next_cursor:
        page = registry.adapters(wanted, size, page.next_cursor)
        found.extend(page.adapters)
    if as_json:
        print_json([as_row(adapter) for adapter in found])
    else:
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
    if page.next_cursor:
        click.echo(f"there are more: --cursor {page.next_cursor}, or --all", err=True)


@adapters.command()
@click.argument("adapter")
@json_option
def show(adapter: str, as_json: bool) -> None:
    """Show one ADAPTER (its name, or an alias): scores, tags, files with their sha256, events.

    \b
    Example:
      lift adapters show report
    """
    registry = AdapterRegistry.from_settings(get_settings())
    found = registry.adapter(adapter)
    events = registry.events(found.name)
    if as_json:
        body = {"files": found.files, "events": [each.model_dump(mode="json") for each in events]}
        print_json(as_row(found) | body)
        return
    print_table(("field", "value"), [(k, _cell(v)) for k, v in as_row(found).items()], title=found.title)
    print_table(("file", "sha256"), list(found.files.items()))
    print_table(
        ("at", "event", "detail"), [(local_time(e.at), e.kind, _cell(e.detail) or None) for e in events]
    )


@adapters.command()
@click.argument("first")
@click.argument("second")
@json_option
def diff(first: str, second: str, as_json: bool) -> None:
    """Compare two adapters, FIRST and SECOND: document, recipe, pairs, code, hardware, scores.

    Only what differs is shown.

    \b
    Example:
      lift adapters diff report-v1 report-v2
    """
    registry = AdapterRegistry.from_settings(get_settings())
    one, other = (_comparable(registry, name) for name in (first, second))
    changed = {
        field: (one.get(field), other.get(field))
        for field in dict.fromkeys([*one, *other])
        if one.get(field) != other.get(field)
    }
    if as_json:
        print_json({field: {"first": a, "second": b} for field, (a, b) in changed.items()})
        return
    print_table(("what", first, second), [(field, a, b) for field, (a, b) in changed.items()])


@adapters.command()
@click.argument("name")
@json_option
def lineage(name: str, as_json: bool) -> None:
    """Show where an adapter comes from; NAME is an adapter, an alias or a document.

    Document version, recipe, pairs, generator, base model, Airflow run, code, libraries, hardware,
    time. `lift adapters ls --document KEY` goes the other way.

    \b
    Example:
      lift adapters lineage report-v2 --json
    """
    found = AdapterRegistry.from_settings(get_settings()).lineage(name).model_dump(mode="json")
    if as_json:
        print_json(found)
        return
    stages = found["run"].pop("stages")
    lines = [(field, _cell(value)) for field, value in _flat(found).items()]
    print_table(("what", "value"), lines, title=f"{found['adapter']}: where it comes from")
    print_table(
        ("stage", "started", "ended", "detail"),
        [(s["stage"], s["started_at"], s["ended_at"], _cell(s["detail"]) or None) for s in stages],
    )


def _comparable(registry: AdapterRegistry, name: str) -> dict[str, Any]:
    """All of an adapter that can be compared, flat."""
    body = registry.lineage(name).model_dump(mode="json")
    body["run"].pop("stages")
    body["scores"] = registry.adapter(body["adapter"]).scores
    return _flat(body)


def _flat(body: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries as one, with dotted names."""
    found: dict[str, Any] = {}
    for name, value in body.items():
        if isinstance(value, dict):
            found |= _flat(value, f"{prefix}{name}.")
        else:
            found[f"{prefix}{name}"] = value
    return found


def _cell(value: Any) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{name} {_cell(each)}" for name, each in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(_cell, value))
    if isinstance(value, float):
        return f"{value:.4g}"
    return str(value)
