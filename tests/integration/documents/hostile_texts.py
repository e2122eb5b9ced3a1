"""Text and Markdown that is broken, or made to do harm, and bytes that are no text at all."""

import codecs
import random
from collections.abc import Iterator

from .hostile import Case, reads, refuses

SENTENCE = "The keeper wrote it down. "
_TOO_LITTLE = r"(has \d words?|is empty).*to learn from; "
_BINARY = "is binary, not text"
_ENCODING = "unknown encoding.*save it as UTF-8"


def cases() -> Iterator[Case]:
    """Every case; most are read in the process that asks, so that nothing but the rules protects it."""
    yield from _too_little()
    yield from _encodings()
    yield from _characters()
    yield from _shapes()
    yield from _markdown()
    yield from _other_kinds()
    yield from _names()


def _too_little() -> Iterator[Case]:
    yield refuses("empty", "a.txt", b"", _TOO_LITTLE)
    yield refuses("white space only", "a.txt", b" \n\t\r\n \x0c " * 5000, _TOO_LITTLE)
    yield refuses("one character", "a.txt", b"x", _TOO_LITTLE)
    yield refuses("byte order mark only", "a.txt", codecs.BOM_UTF8, _TOO_LITTLE)
    yield refuses("UTF-16 mark only", "a.txt", codecs.BOM_UTF16_LE, _TOO_LITTLE)
    yield refuses("zero width only", "a.txt", "\u200b\u200d\ufeff".encode() * 5000, _TOO_LITTLE)
    yield refuses("punctuation only", "a.md", b"--- *** ... !!! ### " * 1000, _TOO_LITTLE)
    yield refuses("emoji only", "a.txt", "🗼🌊".encode() * 1000, _TOO_LITTLE)
    yield refuses("front matter of nothing", "a.md", b"---\n---\n", _TOO_LITTLE)


def _encodings() -> Iterator[Case]:
    text = "Größe und Maß der Löwen im alten Turm."
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        yield reads(encoding, "a.txt", text.encode(encoding), text)
    yield reads("UTF-16 big endian", "a.txt", codecs.BOM_UTF16_BE + text.encode("utf-16-be"), text)
    yield refuses("UTF-16 without mark", "a.txt", text.encode("utf-16-le"), "UTF-16|unknown encoding|binary")
    yield refuses("UTF-32", "a.txt", text.encode("utf-32"), _BINARY)
    yield refuses("Latin-1", "a.txt", text.encode("latin-1"), _ENCODING)
    yield refuses("Windows-1252", "a.txt", "the “tower” – 5 €".encode("cp1252"), _ENCODING)
    yield refuses("Shift JIS", "a.txt", "灯台は高いです。".encode("shift_jis") * 20, _ENCODING)
    yield refuses("truncated UTF-8", "a.txt", SENTENCE.encode() + "ß".encode()[:1], _ENCODING)
    yield refuses("truncated UTF-16", "a.txt", text.encode("utf-16")[:-1], _ENCODING)
    yield refuses("overlong UTF-8", "a.txt", SENTENCE.encode() + b"\xc0\xaf", _ENCODING)
    yield refuses("surrogate in UTF-8", "a.txt", SENTENCE.encode() + b"\xed\xa0\x80", _ENCODING)
    yield refuses("beyond Unicode", "a.txt", SENTENCE.encode() + b"\xf4\x90\x80\x80", _ENCODING)


def _characters() -> Iterator[Case]:
    rtl = "بنيت المنارة عام 1712. \u202eThe tower\u202c שומר המגדלור."
    yield reads("right to left", "a.txt", rtl.encode(), rtl)
    emoji = "The keeper 👩‍🚀🏽 waved a flag 🏴‍☠️ at the tower 🗼."
    yield reads("emoji", "a.txt", emoji.encode(), emoji)
    heaped = "The t" + "\u0301\u0323\u0302" * 5000 + "ower was lit. " + SENTENCE
    yield reads("combining marks by the thousand", "a.txt", heaped.encode(), r"ower was lit\. The keeper")
    many = "o\u0323\u0301" * 100_000 + " two three"
    yield reads("combining marks on every letter", "a.txt", many.encode(), "ọ́ọ́")
    yield reads("zero width between letters", "a.txt", "\u200b".join(SENTENCE * 20).encode(), "T\u200bh")
    yield reads("private use", "a.txt", f"{SENTENCE}\ue000\uffff\ufdd0".encode(), "keeper")
    yield refuses("control characters", "a.txt", b"\x01\x02 the \x03 keeper \x04 wrote", _BINARY)
    yield refuses("null bytes", "a.txt", b"the\x00keeper\x00wrote\x00it", _BINARY)
    yield reads("few control characters", "a.log", (SENTENCE * 50 + "\x07\x08").encode(), "keeper")
    colours = "".join(f"\x1b[3{n % 8}m{SENTENCE}\x1b[0m\n" for n in range(500))
    yield reads("ANSI escapes", "a.log", colours.encode(), r"^The keeper wrote it down\. \nThe keeper")
    mixed = "one line\r\nanother line\ra third\n\rand a fourth\u2028a fifth\x85a sixth"
    yield reads(
        "ends of lines mixed", "a.txt", mixed.encode(), "one line\nanother line\na third\n\nand a fourth"
    )


def _shapes() -> Iterator[Case]:
    yield reads("one line of all the bytes allowed", "a.txt", lambda: b"word " * 2**22, "word word")
    yield reads("one word of 5 MB", "a.txt", lambda: b"x" * 5_000_000 + b" y z", "xxx")
    yield reads(
        "ends of lines only but for three words", "a.txt", lambda: b"\n" * 3_000_000 + b"a b c", "a b c"
    )
    yield reads("spaces within a line", "a.txt", lambda: b"a" + b" " * 3_000_000 + b"b c", "a ")
    yield reads("two hundred thousand lines", "a.txt", lambda: b"a b\n" * 200_000, "a b\na b")
    yield reads("a million full stops", "a.txt", lambda: b"a b c " + b"." * 1_000_000, "a b c")
    yield reads("tiny sentences", "a.txt", lambda: b"I go. " * 50_000, "I go")
    yield reads("quotation marks", "a.txt", lambda: b"a b c " + b"\"'(" * 100_000, "a b c")


def _markdown() -> Iterator[Case]:
    bullets = "".join(f"{' ' * (n % 2000)}- item {n}\n" for n in range(4000))
    yield reads("nested lists", "a.md", bullets.encode(), "- item 3999")
    yield reads("nested quotes", "a.md", (">" * 100_000 + " the keeper wrote").encode(), "keeper")
    yield reads("giant table", "a.md", b"| lamp | year |\n|---|---|\n" + b"| oil | 1712 |\n" * 50_000, "1712")
    yield reads("wide table", "a.md", ("| x " * 100_000 + "|\n" + "|---" * 100_000).encode(), "x")
    yield reads("front matter", "a.md", f"---\ntitle: T\n---\n{SENTENCE}".encode(), "keeper")
    yield reads("fence that nobody closes", "a.md", b"```\n" + SENTENCE.encode() * 100, "keeper")
    yield reads("fences", "a.md", b"```x\ny\n" * 50_000, "```x")
    yield reads("stars", "a.md", SENTENCE.encode() + b"a.**" + b"*" * 200_000 + b"x", "keeper")
    yield reads("brackets", "a.md", b"[" * 200_000 + SENTENCE.encode(), "keeper")
    yield reads("headings", "a.md", b"# Lamp oil\n\n" * 50_000, "Lamp")
    yield reads("heading with a gap", "a.md", b"# a" + b" " * 1_000_000 + b"b c", "a ")
    yield reads("comments before no page", "a.md", b"<!-- -->" * 400 + SENTENCE.encode(), "keeper")
    yield reads("comment that never ends", "a.md", b"<!-- " * 100_000 + SENTENCE.encode(), "keeper")
    yield reads("script in Markdown", "a.md", f"{SENTENCE}<script>alert(1)</script>".encode(), "keeper")


def _other_kinds() -> Iterator[Case]:
    yield refuses("random bytes", "a.txt", random.Random(1).randbytes(50_000), _BINARY)
    yield refuses("program", "a", b"\x7fELF\x02\x01\x01" + bytes(5000), _BINARY)
    yield refuses("database", "a.db", b"SQLite format 3\x00" + bytes(5000), _BINARY)
    yield refuses("picture named text", "scan.txt", b"\x89PNG\r\n\x1a\n" + bytes(500), "is a picture.*OCR")
    yield refuses("picture named PDF", "scan.pdf", b"\xff\xd8\xff\xe0" + bytes(500), "is a picture.*OCR")
    yield refuses("archive", "a.tar.gz", b"\x1f\x8b\x08" + bytes(50), "is an archive.*unpack it")
    yield refuses("RTF", "a.rtf", b"{\\rtf1 the keeper wrote}", "is RTF.*save it as")
    yield refuses("RTF named text", "a.txt", b"{\\rtf1 the keeper wrote}", "is RTF.*save it as")
    yield refuses("text named PDF", "a.pdf", SENTENCE.encode(), "named .pdf and holds something else")
    yield refuses("text named DOCX", "a.docx", SENTENCE.encode(), "named .docx and holds something else")
    ole = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600)
    yield refuses("old Word", "a.doc", ole, "old format: save it as DOCX")
    locked = ole + "EncryptedPackage".encode("utf-16-le")
    yield refuses("locked Word", "a.docx", locked, "protected by a password: save it without")


def _names() -> Iterator[Case]:
    names = (
        "../../etc/passwd",
        "a\nb\r\t.txt",
        "\u202etxt.exe",
        "%2e%2e%2f",
        "'; DROP TABLE x; --",
        "x" * 1000,
    )
    for name in (*names, ".txt", "a.", "a.txt/", " ", "con", "-rf", "$(reboot).md", "灯台.txt", "{key}{0}"):
        yield reads(f"key {name[:20]!r}", name, SENTENCE.encode() * 3, "keeper")
        yield refuses(f"key {name[:20]!r} of nothing", name, b"", _TOO_LITTLE)
