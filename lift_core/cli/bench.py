"""``lift bench``: figures about speed, and about what is right how often."""

from __future__ import annotations

import logging
import os
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import click

from lift_core.benchmarks.report import Report, write_report
from lift_core.cli.output import json_option, print_json, print_table
from lift_core.errors import LiftError

PLACE = Path(__file__).resolve().parents[2] / "docs" / "benchmarks"
Progress = Callable[[str, int, int], None]
"""Told the phase, how much of it is done, and how much there is (0: not known)."""


@click.group()
def bench() -> None:
    """Measure; each command prints, and writes docs/benchmarks/NAME.md and NAME.json.

    \b
    Example:
      lift bench registry --quick
      lift bench serving --json
    """


squad_option = click.option(
    "--data",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of public question sets; squad_dev.jsonl is taken.",
)
quick_option = click.option(
    "--quick", is_flag=True, help="The version that ends within 5 minutes on 2 cores; it only prints."
)


@bench.command()
@quick_option
@json_option
def orchestration(quick: bool, as_json: bool) -> None:
    """What Airflow and the registry add to a document's way. The stack must be up.

    \b
    Example:
      lift bench orchestration --json
    """
    from lift_core.benchmarks import orchestration
    from lift_core.steps import Steps

    documents = 3 if quick else orchestration.DOCUMENTS

    def measure(progress: Progress) -> Report:
        return orchestration.run(
            Steps.connect(),
            documents=documents,
            on_progress=lambda done: progress("documents", done, documents),
        )

    _run(measure, quick, as_json)


@bench.command()
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

    _run(measure, quick, as_json)


@bench.command()
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

    _run(measure, quick, as_json)


@bench.command()
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

    _run(measure, quick, as_json)


@bench.command()
@quick_option
@json_option
def forgetting(quick: bool, as_json: bool) -> None:
    """False alarms and power of the forgetting verdicts, by simulation; no service is needed.

    \b
    Example:
      lift bench forgetting --quick
    """
    from lift_core.benchmarks import forgetting

    def measure(progress: Progress) -> Report:
        report, plot = forgetting.run(quick=quick, on_progress=lambda phase: progress(phase, 0, 0))
        if not quick:
            PLACE.mkdir(parents=True, exist_ok=True)
            (PLACE / "forgetting.svg").write_text(plot)
        return report

    _run(measure, quick, as_json)


@bench.command()
@click.option(
    "--data",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder with the items of MMLU and GSM8K, in the schema of docs/forgetting-guard.md.",
)
@quick_option
@json_option
def evaluation(data: Path, quick: bool, as_json: bool) -> None:
    """The guard's way of asking beside plain lm-evaluation-harness. The stack must be up.

    \b
    Example:
      lift bench evaluation --data ../shared/data
    """
    from lift_core.benchmarks import evaluation
    from lift_core.steps import Steps

    def measure(progress: Progress) -> Report:
        return evaluation.run(Steps.connect(), data, quick=quick, on_progress=progress)

    _run(measure, quick, as_json)


@bench.command()
@squad_option
@quick_option
@json_option
def training(data: Path, quick: bool, as_json: bool) -> None:
    """Our trainer beside a plain loop and TRL: pairs a second, memory, F1. No service is needed.

    \b
    Example:
      lift bench training --data ../shared/data/public
    """
    from lift_core.benchmarks import training
    from lift_core.settings import get_settings

    settings = get_settings()

    def measure(progress: Progress) -> Report:
        size = training.QUICK if quick else training.FULL
        return training.run(settings, data, size=size, on_progress=progress)

    _run(measure, quick, as_json)


@bench.command()
@squad_option
@quick_option
@json_option
def together(data: Path, quick: bool, as_json: bool) -> None:
    """Eight small documents in the same passes, beside one after the other. No service is needed.

    \b
    Example:
      lift bench together --data ../shared/data/public
    """
    _share_cores()
    from lift_core.benchmarks import together
    from lift_core.settings import get_settings

    settings = get_settings()

    def measure(progress: Progress) -> Report:
        return together.run(settings, data, quick=quick, on_progress=progress)

    _run(measure, quick, as_json)


@bench.command()
@click.option(
    "--file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The document; by default the sample that `lift demo` takes.",
)
@click.option("--rounds", type=click.IntRange(min=1), help="Of every arm (default: 3).")
@quick_option
@json_option
def overlap(file: Path | None, rounds: int | None, quick: bool, as_json: bool) -> None:
    """Training while pairs are written, against generating first. The stack must be up.

    It needs PostgreSQL, the object store and the generator's server, and works in a database of its own. The
    recipe is LIFT_RECIPE, with 1 epoch and with its own number of them.

    \b
    Example:
      lift bench overlap --quick
      lift bench overlap --file report.md
    """
    _share_cores()
    from lift_core.benchmarks import overlap
    from lift_core.cli.demo import sample
    from lift_core.recipes import load_recipe
    from lift_core.settings import get_settings

    settings = get_settings()
    document = file or sample()
    recipe = load_recipe(settings.recipe)

    def measure(progress: Progress) -> Report:
        return overlap.run(
            settings,
            document,
            recipe,
            quick=quick,
            rounds=rounds or overlap.ROUNDS,
            on_progress=progress,
        )

    _run(measure, quick, as_json)


@bench.command()
@click.option(
    "--file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The document; by default the sample that `lift demo` takes, which is short.",
)
@quick_option
@json_option
def synthesis(file: Path | None, quick: bool, as_json: bool) -> None:
    """Writing pairs: our client beside a plain loop, and contexts beside each other. The stack must be up.

    It needs the generator's server alone, and nobody else asking it. The recipe is LIFT_RECIPE.

    \b
    Example:
      lift bench synthesis --quick
      lift bench synthesis --file report.md
    """
    from lift_core.benchmarks import synthesis
    from lift_core.cli.demo import sample
    from lift_core.recipes import load_recipe
    from lift_core.settings import get_settings

    settings = get_settings()
    document = file or sample()
    recipe = load_recipe(settings.recipe)

    def measure(progress: Progress) -> Report:
        return synthesis.run(settings, document, recipe, quick=quick, on_progress=progress)

    _run(measure, quick, as_json)


@bench.command()
@squad_option
@click.option("--epochs", type=click.IntRange(1, 16), help="By default the recipe's.")
@quick_option
@json_option
def length(data: Path, epochs: int | None, quick: bool, as_json: bool) -> None:
    """A document longer than the base model's context, asked from the query alone. The stack must be up.

    It needs PostgreSQL, the object store and the generator's server, and works in a database of its own; the
    questions are asked in this process. The recipe is LIFT_RECIPE.

    \b
    Example:
      lift bench length --data ../shared/data/public
    """
    _share_cores()
    from lift_core.benchmarks import length
    from lift_core.recipes import load_recipe
    from lift_core.settings import get_settings

    settings = get_settings()
    recipe = load_recipe(settings.recipe)

    def measure(progress: Progress) -> Report:
        return length.run(settings, data, recipe, quick=quick, epochs=epochs, on_progress=progress)

    _run(measure, quick, as_json)


@bench.command()
@squad_option
@click.option("--words", type=click.IntRange(min=50), help="Of each article (default: 1000).")
@click.option(
    "--untaught", "untaught", default="", help="URL of a server with the base model: pairs before teaching."
)
@quick_option
@json_option
def squad(data: Path, words: int | None, untaught: str, quick: bool, as_json: bool) -> None:
    """What adapters learn from generated pairs: people's questions about ten articles. The stack must be up.

    It needs the generator's server; adapters are trained and asked in this process. The recipe is
    LIFT_RECIPE.

    \b
    Example:
      lift bench squad --data ../shared/data/public
    """
    _share_cores()
    from lift_core.benchmarks import squad
    from lift_core.recipes import load_recipe
    from lift_core.settings import get_settings

    settings = get_settings()
    recipe = load_recipe(settings.recipe)

    def measure(progress: Progress) -> Report:
        return squad.run(
            settings,
            data,
            recipe,
            quick=quick,
            words=words or squad.WORDS,
            untaught=untaught,
            on_progress=progress,
        )

    _run(measure, quick, as_json)


@bench.command()
@click.option(
    "--data",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of public question sets: SQuAD, COVID-QA, FairytaleQA, CUAD, LooGLE.",
)
@click.option(
    "--documents",
    required=True,
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    help="Folder of the documents whose generated pairs were judged by hand.",
)
@click.option(
    "--split",
    "part",
    type=click.Choice(["measured", "tuning"]),
    default="measured",
    show_default=True,
    help="Documents that figures are measured on, or those to look for thresholds on; these only print.",
)
@quick_option
@json_option
def gate(
    data: Path, documents: Path, part: Literal["measured", "tuning"], quick: bool, as_json: bool
) -> None:
    """What the quality gate rejects of planted and real faults, and keeps of good pairs.

    The recipe is LIFT_RECIPE. Its reader is asked where its server is up; without it the checks alone are
    measured.

    \b
    Example:
      lift bench gate --data ../shared/data/public --documents ../shared/data/documents
    """
    from lift_core.benchmarks import gate
    from lift_core.recipes import load_recipe
    from lift_core.settings import get_settings

    settings = get_settings()
    recipe = load_recipe(settings.recipe)
    judged = PLACE / "gate_judged.jsonl"

    def measure(progress: Progress) -> Report:
        return gate.run(
            settings, data, documents, judged, recipe, part=part, quick=quick, on_progress=progress
        )

    _run(measure, quick or part == "tuning", as_json)


def _share_cores() -> None:
    """Let this process's threads wait as those of `lift run` do, beside a generator on the same cores."""
    from lift_core.stack.service import SHARED_CORES

    # Read when torch is loaded, which is later.
    os.environ.update({**SHARED_CORES, **os.environ})


def _run(measure: Callable[[Progress], Report], quick: bool, as_json: bool) -> None:
    """Measure under a progress bar, print, and write the pages: not those of a quick run, which is rough."""
    from rich.console import Console
    from rich.progress import Progress as Bar

    from lift_core.log import configure

    # Steps that a benchmark takes log a line each: stdout is for the report alone.
    configure(level=logging.WARNING)
    with Bar(console=Console(stderr=True), transient=True) as bar:
        row = bar.add_task("measuring", total=None)
        report = measure(
            lambda phase, done, total: bar.update(row, description=phase, completed=done, total=total or None)
        )
    if as_json:
        print_json(report.model_dump(mode="json"))
    else:
        columns = list(dict.fromkeys(column for each in report.rows for column in each))
        print_table(columns, [[each.get(column) for column in columns] for each in report.rows])
    if quick:
        return
    try:
        page = write_report(report, PLACE)
    except OSError as error:
        raise LiftError(f"the report cannot be written to {PLACE}: {error}") from error
    click.echo(f"written to {page}", err=as_json)
