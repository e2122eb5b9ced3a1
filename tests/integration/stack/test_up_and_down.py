"""PostgreSQL and S3 up and down as a user does it, without Airflow and vLLM."""

import socket
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from lift_core.settings import Settings
from lift_core.stack import down, status, up
from lift_core.stack.ports import DEFAULT_PORTS, HOST, is_free
from lift_core.stack.processes import is_gone, strays
from lift_core.store import ObjectStore


@pytest.fixture
def home(tmp_path, monkeypatch, port_offset):
    monkeypatch.setenv("LIFT_PORT_OFFSET", str(port_offset))
    for name in ("LIFT_DATABASE_URL", "LIFT_S3_ENDPOINT", "LIFT_S3_ACCESS_KEY", "LIFT_S3_SECRET_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LIFT_HOME", str(tmp_path))
    yield tmp_path
    down(tmp_path, lambda _: None)


def start(home, said=None):
    return up(home, (said if said is not None else []).append, with_airflow=False, with_vllm=False)


def test_up_twice_and_down(home):
    first = start(home)
    assert start(home) == first
    store = ObjectStore.from_settings(Settings(_env_file=home / "stack.env"))
    store.put_bytes("lift-documents", "kept.txt", b"kept")
    down(home, lambda _: None)
    assert status(home).phase == "stopped"
    assert strays(home) == []
    assert is_gone(first.supervisor_pid)
    assert start(home).ports == first.ports
    assert store.get_bytes("lift-documents", "kept.txt") == b"kept"


def test_a_taken_port_is_told(home, port_offset):
    said = []
    taken = DEFAULT_PORTS["postgres"] + port_offset
    with socket.socket() as other:
        # Else somebody else has it already, which serves as well.
        if is_free(taken):
            other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            other.bind((HOST, taken))
            other.listen()
        seen = start(home, said)
    assert seen.ports["postgres"] != taken
    assert any(str(taken) in line and "postgres" in line for line in said)


@pytest.mark.skipif(sys.platform != "linux", reason="claims are Linux's abstract sockets")
def test_stacks_that_start_at_once_have_their_own_ports(home):
    homes = [home / name for name in "abc"]
    try:
        with ThreadPoolExecutor() as pool:
            seen = list(pool.map(start, homes))
        ports = [set(each.ports.values()) for each in seen]
        assert all(ports) and len(set.union(*ports)) == sum(map(len, ports))
        # Each answers with its own data.
        for place in homes:
            store = ObjectStore.from_settings(Settings(_env_file=place / "stack.env"))
            store.put_bytes("lift-documents", "who.txt", place.name.encode())
        for place in homes:
            store = ObjectStore.from_settings(Settings(_env_file=place / "stack.env"))
            assert store.get_bytes("lift-documents", "who.txt") == place.name.encode()
    finally:
        for place in homes:
            down(place, lambda _: None)


def test_the_users_own_services_are_not_started(home, monkeypatch):
    theirs = home / "theirs"
    try:
        other = start(theirs)
        settings = Settings(_env_file=theirs / "stack.env")
        monkeypatch.setenv("LIFT_S3_ENDPOINT", settings.s3_endpoint)
        monkeypatch.setenv("LIFT_S3_ACCESS_KEY", settings.s3_access_key.get_secret_value())
        monkeypatch.setenv("LIFT_S3_SECRET_KEY", settings.s3_secret_key.get_secret_value())
        seen = start(home / "ours")
        assert other.service("s3") is not None
        assert seen.service("s3") is None
        assert seen.service("postgres") is not None
        assert Settings(_env_file=home / "ours" / "stack.env").s3_endpoint == settings.s3_endpoint
    finally:
        down(home / "ours", lambda _: None)
        down(theirs, lambda _: None)
