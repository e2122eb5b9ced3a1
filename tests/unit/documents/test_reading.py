"""What can be read is read; what cannot is refused in words that name the cause."""

import pytest

from lift_core.documents import read_text
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
