"""What a killed server or a killed initdb left behind does not keep the next start from working."""

import os

import pytest

from lift_core.errors import ServiceUnavailableError
from lift_core.stack import postgres


@pytest.mark.parametrize(
    "left", ["-4194303\n", "", "\n", "not a number\n", "{other_program}\n/data\n", "4194303\n"]
)
def test_a_pid_file_that_names_no_server_is_removed(tmp_path, left):
    (tmp_path / "postmaster.pid").write_text(left.format(other_program=os.getpid()))
    postgres._clear_stale_pid(tmp_path)
    assert not (tmp_path / "postmaster.pid").exists()


def test_a_cut_off_initdb_leaves_nothing_that_counts_as_made(tmp_path, monkeypatch):
    data = tmp_path / "postgres"
    monkeypatch.setattr(postgres, "run_as", lambda: None)

    def cut_off(folder, password, user):
        (folder / "PG_VERSION").write_text("18\n")
        raise ServiceUnavailableError("initdb was killed")

    def whole(folder, password, user):
        assert list(folder.iterdir()) == []
        (folder / "PG_VERSION").write_text("18\n")
        (folder / "base").mkdir()

    monkeypatch.setattr(postgres, "_initdb", cut_off)
    with pytest.raises(ServiceUnavailableError):
        postgres.prepare(data, "secret")
    assert not data.exists()
    monkeypatch.setattr(postgres, "_initdb", whole)
    postgres.prepare(data, "secret")
    assert sorted(found.name for found in data.iterdir()) == ["PG_VERSION", "base"]
    assert [found.name for found in tmp_path.iterdir()] == ["postgres"]
    monkeypatch.setattr(postgres, "_initdb", cut_off)
    postgres.prepare(data, "secret")  # it is there: nothing is made
