"""Verdicts as the guard gives them, and pages read as a browser and a Markdown viewer would."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from html.parser import HTMLParser

import pytest
from markdown_it import MarkdownIt

from lift_core.evaluation_records import AdapterVerdict, Measurement

NIGHT = datetime(2026, 11, 20, 4, 12, tzinfo=UTC)
HOSTILE = (
    "</title><script>alert(1)</script>\"'><img src=x onerror=alert(1)> | a\\| b\n# c\n\n1. `d` ``e`` "
    "[f](http://g.h) http://i.j ![k](l) $\\x^2$ *m* _n_ &lt; \x00\x1b\u202e\ud800"
)
"""A name that tries all that a page could fall for."""

# Elements that HTML closes by itself.
_VOID = {"meta", "br", "img", "link", "input", "hr"}


class Html(HTMLParser):
    """What is in a page: its tags with their attributes, its text outside and inside the plots."""

    def __init__(self, page: bytes) -> None:
        super().__init__(convert_charrefs=True)
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.words: list[str] = []
        self.plot_words: list[str] = []
        self.cells: list[list[str]] = []
        self.css = ""
        self.feed(page.decode())
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in ("code", "span", "strong"):
            self.words.append(" ")
        if tag == "tr":
            self.cells.append([])
        if tag in ("td", "th"):
            self.cells[-1].append("")
        if tag not in _VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        if tag in _VOID:
            return
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing that is open"

    def handle_data(self, data):
        if "style" in self.open:
            self.css += data
        elif "svg" in self.open:
            self.plot_words.append(data)
        elif "body" in self.open:
            self.words.append(data)
            if "td" in self.open or "th" in self.open:
                self.cells[-1][-1] = (self.cells[-1][-1] + data).lstrip()

    @property
    def text(self) -> str:
        return plain("".join(self.words))


class Markdown:
    """What a viewer makes of a page, if it allows raw HTML and tables."""

    def __init__(self, page: bytes) -> None:
        viewer = MarkdownIt("commonmark").enable("table")
        tokens = viewer.parse(page.decode())
        inline = [child for token in tokens for child in token.children or []]
        self.kinds = {token.type for token in (*tokens, *inline)}
        self.images = [child.attrs["src"] for child in inline if child.type == "image"]
        shown = Html(f"<body>{viewer.render(page.decode())}</body>".encode())
        self.text, self.cells = shown.text, shown.cells


def plain(text: str) -> str:
    return re.sub(r"\s+", " ", text).strip()


def measured(task="mmlu", measure="accuracy", verdict="pass", difference=-0.004, **other) -> Measurement:
    accuracy = measure == "accuracy"
    base = 0.62 if accuracy else -1.2
    half = 0.01 if accuracy else 0.03
    given = {
        "task": task,
        "measure": measure,
        "n": 3000,
        "base": base,
        "adapter": base + difference,
        "difference": difference,
        "low": difference - half,
        "high": difference + half,
        "confidence": 0.985,
        "margin": 0.02 if accuracy else 0.05,
        "p_value": 0.4,
        "mcnemar_p_value": 0.031 if accuracy else None,
        "verdict": verdict,
    }
    return Measurement(**(given | other))


def judged(verdict="pass", **other) -> AdapterVerdict:
    given = {
        "adapter": "tide-organ-v3",
        "run": "scheduled__2026-11-20",
        "base_model": "SmolLM2-135M-Instruct",
        "verdict": verdict,
        "sentence": "Passed: mmlu by accuracy, -0.4 points [-1.4, +0.6] on 3000 items, margin 2 points.",
        "decided_by": (("mmlu", "accuracy"),),
        "p_value": 0.4,
        "adjusted_p_value": 0.62,
        "alerted": False,
        "family": 12,
        "measurements": (measured(verdict=verdict), measured(measure="log-likelihood")),
        "subjects": {},
        "signs": {},
        "policy": {"rate": 0.05, "fingerprint": "one", "tasks": {"mmlu": {"looks": [3000, 6000, 14042]}}},
        "action": "none",
        "report": None,
        "created_at": NIGHT,
    }
    return AdapterVerdict(**(given | other))


@pytest.fixture(name="measured")
def make_measurement():
    """A measurement; what is not said is that of a healthy adapter on MMLU."""
    return measured


@pytest.fixture(name="judged")
def make_verdict():
    """A verdict; what is not said is that of a healthy adapter."""
    return judged


@pytest.fixture
def html():
    return Html


@pytest.fixture
def markdown():
    return Markdown


@pytest.fixture
def hostile():
    return HOSTILE
