"""What a benchmark leaves: one JSON document for programs, one page for people."""

from __future__ import annotations

import json
import platform
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
from pydantic import Field

from lift_core import processor
from lift_core.records import Record


def machine() -> dict[str, Any]:
    """What the figures were measured on."""
    return {
        "cores": psutil.cpu_count(),
        "memory_gib": round(psutil.virtual_memory().total / 2**30),
        "processor": processor.name(),
        "bf16": "fast" if processor.multiplies_bf16() else "slow",
        "python": platform.python_version(),
    }


class Report(Record):
    """A run of one benchmark. Each row says by its ``name`` what was measured or compared.

    ``ours`` and ``peer`` have the row's ``unit``; ``ratio`` is theirs to ours, measured in one run.
    A row without a peer has neither. ``details`` are what the rows were computed from, one for each
    document say; they are written, and not printed. ``command`` is what comes after ``lift bench`` where that
    is not the name.
    """

    name: str
    command: str = ""
    started_at: datetime = Field(default_factory=lambda: datetime.now(UTC))
    machine: dict[str, Any] = Field(default_factory=machine)
    settings: dict[str, Any]
    rows: list[dict[str, Any]]
    details: list[dict[str, Any]] = Field(default_factory=list)


def columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of the columns that have a value in some row, in the order of their first row."""
    return list(dict.fromkeys(name for row in rows for name in row if row[name] is not None))


def write_report(report: Report, folder: Path) -> Path:
    """Write ``NAME.json`` and ``NAME.md`` into ``folder``; returns the page's path."""
    folder.mkdir(parents=True, exist_ok=True)
    body = report.model_dump(mode="json")
    (folder / f"{report.name}.json").write_text(json.dumps(body, indent=1, ensure_ascii=False) + "\n")
    lines = [
        f"# Benchmark: {report.name}",
        "",
        f"`lift bench {report.command or report.name}`, {report.started_at:%Y-%m-%d %H:%M} UTC.",
        f"Machine: {_words(report.machine)}. Settings: {_words(report.settings)}.",
        "",
        *_table(report.rows),
        *(["", "## One by one", "", *_table(report.details)] if report.details else []),
    ]
    page = folder / f"{report.name}.md"
    page.write_text("\n".join(lines) + "\n")
    return page


def _table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    names = columns(rows)
    return [
        "| " + " | ".join(names) + " |",
        "|" + "---|" * len(names),
        *("| " + " | ".join(_cell(row.get(name)) for name in names) + " |" for row in rows),
    ]


def _words(values: dict[str, Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in values.items())


def _cell(value: object) -> str:
    if value is None:
        return "–"
    return f"{value:.3g}" if isinstance(value, float) else str(value)
