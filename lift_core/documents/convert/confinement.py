"""What the converter's process may not do, however it is led astray."""

from __future__ import annotations

import os
import resource
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import defusedxml  # type: ignore[import-untyped]

if TYPE_CHECKING:
    from lift_core.documents.converting import ConversionJob

_FORBIDDEN = (
    *("socket.", "subprocess.", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.system", "pty."),
    *("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate", "shutil."),
    *("ctypes.", "urllib.", "ftplib.", "http."),
)
"""Beginnings of the names of Python's audit events: the network, other programs, changes to files."""


class ForbiddenError(RuntimeError):
    """The converter was led to do what it must not."""


def confine(job: ConversionJob) -> None:
    """Bound memory and processor time, and leave this process nothing but its own code to open.

    The converters are Python throughout, so Python's audit hook, which cannot be taken out again, sees all
    that they would open. XML parsers are replaced by ones that refuse entities.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (job.cpu_seconds, job.cpu_seconds))
    resource.setrlimit(resource.RLIMIT_AS, (job.memory_bytes, job.memory_bytes))
    # What was imported before may be kept compiled, else every process would compile it anew; from here on
    # nothing is written.
    sys.dont_write_bytecode = True
    # In this process only: the libraries take their parsers from the standard library.
    defusedxml.defuse_stdlib()
    readable = _code_folders()

    def watch(event: str, arguments: tuple[Any, ...]) -> None:
        if event.startswith(_FORBIDDEN):
            raise ForbiddenError(f"it asks for {event}")
        if event == "open" and isinstance(arguments[0], (str, bytes)):
            path = os.path.realpath(os.fsdecode(arguments[0]))
            if not path.startswith(readable) or arguments[2] & (os.O_WRONLY | os.O_RDWR):
                raise ForbiddenError(f"it asks for the file {path}")

    sys.addaudithook(watch)


def _code_folders() -> tuple[str, ...]:
    """Where Python, the libraries and LIFT lie: modules and tables of characters are read when needed."""
    folders = [str(Path(__file__).parents[3]), *(folder for folder in sys.path if folder)]
    return tuple(f"{os.path.realpath(folder)}/" for folder in folders)
