"""``lift bench``: figures about speed."""

from __future__ import annotations

from pathlib import Path

import click

from lift_core.cli.output import json_option, print_json, print_table

PLACE = Path(__file__).resolve().parents[2] / "docs" / "benchmarks"


@click.command()
@click.argument("name", type=click.Choice(["orchestration"]))
@click.option("--quick", is_flag=True, help="The version that ends within 5 minutes on 2 cores.")
@json_option
def bench(name: str, quick: bool, as_json: bool) -> None:
    """Run the benchmark NAME and write docs/benchmarks/NAME.md and .json.

    orchestration: what Airflow and the registry add to a document's way (the stack must be up).

    \b
    Example:
      lift bench orchestration --json
    """
    from rich.console import Console
    from rich.progress import Progress

    from lift_core.benchmarks import orchestration, write_report
    from lift_core.steps import Steps

    documents = 3 if quick else orchestration.DOCUMENTS
    with Progress(console=Console(stderr=True), transient=True) as progress:
        row = progress.add_task(name, total=documents)
        report = orchestration.run(
            Steps.connect(),
            documents=documents,
            on_progress=lambda done: progress.update(row, completed=done),
        )
    page = write_report(report, PLACE)
    if as_json:
        print_json(report.model_dump(mode="json"))
        return
    columns = list(dict.fromkeys(column for each in report.rows for column in each))
    print_table(columns, [[each.get(column) for column in columns] for each in report.rows])
    click.echo(f"written to {page}")
