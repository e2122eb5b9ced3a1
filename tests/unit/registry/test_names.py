"""Slugs and run ids: readable, safe as names of folders, models and runs."""

import re

import pytest

from lift_core.registry.names import run_id_of, slug_of


@pytest.mark.parametrize(
    ("key", "slug"),
    [
        ("contracts/2024/Master Agreement (final).pdf", "master-agreement-final"),
        ("../../etc/passwd", "passwd"),
        ("灯台.md", "document"),
        ("Größe.txt", "groe"),
        ("report-v7.md", "report-v7-doc"),
        ("...", "document"),
        ("a" * 300 + ".txt", "a" * 48),
    ],
)
def test_slug(key, slug):
    assert slug_of(key) == slug


@pytest.mark.parametrize("key", ["-v3", "x-v1.md", "v2", "--.md", "\x00\x01", "a/b/c/", "é" * 90])
def test_every_key_gives_a_slug_that_is_no_adapters_name(key):
    slug = slug_of(key)
    assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", slug)
    assert not re.search(r"-v[0-9]+$", slug)


def test_run_id_reads_document_version_recipe_generation():
    assert run_id_of("report", 7, "1a2b3c4d" + "0" * 56, 2) == "report-v7-1a2b3c4d-g2"
