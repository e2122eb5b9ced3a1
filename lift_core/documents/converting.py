"""The converter's process, seen from outside: started, bounded, and its end put into words.

What converts a stranger's file may loop, swell or crash. It does so in a process of its own, which gets the
bytes and nothing else: no environment, no secret, no open file.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys

from lift_core.documents.kinds import Kind
from lift_core.errors import DocumentError
from lift_core.records import Record
from lift_core.settings import Settings

_MODULE = "lift_core.documents.convert"
_NAMES = {"html": "HTML", "pdf": "PDF", "docx": "DOCX"}


class ConversionJob(Record):
    """What the converter's process is told; the bytes come by its standard input."""

    key: str
    kind: Kind
    max_pages: int
    max_bytes: int
    """Of what the document unpacks to, and of its text."""
    cpu_seconds: int
    memory_bytes: int


class Converted(Record):
    """What the converter's process found; ``text`` is Markdown."""

    text: str
    title: str | None = None
    language: str | None = None
    pages: int | None = None


def converted(data: bytes, key: str, kind: Kind, settings: Settings) -> Converted:
    """Markdown of a document, made in a process of its own.

    Raises:
        DocumentError: it is damaged, locked or empty, a limit was reached, or the process died.
    """
    job = ConversionJob(
        key=key,
        kind=kind,
        max_pages=settings.max_document_pages,
        max_bytes=settings.max_expanded_bytes,
        # The parent's clock ends it first; this ends a process whose parent was killed.
        cpu_seconds=int(settings.convert_seconds) + 5,
        memory_bytes=settings.convert_memory_bytes,
    )
    try:
        ended = subprocess.run(
            [sys.executable, "-P", "-m", _MODULE, job.model_dump_json()],
            input=data,
            capture_output=True,
            env=_environment(),
            timeout=settings.convert_seconds,
        )
    except subprocess.TimeoutExpired as error:
        raise _too_slow(key, settings) from error
    if ended.returncode or not ended.stdout:
        raise _died(key, ended.returncode, ended.stderr, settings)
    answer = json.loads(ended.stdout)
    if "refused" in answer:
        raise DocumentError(answer["refused"])
    if "memory" in answer:
        raise _too_large(key, settings)
    if "damaged" in answer:
        raise DocumentError(
            f"'{key}' cannot be read as {_NAMES[kind]} ({answer['damaged']}): "
            "it is damaged or cut short; open it and save it anew"
        )
    return Converted.model_validate(answer["converted"])


def _environment() -> dict[str, str]:
    kept = {
        name: os.environ[name] for name in ("PATH", "PYTHONPATH", "LD_LIBRARY_PATH") if name in os.environ
    }
    # Fewer arenas: each reserves address space, which is what the limit on memory counts.
    return {**kept, "LANG": "C.UTF-8", "MALLOC_ARENA_MAX": "2", "OMP_NUM_THREADS": "1"}


def _died(key: str, code: int, stderr: bytes, settings: Settings) -> DocumentError:
    if code == -signal.SIGXCPU:
        return _too_slow(key, settings)
    if code == -signal.SIGKILL:
        return DocumentError(
            f"'{key}': the process that converted it was killed, most likely for want of memory; "
            "split the document, or give the machine more memory, and `lift docs retry` it"
        )
    if b"MemoryError" in stderr:
        return _too_large(key, settings)
    lines = stderr.decode(errors="replace").strip().splitlines()
    how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    cause = f": {lines[-1][:200]}" if lines else ""
    return DocumentError(
        f"'{key}' broke the converter ({how}{cause}): open it, save it anew or as another format"
    )


def _too_slow(key: str, settings: Settings) -> DocumentError:
    return DocumentError(
        f"'{key}' was not converted within {settings.convert_seconds:g} seconds: "
        "split it, or allow more time (LIFT_CONVERT_SECONDS)"
    )


def _too_large(key: str, settings: Settings) -> DocumentError:
    return DocumentError(
        f"'{key}' takes more than {settings.convert_memory_bytes:,} bytes of memory to convert: "
        "split it, or allow more (LIFT_CONVERT_MEMORY_BYTES)"
    )
