"""Prompt profiles: what a model is sent and in which form it answers, as data beside this module.

``<name>-<version>.json`` never changes once it was released, because recipes name it: another wording is
another version.
"""

from __future__ import annotations

import re
from functools import lru_cache
from importlib import resources
from typing import Any, Literal

from pydantic import Field, model_validator

from lift_core.errors import RecipeError
from lift_core.records.base import Record

_FILE = re.compile(r"(?P<name>[a-z]+)-(?P<version>[0-9]+)\.json")


class Message(Record):
    """One message of a chat; ``content`` is a template."""

    role: Literal["system", "user"]
    content: str


class Profile(Record):
    """A prompt's templates, and how its completion is read.

    ``text`` is completed as it stands, ``messages`` are answered by an instruct model. A word in braces
    stands for a value: ``{title}``, ``{context}``, ``{segment}``, ``{section}``, ``{source}``,
    ``{question}``, ``{answer}``, ``{pairs}``, ``{touch}``. What is alike in all prompts comes first, and what
    changes most comes last, so that a server's prefix cache holds the beginning.

    ``one_line``: line breaks of context and segment become blanks. ``no_context`` stands for an empty
    context. ``touch`` is what ``{touch}`` becomes where the caller wants certain ``{names}`` asked about.
    ``choosing``, where there is one, is completed first, with the answers that are worth asking for, one a
    line; ``text`` then asks for the question to one ``{answer}``. ``json_schema`` is the JSON schema of the
    completion, which the server enforces; a whole string of it that is a word in braces becomes the value
    itself.
    """

    name: str
    version: int = Field(ge=1)
    choosing: str = ""
    text: str = ""
    messages: tuple[Message, ...] = ()
    one_line: bool = False
    no_context: str = ""
    touch: str = ""
    stop: tuple[str, ...] = ()
    json_schema: dict[str, Any] | None = None
    reads: Literal["lines", "json", "question", "answer", "judgement"]

    @model_validator(mode="after")
    def _one_kind_of_prompt(self) -> Profile:
        if bool(self.text) == bool(self.messages):
            raise ValueError("a profile has either a text or messages")
        if bool(self.choosing) != (self.reads == "question"):
            raise ValueError("answers are chosen first where a question is read, and only there")
        if self.json_schema is not None and not self.messages:
            raise ValueError("only a chat is held to a JSON schema: OpenAI's completions know none")
        return self


@lru_cache
def load_profile(name: str, version: int) -> Profile:
    """The profile of that name and version.

    Raises:
        RecipeError: there is none.
    """
    if (name, version) not in (known := profiles()):
        names = ", ".join(f"{other} {number}" for other, number in known)
        raise RecipeError(f"there is no prompt profile '{name}' of version {version}: name one of {names}")
    text = (resources.files(__package__) / f"{name}-{version}.json").read_text("utf-8")
    return Profile.model_validate_json(text)


def profiles() -> list[tuple[str, int]]:
    """Names and versions of all profiles, sorted."""
    found = (_FILE.fullmatch(each.name) for each in resources.files(__package__).iterdir())
    return sorted((match["name"], int(match["version"])) for match in found if match)
