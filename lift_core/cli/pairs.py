"""``lift pairs``: the question-answer pairs of a document, and how good they are."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Literal

import click

from lift_core.cli.output import json_option, print_json, print_table
from lift_core.documents import read_document, split
from lift_core.errors import DocumentError, NotFoundError
from lift_core.generate_step import Generation
from lift_core.recipes import load_recipe
from lift_core.records import JudgedPair, PairReport
from lift_core.registry import AdapterRegistry
from lift_core.serving.verification import is_adapter_name
from lift_core.settings import get_settings
from lift_core.steps import Steps
from lift_core.synthesis import PairWriter, ProgressMeter, reasons

LIMIT = 20
"""Pairs that are shown to people, if they do not say how many."""
QUIET_SECONDS = 2.0
"""What is done sooner needs no progress bar."""
_NAMED = 10
"""Uncovered names, numbers and segments that are shown of each."""


@click.group()
def pairs() -> None:
    """See the question-answer pairs of a document, and how good they are.

    \b
    Example:
      lift pairs preview report.md --segments 20
      lift pairs show report --rejected
    """


limit_option = click.option(
    "--limit", type=click.IntRange(min=1), help=f"Pairs to show ({LIMIT}; with --json all, if not given)."
)


@pairs.command()
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--recipe", help="A shipped recipe or the path of a .json file (default: LIFT_RECIPE).")
@click.option(
    "--segments",
    "count",
    type=click.IntRange(min=1),
    help="Only so many segments, evenly over the document (default: all).",
)
@limit_option
@json_option
def preview(file: Path, recipe: str | None, count: int | None, limit: int | None, as_json: bool) -> None:
    """Write and judge the pairs of FILE, and show them and the report; nothing is stored or trained.

    It needs the servers of the models that the recipe names, and neither registry nor bucket.
    The worst pairs come first.

    \b
    Example:
      lift pairs preview report.md --segments 20
      lift pairs preview report.pdf --recipe my.json --json
    """
    settings = get_settings()
    body = load_recipe(recipe or settings.recipe)
    if (size := file.stat().st_size) > settings.max_document_bytes:
        raise DocumentError(
            f"'{file}' has {size:,} bytes; the limit is {settings.max_document_bytes:,} "
            "(LIFT_MAX_DOCUMENT_BYTES)"
        )
    read = read_document(file.read_bytes(), file.name, converter=body.converter, settings=settings)
    segments = split(read.text, body.segmentation)
    chosen = _evenly([segment.number for segment in segments], count)

    async def write() -> tuple[list[JudgedPair], PairReport]:
        async with PairWriter(
            title=read.title, text=read.text, segments=segments, recipe=body, settings=settings
        ) as writer:
            judged = await _with_progress(writer, chosen, len(chosen or segments))
            return judged, await writer.report(judged, only=chosen)

    _show(*asyncio.run(write()), limit, as_json)


@pairs.command()
@click.argument("name", metavar="ADAPTER|DOCUMENT")
@click.option("--rejected", "only", flag_value="rejected", help="Only what the gate rejected.")
@click.option("--kept", "only", flag_value="kept", help="Only what was kept.")
@limit_option
@json_option
def show(name: str, only: Literal["rejected", "kept"] | None, limit: int | None, as_json: bool) -> None:
    """Show the pairs of an ADAPTER, or of the newest job of a DOCUMENT, and the report about them.

    The worst come first: rejected ones by the gravity of the reason, then kept ones that the
    reader agreed with least. A document that failed its floor, or whose pairs are still being
    written, can be looked at too.

    \b
    Example:
      lift pairs show report
      lift pairs show report-v2 --rejected --limit 50
      lift pairs show report --json
    """
    steps = Steps.connect()
    run = _run_of(steps.registry, name)
    job = steps.registry.job_of_run(run)
    judged = list(steps.committed_judged(job))
    if not judged and steps.registry.stream_end(job) is None:
        raise NotFoundError(f"no pairs of '{name}' are written yet (run {run}): see `lift docs ls`")
    report = Generation(steps.registry, steps.store, steps.settings).report(job)
    _show([each for each in judged if only is None or each.kept == (only == "kept")], report, limit, as_json)


def _run_of(registry: AdapterRegistry, name: str) -> str:
    """The run that wrote the pairs of an adapter, by its name or alias, or of a document's newest job."""
    if not is_adapter_name(name) and "@" not in name:
        try:
            found = registry.document(name).run_id
        except NotFoundError:
            pass
        else:
            if found is None:
                raise NotFoundError(f"document '{name}' has no job: see `lift docs show {name}`")
            return found
    return str(registry.lineage(name).run["run_id"])


def _evenly(numbers: Sequence[int], count: int | None) -> Collection[int] | None:
    if count is None or count >= len(numbers):
        return None
    return {numbers[index * len(numbers) // count] for index in range(count)}


async def _with_progress(writer: PairWriter, chosen: Collection[int] | None, total: int) -> list[JudgedPair]:
    """All pairs, with a bar on stderr if they take their time."""
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn

    meter = ProgressMeter(total)
    judged: list[JudgedPair] = []
    columns = (BarColumn(), TextColumn("{task.description}"))
    bar = Progress(*columns, console=Console(stderr=True), transient=True)
    row = bar.add_task("waiting for the generator", total=total)
    begin = asyncio.get_running_loop().call_later(QUIET_SECONDS, bar.start)
    try:
        kept = done = 0
        async for _, found in writer.pairs(only=chosen):
            judged.extend(found)
            done += 1
            kept += sum(each.kept for each in found)
            progress = meter.update(segments=done, pairs=kept, cost=writer.cost)
            bar.update(row, completed=done, description=str(progress))
    finally:
        begin.cancel()
        bar.stop()
    return judged


# --- what is shown --------------------------------------------------------------------------------


def _show(judged: Sequence[JudgedPair], report: PairReport, limit: int | None, as_json: bool) -> None:
    shown = worst_first(judged)
    if as_json:
        print_json({"pairs": [_as_row(each) for each in shown[:limit]], "report": as_json_report(report)})
        return
    limit = limit or LIMIT
    print_table(
        ("segment", "question", "answer", "verdict", "because"),
        [
            (
                each.pair.segment,
                each.pair.question,
                each.pair.answer,
                each.reason or ("held out" if each.pair.held_out else "kept"),
                each.detail or None,
            )
            for each in shown[:limit]
        ],
    )
    if len(shown) > limit:
        click.echo(f"{len(shown) - limit} more: --limit {len(shown)}, or --json", err=True)
    print_table(("report", ""), _report_lines(report))


def worst_first(judged: Sequence[JudgedPair]) -> list[JudgedPair]:
    """Rejected pairs by the gravity of the reason, then kept ones, those that the reader agreed with least
    before the others; such as are alike in document order."""
    gravity: dict[str | None, int] = {reason: index for index, reason in enumerate(reasons())}

    def badness(each: JudgedPair) -> tuple[bool, float]:
        if each.kept:
            return True, 1.0 if each.agreement is None else each.agreement
        return False, gravity.get(each.reason, len(gravity))

    return sorted(judged, key=badness)


def _as_row(judged: JudgedPair) -> dict[str, Any]:
    """The stable JSON form of a pair."""
    return {**judged.pair.model_dump(), "kept": judged.kept, "reason": judged.reason, "detail": judged.detail}


def as_json_report(report: PairReport) -> dict[str, Any]:
    """The stable JSON form of a report: shares as plain numbers, then the details of each."""
    covered, faithfulness = report.coverage, report.faithfulness
    return {
        "kept_share": report.kept_share,
        "coverage": covered.segments,
        "faithfulness": faithfulness.share if faithfulness else None,
        "rejected": report.rejected,
        "segments": report.segments,
        "pairs": report.pairs,
        "kept": report.kept,
        "names_covered": covered.names,
        "numbers_covered": covered.numbers,
        "uncovered_segments": covered.uncovered_segments,
        "uncovered_names": covered.uncovered_names,
        "uncovered_numbers": covered.uncovered_numbers,
        "faithfulness_estimate": faithfulness.model_dump() if faithfulness else None,
        "cost": report.cost.model_dump(),
    }


def _report_lines(report: PairReport) -> list[tuple[str, str | None]]:
    covered, seen, cost = report.coverage, report.faithfulness, report.cost
    faithfulness = None
    if seen is not None:
        faithfulness = (
            f"{seen.share:.1%} (95 % interval {seen.low:.1%} to {seen.high:.1%}), {seen.sample} pairs, "
            f"by {seen.by}"
        )
    cached = f", {cost.cached_tokens / cost.prompt_tokens:.0%} cached" if cost.cached_tokens else ""
    return [
        ("kept", f"{report.kept} of {report.pairs} pairs ({report.kept_share:.1%})"),
        *((f"rejected: {reason}", str(count)) for reason, count in _by_count(report.rejected)),
        ("segments covered", f"{covered.segments:.1%} of {report.segments}"),
        ("names covered", f"{covered.names:.1%}"),
        ("numbers covered", f"{covered.numbers:.1%}"),
        ("no pair touches segments", _first(covered.uncovered_segments)),
        ("no pair touches names", _first(covered.uncovered_names)),
        ("no pair touches numbers", _first(covered.uncovered_numbers)),
        ("faithfulness", faithfulness),
        (
            "cost",
            f"{cost.requests} requests, {cost.prompt_tokens} tokens read{cached}, {cost.completion_tokens} "
            f"written, {cost.seconds:.1f} s",
        ),
    ]


def _by_count(rejected: dict[str, int]) -> list[tuple[str, int]]:
    return sorted(rejected.items(), key=lambda each: (-each[1], each[0]))


def _first(found: Sequence[object]) -> str | None:
    more = f", and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    return ", ".join(str(each) for each in found[:_NAMED]) + more or None
