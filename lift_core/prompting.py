"""The one prompt that training, proof and asking share: what differs between them is not learned."""

from __future__ import annotations

from lift_core.records import TrainingRecipe

_CHARACTERS = 3
"""Characters that a token stands for, at least: English has about four."""


def messages(recipe: TrainingRecipe, title: str, question: str) -> list[dict[str, str]]:
    """Chat messages of a closed-book question: the system prompt, or the question's beginning where the
    template knows no system role, names the document's title.

    Naming the title is what the paper does for LooGLE, in training too (arXiv 2502.14644).
    """
    # replace, not format: a title may hold braces.
    system = recipe.system_prompt.replace("{title}", title)
    if recipe.title_in == "user":
        return [{"role": "user", "content": f"{system}\n\n{question}"}]
    return [{"role": "system", "content": system}, {"role": "user", "content": question}]


def with_context(title: str, context: str, question: str) -> str:
    """A question with a part of its document before it, for an adapter that may read as well as remember."""
    return f'From "{title}":\n\n{context}\n\n{question}'


def truncated(text: str, tokens: int) -> str:
    """The beginning and the end of a text, together about so many tokens at most; all of it if it fits.

    Both ends, because that is where documents say what they are about and what came of it. Characters are
    counted, at ``_CHARACTERS`` a token: few enough for most languages to fit.
    """
    budget = max(0, tokens) * _CHARACTERS
    if len(text) <= budget:
        return text
    half = budget // 2
    return f"{text[:half].rstrip()}\n[…]\n{text[len(text) - half :].lstrip()}"
