"""``lift demo``: from nothing to an adapter that answers."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from lift_core.cli.ask import Asker, read_questions
from lift_core.cli.output import print_table
from lift_core.cli.stack import start_stack
from lift_core.cli.watch import wait_for_documents
from lift_core.errors import LiftError
from lift_core.settings import lift_home
from lift_core.steps import Steps

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


@click.command()
@click.option(
    "--document",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help="A document of your own, with FILE.questions.jsonl beside it (default: the sample).",
)
def demo(document: Path | None) -> None:
    """Start the stack, drop the sample document, ask its adapter. The stack stays up.

    \b
    Example:
      lift demo
    """
    started = time.monotonic()
    path = document or sample()
    beside = path.with_suffix(".questions.jsonl")
    if not beside.is_file():
        raise LiftError(f"there is no {beside.name} beside the document: the demo needs questions to ask")
    # They never leave this process for the pipeline.
    questions = read_questions(beside)

    status = start_stack(lift_home())
    steps = Steps.connect()
    bucket = steps.settings.documents_bucket
    put_at = time.monotonic()
    etag = steps.store.put_file(bucket, path.name, path)
    click.echo(f"put {path.name} into s3://{bucket}; the bucket's watcher starts its run", err=True)
    found = wait_for_documents(steps.registry, bucket, {path.name: etag})[0]
    ready_at = time.monotonic()
    if found.state != "ready" or found.adapter is None:
        raise LiftError(
            f"{path.name} is {found.state}: {found.reason or 'no reason recorded'}; "
            f"see {status.airflow_url} and: lift docs show {found.slug}"
        )
    rows = ask_all(steps, found.adapter, questions)
    print_answers(rows)
    print_stages(steps, found, ready_at - put_at, time.monotonic() - started)
    print_next_steps(status, found.slug)


def sample() -> Path:
    """The document in ``examples/`` that has the most questions beside it."""
    candidates = sorted(
        EXAMPLES.glob("*.questions.jsonl"), key=lambda p: -len(p.read_text("utf-8").splitlines())
    )
    for questions in candidates:
        stem = questions.name.removesuffix(".questions.jsonl")
        for suffix in (".md", ".txt"):
            if (document := EXAMPLES / f"{stem}{suffix}").is_file():
                return document
    raise LiftError(f"no sample document in {EXAMPLES}: run `lift demo` from a checkout, or give --document")


def ask_all(steps: Any, name: str, questions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Ask base and adapter every question, from the query alone, with a progress bar."""
    from rich.console import Console
    from rich.progress import Progress

    from lift_core.evaluation.scoring import f1

    asker = Asker(steps, name)
    texts = [item["question"] for item in questions]
    answers: dict[bool, list[str]] = {True: [], False: []}
    with Progress(console=Console(stderr=True), transient=True) as progress:
        row = progress.add_task("asking", total=2 * len(texts))
        for base in (True, False):
            for answer in asker.ask_many(texts, base=base):
                answers[base].append(answer.text)
                progress.advance(row)
    return [
        {
            "question": item["question"],
            "expected": item["answers"][0],
            "base": base,
            "answer": answer,
            "base_f1": f1(base, item["answers"]),
            "f1": f1(answer, item["answers"]),
        }
        for item, base, answer in zip(questions, answers[True], answers[False], strict=True)
    ]


def print_answers(rows: list[dict[str, Any]]) -> None:
    """The table of answers, and the closed-book F1 of both."""
    print_table(
        ("question", "expected", "base model", "adapter", "F1"),
        [
            (r["question"], r["expected"], _short(r["base"]), _short(r["answer"]), f"{r['f1']:.2f}")
            for r in rows
        ],
        title="Closed-book answers: the query alone, no document in the context",
    )
    base = sum(r["base_f1"] for r in rows) / len(rows)
    adapter = sum(r["f1"] for r in rows) / len(rows)
    click.echo(f"closed-book F1 over {len(rows)} questions: base model {base:.3f}, adapter {adapter:.3f}")


def print_stages(steps: Any, found: Any, put_to_ready: float, total: float) -> None:
    """Where the time went."""
    stages = steps.registry.stage_times_of(found.bucket, found.key)
    began = min(stage.started_at for stage in stages)
    print_table(
        ("stage", "starts at s", "takes s", "detail"),
        [
            (
                stage.stage,
                f"{(stage.started_at - began).total_seconds():.1f}",
                f"{(stage.ended_at - stage.started_at).total_seconds():.1f}" if stage.ended_at else None,
                ", ".join(f"{k} {v}" for k, v in stage.detail.items()),
            )
            for stage in stages
        ],
        title="Stages (generate and train run side by side)",
    )
    click.echo(f"this command: {total:.0f} s in all, of which put to ready {put_to_ready:.0f} s")


def print_next_steps(status: Any, slug: str) -> None:
    """How to go on from here."""
    click.echo(
        f"""
Airflow   {status.airflow_url}  user admin, password {status.airflow_password}
Ask       .venv/bin/lift ask {slug} "your question" --compare
Drop      .venv/bin/lift docs put FILE --wait      (or any S3 client: .venv/bin/lift status)
See       .venv/bin/lift docs ls    .venv/bin/lift adapters ls
Stop      make down"""
    )


def _short(text: str, limit: int = 70) -> str:
    line = " ".join(text.split())
    return line if len(line) <= limit else line[: limit - 1] + "…"
