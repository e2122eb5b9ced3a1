"""The step `generate`: goes on where it was killed, reports before it ends, fails below a floor in words."""

import json

import pytest
from structlog.testing import capture_logs

from lift_core import generate_step
from lift_core.documents import split
from lift_core.errors import FencedError, QualityError, RecipeError
from lift_core.generate_step import Generation
from lift_core.records import Beat, Claim, GateRecipe, GeneratorRecipe, Lease, Recipe, SegmentationRecipe
from lift_core.settings import Settings
from lift_core.store import layout
from lift_core.stream import committed_judged, read_report

TEXT = " ".join(f"Lighthouse {n} was built by Odo Krell in {1700 + n}." for n in range(20))
SEGMENTS = split(TEXT, SegmentationRecipe())


class Registry:
    """The registry's rules about one job's stream, without a database; the real one is tested by itself."""

    def __init__(self):
        self.token = 0
        self.rows = []
        self.end = None
        self.stages = {}
        self.appends_left = None

    def acquire(self, job_id, role, holder):
        self.token += 1
        return Lease(job_id=job_id, role=role, token=self.token)

    def append_shard(self, lease, shard):
        if self.appends_left == 0:
            raise FencedError("killed here")
        if self.appends_left is not None:
            self.appends_left -= 1
        assert shard.number == len(self.rows)
        self.rows.append(shard)

    def shards(self, job_id, after=-1):
        return [row for row in self.rows if row.number > after]

    def end_stream(self, lease, end):
        self.end = end

    def stream_end(self, job_id):
        return self.end

    def stage_started(self, lease):
        self.stages[lease.role] = None

    def end_open_stage(self, lease, detail=None):
        self.stages[lease.role] = detail

    def beat(self, lease):
        return Beat()

    def end_attempt(self, lease):
        pass


class Store:
    def __init__(self):
        self.objects = {}

    def put_bytes(self, bucket, key, data, content_type="application/octet-stream"):
        self.objects[key] = data

    def get_bytes(self, bucket, key):
        return self.objects[key]


def answer(body, _=0):
    """A right pair about each sentence, and now and then one that the gate rejects."""
    number = int(body["prompt"].split("Sentence: Lighthouse ")[1].split()[0])
    if "Question: " in body["prompt"]:
        return f" {1700 + number}"
    wrong = f"Q: When was lighthouse {number} lit?\nA: {1900 + number}\n" if number % 3 == 0 else ""
    return f"Q: When was lighthouse {number} built?\nA: {1700 + number}\n{wrong}"


class Job:
    """A split document, and what it takes to write its pairs."""

    def __init__(self, server, **gate):
        server.script = answer
        self.registry, self.store = Registry(), Store()
        self.settings = Settings(generator_url=server.url, generator_concurrency=4)
        self.claim = Claim(
            job_id=1,
            run_id="marra-v1-g1",
            slug="marra",
            title="Marra",
            bucket="inbox",
            key="marra.md",
            etag="e",
            size=1,
            version=1,
            recipe=Recipe(generator=GeneratorRecipe(sampled=0), gate=GateRecipe(**gate)),
        )
        self.store.put_bytes("", layout.text_key(1), json.dumps({"text": TEXT}).encode())
        segments = json.dumps([segment.model_dump() for segment in SEGMENTS]).encode()
        self.store.put_bytes("", layout.segments_key(1), segments)

    def generate(self):
        return Generation(self.registry, self.store, self.settings).run(self.claim, "here")

    @property
    def judged(self):
        return list(committed_judged(self.registry, self.store, 1, ""))

    @property
    def report(self):
        return read_report(self.registry, self.store, 1, "")


@pytest.fixture
def job(scripted_server):
    return lambda **gate: Job(scripted_server, **gate)


def test_all_pairs_are_committed_and_reported_and_the_stage_says_what_came_of_it(job):
    one = job()
    done = one.generate()
    assert (done["pairs"], done["rejected"]) == (20, {"ungrounded": 7})
    assert len(one.judged) == 27
    assert one.registry.end.state == "complete"
    assert (one.report.kept, one.report.pairs, one.report.segments) == (20, 27, 20)
    assert one.registry.stages["generate"] == {
        "pairs": 20,
        "rejected": {"ungrounded": 7},
        "kept_share": 20 / 27,
        "coverage": 1.0,
        # The scripted server counts no tokens.
        **dict.fromkeys(("prompt_tokens", "cached_tokens", "completion_tokens"), 0),
        "report": f"s3://lift-work/{one.registry.end.report}",
    }
    covered = [
        number for shard in one.registry.rows for number in range(shard.first_segment, shard.last_segment + 1)
    ]
    assert covered == list(range(20))


def test_the_report_is_there_before_the_end_is(job, monkeypatch):
    one = job()
    ended = one.registry.end_stream

    def end_stream(lease, end):
        assert end.report in one.store.objects
        ended(lease, end)

    monkeypatch.setattr(one.registry, "end_stream", end_stream)
    one.generate()
    assert one.report.kept == 20


@pytest.mark.parametrize("killed_at", [0, 1, 2])
def test_a_killed_attempt_is_gone_on_with_and_nothing_differs(job, scripted_server, killed_at):
    whole = job()
    whole.generate()
    killed = job()
    killed.registry.appends_left = killed_at
    with pytest.raises(FencedError):
        killed.generate()
    assert len(killed.registry.rows) == killed_at
    missing = 20 - (killed.registry.rows[-1].last_segment + 1 if killed_at else 0)
    killed.registry.appends_left = None
    scripted_server.asked.clear()
    killed.generate()
    assert len(scripted_server.asked) == missing
    assert killed.judged == whole.judged
    left_out = {"cost"}
    assert killed.report.model_dump(exclude=left_out) == whole.report.model_dump(exclude=left_out)


def test_what_is_done_is_not_done_again(job, scripted_server):
    one = job()
    done = one.generate()
    scripted_server.asked.clear()
    # The attempt may have been killed before it said that its stage has ended.
    one.registry.stages["generate"] = None
    assert one.generate() == done
    assert scripted_server.asked == []
    assert one.registry.stages["generate"]["pairs"] == 20


FLOORS = [
    (
        {"min_pairs": 21},
        "gate.min_pairs",
        "only 20 question-answer pairs passed the gate; the recipe asks for 21",
    ),
    ({"min_kept_share": 0.8}, "gate.min_kept_share", "only 74.1% of the 27 pairs"),
    ({"min_coverage": 1.0, "reader": "r"}, "gate.min_coverage", "only 95.0% of the 20 segments"),
    (
        {"min_faithfulness": 0.97, "reader": "r"},
        "gate.min_faithfulness",
        "r finds only 94.7% of 19 kept pairs",
    ),
]


@pytest.mark.parametrize(("gate", "floor", "figure"), FLOORS, ids=[floor for _, floor, _ in FLOORS])
def test_pairs_below_a_floor_fail_with_floor_figure_reasons_and_remedy(
    job, scripted_server, gate, floor, figure
):
    one = job(**gate)

    def script(body, _):
        reading = "Question: " in body["prompt"]
        if reading and "Sentence: Lighthouse 4 " in body["prompt"]:
            return " not stated"
        if reading and body["temperature"] and "Sentence: Lighthouse 5 " in body["prompt"]:
            return " 1911"
        return answer(body)

    scripted_server.script = script
    with pytest.raises(QualityError) as failed:
        one.generate()
    said = str(failed.value)
    assert floor in said and figure in said
    assert "7 ungrounded" in said
    assert "lift pairs show marra" in said
    assert (one.registry.end.state, one.registry.end.reason) == ("failed", said)
    assert one.report.rejected["ungrounded"] == 7
    assert one.registry.stages["generate"] is None
    # Another try of the same attempt meets the same end, at no cost.
    scripted_server.asked.clear()
    with pytest.raises(QualityError) as again:
        one.generate()
    assert (str(again.value), scripted_server.asked) == (said, [])


def test_several_floors_are_named_together(job):
    with pytest.raises(QualityError, match=r"lower gate.min_pairs and gate.min_kept_share"):
        job(min_pairs=99, min_kept_share=0.99).generate()


def test_a_floor_that_nobody_could_measure_is_refused_before_anything_is_asked(job, scripted_server):
    with pytest.raises(RecipeError, match=r"gate.min_faithfulness 0.5 .*gate.reader or gate.judge"):
        job(min_faithfulness=0.5).generate()
    assert scripted_server.asked == []


def test_a_report_can_be_had_while_the_pairs_are_written(job):
    one = job()
    one.registry.appends_left = 1
    with pytest.raises(FencedError):
        one.generate()
    so_far = Generation(one.registry, one.store, one.settings).report(1)
    assert 0 < so_far.kept == sum(each.kept for each in one.judged) < 20
    assert so_far.segments == 20
    assert so_far.faithfulness is None


def test_the_log_tells_of_the_progress(job, monkeypatch):
    monkeypatch.setattr(generate_step, "LOG_SECONDS", 0.0)
    with capture_logs() as logs:
        job().generate()
    told = [line["progress"] for line in logs if "progress" in line]
    assert told[-1].startswith("20 of 20 segments, 20 pairs")
