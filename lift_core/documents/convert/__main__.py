"""Read bytes, write Markdown, as one JSON object: ``converted``, ``refused``, ``damaged`` or ``memory``."""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

from defusedxml.common import DefusedXmlException  # type: ignore[import-untyped]

from lift_core.documents.convert.confinement import confine
from lift_core.documents.converting import ConversionJob, Converted
from lift_core.errors import DocumentError

_CONVERTERS = {"html": "html", "docx": "word", "pdf": "pdf"}
"""A kind's module: only what is needed is imported, for that is most of a small document's time."""
_MAX_FRAMES = 5000
"""Deep enough for what people write; deeper nesting is refused."""
_UNWANTED = re.compile(r"[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f\ud800-\udfff]")
"""Control characters and halves of characters, which no text holds on purpose."""


def main() -> None:
    """Convert what standard input holds, as the job in the first argument says."""
    job = ConversionJob.model_validate_json(sys.argv[1])
    data = sys.stdin.buffer.read()
    # What a library prints must not get into the answer.
    answer_to, sys.stdout = sys.stdout, sys.stderr
    logging.disable(logging.CRITICAL)
    sys.setrecursionlimit(_MAX_FRAMES)
    convert = import_module(f"lift_core.documents.convert.{_CONVERTERS[job.kind]}").convert
    confine(job)
    json.dump(_answer(convert, job, data), answer_to)
    answer_to.flush()


def _answer(convert: Callable[[bytes, ConversionJob], Converted], job: ConversionJob, data: bytes) -> Any:
    try:
        found = convert(data, job)
        text = _UNWANTED.sub("", found.text.replace("\r\n", "\n").replace("\r", "\n").replace("\f", "\n"))
        if len(text) > job.max_bytes:
            raise DocumentError(
                f"'{job.key}' becomes a text of {len(text):,} characters; the limit is {job.max_bytes:,}: "
                "split it, or allow more (LIFT_MAX_EXPANDED_BYTES)"
            )
        title = _UNWANTED.sub("", found.title) if found.title else None
        return {"converted": Converted(**{**dict(found), "text": text, "title": title}).model_dump()}
    except DocumentError as error:
        return {"refused": str(error)}
    except DefusedXmlException:
        return {
            "refused": f"'{job.key}' declares XML entities, which can swell or name other files, "
            "and which no document needs: open it and save it anew"
        }
    # Code in C that cannot get memory sometimes says so, and sometimes fails without saying why.
    except (MemoryError, SystemError):
        return {"memory": True}
    except RecursionError:
        return {"refused": f"'{job.key}' nests deeper than any document needs: save it anew, or as text"}
    # The libraries raise whatever their parsers stumble over; the file is the cause, and this its report.
    except Exception as error:  # noqa: BLE001
        cause = f"{type(error).__name__}: {error}".removesuffix(": ")
        return {"damaged": _UNWANTED.sub("", " ".join(cause.split()))[:200]}


if __name__ == "__main__":
    main()
