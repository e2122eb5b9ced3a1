"""HTML that is broken, or made to do harm."""

import codecs
from collections.abc import Iterator

from .hostile import Case, either, reads, refuses

SAID = "<p>The keeper wrote it down.</p>"
TEXT = "keeper wrote"
_TOO_LITTLE = "0 words: too little to learn from; "
_TOO_MUCH = "nests deeper|not converted within .*LIFT_CONVERT_SECONDS|LIFT_CONVERT_MEMORY_BYTES"
_ENCODING = "HTML whose bytes are not .*save it as UTF-8"


def page(body: str, head: str = "") -> bytes:
    return f"<!DOCTYPE html><html><head>{head}</head><body>{body}</body></html>".encode()


def cases() -> Iterator[Case]:
    """Every case."""
    yield from _what_runs()
    yield from _sizes()
    yield from _broken()
    yield from _encodings()


def _what_runs() -> Iterator[Case]:
    only = "<script>var keeper = 'wrote it down';</script>"
    yield refuses("script only", "a.html", page(only), _TOO_LITTLE)
    quiet = r"^The keeper wrote it down\.\n$"
    for name, body in {
        "script": f"{only}{SAID}<script src='http://127.0.0.1:9/x.js'></script>",
        "script that is not closed": f"{SAID}<script>while (true) alert(1)",
        "script in a comment": f"{SAID}<!-- <script>alert(1)</script> -->",
        "conditional comment": f"{SAID}<!--[if IE]><p>Other words are here.</p><![endif]-->",
        "style": f"<style>@import url(file:///etc/passwd); p {{}}</style>{SAID}",
        "event handlers": f"<div onload='fetch(1)' onclick='x()'>{SAID}</div>",
        "iframe": f"<iframe src='file:///etc/passwd' srcdoc='&lt;p&gt;Hidden words'></iframe>{SAID}",
        "object": f"<object data='file:///etc/passwd'></object><embed src='//127.0.0.1:9'>{SAID}",
        "pictures": f"<img src='file:///etc/passwd' alt='etc'><img src='//127.0.0.1:9/x.png'>{SAID}",
        "data address": f"<img src='data:image/png;base64,{'A' * 200_000}'>{SAID}",
        "form": f"<form action='//127.0.0.1:9'><input autofocus value='words'></form>{SAID}",
        "template": f"<template>Other words are here.</template>{SAID}",
        "drawing": f"<svg><script>alert(1)</script><text>Other words here</text></svg>{SAID}",
        "formula": f"<math><mtext>Other words are here</mtext></math>{SAID}",
    }.items():
        yield reads(name, "a.html", page(body), quiet)
    refresh = "<meta http-equiv=refresh content='0;url=file:///etc/passwd'><base href='//127.0.0.1:9'>"
    yield reads("refresh", "a.html", page(SAID, refresh), quiet)
    links = "<link rel=stylesheet href='//127.0.0.1:9/x.css'><link rel=import href='file:///etc/passwd'>"
    yield reads("links", "a.html", page(SAID, links), quiet)
    yield reads("script address", "a.html", page(f"<a href='javascript:alert(1)'>{SAID}</a>"), TEXT)


def _sizes() -> Iterator[Case]:
    yield refuses("a million nested tags", "a.html", lambda: page("<div>" * 1_000_000 + SAID), _TOO_MUCH)
    yield refuses("nested lists", "a.html", lambda: page("<ul><li>" * 50_000 + SAID), _TOO_MUCH)
    yield refuses("nested tables", "a.html", lambda: page("<table><tr><td>" * 20_000 + SAID), _TOO_MUCH)
    yield either("nested quotes", "a.html", lambda: page("<blockquote>" * 400 + SAID), TEXT, _TOO_MUCH)
    many = "".join(f" a{n}='{n}'" for n in range(1_000_000))
    yield either("a million attributes", "a.html", page(f"<div{many}>{SAID}</div>"), TEXT, _TOO_MUCH)
    yield reads(
        "attribute of 5 MB", "a.html", lambda: page(f"<div id='{'x' * 5_000_000}'>{SAID}</div>"), TEXT
    )
    yield reads("name of a tag of 1 MB", "a.html", lambda: page(f"<{'x' * 1_000_000}>{SAID}"), TEXT)
    yield reads("one line of 1 MB", "a.html", lambda: page(f"<p>{'The keeper wrote it. ' * 50_000}"), TEXT)
    yield either("line breaks", "a.html", lambda: page("<br>" * 200_000 + SAID), TEXT, _TOO_MUCH)
    yield either(
        "a column over a billion",
        "a.html",
        page(f"<table><tr><td colspan=1000000000 rowspan=1000000000>{SAID}</td><td>x</td></tr></table>"),
        TEXT,
        _TOO_MUCH,
    )
    yield either(
        "item with a giant number",
        "a.html",
        page(f"<ol start={'9' * 5000}><li>{SAID}</ol>"),
        TEXT,
        _TOO_MUCH + "|cannot be read as HTML",
    )
    yield either(
        "spaces set letter by letter",
        "a.html",
        lambda: page(f"{SAID}<pre>a{' ' * 200_000}b</pre>"),
        TEXT,
        _TOO_MUCH,
    )
    yield either(
        "heading of 1 MB",
        "a.html",
        lambda: page(f"<h1>{'keeper wrote ' * 80_000}</h1>{SAID}"),
        TEXT,
        _TOO_MUCH,
    )
    yield either(
        "rows",
        "a.html",
        lambda: page(f"<table>{'<tr><td>oil</td><td>1712</td></tr>' * 10_000}</table>"),
        "1712",
        _TOO_MUCH,
    )
    small = {"max_expanded_bytes": 1000}
    yield refuses("text over the limit", "a.html", page(SAID * 100), "LIFT_MAX_EXPANDED_BYTES", **small)


def _broken() -> Iterator[Case]:
    for name, body in {
        "tags that are not closed": f"<div><b><i><table><tr><td>{SAID}<ul><li>x",
        "tags closed in a wrong order": f"<b><i>{SAID}</b></i></div></p></table>",
        "tag cut short": f"{SAID}<div class='",
        "entity cut short": f"{SAID}&am",
        "impossible characters": f"{SAID}&#x110000;&#xD800;&#0;&#xFFFFFFFFFFFF;",
        "null bytes": f"{SAID}\x00\x01\x02",
        "attributes twice": f"<p id=a id=b class=c class=d>{SAID}",
        "frames": f"<frameset><frame src='file:///etc/passwd'><noframes>{SAID}</noframes></frameset>",
        "XML within": f"<?php echo 'x'; ?><![CDATA[x]]>{SAID}<?xml version='1.0'?>",
        "text direction": f"<bdo dir=rtl>\u202e{SAID}\u202c</bdo>",
        "two bodies": f"{SAID}</body></html><html><body>{SAID}",
    }.items():
        yield reads(name, "a.html", page(body), TEXT)
    yield either("comment that is not closed", "a.html", page(f"{SAID}<!-- words and words"), TEXT, _TOO_MUCH)
    for name, body in {
        "comments that are not closed": "<!-- " * 50_000,
        "angle brackets": "<" * 200_000,
        "ampersands": "&" * 200_000,
        "declarations": "<!" * 100_000,
        "instructions": "<?" * 100_000,
        "ends of tags": "</" * 100_000,
    }.items():
        yield either(name, "a.html", page(SAID + body), TEXT, _TOO_MUCH + "|cannot be read as HTML")
    entities = "".join(f"<!ENTITY a{n} '{f'&a{n - 1};' * 10}'>" for n in range(1, 30))
    bomb = f"<!DOCTYPE html [<!ENTITY a0 'ha'>{entities}]><html><body>&a29;{SAID}</body></html>"
    yield reads("billion laughs", "a.html", bomb.encode(), TEXT)
    outside = (
        f"<!DOCTYPE html [<!ENTITY x SYSTEM 'file:///etc/hostname'>]><html><body>&x;{SAID}</body></html>"
    )
    yield reads("file as entity", "a.xhtml", outside.encode(), TEXT)
    yield reads("name promises another kind", "a.txt", page(SAID), TEXT)
    yield refuses("HTML named DOCX", "a.docx", page(SAID), "named .docx and holds something else")
    yield reads("text named HTML", "a.html", b"The keeper wrote it down.", TEXT)


def _encodings() -> Iterator[Case]:
    yield refuses("wrong charset", "a.html", page("Straße").replace(b"\xc3\x9f", b"\xdf"), _ENCODING)
    for charset in ("klingon", "utf-16", "base64", "idna", "unicode_escape", "zlib", "x" * 5000):
        declared = page(SAID, f"<meta charset='{charset}'>")
        yield either(f"charset {charset[:20]}", "a.html", declared, TEXT, _ENCODING)
    for encoding, mark in (("utf-16-le", codecs.BOM_UTF16_LE), ("utf-16-be", codecs.BOM_UTF16_BE)):
        yield reads(encoding, "a.html", mark + page(SAID).decode().encode(encoding), TEXT)
    unmarked = page(SAID).decode().encode("utf-16-le")
    yield reads("UTF-16 without mark", "a.html", unmarked, r"^The keeper wrote it down\.\n$")
    yield reads(
        "language that is none", "a.html", b"<html lang='" + b"x" * 10_000 + b"'>" + SAID.encode(), TEXT
    )
