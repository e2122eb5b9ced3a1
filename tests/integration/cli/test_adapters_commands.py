"""``lift adapters`` and ``lift registry`` as a person or a program calls them, on a real registry."""

import json

import pytest


def names(found):
    return [each["name"] for each in found]


def test_a_collection_is_filtered_and_paged(lift, work, registry):
    for number in range(5):
        work.active(key=f"note-{number}.md")
    work.active(key="report.md", etag="e1")
    work.active(key="report.md", etag="e2")
    registry.tag("note-3-v1", {"team": "legal"})

    assert names(lift.json("adapters", "ls"))[:2] == ["report-v2", "report-v1"]
    first = lift("adapters", "ls", "--limit", "3", "--json")
    cursor = first.stderr.split("--cursor ")[1].split(",")[0]
    rest = names(lift.json("adapters", "ls", "--cursor", cursor))
    whole = names(json.loads(first.stdout)) + rest
    assert whole == names(lift.json("adapters", "ls", "--all", "--limit", "2"))
    assert len(set(whole)) == 7

    assert names(lift.json("adapters", "ls", "--document", "report.md")) == ["report-v2", "report-v1"]
    assert names(lift.json("adapters", "ls", "--state", "superseded")) == ["report-v1"]
    assert names(lift.json("adapters", "ls", "--tag", "team=legal")) == ["note-3-v1"]
    assert len(lift.json("adapters", "ls", "--score", "gain>=1")) == 7
    assert lift.json("adapters", "ls", "--score", "gain>1") == []
    assert lift.json("adapters", "ls", "--until", "2026-01-01") == []
    assert len(lift.json("adapters", "ls", "--text", "report")) == 2
    assert "note-3-v1" in lift("adapters", "ls").stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("ls", "--score", "gain=>1"), "gain>=1.5"),
        (("ls", "--tag", "legal"), "KEY=VALUE"),
        (("ls", "--cursor", "???"), "cursor"),
        (("ls", "--recipe", "xyz"), "hexadecimal"),
        (("show", "ghost"), "lift adapters ls"),
        (("alias", "other", "report-v1"), "report@<label>"),
        (("archive", "report-v1"), "report@champion"),
        (("release", "report-v1", "--why", "x"), "is active"),
        (("rm", "report-v1", "--yes"), "is active"),
        (("tag", "report-v1", "a b=c"), "letters, digits"),
    ],
)
def test_what_cannot_be_done_is_said_in_one_line(lift, work, words, said):
    work.active()
    done = lift("adapters", *words, check=False)
    assert done.returncode == 1
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_date_that_is_none_is_wrong_usage(lift):
    done = lift("adapters", "ls", "--since", "yesterday", check=False)
    assert done.returncode == 2
    assert "2026-11-25" in done.stderr


def test_from_quarantine_to_release(lift, work):
    work.active(etag="e1")
    work.active(etag="e2")
    assert "report-v1 answers instead" in lift("adapters", "quarantine", "report", "--why", "dates").stdout
    assert lift.json("adapters", "show", "report")["name"] == "report-v1"
    assert lift.json("adapters", "show", "report-v2")["events"][0]["detail"] == {
        "reason": "dates",
        "instead": "report-v1",
    }
    assert lift("adapters", "release", "report-v2", "--why", "it was right").stdout.startswith("report-v2")
    assert lift.json("adapters", "alias", "report", "report-v2")[0]["adapter"] == "report-v2"
    lift("adapters", "alias", "report@reviewed", "report-v1")
    assert lift.json("adapters", "show", "report-v1")["state"] == "active"
    assert {a["name"]: a["adapter"] for a in lift.json("adapters", "alias")} == {
        "report": "report-v2",
        "report@champion": "report-v2",
        "report@reviewed": "report-v1",
    }
    lift("adapters", "alias", "report@reviewed", "--rm")
    lift("adapters", "archive", "report-v1", "--why", "old")
    lift("adapters", "rm", "report-v1", "--yes")
    assert names(lift.json("adapters", "ls")) == ["report-v2"]
    assert names(lift.json("adapters", "ls", "--state", "removed")) == ["report-v1"]


def test_diff_shows_only_what_differs(lift, work):
    work.active(etag="e1")
    work.active(etag="e2")
    found = lift.json("adapters", "diff", "report-v1", "report-v2")
    assert found["document.version"] == {"first": 1, "second": 2}
    assert "document.key" not in found
    assert "recipe.digest" not in found


def test_lineage_goes_from_the_adapter_to_its_document_recipe_and_run(lift, work):
    adapter = work.active()
    found = lift.json("adapters", "lineage", "report")
    assert found["document"]["key"] == "report.md"
    assert found["document"]["sha256"] == work.sha256("e1")
    assert found["recipe"]["digest"] == adapter.recipe
    assert found["run"]["run_id"].startswith("report-v1-")
    assert "report.md" in lift("adapters", "lineage", "report").stdout


def test_verify_and_gc_tell_by_their_exit_code(lift, work, store, settings):
    adapter = work.active()
    missing = lift("adapters", "verify", "--all", check=False)
    assert (missing.returncode, "is missing" in missing.stdout) == (1, True)
    assert lift("registry", "gc", check=False).returncode == 1
    store.put_bytes(settings.adapters_bucket, f"{adapter.prefix}adapter_model.safetensors", b"")
    done = lift("adapters", "verify", "report", check=False)
    assert (done.returncode, "has sha256" in done.stdout) == (1, True)
    assert lift("registry", "gc").stdout.endswith(
        "0 orphans in the store (0 bytes), 0 files missing from it\n"
    )
    assert lift("adapters", "verify", check=False).returncode == 2
