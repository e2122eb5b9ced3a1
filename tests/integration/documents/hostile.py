"""What a case of the hostile corpus is, and how it is read.

``python -m tests.integration.documents.hostile GROUP``: the cases of a group are read in this
process, which tells of each what came of it and the memory that it and the converters had needed by then.
"""

import json
import re
import resource
import sys
from collections.abc import Callable, Iterator, Mapping
from importlib import import_module
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

from lift_core.documents import read_document, split
from lift_core.errors import DocumentError
from lift_core.records import SegmentationRecipe
from lift_core.settings import Settings

GROUPS = ("texts", "pages", "packages", "pdfs")
CONVERT_SECONDS = 120
"""Far more than any case takes; those that would never end have a lower limit of their own."""
CONVERT_MEMORY = 768 * 2**20


class Case(NamedTuple):
    """Bytes under a key, and what must come of them.

    ``text`` must be found in what is read, ``refusal`` in the error; where both are given, either may come.
    """

    name: str
    key: str
    data: bytes | Callable[[], bytes]
    text: str | None = None
    refusal: str | None = None
    settings: Mapping[str, object] = MappingProxyType({})


def reads(name: str, key: str, data: bytes | Callable[[], bytes], text: str, **settings: object) -> Case:
    """A case that becomes a text."""
    return Case(name, key, data, text=text, settings=settings)


def refuses(name: str, key: str, data: bytes | Callable[[], bytes], refusal: str, **settings: object) -> Case:
    """A case that ends with an error."""
    return Case(name, key, data, refusal=refusal, settings=settings)


def either(
    name: str, key: str, data: bytes | Callable[[], bytes], text: str, refusal: str, **settings: object
) -> Case:
    """A case that becomes a text or ends with an error, as the library's version has it."""
    return Case(name, key, data, text, refusal, settings)


def cases(group: str) -> Iterator[Case]:
    """The cases of a group."""
    yield from import_module(f"{__package__}.hostile_{group}").cases()


def read(case: Case) -> dict[str, object]:
    """What came of a case; an error that is not the document's own is raised."""
    limits = {"convert_seconds": CONVERT_SECONDS, "convert_memory_bytes": CONVERT_MEMORY, **case.settings}
    data = case.data() if callable(case.data) else case.data
    found: dict[str, object] = {}
    try:
        document = read_document(data, case.key, converter="text/1", settings=Settings(**limits))
    except DocumentError as error:
        found["error"] = str(error)
    else:
        segments = split(document.text, SegmentationRecipe())
        found["text"] = document.text[:300]
        found["title"] = document.title
        found["as_expected"] = bool(case.text and re.search(case.text, document.text))
        edges = [0, *(edge for segment in segments for edge in (segment.start, segment.end)), None]
        gaps = (document.text[end:start] for end, start in zip(edges[::2], edges[1::2], strict=True))
        found["lost"] = "".join(gap.strip() for gap in gaps)
    found["own_bytes"] = own_peak_bytes()
    found["converters_bytes"] = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss * 1024
    return found


def own_peak_bytes() -> int:
    """The most memory that this program has held; ``ru_maxrss`` would count that of whoever started it."""
    high_water = re.search(r"VmHWM:\s+(\d+) kB", Path("/proc/self/status").read_text())
    assert high_water, "the kernel tells no VmHWM"
    return int(high_water[1]) * 1024


if __name__ == "__main__":
    for each in cases(sys.argv[1]):
        sys.stdout.write(json.dumps({"case": each.name, **read(each)}) + "\n")
