"""Both formats of both pages: self-contained, the same words, and nothing that a name could break."""

import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree

import pytest

from lift_core.evaluation.report import render, render_run
from lift_core.evaluation.report.colours import PALETTE
from lift_core.evaluation.report.words import SYMBOLS

NIGHT = datetime(2026, 11, 20, 4, 12, tzinfo=UTC)
_ALLOWED = {
    *["html", "head", "meta", "title", "style", "body", "main", "h1", "h2", "p", "ul", "li", "code", "span"],
    *["div", "table", "thead", "tbody", "tr", "th", "td", "figure", "details", "summary"],
    *["svg", "g", "path", "defs", "use", "clippath", "rect", "text"],
}


@pytest.fixture(params=["adapter", "run"])
def pages(request, judged, measured):
    """A page with all its parts; ``name`` stands wherever something from outside does."""

    def make(name):
        measurements = (
            measured(name, verdict="regressed", difference=-0.05),
            measured("gsm8k", verdict="uninformative"),
            measured(name, "log-likelihood", "undecided", difference=-0.3),
        )
        subjects = {name: {name: (100, 0.5, 0.4), "anatomy": (135, 0.6, 0.6)}}
        given = {"measurements": measurements, "policy": {name: {name: name}}, "sentence": name}
        given |= {"adapter": name, "base_model": name, "decided_by": ((name, "accuracy"),)}
        verdict = judged(
            "regressed", run=name, subjects=subjects, signs={name: 1.0}, action="retrain", **given
        )
        if request.param == "run":
            return render_run(name, [verdict, judged("uninformative")], {name: name})
        earlier = judged("undecided", run=f"earlier {name}", created_at=NIGHT - timedelta(days=3), **given)
        return render(verdict, [earlier], title=name)

    return make


def test_the_page_is_whole_and_loads_and_runs_nothing(pages, html, hostile):
    page = html(pages(hostile)["report.html"])
    assert not page.open, "every tag closes"
    assert [tag for tag, _ in page.tags].count("style") == 1, "no plot's style speaks to the page"
    assert {tag for tag, _ in page.tags} <= _ALLOWED
    ids = [attributes["id"] for _, attributes in page.tags if "id" in attributes]
    assert len(ids) == len(set(ids))
    for tag, attributes in page.tags:
        assert not [key for key in attributes if key.startswith("on") or key == "src"]
        if "href" in attributes:
            assert tag == "use" and attributes["href"][1:] in ids
        for value in attributes.values():
            for target in re.findall(r"url\((.*?)\)", value or ""):
                assert target[1:] in ids
    assert "url(" not in page.css and "@import" not in page.css
    viewport = ("meta", {"name": "viewport", "content": "width=device-width, initial-scale=1"})
    assert viewport in page.tags


def test_what_comes_from_outside_is_shown_as_it_is_but_for_what_cannot_be_shown(
    pages, html, markdown, hostile
):
    shown = re.sub("[\x00\x1b\u202e\ud800]", "\ufffd", " ".join(hostile.split()))
    assert "<script>" in shown and "| a\\| b" in shown
    files = pages(hostile)
    for text in (html(files["report.html"]).text, markdown(files["report.md"]).text):
        assert text.count(shown) >= 8
        assert not re.search("[\x00\x1b\u202e]", text)


def test_markdown_has_no_raw_html_and_no_link_whatever_the_names(pages, markdown, hostile):
    files = pages(hostile)
    page = markdown(files["report.md"])
    assert not page.kinds & {"html_block", "html_inline", "link_open", "em_open", "ordered_list_open"}
    assert not page.kinds & {"fence", "code_block", "blockquote_open", "hr"}
    assert set(page.images) == {name for name in files if name.endswith(".svg")}
    # Viewers also link bare addresses and set formulas, which CommonMark does not.
    unescaped = re.sub(r"\\.", "", files["report.md"].decode())
    outside_code = re.sub(r"(`+).*?\1", "", unescaped)
    assert "$" not in outside_code and "://" not in outside_code


@pytest.mark.parametrize("name", ["mmlu", "- a", "1. b", "# c", "a_b_c", "    d", "e|f", "`g`", "\\"])
def test_both_formats_say_the_same_words(pages, html, markdown, name):
    files = pages(name)
    assert markdown(files["report.md"]).text == html(files["report.html"]).text
    assert markdown(files["report.md"]).cells == html(files["report.html"]).cells


def test_both_formats_say_the_same_words_of_a_hostile_name(pages, html, markdown, hostile):
    files = pages(hostile)
    assert markdown(files["report.md"]).text == html(files["report.html"]).text


def test_plots_stand_alone_and_show_names_as_they_are(pages):
    name = '<g>"$\\x^2$&'
    plots = {file: body for file, body in pages(name).items() if file.endswith(".svg")}
    assert plots
    for body in plots.values():
        root = ElementTree.fromstring(body)
        assert name in "".join(root.itertext())
        assert not [element for element in root.iter() if element.tag.endswith(("script", "image"))]


@pytest.mark.filterwarnings("error")
def test_names_in_any_script_are_drawn_as_text(pages):
    for file, body in pages("文書 مستند").items():
        if file.endswith(".svg"):
            assert "文書 مستند" in "".join(ElementTree.fromstring(body).itertext())


def test_in_the_page_the_plots_have_the_pages_colours(pages, html):
    page = html(pages("mmlu")["report.html"])
    inside = [
        attributes.get("style") or "" for tag, attributes in page.tags if tag in ("path", "text", "use", "g")
    ]
    assert not [style for style in inside if re.search(r"#[0-9a-f]{3,6}\b", style)]
    used = set(re.findall(r"var\(--([a-z]+)\)", " ".join(inside)))
    assert {"text", "ground", "regressed"} <= used <= set(PALETTE)
    for name in PALETTE:
        assert page.css.count(f"--{name}: #") == 2, "for light and for dark"


def test_verdicts_can_be_read_on_light_and_dark_and_have_shapes_of_their_own():
    def brightness(colour):
        parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
        linear = [part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts]
        return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]

    for side in (0, 1):
        ground = brightness(PALETTE["ground"][side])
        for name in ("text", "muted", *SYMBOLS):
            dark, light = sorted([brightness(PALETTE[name][side]), ground])
            assert (light + 0.05) / (dark + 0.05) >= 4.5, name
    assert len(set(SYMBOLS.values())) == len(SYMBOLS)


def test_equal_records_make_equal_bytes(judged):
    subjects = dict.fromkeys(("b", "a", "c"), (100, 0.5, 0.4))
    signs = {"z": 1.0, "own_f1": 0.5, "a": 2.0}
    policy = {"rate": 0.05, "b": {"y": 1, "x": 2}, "a": 1}

    def made(order):
        turned = [dict(order(list(each.items()))) for each in (subjects, signs, policy)]
        verdict = judged(subjects={"mmlu": turned[0]}, signs=turned[1], policy=turned[2])
        return render(verdict, [judged(run="r", created_at=NIGHT - timedelta(days=1))], title="t")

    assert made(list) == made(lambda items: items[::-1])


def test_plots_cost_nothing_before_one_is_drawn():
    code = "import sys, lift_core.evaluation.report; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
