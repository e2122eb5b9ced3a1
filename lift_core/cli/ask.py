"""``lift ask``: the question alone, no document in the context (unless it is asked for)."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import click

from lift_core.cli.output import json_option, print_json
from lift_core.errors import LiftError, NotFoundError
from lift_core.records import AdapterRecord, Recipe
from lift_core.serving import Answer, GatewayClient
from lift_core.steps import Steps

AT_ONCE = 8
"""Requests under way: the server answers several in the time of one."""
CANDIDATES = 3
"""Adapters that `--any` names; the first one is asked."""


class Asker:
    """Asks one adapter, and its base model, with the prompt that its recipe was trained on.

    A name is resolved once: many questions go to one adapter, also if its alias moves meanwhile.
    """

    def __init__(self, steps: Steps, name: str) -> None:
        self.adapter: AdapterRecord = steps.registry.resolve(name)
        self.recipe: Recipe = steps.registry.recipe(self.adapter.recipe)
        self.client = GatewayClient(steps.settings)
        self._steps = steps

    def ask(
        self,
        question: str,
        *,
        base: bool = False,
        context: str = "",
        on_token: Callable[[str], None] | None = None,
    ) -> Answer:
        """The answer of the adapter, or of its base model; to the query alone where no context is given."""
        from lift_core.prompting import messages, with_context

        model = self.recipe.base_model if base else self.adapter.name
        asked = with_context(self.adapter.title, context, question) if context else question
        prompt = messages(self.recipe.training, self.adapter.title, asked)
        return self.client.ask(model, prompt, on_token=on_token)

    def ask_many(
        self, questions: Sequence[str], *, base: bool = False, context: str = ""
    ) -> Iterator[Answer]:
        """The answers to many questions, in their order; several are under way at once."""
        with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="ask") as pool:
            yield from pool.map(lambda question: self.ask(question, base=base, context=context), questions)

    def context(self) -> str:
        """As much of the document as the server's context holds: its beginning and its end.

        Raises:
            NotFoundError: the document's text is no longer in the store.
        """
        from lift_core.prompting import truncated

        tokens = self.client.context_tokens(self.recipe.base_model)
        return truncated(self._steps.text_of(self.adapter.name), tokens)


@click.command()
@click.argument("name")
@click.argument("question", required=False)
@click.option("--any", "any_adapter", is_flag=True, help="Ask the adapter that knows best: give no NAME.")
@click.option("--base", is_flag=True, help="Ask the base model too.")
@click.option("--compare", is_flag=True, help="The same as --base.")
@click.option(
    "--context", "with_context", is_flag=True, help="Put what fits of the document into the prompt too."
)
@click.option("--stream", is_flag=True, help="Print the answer as it comes.")
@click.option(
    "--questions",
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
    help='JSON Lines of {"id", "question", "answers"?}; prints JSON Lines, with f1 where answers are given.',
)
@json_option
def ask(
    name: str,
    question: str | None,
    any_adapter: bool,
    base: bool,
    compare: bool,
    with_context: bool,
    stream: bool,
    questions: Path | None,
    as_json: bool,
) -> None:
    """Ask NAME (a document, an adapter or an alias) a QUESTION, from the query alone.

    With --any the QUESTION alone is given; titles and learned pairs of all documents are searched, and the
    best match is asked.

    \b
    Example:
      lift ask report "Who signed it?"
      lift ask report@reviewed "Who signed it?" --compare --stream
      lift ask --any "Who signed the inspection report?"
      lift ask report --questions questions.jsonl
    """
    if any_adapter and (question is not None or questions is not None):
        raise click.UsageError("--any takes the QUESTION alone")
    if not any_adapter and (question is None) == (questions is None):
        raise click.UsageError("give either a QUESTION or --questions FILE")
    if stream and (as_json or questions is not None):
        raise click.UsageError("--stream is for reading: it goes with neither --json nor --questions")
    steps = Steps.connect()
    chosen: list[dict[str, Any]] = []
    if any_adapter:
        name, question = "", name
        chosen = choose(steps, question)
        name = chosen[0]["adapter"]
        if not as_json:
            show_choice(chosen)
    asker = Asker(steps, name)
    context = asker.context() if with_context else ""
    with_base = base or compare
    if questions is not None:
        _ask_file(asker, questions, with_base, context)
        return
    echo = (lambda piece: click.echo(piece, nl=False)) if stream else None
    answer = asker.ask(str(question), context=context, on_token=echo)
    base_answer = asker.ask(str(question), base=True, context=context).text if with_base else None
    if as_json:
        body: dict[str, Any] = {
            "answer": answer.text,
            "adapter": asker.adapter.name,
            "first_token_s": round(answer.first_token_s, 3),
            "total_s": round(answer.total_s, 3),
        }
        body |= {"base_answer": base_answer} if with_base else {}
        print_json(body | ({"chosen": chosen} if any_adapter else {}))
        return
    click.echo("" if stream else answer.text)
    if with_base:
        click.echo(f"(base model: {base_answer})")


def choose(steps: Steps, question: str) -> list[dict[str, Any]]:
    """The adapters whose titles and pairs match a question best, and by which words.

    Raises:
        NotFoundError: none does.
    """
    found = steps.registry.which_adapters(question, CANDIDATES)
    if not found:
        raise NotFoundError("no adapter's title or pairs hold a word of this question; see `lift docs ls`")
    return [match.model_dump(mode="json") for match in found]


def show_choice(chosen: Sequence[dict[str, Any]]) -> None:
    """Say on stderr which adapter is asked and why, and which came next."""
    for rank, match in enumerate(chosen):
        words = ", ".join(each["word"] for each in match["why"][:5])
        verb = "asking" if rank == 0 else "next  "
        click.echo(f"{verb} {match['adapter']} ({match['score']:.1f}: {words})", err=True)


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


def _ask_file(asker: Asker, path: Path, with_base: bool, context: str) -> None:
    from lift_core.evaluation.scoring import f1

    items = read_questions(path)
    texts = [str(item["question"]) for item in items]
    base_answers = []
    if with_base:
        base_answers = [answer.text for answer in asker.ask_many(texts, base=True, context=context)]
    answers = asker.ask_many(texts, context=context)
    for index, (item, answer) in enumerate(zip(items, answers, strict=True)):
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
