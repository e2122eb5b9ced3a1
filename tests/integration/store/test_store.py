"""The object store: any key, the very bytes that were listed, and errors that name what is wrong."""

import hashlib
import http.server
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from pydantic import SecretStr

from lift_core.errors import LiftError, NotFoundError, ObjectChangedError, ServiceUnavailableError
from lift_core.stack.ports import HOST, choose_ports
from lift_core.store import NotOfferedError, ObjectStore

KEYS = [
    "plain.md",
    "folder/with spaces in it.md",
    "Größe und Maß.md",
    "報告書/第一章.md",
    "отчёт.md",
    "مستند.md",
    "🗼 lighthouse.md",
    "100%.md",
    "100%25 sure.md",
    "a+b.md",
    "a b+c%20d.md",
    "#1 (final) [copy].md",
    "what?&why=because.md",
    "semi;colon,comma'quote\"double.md",
    "~tilde$dollar@at!.md",
    "dots..md",
    ".hidden",
    "é-decomposed-é.md",
    "x" * 200 + ".md",
]


@pytest.fixture
def bucket(settings):
    return settings.documents_bucket


def with_settings(settings, **changes):
    return ObjectStore.from_settings(settings.model_copy(update=changes))


# --- keys -----------------------------------------------------------------------------------


@pytest.mark.parametrize("key", KEYS)
def test_a_key_comes_back_as_it_was_put(store, bucket, tmp_path, key):
    data = f"the bytes of {key}".encode()
    etag = store.put_bytes(bucket, key, data)
    assert store.get_bytes(bucket, key, if_match=etag) == data
    found = store.stat(bucket, key)
    assert (found.bucket, found.key, found.etag, found.size) == (bucket, key, etag, len(data))
    [listed] = store.list(bucket)
    assert (listed.key, listed.etag, listed.size) == (key, etag, len(data))
    store.get_file(bucket, key, tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == data
    (tmp_path / "copy").write_bytes(b"other")
    store.put_file(bucket, key, tmp_path / "copy", tags={"lift-recipe": "smoke"})
    assert store.tags(bucket, key) == {"lift-recipe": "smoke"}
    store.remove(bucket, key)
    assert list(store.list(bucket)) == []


def test_a_key_put_by_another_client_is_seen_alike(store, bucket, boto3_client):
    for key in KEYS:
        boto3_client.put_object(Bucket=bucket, Key=key, Body=key.encode())
    assert {found.key for found in store.list(bucket)} == set(KEYS)
    for found in store.list(bucket):
        assert store.get_bytes(bucket, found.key, if_match=found.etag) == found.key.encode()


def test_a_prefix_with_special_characters_lists_what_lies_under_it_only(store, bucket):
    for key in ("a+b/1.md", "a b/2.md", "a%2Bb/3.md", "ä/4.md", "a+b.md"):
        store.put_bytes(bucket, key, b"x")
    assert [found.key for found in store.list(bucket, "a+b/")] == ["a+b/1.md"]
    assert [found.key for found in store.list(bucket, "a b/")] == ["a b/2.md"]
    assert [found.key for found in store.list(bucket, "a%2Bb/")] == ["a%2Bb/3.md"]
    assert [found.key for found in store.list(bucket, "ä/")] == ["ä/4.md"]
    assert list(store.list(bucket, "none/")) == []


def test_a_listing_of_more_than_one_page_holds_every_key_once(settings):
    many = with_settings(settings, documents_bucket="lift-many")
    many.ensure_buckets()
    wanted = [f"folder-{number % 7}/doc {number:04}.md" for number in range(1200)]
    with ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda key: many.put_bytes("lift-many", key, b"x"), wanted))
    assert sorted(found.key for found in many.list("lift-many")) == sorted(wanted)


# --- bytes and ETags ------------------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 5 * 1024 * 1024, 11 * 1024 * 1024 + 1])
def test_put_stat_and_listing_agree_on_the_etag_of_small_and_large_files(store, bucket, tmp_path, size):
    path = tmp_path / "file"
    path.write_bytes((b"0123456789abcdef" * (size // 16 + 1))[:size])
    etag = store.put_file(bucket, "file", path)
    assert store.stat(bucket, "file").etag == etag
    assert [(found.etag, found.size) for found in store.list(bucket)] == [(etag, size)]
    data = store.get_bytes(bucket, "file", if_match=etag)
    assert hashlib.sha256(data).digest() == hashlib.sha256(path.read_bytes()).digest()


def test_the_same_bytes_put_again_keep_their_etag_and_others_change_it(store, bucket):
    first = store.put_bytes(bucket, "report.md", b"first")
    assert store.put_bytes(bucket, "report.md", b"first") == first
    assert store.put_bytes(bucket, "report.md", b"other") != first


def test_an_object_that_was_replaced_is_not_read_under_its_old_etag(store, bucket):
    old = store.put_bytes(bucket, "report #1.md", b"old")
    new = store.put_bytes(bucket, "report #1.md", b"new")
    with pytest.raises(ObjectChangedError, match="report #1"):
        store.get_bytes(bucket, "report #1.md", if_match=old)
    assert store.get_bytes(bucket, "report #1.md", if_match=new) == b"new"


def test_no_more_is_read_than_asked_for_and_an_excess_shows(store, bucket):
    store.put_bytes(bucket, "report.md", b"0123456789")
    assert store.get_bytes(bucket, "report.md", max_bytes=4) == b"01234"
    assert store.get_bytes(bucket, "report.md", max_bytes=9) == b"0123456789"
    assert store.get_bytes(bucket, "report.md", max_bytes=10) == b"0123456789"
    assert store.get_bytes(bucket, "report.md", max_bytes=0) == b"0"
    # The connection that was left in the middle serves the next call.
    assert store.get_bytes(bucket, "report.md") == b"0123456789"


def test_tags_belong_to_their_object_and_are_empty_where_there_are_none(store, bucket, tmp_path):
    path = tmp_path / "report.md"
    path.write_bytes(b"text")
    store.put_file(bucket, "tagged.md", path, tags={"lift-recipe": "smoke", "owner": "Grüße & co"[:5]})
    store.put_file(bucket, "plain.md", path)
    assert store.tags(bucket, "tagged.md") == {"lift-recipe": "smoke", "owner": "Grüße"}
    assert store.tags(bucket, "plain.md") == {}
    store.put_file(bucket, "tagged.md", path)
    assert store.tags(bucket, "tagged.md") == {}


def test_removing_what_is_not_there_is_no_error(store, bucket):
    store.remove(bucket, "nobody.md")


def test_buckets_that_are_there_are_left_as_they_are(store, bucket):
    store.put_bytes(bucket, "report.md", b"kept")
    store.ensure_buckets()
    assert store.get_bytes(bucket, "report.md") == b"kept"


# --- errors ---------------------------------------------------------------------------------


def test_what_is_not_there_is_named(store, bucket, tmp_path):
    for call in (
        lambda: store.get_bytes(bucket, "nobody + 1.md"),
        lambda: store.get_bytes(bucket, "nobody + 1.md", if_match="0" * 32),
        lambda: store.get_file(bucket, "nobody + 1.md", tmp_path / "copy"),
        lambda: store.stat(bucket, "nobody + 1.md"),
        lambda: store.tags(bucket, "nobody + 1.md"),
    ):
        with pytest.raises(NotFoundError, match=rf"s3://{bucket}/nobody \+ 1\.md does not exist"):
            call()
    assert not (tmp_path / "copy").exists()


def test_a_bucket_that_is_not_there_is_named(store):
    for call in (
        lambda: list(store.list("lift-nowhere")),
        lambda: store.get_bytes("lift-nowhere", "report.md"),
        lambda: store.stat("lift-nowhere", "report.md"),
    ):
        with pytest.raises(NotFoundError, match="lift-nowhere"):
            call()


@pytest.mark.parametrize("wrong", ["s3_secret_key", "s3_access_key"])
def test_a_wrong_key_is_told_with_the_endpoint_and_without_any_secret(store, settings, bucket, wrong):
    store.put_bytes(bucket, "report.md", b"text")
    guess = "guessed-secret-guessed-secret"
    stranger = with_settings(settings, **{wrong: SecretStr(guess)})
    for call in (
        lambda: list(stranger.list(bucket)),
        lambda: stranger.get_bytes(bucket, "report.md"),
        lambda: stranger.put_bytes(bucket, "report.md", b"mine"),
        lambda: stranger.remove(bucket, "report.md"),
    ):
        with pytest.raises(LiftError, match="refuses") as raised:
            call()
        assert not isinstance(raised.value, NotFoundError | ServiceUnavailableError)
        said = str(raised.value)
        assert settings.s3_endpoint in said
        assert bucket in said
        for secret in (guess, settings.s3_secret_key.get_secret_value()):
            assert secret not in said
    assert store.get_bytes(bucket, "report.md") == b"text"


def test_a_server_that_is_away_is_named_with_the_setting_to_check(settings, bucket, port_offset):
    endpoint = f"{HOST}:{choose_ports({}, port_offset)[0]['s3']}"
    away = with_settings(settings, s3_endpoint=endpoint)
    with pytest.raises(ServiceUnavailableError) as raised:
        away.stat(bucket, "report.md")
    said = str(raised.value)
    assert endpoint in said
    assert "LIFT_S3_ENDPOINT" in said
    assert settings.s3_secret_key.get_secret_value() not in said


def test_a_server_that_is_no_object_store_is_named(settings, bucket):
    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(b"<html>It works</html>")

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer((HOST, 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        endpoint = f"{HOST}:{server.server_port}"
        try:
            with pytest.raises(LiftError, match=endpoint):
                list(with_settings(settings, s3_endpoint=endpoint).list(bucket))
        finally:
            server.shutdown()


def test_no_store_at_all_is_told_with_the_remedy(settings):
    with pytest.raises(ServiceUnavailableError, match="LIFT_S3_ENDPOINT"):
        with_settings(settings, s3_endpoint="")


def test_a_local_file_that_cannot_be_read_is_not_blamed_on_the_server(store, bucket, tmp_path):
    with pytest.raises(OSError, match=r"nobody\.md"):
        store.put_file(bucket, "report.md", tmp_path / "nobody.md")


def test_a_server_that_cannot_tell_of_changes_says_so_at_once(store, bucket, settings):
    with pytest.raises(NotOfferedError, match=settings.s3_endpoint):
        next(iter(store.listen(bucket)))
