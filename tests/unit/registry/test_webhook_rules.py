"""Which URLs, kinds and secrets a webhook may have, and when it is tried again."""

import ast
import base64
import re
from pathlib import Path

import pytest
from pydantic import SecretStr

from lift_core.errors import LiftError
from lift_core.registry.webhook_rules import (
    KINDS,
    MAX_AGE_HOURS,
    MAX_ATTEMPTS,
    check_address,
    check_kinds,
    check_url,
    new_secret,
    retry_seconds,
    secret_key,
)

ROOT = Path(__file__).resolve().parents[3]

# --- URLs -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/lift",
        "https://example.com:8443/lift?to=team",
        "https://hooks_internal/lift",
        "https://10.1.2.3/lift",
        "https://[2001:db8::1]/lift",
        "http://localhost:8000/lift",
        "http://127.0.0.1:8000",
        "http://127.8.9.10/",
        "http://[::1]:8000/",
    ],
)
def test_https_anywhere_and_http_on_this_machine_are_allowed(url):
    check_url(url)


@pytest.mark.parametrize(
    "host", ["example.com", "10.1.2.3", "[2001:db8::1]", "localhost.example.com", "127.1"]
)
def test_http_beyond_this_machine_is_allowed_only_when_asked_for(host):
    with pytest.raises(LiftError, match="--insecure"):
        check_url(f"http://{host}/lift")
    check_url(f"http://{host}/lift", insecure=True)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "example.com",
        "ftp://example.com/",
        "file:///etc/passwd",
        "https://",
        "https:///path",
        "https://[::1/",
        "https://example.com:99999/",
        "https://example.com:0/",
        "https://example.com:x/",
        "https://exa mple.com/",
        "https://example.com/\n",
        "https://exämple.com/",
        "https://example.com\\@evil.com/",
        "https://-example.com/",
        "https://" + "a" * 2000,
    ],
)
def test_what_is_no_url_of_a_receiver_is_refused(url):
    with pytest.raises(LiftError):
        check_url(url, insecure=True)


def test_a_url_with_credentials_is_refused_without_repeating_them():
    with pytest.raises(LiftError, match="user or password") as refused:
        check_url("https://user:pa55word@example.com/")
    assert "pa55word" not in str(refused.value)


@pytest.mark.parametrize(
    "address",
    [
        "169.254.169.254",
        "169.254.0.1",
        "fe80::1",
        "fd00:ec2::254",
        "100.100.100.200",
        "::ffff:169.254.169.254",
        "::ffff:a9fe:a9fe",
        "2002:a9fe:a9fe::1",
        "64:ff9b::a9fe:a9fe",
        "0.0.0.0",
        "::",
        "224.0.0.1",
    ],
)
def test_addresses_of_clouds_metadata_are_refused_however_they_are_written(address):
    with pytest.raises(LiftError, match="refused"):
        check_address(address)
    host = f"[{address}]" if ":" in address else address
    with pytest.raises(LiftError, match="refused"):
        check_url(f"https://{host}/", insecure=True)


def test_private_addresses_are_not_refused():
    for address in ("127.0.0.1", "::1", "10.0.0.1", "192.168.1.1", "fd12:3456::1", "8.8.8.8"):
        check_address(address)


# --- secrets --------------------------------------------------------------------------------


def test_new_secrets_are_long_and_differ():
    made = [new_secret() for _ in range(20)]
    assert len({each.get_secret_value() for each in made}) == 20
    assert {len(secret_key(each)) for each in made} == {32}
    assert made[0].get_secret_value() not in repr(made)


@pytest.mark.parametrize(
    "secret",
    [
        "",
        "whsec_",
        "whsec_not base64!",
        base64.b64encode(b"k" * 32).decode(),
        "whsec_" + base64.b64encode(b"k" * 23).decode(),
        "whsec_" + base64.b64encode(b"k" * 65).decode(),
        "whsec_ä",
    ],
)
def test_a_secret_that_is_none_is_refused_without_repeating_it(secret):
    with pytest.raises(LiftError, match="24 to 64") as refused:
        secret_key(SecretStr(secret))
    # The message itself names the mark that every secret begins with.
    assert len(secret) <= len("whsec_") or secret not in str(refused.value)


# --- retries --------------------------------------------------------------------------------


def test_waits_double_from_five_seconds_to_an_hour():
    waits = [retry_seconds(attempt, 0.5) for attempt in range(1, MAX_ATTEMPTS)]
    assert waits[:10] == [5, 10, 20, 40, 80, 160, 320, 640, 1280, 2560]
    assert set(waits[10:]) == {3600}
    assert sum(waits) < MAX_AGE_HOURS * 3600


def test_luck_moves_a_wait_by_a_tenth_and_never_beyond_an_hour():
    assert [retry_seconds(1, luck) for luck in (0, 1)] == pytest.approx([4.5, 5.5])
    assert [retry_seconds(5000, luck) for luck in (0, 1)] == pytest.approx([3240, 3600])


# --- kinds ----------------------------------------------------------------------------------


def written_kinds():
    """The kinds of all events that the source writes, as patterns; and what no pattern can be made of."""
    for folder in ("lift_core", "plugins", "dags"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            for found in ast.walk(ast.parse(path.read_text("utf-8"))):
                if not isinstance(found, ast.Call):
                    continue
                name = getattr(found.func, "id", getattr(found.func, "attr", None))
                if name not in ("event", "record_event"):
                    continue
                kind = found.args[1 if name == "event" else 0] if found.args else None
                yield path.relative_to(ROOT).as_posix(), pattern(kind)


def pattern(kind):
    if isinstance(kind, ast.Constant):
        return re.escape(kind.value)
    if isinstance(kind, ast.JoinedStr):
        return "".join(
            re.escape(part.value) if isinstance(part, ast.Constant) else "[a-z]+" for part in kind.values
        )
    return None


def test_the_list_of_kinds_is_what_the_source_writes():
    written = list(written_kinds())
    # `record_event` hands on what it is given.
    assert [path for path, found in written if found is None] == ["lift_core/registry/events.py"]
    patterns = {found for _, found in written if found}
    unlisted = {each for each in patterns if not any(re.fullmatch(each, kind) for kind in KINDS)}
    assert not unlisted, "add them to KINDS in lift_core/registry/webhook_rules.py and to docs/webhooks.md"
    unwritten = {kind for kind in KINDS if not any(re.fullmatch(each, kind) for each in patterns)}
    assert not unwritten, "nothing writes these any more"


def test_every_kind_is_documented():
    page = (ROOT / "docs" / "webhooks.md").read_text("utf-8")
    assert [kind for kind in KINDS if f"`{kind}`" not in page] == []


def test_kinds_and_their_groups_are_known():
    assert check_kinds(["job.done", "adapter.*", "job.done"]) == ("adapter.*", "job.done")
    assert check_kinds(KINDS) == KINDS
    assert check_kinds([]) == ()


@pytest.mark.parametrize(
    "kind", ["adapter.activ", "*", "adapter", "adapter.", "nothing.*", "adapter.active.*"]
)
def test_an_unknown_kind_is_refused_with_the_known_ones(kind):
    with pytest.raises(LiftError, match=r"adapter\.active, .*job\.done"):
        check_kinds(["adapter.active", kind])
