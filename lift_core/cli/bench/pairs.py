"""Benchmarks of generated pairs: how they are written, how they are judged, what is learned from them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import click

from lift_core.benchmarks.report import Report
from lift_core.cli.bench.running import PLACE, Progress, measured, quick_option, share_cores, squad_option
from lift_core.cli.output import json_option


@click.command()
@click.option(
    "--file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The document; by default the sample that `lift demo` takes, which is short.",
)
@click.option("--rounds", type=click.IntRange(min=1), help="Of every arm (default: 5).")
@click.option(
    "--segments", type=click.IntRange(min=8), help="At most so many are written about (default: 96)."
)
@quick_option
@json_option
def synthesis(
    file: Path | None, rounds: int | None, segments: int | None, quick: bool, as_json: bool
) -> None:
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
        return synthesis.run(
            settings,
            document,
            recipe,
            quick=quick,
            rounds=rounds or synthesis.ROUNDS,
            segments=segments or synthesis.SEGMENTS,
            on_progress=progress,
        )

    measured(measure, quick, as_json)


@click.command()
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

    measured(measure, quick or part == "tuning", as_json)


@click.command()
@click.option(
    "--file",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="The document; by default the sample that `lift demo` takes.",
)
@click.option("--rounds", type=click.IntRange(min=1), help="Of every arm (default: 3).")
@click.option(
    "--apart",
    is_flag=True,
    help="The generator has cores of its own, as it would have a GPU; both are started under taskset.",
)
@quick_option
@json_option
def overlap(file: Path | None, rounds: int | None, apart: bool, quick: bool, as_json: bool) -> None:
    """Training while pairs are written, against generating first. The stack must be up.

    It needs PostgreSQL, the object store and the generator's server, and works in a database of its own. The
    recipe is LIFT_RECIPE, with 1 epoch and with its own number of them.

    \b
    Example:
      lift bench overlap --quick
      lift bench overlap --file report.md
      taskset -c 0 lift up --without-airflow
      taskset -c 1 lift bench overlap --apart
    """
    share_cores()
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
            apart=apart,
            on_progress=progress,
        )

    measured(measure, quick, as_json)


@click.command()
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
    share_cores()
    from lift_core.benchmarks import length
    from lift_core.recipes import load_recipe
    from lift_core.settings import get_settings

    settings = get_settings()
    recipe = load_recipe(settings.recipe)

    def measure(progress: Progress) -> Report:
        return length.run(settings, data, recipe, quick=quick, epochs=epochs, on_progress=progress)

    measured(measure, quick, as_json)


@click.command()
@squad_option
@click.option("--words", type=click.IntRange(min=50), help="Of each article (default: 1000).")
@click.option(
    "--untaught",
    "untaught",
    default="",
    help="URL of a server with the base model, which takes LIFT_GENERATOR_API_KEY: pairs before teaching.",
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
    share_cores()
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

    measured(measure, quick, as_json)


@click.command()
@squad_option
@click.option("--words", type=click.IntRange(min=50), help="Of each article (default: 400).")
@click.option("--documents", type=click.IntRange(min=1), help="How many of the articles (default: all ten).")
@click.option(
    "--only", multiple=True, help="Try only settings whose name begins so, as 'epochs' or 'rank 128'."
)
@quick_option
@json_option
def factors(
    data: Path, words: int | None, documents: int | None, only: tuple[str, ...], quick: bool, as_json: bool
) -> None:
    """What moves an adapter's F1: epochs, rate, rank, gate, completions, temperature. The stack must be up.

    One setting at a time is changed around the recipe, which is LIFT_RECIPE; documents and questions are
    those of `lift bench squad`. On two cores it takes hours: Ctrl-C ends it with the documents that are done.

    \b
    Example:
      lift bench factors --data ../shared/data/public --words 200
      lift bench factors --data ../shared/data/public --only epochs --only "no reader"
    """
    share_cores()
    from lift_core.benchmarks import factors
    from lift_core.recipes import load_recipe
    from lift_core.settings import get_settings

    settings = get_settings()
    recipe = load_recipe(settings.recipe)

    def measure(progress: Progress) -> Report:
        return factors.run(
            settings,
            data,
            recipe,
            quick=quick,
            words=words or factors.WORDS,
            documents=documents,
            only=only,
            on_progress=progress,
        )

    measured(measure, quick, as_json)


COMMANDS = (synthesis, gate, overlap, length, squad, factors)
