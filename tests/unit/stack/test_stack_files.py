"""State, secrets, settings file, ports."""

import socket
import stat
import sys

import pytest

from lift_core.settings import Settings
from lift_core.stack import ports as ports_module
from lift_core.stack.ports import DEFAULT_PORTS, HOST, PortClaims, choose_ports
from lift_core.stack.state import (
    ServiceStatus,
    StackStatus,
    ensure_secrets,
    is_supervised,
    load_secrets,
    read_status,
    take_lock,
    write_stack_env,
    write_status,
)
from lift_core.stack.vllm import fitting_rank


def test_secrets_are_made_once_private_and_do_not_print(tmp_path):
    made = ensure_secrets(tmp_path)
    assert ensure_secrets(tmp_path) == made == load_secrets(tmp_path)
    assert stat.S_IMODE((tmp_path / "secrets.json").stat().st_mode) == 0o600
    assert len(made.jwt_secret.get_secret_value()) >= 64
    for name in type(made).model_fields:
        assert getattr(made, name).get_secret_value() not in f"{made!r} {made} {made.model_dump_json()}"


def test_status_is_read_as_written_without_secrets(tmp_path):
    status = StackStatus(
        home=tmp_path,
        phase="ready",
        services=(ServiceStatus(name="s3", state="ready", pid=7, log="x"),),
        secrets=ensure_secrets(tmp_path),
    )
    write_status(status)
    assert read_status(tmp_path) == status.model_copy(update={"secrets": None})


def test_settings_read_what_the_stack_writes(tmp_path, monkeypatch):
    for name in ("LIFT_DATABASE_URL", "LIFT_S3_SECRET_KEY"):
        monkeypatch.delenv(name, raising=False)
    hard = "a'b\\c$HOME #d"
    write_stack_env(
        tmp_path, {"LIFT_DATABASE_URL": "postgresql+psycopg2://x:y@h/d", "LIFT_S3_SECRET_KEY": hard}
    )
    settings = Settings(_env_file=tmp_path / "stack.env")
    assert settings.s3_secret_key.get_secret_value() == hard
    assert settings.database_url.get_secret_value() == "postgresql+psycopg2://x:y@h/d"
    assert stat.S_IMODE((tmp_path / "stack.env").stat().st_mode) == 0o600


def test_one_supervisor_a_home(tmp_path):
    assert not is_supervised(tmp_path)
    lock = take_lock(tmp_path)
    assert lock is not None
    assert is_supervised(tmp_path)
    assert take_lock(tmp_path) is None
    lock.close()
    assert not is_supervised(tmp_path)


@pytest.fixture
def listener():
    with socket.socket() as server:
        server.bind((HOST, 0))
        server.listen()
        yield server.getsockname()[1]


def test_a_taken_port_is_replaced_and_told(listener, monkeypatch):
    monkeypatch.setitem(DEFAULT_PORTS, "airflow", listener)
    ports, notes = choose_ports({})
    assert ports["airflow"] != listener
    assert any("airflow" in note and str(listener) in note for note in notes)
    again, _ = choose_ports(ports)
    assert again == ports
    grpc = [port + 10_000 for name, port in ports.items() if name.startswith("s3")]
    assert len({*ports.values(), *grpc}) == len(ports) + len(grpc)


# Where no other stack of this machine is likely to be.
_OFFSET = 1700


@pytest.mark.skipif(sys.platform != "linux", reason="claims are Linux's abstract sockets")
def test_two_stacks_that_start_at_once_get_different_ports():
    with PortClaims() as one, PortClaims() as other:
        # Nobody listens on any of them yet.
        ours, _ = choose_ports({}, _OFFSET, one)
        theirs, notes = choose_ports({}, _OFFSET, other)
        assert not set(ours.values()) & set(theirs.values())
        assert any("vllm-generator" in note for note in notes)
        # The addresses of a stack that runs are not given away as those of before either.
        assert not set(choose_ports(ours, _OFFSET, other)[0].values()) & set(ours.values())
    with PortClaims() as later:
        assert choose_ports(ours, _OFFSET, later)[0] == ours


@pytest.mark.parametrize(("rank", "fits"), [(1, 1), (12, 16), (32, 32), (129, 256)])
def test_rank_that_vllm_takes(rank, fits):
    assert fitting_rank(rank) == fits


def test_rank_too_large_for_vllm():
    with pytest.raises(ValueError, match="512"):
        fitting_rank(1000)


def test_a_port_whose_socket_file_belongs_to_another_user_is_not_chosen(tmp_path, monkeypatch):
    (tmp_path / f"seaweedfs-s3-{DEFAULT_PORTS['s3']}.sock").touch()
    monkeypatch.setattr(ports_module, "_SOCKETS", tmp_path)
    monkeypatch.setattr(ports_module, "is_free", lambda port: True)
    owner = tmp_path.stat().st_uid
    monkeypatch.setattr(ports_module.os, "geteuid", lambda: owner + 1)
    assert choose_ports({})[0]["s3"] != DEFAULT_PORTS["s3"]
    monkeypatch.setattr(ports_module.os, "geteuid", lambda: owner)
    assert choose_ports({})[0]["s3"] == DEFAULT_PORTS["s3"]
