"""What can be read is read; what cannot is refused in words that name the cause."""

import unicodedata

import pytest

from lift_core.documents import read_text
from lift_core.documents.kinds import kind_of
from lift_core.errors import DocumentError


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "is empty"),
        (b" \n\t ", "is empty"),
        (bytes(range(256)) * 40, "is binary"),
        (b"\x00\x01\x02 text with control characters \x03\x04\x05", "is binary"),
        ("Straße der Löwen, ein Haus.".encode("latin-1"), "unknown encoding"),
        (b"lighthouse", "1 word"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_key_and_cause(data, words):
    with pytest.raises(DocumentError, match=words) as raised:
        read_text(data, "folder/bad.txt")
    assert "folder/bad.txt" in str(raised.value)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
def test_unicode_with_a_byte_order_mark_is_read(encoding):
    _, text = read_text("Größe und Maß der Löwen.".encode(encoding), "a.txt")
    assert text == "Größe und Maß der Löwen."


def test_title_is_the_heading_else_a_short_first_line_else_the_file_name():
    assert read_text(b"intro words here\n\n# The Title #\n\nText.", "k.md")[0] == "The Title"
    assert read_text(b"A Short Title\n\nThen a sentence follows.", "k.txt")[0] == "A Short Title"
    assert read_text(b"One whole sentence. And one more.", "dir/my_long-name.txt")[0] == "my long name"


def test_line_ends_are_made_equal():
    assert read_text(b"one two\r\nthree four\rfive", "a.txt")[1] == "one two\nthree four\nfive"


@pytest.mark.parametrize(
    "text",
    [
        "<!-- -->" * 400 + "words of no page",
        "# a" + " " * 200_000 + "b words",
        " " * 200_000 + "\nthree words here",
        "o" + "\u0323\u0301" * 100_000 + " two three",
        "<!DOCTYPE" + " " * 200_000 + "three words here",
    ],
)
def test_nothing_that_a_text_begins_with_takes_for_ever(text):
    """Each of these took minutes, or longer than anybody waits, when a rule tried every way to read it."""
    data = text.encode()
    assert kind_of(data, "a.md") == "text"
    assert read_text(data, "a.md")[0]


def test_marks_beyond_what_a_language_heaps_on_a_letter_are_left_out():
    _, text = read_text(("two words and t" + "\u0301" * 1000 + "ower").encode(), "a.txt")
    assert text == "two words and t" + "\u0301" * 30 + "ower"
    vietnamese = "Tiếng Việt có nhiều dấu."
    assert read_text(unicodedata.normalize("NFD", vietnamese).encode(), "a.txt")[1] == vietnamese


def test_a_log_full_of_a_terminals_colours_is_text():
    assert read_text(b"\x1b[31mThe keeper\x1b[0m wrote it", "a.log")[1] == "The keeper wrote it"


@pytest.mark.parametrize("encoding", ["cp1252", "shift_jis", "koi8-r"])
def test_text_in_another_encoding_is_not_called_binary(encoding):
    words = {"cp1252": "“quoted” – 5 €", "shift_jis": "灯台は高い", "koi8-r": "Маяк очень высок"}[encoding]
    with pytest.raises(DocumentError, match=r"unknown encoding .*: save it as UTF-8"):
        read_text(words.encode(encoding), "a.txt")
