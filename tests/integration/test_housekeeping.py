"""Store against registry: damage is found, orphans go, and nothing that is referred to ever does."""

from datetime import UTC, datetime, timedelta

import pytest

from lift_core.errors import NotFoundError, StateError
from lift_core.evaluation_records import AdapterVerdict, Conditions, ResultShard
from lift_core.housekeeping import Housekeeping
from lift_core.records import Recipe
from lift_core.store import layout

AT_ONCE = timedelta(0)
CONDITIONS = Conditions(
    task="mmlu",
    task_digest="1",
    data_digest="2",
    harness="lm_eval",
    base_model="base",
    base_revision="1",
    engine="transformers",
)
VERDICT = AdapterVerdict(
    adapter="",
    run="run-1",
    base_model=Recipe().base_model,
    verdict="undecided",
    sentence="Undecided.",
    decided_by=(),
    p_value=1,
    adjusted_p_value=1,
    alerted=False,
    family=1,
    measurements=(),
    subjects={},
    signs={},
    policy={},
    action="none",
    report=layout.report_prefix("run-1", "a-v1"),
    created_at=datetime(2026, 1, 1, tzinfo=UTC),
)


@pytest.fixture
def keeper(registry, store, settings):
    return Housekeeping(registry, store, settings)


@pytest.fixture
def stored(registry, store, settings, work):
    """Make an active adapter whose files are in the store; returns it."""
    from lift_core.training.adapter_files import sha256_files

    def make(key, tmp_path):
        claim = work.claim(key=key)
        folder = tmp_path / key
        folder.mkdir()
        (folder / "adapter_model.safetensors").write_bytes(f"weights of {key}".encode())
        (folder / "adapter_config.json").write_text("{}")
        lease = registry.acquire(claim.job_id, "train", "test")
        prefix = layout.candidate_prefix(claim.job_id, lease.token)
        files = sha256_files(folder)
        for name in files:
            store.put_file(settings.adapters_bucket, f"{prefix}{name}", folder / name)
        candidate = registry.register_candidate(lease, prefix, files, {})
        registry.record_proof(work.prover(claim), candidate.name, {"gain": 1.0})
        return registry.activate(candidate.name)

    return make


def keys(store, bucket):
    return {found.key for found in store.list(bucket)}


def test_whole_files_are_found_whole_and_damage_is_named_and_recorded(
    keeper, registry, store, settings, stored, tmp_path
):
    whole, damaged, short = (stored(key, tmp_path) for key in ("a.md", "b.md", "c.md"))
    assert [each.problems for each in keeper.verify()] == [(), (), ()]

    bucket = settings.adapters_bucket
    store.put_bytes(bucket, f"{damaged.prefix}adapter_model.safetensors", b"weights of b.mD")
    store.remove(bucket, f"{short.prefix}adapter_config.json")
    problems = {each.adapter: each.problems for each in keeper.verify()}
    assert problems[whole.name] == ()
    assert "adapter_model.safetensors has sha256" in problems[damaged.name][0]
    assert problems[short.name] == ("adapter_config.json is missing",)
    assert [each.kind for each in registry.events(whole.name) if each.kind == "adapter.damaged"] == []
    assert registry.events(damaged.name)[0].kind == "adapter.damaged"
    assert [each.adapter for each in keeper.verify({whole.name})] == [whole.name]


def test_orphans_of_ended_jobs_are_found_and_deleted_and_nothing_else(
    keeper, registry, store, settings, work, stored, tmp_path
):
    adapter = stored("a.md", tmp_path)
    job = int(adapter.prefix.split("/")[1])
    claim = work.claim(key="b.md")  # under way: whatever its attempts wrote stays
    writer = work.writer(claim, store, settings.work_bucket)
    writer.append(0, 0, work.pairs(0))
    running = layout.candidate_prefix(claim.job_id, 7)
    orphan = layout.candidate_prefix(job, 99)
    lost = layout.candidate_prefix(10**9, 1)
    for prefix in (running, orphan, lost):
        store.put_bytes(settings.adapters_bucket, f"{prefix}adapter_model.safetensors", b"x")
    shard, report = layout.shard_key(job, 99, 0), layout.pair_report_key(job, 99)
    for key in (shard, report, layout.text_key(job), layout.text_key(10**9), "local/report.md"):
        store.put_bytes(settings.work_bucket, key, b"x")
    before = keys(store, settings.adapters_bucket) | keys(store, settings.work_bucket)

    assert list(keeper.orphans(older_than=timedelta(hours=1), delete=True)) == []
    named = {each.key for each in keeper.orphans(older_than=AT_ONCE)}
    expected = {
        f"{orphan}adapter_model.safetensors",
        f"{lost}adapter_model.safetensors",
        shard,
        report,
        layout.text_key(10**9),
    }
    assert named == expected
    assert keys(store, settings.adapters_bucket) | keys(store, settings.work_bucket) == before

    assert all(each.deleted for each in keeper.orphans(older_than=AT_ONCE, delete=True))
    assert keys(store, settings.adapters_bucket) | keys(store, settings.work_bucket) == before - expected
    assert list(keeper.orphans(older_than=AT_ONCE)) == []


def test_a_registered_file_that_the_store_lacks_is_named_and_left(
    keeper, registry, store, settings, stored, tmp_path
):
    adapter = stored("a.md", tmp_path)
    store.remove(settings.adapters_bucket, f"{adapter.prefix}adapter_config.json")
    (found,) = keeper.orphans(older_than=AT_ONCE, delete=True)
    assert (found.side, found.deleted) == ("registry", False)
    assert found.key == f"{adapter.prefix}adapter_config.json"
    assert adapter.name in found.why
    assert registry.adapter(adapter.name) == adapter


def test_a_removed_adapters_files_go_and_its_line_stays(keeper, registry, store, settings, stored, tmp_path):
    adapter = stored("a.md", tmp_path)
    with pytest.raises(StateError, match=r"a-v1.*is active.*a@champion"):
        keeper.remove_adapter(adapter.name)
    assert len(keys(store, settings.adapters_bucket)) == 2
    registry.quarantine(adapter.name, "invents dates")
    assert keeper.remove_adapter(adapter.name) == 2
    assert keys(store, settings.adapters_bucket) == set()
    assert registry.adapter(adapter.name).state == "removed"
    assert registry.adapters().adapters == ()
    assert registry.lineage(adapter.name).document["key"] == "a.md"
    assert keeper.remove_adapter(adapter.name) == 0
    with pytest.raises(NotFoundError, match="ghost-v1"):
        keeper.remove_adapter("ghost-v1")


def test_a_removal_that_was_killed_half_way_is_finished_by_the_cleaning(
    keeper, registry, store, settings, stored, tmp_path
):
    adapter = stored("a.md", tmp_path)
    registry.quarantine(adapter.name, "invents dates")
    registry.remove(adapter.name)  # and then the process dies
    assert len(list(keeper.orphans(older_than=AT_ONCE, delete=True))) == 2
    assert keys(store, settings.adapters_bucket) == set()


def test_results_and_reports_that_the_registry_knows_stay_and_what_attempts_left_goes(
    keeper, registry, store, settings, stored, tmp_path
):
    judged, other = (stored(key, tmp_path) for key in ("a.md", "b.md"))
    kept, orphaned = set(), set()
    for adapter in (None, judged.name):
        evaluation = registry.open_evaluation(CONDITIONS, adapter)
        prefix = layout.evaluation_prefix(CONDITIONS.digest, adapter)
        for attempt in ("lost", "won"):
            store.put_bytes(settings.work_bucket, f"{prefix}0-{attempt}.jsonl", b"{}")
        shard = ResultShard(first=0, count=5, key=f"{prefix}0-won.jsonl", sha256="0" * 64)
        assert registry.commit_results(evaluation.id, shard)
        kept.add(shard.key)
        orphaned.add(f"{prefix}0-lost.jsonl")
    verdict = registry.record_verdict(VERDICT.model_copy(update={"adapter": judged.name}))
    for name in ("report.html", "trend.svg"):
        kept.add(f"{verdict.report}{name}")
        orphaned.add(f"{layout.report_prefix(verdict.run, other.name)}{name}")
    kept.add(f"reports/{verdict.run}/report.html")  # the run's own page, which is no adapter's
    for key in kept | orphaned:
        store.put_bytes(settings.work_bucket, key, b"x")

    assert list(keeper.orphans(older_than=timedelta(hours=1), delete=True)) == []
    found = {each.key: each.why for each in keeper.orphans(older_than=AT_ONCE, delete=True)}
    assert found.keys() == orphaned
    assert {why.split(" ")[1] for why in found.values()} == {"evaluation", "verdict"}
    assert keys(store, settings.work_bucket) == kept


def test_the_results_and_reports_of_a_removed_adapter_stay(
    keeper, registry, store, settings, stored, tmp_path
):
    name = stored("a.md", tmp_path).name
    verdict = registry.record_verdict(VERDICT.model_copy(update={"adapter": name}))
    results = f"{layout.evaluation_prefix(CONDITIONS.digest, name)}0.jsonl"
    evaluation = registry.open_evaluation(CONDITIONS, name)
    registry.commit_results(evaluation.id, ResultShard(first=0, count=5, key=results, sha256="0" * 64))
    for key in (results, f"{verdict.report}report.html"):
        store.put_bytes(settings.work_bucket, key, b"x")
    registry.quarantine(name, verdict.sentence)
    assert keeper.remove_adapter(name) == 2
    assert list(keeper.orphans(older_than=AT_ONCE, delete=True)) == []
    assert keys(store, settings.work_bucket) == {results, f"{verdict.report}report.html"}
