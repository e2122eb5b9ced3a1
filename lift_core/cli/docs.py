"""``lift docs``: put, list and inspect documents."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from lift_core.cli.output import json_option, local_time, print_json, print_table
from lift_core.cli.watch import wait_for_documents
from lift_core.dispatching import RECIPE_TAG
from lift_core.recipes import load_recipe
from lift_core.records import DocumentRecord
from lift_core.steps import Steps

FIELDS = ("bucket", "key", "title", "version", "state", "reason", "adapter", "arrived_at", "ready_at")


def as_row(document: DocumentRecord) -> dict[str, Any]:
    """The stable JSON form of a document."""
    body = document.model_dump(mode="json")
    return {field: body[field] for field in FIELDS}


@click.group()
def docs() -> None:
    """Put, list and inspect documents.

    \b
    Example:
      lift docs put report.md --wait
      lift docs ls
    """


@docs.command()
@click.argument(
    "files", nargs=-1, required=True, type=click.Path(exists=True, dir_okay=False, path_type=Path)
)
@click.option("--prefix", default="", help="Put the files under this prefix of the bucket.")
@click.option(
    "--recipe", help="Name of a recipe (shipped, or in LIFT_RECIPES_DIR), set as the object tag lift-recipe."
)
@click.option("--wait", is_flag=True, help="Wait until each is ready or has failed.")
@json_option
def put(files: tuple[Path, ...], prefix: str, recipe: str | None, wait: bool, as_json: bool) -> None:
    """Put FILES into the inbox bucket, as any S3 client can.

    \b
    Example:
      lift docs put contract.md manual.txt --wait
    """
    steps = Steps.connect()
    bucket = steps.settings.documents_bucket
    tags = {RECIPE_TAG: recipe} if recipe else None
    etags: dict[str, str] = {}
    for path in files:
        key = f"{prefix}{path.name}"
        if key in etags:
            raise click.UsageError(f"two of the files would have the key '{key}'; put them under other names")
        etags[key] = steps.store.put_file(bucket, key, path, tags=tags)
    documents = wait_for_documents(steps.registry, bucket, etags, quiet=as_json) if wait else []
    if as_json:
        waiting = dict.fromkeys(FIELDS) | {"bucket": bucket, "state": "queued"}
        print_json([as_row(found) for found in documents] if wait else [{**waiting, "key": k} for k in etags])
    elif not wait:
        click.echo(f"{len(etags)} put into {bucket}; follow with: lift docs ls")
    if any(found.state == "failed" for found in documents):
        raise SystemExit(1)


@docs.command()
@json_option
def ls(as_json: bool) -> None:
    """List the documents, newest first.

    \b
    Example:
      lift docs ls --json
    """
    documents = Steps.connect().registry.documents()
    if as_json:
        print_json([as_row(found) for found in documents])
        return
    print_table(
        ("document", "key", "version", "state", "adapter", "arrived", "reason"),
        [
            (d.slug, d.key, d.version, d.state, d.adapter, local_time(d.arrived_at), d.reason)
            for d in documents
        ],
    )


@docs.command()
@click.argument("document")
@click.option("--all", "all_jobs", is_flag=True, help="List its jobs of all versions, recipes, generations.")
@json_option
def show(document: str, all_jobs: bool, as_json: bool) -> None:
    """Show one DOCUMENT (its key or slug): its state, what it waits for, its newest run, its history.

    \b
    Example:
      lift docs show report --all
    """
    steps = Steps.connect()
    found = steps.registry.story(document, airflow_url=steps.settings.airflow_url)
    if as_json:
        print_json(found.model_dump(mode="json"))
        return
    shown = as_row(found) | {"run": found.run, "airflow run": found.airflow_run}
    print_table(("field", "value"), list((shown | {"waits for": found.waits_for}).items()), title=found.title)
    print_table(
        ("stage", "started", "seconds", "attempts", "detail"),
        [
            (
                stage.stage,
                local_time(stage.started_at),
                round((stage.ended_at - stage.started_at).total_seconds(), 1) if stage.ended_at else None,
                stage.attempts,
                _words(stage.detail),
            )
            for stage in found.stages
        ],
    )
    # Not in the table: an address that is broken over ten lines can neither be clicked nor copied.
    for stage in found.stages:
        if stage.log:
            click.echo(f"log of {stage.stage}: {stage.log}")
    print_table(
        ("at", "event", "of", "detail"),
        [(local_time(each.at), each.kind, each.subject, _words(each.detail)) for each in found.history],
    )
    if all_jobs:
        print_table(
            ("run", "version", "recipe", "generation", "state", "queued", "ended", "adapter", "reason"),
            [
                (
                    job.run,
                    job.version,
                    job.recipe[:8],
                    job.generation,
                    f"{job.state}, late" if job.late else job.state,
                    local_time(job.created_at),
                    local_time(job.finished_at),
                    job.adapter and f"{job.adapter} ({job.adapter_state})",
                    job.reason,
                )
                for job in found.jobs
            ],
        )


def _words(detail: dict[str, Any]) -> str | None:
    return ", ".join(f"{name} {value}" for name, value in detail.items()) or None


@docs.command()
@click.argument("document")
@click.option("--recipe", help="A shipped recipe or the path of a .json file (default: the one it had).")
def retry(document: str, recipe: str | None) -> None:
    """Make the newest version of DOCUMENT anew: after a failure, or to rebuild it.

    \b
    Example:
      lift docs retry report
    """
    registry = Steps.connect().registry
    found = registry.document(document)
    run_id = registry.reprocess(found.bucket, found.key, load_recipe(recipe) if recipe else None)
    click.echo(f"queued again as {run_id}; it starts within a minute")


@docs.command()
@click.option(
    "--from", "since", required=True, help="Arrived then or later: 2026-11-01, or with a time (UTC)."
)
@click.option("--to", "until", required=True, help="Arrived before then.")
@click.option("--recipe", help="A shipped recipe or one in LIFT_RECIPES_DIR (default: LIFT_RECIPE).")
@click.option("--prefix", default="", help="Only documents whose key begins with this.")
@click.option("--force", is_flag=True, help="A new generation also of what is done under this recipe.")
@click.option("--dry-run", is_flag=True, help="List the documents and queue nothing.")
@json_option
def reprocess(
    since: str, until: str, recipe: str | None, prefix: str, force: bool, dry_run: bool, as_json: bool
) -> None:
    """Queue the documents that arrived within a range of time, under a recipe.

    What is under way, done or failed for good under that recipe stays as it is. A backfill of the DAG
    lift_reprocess does the same for the days it is given.

    \b
    Example:
      lift docs reprocess --from 2026-11-01 --to 2026-12-01 --recipe llama3-8b --dry-run
    """
    selected = Steps.connect().reprocess(
        _moment(since, "--from"),
        _moment(until, "--to"),
        recipe,
        prefix=prefix,
        force_as=f"lift docs reprocess {uuid.uuid4()}" if force else None,
        dry_run=dry_run,
    )
    if as_json:
        print_json([each.model_dump(mode="json") for each in selected])
        return
    print_table(
        ("key", "title", "version", "arrived", "action", "run"),
        [(d.key, d.title, d.version, local_time(d.arrived_at), d.action, d.run_id) for d in selected],
    )
    queued = sum(each.action == "queue" for each in selected)
    click.echo(f"{queued} of {len(selected)} documents {'would be' if dry_run else 'are'} queued")


@docs.command()
@click.argument("document")
def rm(document: str) -> None:
    """Remove DOCUMENT from the bucket. Its adapter stays; nothing is trained anew.

    \b
    Example:
      lift docs rm report
    """
    steps = Steps.connect()
    found = steps.registry.document(document)
    steps.store.remove(found.bucket, found.key)
    click.echo(f"removed {found.key} from {found.bucket}")


def _moment(written: str, option: str) -> datetime:
    """A date or a time as ISO 8601 has it; without a zone it is UTC."""
    try:
        moment = datetime.fromisoformat(written)
    except ValueError as error:
        raise click.BadParameter(f"'{written}' is no date (2026-11-01) or time", param_hint=option) from error
    return moment if moment.tzinfo else moment.replace(tzinfo=UTC)
