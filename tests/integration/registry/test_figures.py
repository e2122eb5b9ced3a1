"""The registry's figures: valid Prometheus text, true to the tables, and counters that never go back."""

import pytest
from prometheus_client.parser import text_string_to_metric_families

from lift_core.metrics import exposition
from lift_core.registry.figures import FIGURES
from lift_core.stream import ShardWriter


@pytest.fixture
def read(registry):
    """All samples, by name and the values of their labels in the order of those."""

    def figures():
        text = exposition(registry).decode()
        families = list(text_string_to_metric_families(text))
        assert {(f.name, f.type) for f in families} == {(f.name, f.kind) for f in FIGURES}
        assert all(family.documentation for family in families)
        samples = [sample for family in families for sample in family.samples]
        found = {(s.name, *(s.labels[name] for name in sorted(s.labels))): s.value for s in samples}
        assert len(found) == len(samples) == len([line for line in text.splitlines() if line[0] != "#"])
        return found

    return figures


def test_an_empty_registry_tells_noughts_not_gaps(read):
    found = read()
    assert found["lift_jobs", "queued"] == found["lift_documents", "ready"] == 0
    assert found["lift_oldest_job_seconds", "queued"] == found["lift_pairs_total",] == 0
    assert set(found.values()) == {0}


def test_figures_are_those_of_the_tables(read, work, registry, store, settings):
    work.arrive("waits.md")
    work.active("ready.md")
    failed, hopeless = work.claim("failed.md"), work.claim("hopeless.md")
    registry.fail_job(failed.job_id, "train: no space left", permanent=False)
    registry.fail_job(hopeless.job_id, "no document", permanent=True)
    claim = work.claim("running.md")
    lease = registry.acquire(claim.job_id, "generate", "test")
    registry.stage_started(lease)
    writer = ShardWriter(registry, store, lease, settings.work_bucket)
    writer.append(0, 0, work.pairs(0, 3))
    found = read()
    states = ("queued", "done", "failed", "running", "cancelled")
    assert [found["lift_jobs", state] for state in states] == [1, 1, 2, 1, 0]
    assert found["lift_documents", "generating"] == found["lift_documents", "ready"] == 1
    assert found["lift_oldest_job_seconds", "queued"] > 0
    assert found["lift_jobs_ended_total", "transient", "failed"] == 1
    assert found["lift_jobs_ended_total", "permanent", "failed"] == 1
    assert found["lift_jobs_ended_total", "", "done"] == 1
    assert (found["lift_pairs_total",], found["lift_untrained_shards",]) == (3, 1)
    assert (found["lift_leases", "generate", "false"], found["lift_leases", "train", "false"]) == (1, 0)
    assert (found["lift_adapters", "active"], found["lift_adapters", "candidate"]) == (1, 0)


def test_what_a_stage_took_counts_once_its_job_is_done_and_is_never_taken_back(read, work, registry):
    claim = work.claim("report.md")
    registry.stage_started(registry.acquire(claim.job_id, "train", "killed"))
    training = registry.acquire(claim.job_id, "train", "test")
    registry.stage_started(training)
    registry.stage_ended(training, {"tokens": 1200, "gpu_seconds": 1.5})
    generating = registry.acquire(claim.job_id, "generate", "test")
    registry.stage_started(generating)
    tokens = {"prompt_tokens": 90, "cached_tokens": 30, "completion_tokens": 9}
    registry.stage_ended(generating, tokens)
    assert ("lift_stage_seconds_count", "train") not in read()
    work.finish(claim)
    found = read()
    assert (found["lift_stage_seconds_count", "train"], found["lift_stage_attempts_total", "train"]) == (1, 2)
    assert found["lift_stage_seconds_sum", "train"] > 0
    assert (found["lift_trained_tokens_total",], found["lift_gpu_seconds_total",]) == (1200, 1.5)
    assert [found["lift_generation_tokens_total", kind] for kind in ("prompt", "cached", "completion")] == [
        90,
        30,
        9,
    ]
    registry.reprocess(work.bucket, "report.md")
    work.active("report.md", "e2")
    later = read()
    assert all(later[name] >= value for name, value in found.items() if "_total" in name[0])
