"""``lift ask``: the question alone, no document in the context."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import click

from lift_core.cli.output import json_option, print_json
from lift_core.errors import LiftError
from lift_core.records import AdapterRecord, Recipe
from lift_core.serving import Answer, ServingClient
from lift_core.steps import Steps

AT_ONCE = 8
"""Requests under way: the server answers several in the time of one."""


class Asker:
    """Asks one adapter, and its base model, with the prompt that its recipe was trained on."""

    def __init__(self, steps: Steps, name: str) -> None:
        self.adapter: AdapterRecord = steps.registry.resolve(name)
        self.recipe: Recipe = steps.registry.recipe(self.adapter.recipe)
        self.client = ServingClient(steps.settings)
        self.client.ensure_loaded(self.adapter, steps.store)

    def ask(self, question: str, *, base: bool = False) -> Answer:
        """The answer of the adapter, or of its base model, to the query alone."""
        from lift_core.prompting import messages

        model = self.recipe.base_model if base else self.adapter.name
        return self.client.ask(model, messages(self.recipe.training, self.adapter.title, question))

    def ask_many(self, questions: Sequence[str], *, base: bool = False) -> Iterator[Answer]:
        """The answers to many questions, in their order; several are under way at once."""
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="ask") as pool:
            yield from pool.map(lambda question: self.ask(question, base=base), questions)


@click.command()
@click.argument("name")
@click.argument("question", required=False)
@click.option("--base", is_flag=True, help="Ask the base model too.")
@click.option("--compare", is_flag=True, help="The same as --base.")
@click.option(
    "--questions",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help='JSON Lines of {"id", "question", "answers"?}; prints JSON Lines, with f1 where answers are given.',
)
@json_option
def ask(
    name: str, question: str | None, base: bool, compare: bool, questions: Path | None, as_json: bool
) -> None:
    """Ask NAME (a document, an adapter or an alias) a QUESTION, from the query alone.

    \b
    Example:
      lift ask report "Who signed it?"
      lift ask report --questions questions.jsonl
    """
    if (question is None) == (questions is None):
        raise click.UsageError("give either a QUESTION or --questions FILE")
    asker = Asker(Steps.connect(), name)
    with_base = base or compare
    if questions is not None:
        _ask_file(asker, questions, with_base)
        return
    answer = asker.ask(str(question))
    base_answer = asker.ask(str(question), base=True).text if with_base else None
    if as_json:
        body = {
            "answer": answer.text,
            "adapter": asker.adapter.name,
            "first_token_s": round(answer.first_token_s, 3),
            "total_s": round(answer.total_s, 3),
        }
        print_json({**body, "base_answer": base_answer} if with_base else body)
        return
    click.echo(answer.text)
    if with_base:
        click.echo(f"(base model: {base_answer})")


def read_questions(path: Path) -> list[dict[str, Any]]:
    """The questions of a JSON Lines file.

    Raises:
        LiftError: a line is not a question; it is named.
    """
    found = []
    for number, line in enumerate(path.read_text("utf-8").splitlines(), 1):
        if not line.strip():
            continue
        try:
            item = json.loads(line)
            str(item["question"])
        except (json.JSONDecodeError, KeyError, TypeError) as error:
            raise LiftError(f"{path}:{number} is not a question: {error!r}") from error
        found.append(item)
    return found


def _ask_file(asker: Asker, path: Path, with_base: bool) -> None:
    from lift_core.evaluation.scoring import f1

    items = read_questions(path)
    texts = [str(item["question"]) for item in items]
    base_answers = [answer.text for answer in asker.ask_many(texts, base=True)] if with_base else []
    for index, (item, answer) in enumerate(zip(items, asker.ask_many(texts), strict=True)):
        row = {
            "id": item.get("id"),
            "question": item["question"],
            "answer": answer.text,
            "adapter": asker.adapter.name,
        }
        if with_base:
            row["base_answer"] = base_answers[index]
        if item.get("answers"):
            row["f1"] = round(f1(answer.text, item["answers"]), 4)
        click.echo(json.dumps(row, ensure_ascii=False))
