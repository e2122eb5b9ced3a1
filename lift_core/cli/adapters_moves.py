"""The commands of ``lift adapters`` that decide something, or look whether the files are whole."""

from __future__ import annotations

import click

from lift_core.cli.output import json_option, local_time, print_json, print_table
from lift_core.errors import LiftError
from lift_core.registry import AdapterRegistry
from lift_core.settings import get_settings


def read_tag(words: str) -> tuple[str, str]:
    """Key and value of ``key=value``.

    Raises:
        LiftError: it does not read so.
    """
    key, separator, value = words.partition("=")
    if not separator or not key:
        raise LiftError(f"'{words}' is no tag; write KEY=VALUE")
    return key, value


@click.command()
@click.argument("name", required=False)
@click.argument("adapter", required=False)
@click.option("--rm", "remove", is_flag=True, help="Remove the alias NAME.")
@json_option
def alias(name: str | None, adapter: str | None, remove: bool, as_json: bool) -> None:
    """Let the alias NAME point to ADAPTER, from the next request on.

    An alias of document `report` is `report` (the same as `report@champion`), or `report@LABEL` for a
    label of yours. New adapters of the document move the first two; your labels stay where you put them.
    With NAME alone: where it points to. With nothing: all aliases.

    \b
    Example:
      lift adapters alias report report-v1
      lift adapters alias report@reviewed report-v2
      lift adapters alias report@reviewed --rm
    """
    registry = AdapterRegistry.from_settings(get_settings())
    if remove:
        if name is None or adapter is not None:
            raise click.UsageError("--rm takes one alias")
        registry.remove_alias(name)
        click.echo(f"removed {name}", err=as_json)
    elif name is not None and adapter is not None:
        registry.set_alias(name, registry.adapter(adapter).name)
    listed = registry.aliases(name.partition("@")[0] if name else None)
    found = [each for each in listed if name in (None, each.name)]
    if name is not None and not remove and not found:
        registry.resolve(name)  # says why there is none
        raise LiftError(f"'{name}' is the name of an adapter, not an alias")
    if as_json:
        print_json([each.model_dump(mode="json") for each in found])
    elif not remove:
        print_table(
            ("alias", "adapter", "since"), [(a.name, a.adapter, local_time(a.moved_at)) for a in found]
        )


@click.command()
@click.argument("adapter")
@click.argument("tags", nargs=-1, metavar="[KEY=VALUE]...")
@click.option("--rm", "removed", multiple=True, metavar="KEY", help="Remove this tag; may be repeated.")
@json_option
def tag(adapter: str, tags: tuple[str, ...], removed: tuple[str, ...], as_json: bool) -> None:
    """Set tags of ADAPTER, or show them.

    \b
    Example:
      lift adapters tag report-v2 team=legal reviewed=yes
      lift adapters ls --tag team=legal
    """
    registry = AdapterRegistry.from_settings(get_settings())
    found = registry.adapter(adapter)
    wanted: dict[str, str | None] = dict(read_tag(words) for words in tags)
    wanted |= dict.fromkeys(removed)
    if wanted:
        found = registry.tag(found.name, wanted)
    if as_json:
        print_json(found.tags)
        return
    print_table(("tag", "value"), sorted(found.tags.items()), title=found.name)


@click.command()
@click.argument("adapter")
@click.option("--why", required=True, help="The reason; it is kept in the adapter's events.")
def quarantine(adapter: str, why: str) -> None:
    """Take ADAPTER out of service at once; its aliases go back to the last good one.

    Where there is no other, the aliases are removed. The gateway refuses it from the next request on, and
    the serving engines forget it within seconds. `lift adapters release` takes it back.

    \b
    Example:
      lift adapters quarantine report-v3 --why "invents dates"
    """
    registry = AdapterRegistry.from_settings(get_settings())
    name = registry.adapter(adapter).name
    instead = registry.quarantine(name, why)
    click.echo(f"{name} is quarantined" + (f"; {instead} answers instead" if instead else ""))


@click.command()
@click.argument("adapter")
@click.option("--why", required=True, help="The reason; it is kept in the adapter's events.")
def release(adapter: str, why: str) -> None:
    """Let a quarantined or archived ADAPTER answer again, under its own name.

    Its document's alias points to it only if nothing else answers for the document.

    \b
    Example:
      lift adapters release report-v3 --why "the dates are right, the question was wrong"
    """
    registry = AdapterRegistry.from_settings(get_settings())
    found = registry.release(registry.adapter(adapter).name, why)
    click.echo(f"{found.name} answers again" + (f", also as {found.aliases[0]}" if found.aliases else ""))


@click.command()
@click.argument("adapter")
@click.option("--why", help="The reason; it is kept in the adapter's events.")
def archive(adapter: str, why: str | None) -> None:
    """Put ADAPTER away: it answers no more, its files stay. No alias may point to it.

    \b
    Example:
      lift adapters archive report-v1 --why "superseded by v2 for good"
    """
    registry = AdapterRegistry.from_settings(get_settings())
    name = registry.adapter(adapter).name
    registry.archive(name, why)
    click.echo(f"{name} is archived")


@click.command()
@click.argument("adapter")
@click.option("--yes", is_flag=True, help="Do not ask.")
def rm(adapter: str, yes: bool) -> None:
    """Remove ADAPTER's files for good; its line, events and lineage stay, its name is never used again.

    \b
    Example:
      lift adapters rm report-v1 --yes
    """
    from lift_core.housekeeping import Housekeeping
    from lift_core.store import ObjectStore

    settings = get_settings()
    registry = AdapterRegistry.from_settings(settings)
    name = registry.adapter(adapter).name
    if not yes:
        click.confirm(f"remove the files of {name} for good?", abort=True)
    gone = Housekeeping(registry, ObjectStore.from_settings(settings), settings).remove_adapter(name)
    click.echo(f"removed {name}: {gone} objects deleted")


@click.command()
@click.argument("names", nargs=-1, metavar="[ADAPTER]...")
@click.option("--all", "everything", is_flag=True, help="All adapters but removed ones.")
@json_option
def verify(names: tuple[str, ...], everything: bool, as_json: bool) -> None:
    """Re-hash the files of ADAPTERs in the store and compare them with the registry.

    Exit code 1 when a file is missing or another one; it is also recorded as an event.

    \b
    Example:
      lift adapters verify report
      lift adapters verify --all --json
    """
    from rich.console import Console
    from rich.progress import Progress

    from lift_core.housekeeping import Housekeeping
    from lift_core.store import ObjectStore

    if bool(names) == everything:
        raise click.UsageError("name adapters, or give --all")
    settings = get_settings()
    registry = AdapterRegistry.from_settings(settings)
    wanted = None if everything else {registry.adapter(name).name for name in names}
    keeper = Housekeeping(registry, ObjectStore.from_settings(settings), settings)
    found = []
    with Progress(console=Console(stderr=True), transient=True) as progress:
        row = progress.add_task("re-hashing", total=len(wanted) if wanted else None)
        for each in keeper.verify(wanted):
            found.append(each)
            progress.advance(row)
    damaged = [each for each in found if each.problems]
    if as_json:
        print_json([each.model_dump(mode="json") for each in found])
    else:
        for each in damaged:
            click.echo(f"{each.adapter}: {'; '.join(each.problems)}")
        click.echo(f"{len(found)} adapters looked at, {len(damaged)} damaged")
    if damaged:
        raise SystemExit(1)


COMMANDS = (alias, tag, quarantine, release, archive, rm, verify)
