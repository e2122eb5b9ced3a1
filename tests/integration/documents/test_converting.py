"""HTML, PDF and DOCX become Markdown with their headings, lists and tables.

The texts are compared whole: what a converter makes of the same bytes is part of a recipe's identity. If one
of them changes, the set of converters needs a new name (docs/adr/0013).
"""

from pathlib import Path

import pytest

from lift_core.documents import read_document, split
from lift_core.errors import DocumentError, RecipeError
from lift_core.records import SegmentationRecipe
from lift_core.settings import Settings

DOCUMENTS = Path("../shared/data/documents")
PAGE = """<!DOCTYPE html><html lang="de"><head><title>The Lighthouse | Almanac</title>
<script>alert("no")</script><style>p {}</style></head><body><nav><a href="/">Home</a></nav>
<h1>The Lighthouse</h1><p>Dr. Krell built it in <b>1712</b>, says
<a href="http://x.org">the book</a>.</p><ul><li>first lamp</li><li>second_lamp</li></ul>
<table><tr><th>lamp</th><th>year</th></tr><tr><td>oil</td><td>1712</td></tr></table>
<pre>a  =  1
b  =  2</pre><img src="http://127.0.0.1:9/x.png" alt="tower"><p>Größe &amp; Maß.</p></body></html>"""


def test_word_keeps_headings_lists_tables_title_and_language(read, lighthouse_docx):
    found = read(lighthouse_docx, "a.docx")
    assert (found.title, found.kind, found.language) == ("On a Lighthouse", "docx", "de-DE")
    assert found.text == (
        "# The Lighthouse\n\nDr. Krell built it in 1712 for 4.5 * 10^6 crowns.\n\n## Lamps\n\n"
        "- first lamp: seal oil\n- second lamp: coal_gas\n\n"
        "| lamp | year |\n| --- | --- |\n| oil | 1712 |\n| gas | 1801 |\n\nNobody remembers the dark.\n"
    )


def test_pdf_keeps_headings_lists_and_tables_and_loses_what_runs_on_every_page(read, lighthouse_pdf):
    found = read(lighthouse_pdf, "a.pdf")
    assert (found.title, found.kind, found.language, found.pages) == ("On a Lighthouse", "pdf", "en-GB", 3)
    assert found.text == (
        "# The Lighthouse\n\n"
        "Dr. Krell built it in 1712. It took many years of work, which nobody had expected at the time.\n\n"
        "## Lamps\n\n- first lamp: seal oil\n- second lamp: coal gas\n\n"
        "| lamp | year | fuel |\n| --- | --- | --- |\n| oil | 1712 | seal |\n| gas | 1801 | coal |\n\n"
        "Its keepers were:\n\n"
        "| name | from | until |\n| --- | --- | --- |\n"
        "| Krell | 1712 | 1730 |\n| Vanterpool | 1730 | 1755 |\n\n"
        "It burned every night until the year 1950 and nobody remembers that it was ever dark.\n\n"
        "The end of the story.\n"
    )


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "iso-8859-1"])
def test_html_keeps_structure_and_loses_scripts_menus_and_pictures(read, encoding):
    page = PAGE.replace("<head>", f'<head><meta charset="{encoding}">') if encoding[0] == "i" else PAGE
    found = read(page.encode(encoding), "a.html")
    assert (found.title, found.kind, found.language) == ("The Lighthouse", "html", "de")
    assert found.text == (
        "# The Lighthouse\n\nDr. Krell built it in 1712, says the book.\n\n- first lamp\n- second_lamp\n\n"
        "| lamp | year |\n| --- | --- |\n| oil | 1712 |\n\n```\na  =  1\nb  =  2\n```\n\nGröße & Maß.\n"
    )


def test_what_is_converted_splits_into_the_facts_that_it_states(read, lighthouse_docx):
    segments = [s.text for s in split(read(lighthouse_docx, "a.docx").text, SegmentationRecipe())]
    assert segments == [
        "# The Lighthouse\n\nDr. Krell built it in 1712 for 4.5 * 10^6 crowns.",
        "## Lamps\n\n- first lamp: seal oil\n- second lamp: coal_gas\n\n"
        "| lamp | year |\n| --- | --- |\n| oil | 1712 |\n| gas | 1801 |",
        "Nobody remembers the dark.",
    ]


@pytest.mark.parametrize(
    ("stated", "title"),
    [
        ("On a Lighthouse", "On a Lighthouse"),
        ("", "The Lighthouse"),
        ("untitled", "The Lighthouse"),
        ("Microsoft Word - draft7.docx", "The Lighthouse"),
        ("The Lighthouse - Almanac of 1950", "The Lighthouse"),
    ],
)
def test_the_title_is_what_the_file_states_unless_a_program_wrote_it(read, make_pdf, stated, title):
    page = [(24, 72, 700, "The Lighthouse"), (11, 72, 670, "Dr. Krell built it in 1712, in many years.")]
    assert read(make_pdf([page], title=stated), "dir/draft7.pdf").title == title


def test_a_word_parted_between_lines_is_made_whole_and_a_compound_keeps_its_hyphen(read, make_pdf):
    lines = [
        "Whether it is transferable or non transferable was expect-",
        "ed to be settled; it is settled that the right is non-",
        "transferable, as the keeper wrote in his book of years.",
    ]
    text = read(make_pdf([[(11, 72, 700 - 14 * n, line) for n, line in enumerate(lines)]]), "a.pdf").text
    assert "was expected to be settled" in text
    assert "the right is non-transferable, as" in text


def test_columns_are_read_one_after_the_other(read, make_pdf):
    left = [(10, 72, 700 - 12 * n, f"left line {n} of the text") for n in range(4)]
    right = [(10, 320, 700 - 12 * n, f"right line {n} of the text") for n in range(4)]
    text = read(make_pdf([left + right]), "a.pdf").text
    assert text.index("left line 3") < text.index("right line 0")


def test_text_and_markdown_are_what_they_were(read):
    data = b"---\ntitle: x\n---\n# Title\n\nSome <b>text</b> here.\n\n\n| a | b |\n"
    found = read(data, "a.md")
    assert (found.title, found.text, found.kind) == ("Title", data.decode(), "text")


def test_a_converter_that_this_version_does_not_have_is_refused():
    with pytest.raises(RecipeError, match="'text/9' is unknown; this version has text/1"):
        read_document(b"some words here", "a.txt", converter="text/9", settings=Settings())


@pytest.mark.parametrize("kind", [".txt", ".md", ".html", ".pdf", ".docx"])
def test_real_documents_are_read(read, kind):
    found = sorted(DOCUMENTS.glob(f"*{kind}"))
    if not found:
        pytest.skip(f"no {kind} in {DOCUMENTS}: there are no real documents of this kind to read")
    for path in found:
        document = read(path.read_bytes(), path.name)
        assert document.title
        assert len(document.text.split()) > 100


def test_every_error_of_a_document_names_it(read):
    with pytest.raises(DocumentError, match=r"^'dir/page\.html' has 1 word: too little"):
        read(b"<html><body>word</body></html>", "dir/page.html")
