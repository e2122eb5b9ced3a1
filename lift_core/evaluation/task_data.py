"""Benchmark items from a folder in LIFT's own schema, for machines that do not reach the hub.

The folder, or one below it, holds JSON Lines:

- ``mmlu_test.jsonl`` and ``mmlu_dev.jsonl``:
  ``{"id", "subject", "question", "choices": [4], "answer": 0..3}``,
- ``gsm8k_test.jsonl`` and ``gsm8k_train_fewshot.jsonl``: ``{"id", "question", "answer": "… #### 72"}``.

The second file of each task has the examples that the prompts begin with.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from lift_core.errors import EvaluationDataError
from lift_core.store import ObjectStore

FILES = {
    "mmlu": ("mmlu_test.jsonl", "mmlu_dev.jsonl"),
    "gsm8k": ("gsm8k_test.jsonl", "gsm8k_train_fewshot.jsonl"),
}
"""By task: the file of the items, and that of the examples."""

Text = Annotated[str, Field(min_length=1)]


class _Row(BaseModel):
    # Data of others may have more fields than are read here.
    model_config = ConfigDict(extra="ignore", frozen=True)

    id: Text
    question: Text


class MmluRow(_Row):
    """One question with four choices; ``answer`` is the number of the right one, from 0."""

    subject: Annotated[str, Field(pattern=r"^[a-z0-9_]+$")]
    choices: Annotated[list[Text], Field(min_length=4, max_length=4)]
    answer: Annotated[int, Field(ge=0, le=3, strict=True)]


class Gsm8kRow(_Row):
    """One word problem; ``answer`` is worked out and ends in ``#### <number>``."""

    # One space, and nothing after the number: the harness would call every answer wrong otherwise.
    answer: Annotated[str, Field(pattern=r"#### -?[$.,]*\d[$\d.,]*$")]


AnyRow = TypeVar("AnyRow", bound=_Row)
_S3 = "s3://"


def items_folder(named: str, store: ObjectStore, scratch: Path) -> Path | None:
    """The folder of the items: the one that is named, or what a bucket has of them, fetched to ``scratch``.

    ``named`` is a folder, ``s3://bucket/prefix``, or empty: None, the hub.

    Raises:
        EvaluationDataError: there is no such folder.
    """
    if not named:
        return None
    if not named.startswith(_S3):
        folder = Path(named).expanduser()
        if not folder.is_dir():
            raise EvaluationDataError(f"LIFT_EVALUATION_DATA names '{named}', which is no folder")
        return folder
    bucket, _, prefix = named.removeprefix(_S3).partition("/")
    wanted = {name for names in FILES.values() for name in names}
    for number, found in enumerate(store.list(bucket, prefix)):
        name = found.key.rsplit("/", 1)[-1]
        if name in wanted:
            # A folder each: two objects of one name must not become one file unnoticed.
            place = scratch / str(number) / name
            place.parent.mkdir()
            store.get_file(bucket, found.key, place)
    return scratch


def find_file(folder: Path, name: str) -> Path:
    """The one file of that name in a folder or below it.

    Raises:
        EvaluationDataError: there is none, or more than one.
    """
    found = sorted(folder.rglob(name))
    if len(found) != 1:
        there = (
            "it is not there" if not found else f"there are {len(found)}: {', '.join(map(str, found[:3]))}"
        )
        raise EvaluationDataError(
            f"the guard needs one {name} in {folder} or a folder below it (LIFT_EVALUATION_DATA); {there}"
        )
    return found[0]


def read_rows(path: Path, row: type[AnyRow]) -> list[AnyRow]:
    """The rows of a JSON Lines file; a file with one broken line is refused whole.

    Raises:
        EvaluationDataError: it cannot be read, has no row, a row that is not one, or an id twice.
    """
    rows: list[AnyRow] = []
    try:
        # JSON strings may hold what `splitlines` takes for the end of a line.
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise EvaluationDataError(f"{path} cannot be read: {error}") from error
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            rows.append(row.model_validate_json(line))
        except ValidationError as error:
            first = error.errors(include_url=False)[0]
            where = ".".join(str(part) for part in first["loc"]) or "the line"
            raise EvaluationDataError(
                f"{path}, line {number}: {where}: {first['msg']}; nothing of the file is used"
            ) from error
    _check_ids(path, (each.id for each in rows))
    return rows


def as_documents(rows: Iterable[_Row]) -> list[dict[str, Any]]:
    """The rows as the harness's documents."""
    return [each.model_dump() for each in rows]


def _check_ids(path: Path, ids: Iterable[str]) -> None:
    seen: set[str] = set()
    for each in ids:
        if each in seen:
            raise EvaluationDataError(f"{path}: the id '{each}' is there twice; every item needs its own")
        seen.add(each)
    if not seen:
        raise EvaluationDataError(f"{path} has no items")
