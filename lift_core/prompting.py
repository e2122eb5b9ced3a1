"""The one prompt that training, proof and asking share: what differs between them is not learned."""

from __future__ import annotations

from lift_core.records import TrainingRecipe


def messages(recipe: TrainingRecipe, title: str, question: str) -> list[dict[str, str]]:
    """Chat messages of a closed-book question: the system prompt names the document's title.

    Naming the title is what the paper does for LooGLE, in training too (arXiv 2502.14644).
    """
    # replace, not format: a title may hold braces.
    system = recipe.system_prompt.replace("{title}", title)
    return [{"role": "system", "content": system}, {"role": "user", "content": question}]
