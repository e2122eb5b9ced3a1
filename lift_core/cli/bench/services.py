"""Benchmarks of the services: Airflow, the registry, serving, and finding the right adapter."""

from __future__ import annotations

from pathlib import Path

import click

from lift_core.benchmarks.report import Report
from lift_core.cli.bench.running import PLACE, Progress, measured, quick_option
from lift_core.cli.output import json_option


@click.command()
@click.option("--at-once", type=click.IntRange(0), help="So many documents are put together (default: 100).")
@quick_option
@json_option
def orchestration(at_once: int | None, quick: bool, as_json: bool) -> None:
    """What Airflow and the registry add to a document's way. The stack must be up.

    What a look costs with 1,000 to 100,000 documents there is measured on a scratch database.

    \b
    Example:
      lift bench orchestration --at-once 1000
    """
    from lift_core.benchmarks import orchestration
    from lift_core.steps import Steps

    def measure(progress: Progress) -> Report:
        return orchestration.run(
            Steps.connect(),
            documents=3 if quick else orchestration.DOCUMENTS,
            at_once=at_once if at_once is not None else 10 if quick else orchestration.AT_ONCE,
            known=(1_000,) if quick else (1_000, 10_000, 100_000),
            on_progress=progress,
        )

    measured(measure, quick, as_json)


@click.command()
@quick_option
@json_option
def registry(quick: bool, as_json: bool) -> None:
    """Time of every question to a registry of a million adapters, with the query plans.

    It fills a database of its own on the registry's server and drops it at the end; PostgreSQL must be up.

    \b
    Example:
      lift bench registry --quick
    """
    from lift_core.benchmarks import registry
    from lift_core.settings import get_settings

    def measure(progress: Progress) -> Report:
        report, plans = registry.run(
            get_settings(), quick=quick, on_progress=lambda phase: progress(phase, 0, 0)
        )
        if not quick:
            PLACE.mkdir(parents=True, exist_ok=True)
            (PLACE / "registry-plans.md").write_text(plans)
        return report

    measured(measure, quick, as_json)


@click.command()
@quick_option
@json_option
def serving(quick: bool, as_json: bool) -> None:
    """First tokens, right answers and moving aliases, with many adapters. The stack must be up.

    \b
    Example:
      lift bench serving --quick
    """
    from lift_core.benchmarks import serving
    from lift_core.steps import Steps

    adapters, rounds = (4, 3) if quick else (serving.ADAPTERS, serving.ROUNDS)

    def measure(progress: Progress) -> Report:
        return serving.run(Steps.connect(), adapters=adapters, rounds=rounds, on_progress=progress)

    measured(measure, quick, as_json)


@click.command()
@click.option(
    "--data",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of public question sets: squad_dev.jsonl, covidqa.jsonl, fairytaleqa.jsonl.",
)
@click.option(
    "--without-generator", is_flag=True, help="Pairs without a model, by blanking words; no vLLM needed."
)
@quick_option
@json_option
def routing(data: Path, without_generator: bool, quick: bool, as_json: bool) -> None:
    """How often `lift ask --any` finds the right document, on public question sets. The stack must be up.

    \b
    Example:
      lift bench routing --data ../shared/data/public
    """
    from lift_core.benchmarks import routing
    from lift_core.settings import get_settings

    settings = get_settings()

    def measure(progress: Progress) -> Report:
        return routing.run(
            settings,
            data,
            quick=quick,
            with_generator=not without_generator,
            cache=settings.home / "bench" / "routing",
            on_progress=progress,
        )

    measured(measure, quick, as_json)


COMMANDS = (orchestration, registry, serving, routing)
