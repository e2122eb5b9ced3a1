"""Limits are the settings, and the converter may do nothing but convert."""

import subprocess
import sys
import threading
import time

import psutil
import pytest

from lift_core.documents.converting import ConversionJob
from lift_core.errors import DocumentError

WORDS = "hello words are here"


def refused(read, data, key, **settings):
    with pytest.raises(DocumentError) as raised:
        read(data, key, **settings)
    assert key in str(raised.value)
    return str(raised.value)


def test_the_bytes_and_not_the_name_say_what_it_is(read, lighthouse_docx, lighthouse_pdf):
    assert read(lighthouse_docx, "a.pdf").kind == "docx"
    assert read(lighthouse_pdf, "a.txt").kind == "pdf"
    assert read(f"<!DOCTYPE html><p>{WORDS}".encode(), "a.txt").text == f"{WORDS}\n"
    assert read(WORDS.encode(), "a.html").kind == "text"
    assert read(b"Rar! cried the bird of %PDF-1.4 and GIF8.", "a.txt").kind == "text"


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
