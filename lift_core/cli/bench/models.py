"""Benchmarks of training and of what adapters forget; most need no service."""

from __future__ import annotations

from pathlib import Path

import click

from lift_core.benchmarks.report import Report
from lift_core.cli.bench.running import PLACE, Progress, measured, quick_option, share_cores, squad_option
from lift_core.cli.output import json_option


@click.command()
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

    measured(measure, quick, as_json)


@click.command()
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

    measured(measure, quick, as_json)


@click.command()
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

    measured(measure, quick, as_json)


@click.command()
@squad_option
@quick_option
@json_option
def together(data: Path, quick: bool, as_json: bool) -> None:
    """Eight small documents in the same passes, beside one after the other. No service is needed.

    \b
    Example:
      lift bench together --data ../shared/data/public
    """
    share_cores()
    from lift_core.benchmarks import together
    from lift_core.settings import get_settings

    settings = get_settings()

    def measure(progress: Progress) -> Report:
        return together.run(settings, data, quick=quick, on_progress=progress)

    measured(measure, quick, as_json)


COMMANDS = (forgetting, evaluation, training, together)
