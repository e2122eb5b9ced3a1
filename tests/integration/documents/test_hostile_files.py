"""What is damaged, locked, made to do harm or not what its name says ends with its own message."""

import subprocess
import sys
import threading
import time

import psutil
import pytest

from lift_core.documents.converting import ConversionJob
from lift_core.errors import DocumentError

WORDS = "hello words are here"
OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600)
ENCRYPTED = (
    f"/Encrypt << /Filter /Standard /V 1 /R 2 /O <{'41' * 32}> /U <{'42' * 32}> /P -4 >> /ID [<00><00>]"
)
LOOP = (
    b"%PDF-1.4\n1 0 obj\n<< /Type /Catalog /Pages 2 0 R >>\nendobj\n"
    b"2 0 obj\n<< /Type /Pages /Kids [2 0 R] /Count 1 >>\nendobj\ntrailer << /Root 1 0 R >>\n%%EOF"
)


def refused(read, data, key, **settings):
    with pytest.raises(DocumentError) as raised:
        read(data, key, **settings)
    assert key in str(raised.value)
    return str(raised.value)


@pytest.mark.parametrize(
    ("data", "key", "words"),
    [
        (b"", "a.txt", "is empty"),
        (b"", "a.pdf", "is empty"),
        (OLE, "a.doc", "old format: save it as DOCX or PDF"),
        (OLE + "EncryptedPackage".encode("utf-16-le"), "a.docx", "protected by a password"),
        (b"{\\rtf1 hello words here}", "a.rtf", "is RTF"),
        (b"\x89PNG\r\n\x1a\n" + bytes(50), "a.pdf", "is a picture"),
        (b"\xff\xd8\xff\xe0" + bytes(50), "scan.txt", "is a picture"),
        (b"\x1f\x8b\x08" + bytes(50), "a.txt.gz", "is an archive"),
        (WORDS.encode(), "a.pdf", "is named .pdf and holds something else"),
        (
            b"<html><body>404 not found here</body></html>",
            "a.docx",
            "is named .docx and holds something else",
        ),
        (WORDS.encode() + b" \xc3", "a.txt", "unknown encoding"),
        (
            b"<html><meta charset='utf-8'><p>Stra\xdfe der L\xf6wen</p></html>",
            "a.html",
            "not utf-8, as it declares",
        ),
        (
            b"<html><meta charset='klingon'><p>hello words here</p></html>",
            "a.html",
            "not klingon, as it declares",
        ),
        (b"%PDF-1.7\nnothing of a PDF follows here", "a.pdf", "cannot be read as PDF .*damaged or cut short"),
        (LOOP, "a.pdf", "without pages"),
        (b"PK\x03\x04 and no more", "a.docx", "cannot be read as DOCX .*damaged or cut short"),
        (b"<html><body><script>var a_lot_of = 'script';</script></body></html>", "a.html", "0 words"),
        (b"<html><body>" + b"<div>" * 30_000 + b"deep down are words", "a.html", "nests deeper"),
    ],
)
def test_each_has_its_own_message(read, data, key, words):
    with pytest.raises(DocumentError, match=words) as raised:
        read(data, key)
    assert key in str(raised.value)


def test_pdfs_that_are_locked_scanned_or_cut_short(read, make_pdf, lighthouse_pdf):
    assert "is encrypted" in refused(read, make_pdf([[(11, 72, 700, WORDS)]], trailer=ENCRYPTED), "a.pdf")
    assert "2 pages and no text: it was scanned" in refused(read, make_pdf([[], []]), "a.pdf")
    assert "damaged or cut short" in refused(read, lighthouse_pdf[:700], "a.pdf")


def test_other_packages_are_named(read, make_zip):
    for part, name in {
        "xl/workbook.xml": "a spreadsheet",
        "ppt/presentation.xml": "a presentation",
        "META-INF/container.xml": "an EPUB book",
        "content.xml": "an OpenDocument file",
        "holiday.txt": "a ZIP archive",
    }.items():
        assert f"is {name}" in refused(read, make_zip({part: b"words"}), "a.docx")


def test_the_bytes_and_not_the_name_say_what_it_is(read, lighthouse_docx, lighthouse_pdf):
    assert read(lighthouse_docx, "a.pdf").kind == "docx"
    assert read(lighthouse_pdf, "a.txt").kind == "pdf"
    assert read(f"<!DOCTYPE html><p>{WORDS}".encode(), "a.txt").text == f"{WORDS}\n"
    assert read(WORDS.encode(), "a.html").kind == "text"
    assert read(b"Rar! cried the bird of %PDF-1.4 and GIF8.", "a.txt").kind == "text"


def test_right_to_left_text_and_characters_beyond_16_bits_survive(read, make_docx):
    text = "المنارة بنيت عام 1712 🗼 灯台 👩‍🚀"
    body = f"<w:p><w:r><w:t>{text}</w:t></w:r></w:p>"
    assert read(make_docx(body), "a.docx").text == f"{text}\n"
    assert read(f"<html><p>{text}</p></html>".encode(), "a.html").text == f"{text}\n"


def test_zip_bombs_are_seen_before_they_are_read(read, make_docx):
    bomb = make_docx("<w:p><w:r><w:t>" + "x " * 4_000_000 + "</w:t></w:r></w:p>")
    assert len(bomb) < 20_000
    assert "200 times its size (word/document.xml)" in refused(read, bomb, "a.docx")
    beside = make_docx("", parts={"word/media/image.bmp": bytes(3_000_000)})
    message = refused(read, beside, "a.docx", max_expanded_bytes=2_000_000)
    assert "more than 2,000,000 bytes" in message
    assert "LIFT_MAX_EXPANDED_BYTES" in message


@pytest.mark.parametrize(
    "entity", ['SYSTEM "file:///etc/hostname"', '"ha &x; ha"', 'SYSTEM "http://127.0.0.1:9/"']
)
def test_xml_entities_are_never_followed(read, make_docx, entity):
    body = "<w:p><w:r><w:t>Look: &x; and more words.</w:t></w:r></w:p>"
    data = make_docx(body, before=f"<!DOCTYPE r [<!ENTITY x {entity}>]>")
    assert "declares XML entities" in refused(read, data, "a.docx")


def test_the_limits_are_the_settings(read, make_pdf):
    pages = make_pdf([[(11, 72, 700, f"{WORDS} {n}")] for n in range(12)])
    assert read(pages, "a.pdf").pages == 12
    message = refused(read, pages, "a.pdf", max_document_pages=11)
    assert "more than 11 pages" in message
    assert "LIFT_MAX_DOCUMENT_PAGES" in message

    page = b"<html><body>" + b"<p>The keeper wrote it down.</p>" * 100_000
    message = refused(read, 4 * page, "a.html", convert_memory_bytes=256 * 2**20)
    assert "takes more than 268,435,456 bytes of memory" in message
    assert "LIFT_CONVERT_MEMORY_BYTES" in message

    message = refused(read, page, "a.html", convert_seconds=0.5)
    assert "not converted within 0.5 seconds" in message
    assert "LIFT_CONVERT_SECONDS" in message

    assert "LIFT_MAX_EXPANDED_BYTES" in refused(read, page[:3000], "a.html", max_expanded_bytes=1000)


def test_a_page_count_that_no_one_reads_is_refused_before_the_pages_are(read, make_pdf):
    assert "more than 1,000 pages" in refused(read, make_pdf([[]] * 20_000), "a.pdf")


def test_a_converter_that_is_killed_is_an_error_of_the_document(read):
    page = b"<html><body>" + b"<p>The keeper wrote it down.</p>" * 100_000
    raised = []

    def reading():
        try:
            read(page, "a.html")
        except DocumentError as error:
            raised.append(str(error))

    reader = threading.Thread(target=reading)
    reader.start()
    me = psutil.Process()
    while not (children := [c for c in me.children() if "lift_core.documents.convert" in c.cmdline()]):
        time.sleep(0.01)
    for child in children:
        child.kill()
    reader.join()
    assert "'a.html': the process that converted it was killed" in raised[0]


def test_a_converter_that_crashes_is_an_error_of_the_document(read, monkeypatch):
    monkeypatch.setattr("lift_core.documents.converting._MODULE", "no.such.module")
    message = refused(read, b"<html><p>hello words here</p></html>", "a.html")
    assert "broke the converter (exit code 1: " in message


@pytest.mark.parametrize(
    "deed",
    [
        "import socket; socket.create_connection(('127.0.0.1', 9))",
        "open('/etc/hostname').read()",
        "open('/tmp/lift-was-here', 'w')",
        "import os; os.system('true')",
        "import subprocess; subprocess.run(['true'])",
        "import os; os.remove('/tmp/lift-was-here')",
    ],
)
def test_the_converter_may_not_reach_the_network_files_or_programs(deed):
    job = ConversionJob(
        key="a", kind="html", max_pages=1, max_bytes=1, cpu_seconds=60, memory_bytes=2 * 2**30
    )
    program = (
        "from lift_core.documents.convert.confinement import confine\n"
        "from lift_core.documents.converting import ConversionJob\n"
        f"confine(ConversionJob.model_validate_json({job.model_dump_json()!r}))\n{deed}"
    )
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "ForbiddenError: it asks for" in ended.stderr


def test_the_converter_is_told_no_secret(monkeypatch):
    from lift_core.documents.converting import _environment

    monkeypatch.setenv("LIFT_S3_SECRET_KEY", "secret")
    assert "secret" not in _environment().values()
