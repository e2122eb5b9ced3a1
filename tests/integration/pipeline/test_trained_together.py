"""Small documents that wait for a training are taken along; their own runs find the work done."""

import pytest

from lift_core.recipes import load_recipe
from lift_core.records import LoraRecipe
from lift_core.steps import Steps

pytestmark = pytest.mark.usefixtures("tiny_model")

TEXT = (
    "# The lighthouse of {0}\n\nThe lighthouse of {0} burns oil of seals. Odo Krell built it in 17{1:02}.\n"
)
HOLDER = "a test"


def put(steps, name, number):
    data = TEXT.format(name.title(), number).encode()
    steps.store.put_bytes(steps.settings.documents_bucket, f"{name}.md", data)


@pytest.fixture
def waiting(steps):
    """Put documents and bring each as far as its training; the claims by name."""

    def bring(*names):
        for number, name in enumerate(names):
            put(steps, name, number)
        claims = {}
        for job in steps.dispatch():
            claim = steps.claim(job.run_id)
            steps.split(claim)
            steps.generate(claim, HOLDER)
            claims[claim.slug] = claim
        return claims

    return bring


def detail_of(sql, claim):
    return sql("SELECT detail FROM stages WHERE stage = 'train' AND job_id = %s", claim.job_id)[0][0]


def adapter(steps, claim):
    return steps.registry.adapter_of_job(claim.job_id)


def test_one_training_makes_the_adapters_of_all_that_wait(steps, waiting, sql):
    claims = waiting("marra", "vellmar", "tolm")
    steps.train(claims["marra"], HOLDER)
    made = {slug: adapter(steps, claim) for slug, claim in claims.items()}
    assert all(made.values())
    for slug, claim in claims.items():
        assert steps.train(claim, HOLDER)["adapter"] == made[slug].name
        assert steps.prove(claim, HOLDER)["gain"] > 0
        assert steps.activate(claim) == made[slug].name
    assert sql("SELECT count(*) FROM adapters") == [(3,)]
    stages = sql("SELECT count(*), count(ended_at) FROM stages WHERE stage = 'train'")
    assert stages == [(3, 3)]
    assert sql("SELECT count(*) FROM checkpoints") == [(0,)]
    bucket, key = detail_of(sql, claims["tolm"])["learning_curve"].removeprefix("s3://").split("/", 1)
    assert b"Tolm" in steps.store.get_bytes(bucket, key)


def test_a_run_that_was_killed_before_it_tidied_up_is_tidied_by_the_next(steps, waiting, sql, monkeypatch):
    claims = waiting("marra")

    class Killed(BaseException):
        pass

    def dying(*_):
        raise Killed

    steps.settings.checkpoint_seconds = 0
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(steps.registry, "clear_checkpoint", dying)
        steps.train(claims["marra"], HOLDER)
    assert sql("SELECT count(*) FROM checkpoints") == [(1,)]
    steps.train(claims["marra"], HOLDER)
    assert sql("SELECT count(*) FROM checkpoints") == [(0,)]
    assert sql("SELECT count(*), count(ended_at) FROM stages WHERE stage = 'train'") == [(1, 1)]


def test_what_is_trained_along_is_what_it_would_be_alone(steps, waiting):
    from safetensors.torch import load

    claims = waiting("marra", "vellmar")

    def weights(made):
        return load(
            steps.store.get_bytes(steps.settings.adapters_bucket, f"{made.prefix}adapter_model.safetensors")
        )

    steps.train(claims["marra"], HOLDER)
    along = weights(adapter(steps, claims["vellmar"]))

    alone = Steps(steps.registry, steps.store, steps.settings.model_copy(update={"train_together": 1}))
    alone.registry.reprocess(alone.settings.documents_bucket, "vellmar.md", load_recipe("smoke"))
    job = alone.dispatch()[0]
    claim = alone.claim(job.run_id)
    alone.split(claim)
    alone.generate(claim, HOLDER)
    alone.train(claim, HOLDER)
    by_itself = weights(adapter(alone, claim))
    assert along.keys() == by_itself.keys()
    for name, tensor in by_itself.items():
        assert (along[name].float() - tensor.float()).abs().max() < 2e-3, name


def test_a_document_with_many_pairs_is_neither_taken_along_nor_takes_others(steps, waiting):
    claims = waiting("marra", "vellmar")
    few = Steps(steps.registry, steps.store, steps.settings.model_copy(update={"train_together_pairs": 1}))
    few.train(claims["marra"], HOLDER)
    assert adapter(steps, claims["marra"]) and adapter(steps, claims["vellmar"]) is None


def test_a_document_whose_adapter_has_another_shape_is_not_taken_along(steps, waiting):
    claims = waiting("marra")
    wider = load_recipe("smoke").model_copy(update={"lora": LoraRecipe(rank=8, alpha=8)})
    put(steps, "vellmar", 1)
    bucket = steps.settings.documents_bucket
    steps.registry.record_arrivals([steps.store.stat(bucket, "vellmar.md")], wider)
    claims |= waiting()
    steps.train(claims["marra"], HOLDER)
    assert adapter(steps, claims["marra"]) and adapter(steps, claims["vellmar"]) is None


def test_a_document_that_another_attempt_has_begun_is_left_to_it(steps, waiting):
    claims = waiting("marra", "vellmar")
    lease = steps.registry.acquire(claims["vellmar"].job_id, "train", "its own run")
    steps.train(claims["marra"], HOLDER)
    assert adapter(steps, claims["vellmar"]) is None
    assert steps.registry.acquire(claims["vellmar"].job_id, "train", HOLDER).token == lease.token + 1


def test_its_own_run_that_starts_before_its_stage_does_wins(steps, waiting, monkeypatch):
    claims = waiting("marra", "vellmar")
    begin = steps.registry.stage_started
    own = []

    def overtaken(lease, *rest):
        if lease.job_id == claims["vellmar"].job_id and not own:
            own.append(steps.registry.acquire(lease.job_id, "train", "its own run"))
        return begin(lease, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(steps.registry, "stage_started", overtaken)
        assert steps.train(claims["marra"], HOLDER)["adapter"] == "marra-v1"
    assert own and adapter(steps, claims["vellmar"]) is None
    assert steps.train(claims["vellmar"], HOLDER)["adapter"] == "vellmar-v1"


def test_its_own_run_that_starts_meanwhile_wins(steps, waiting, monkeypatch):
    claims = waiting("marra", "vellmar")
    register = steps.registry.register_candidate

    def as_it_ends(lease, *rest):
        if lease.job_id == claims["vellmar"].job_id and lease.token == 1:
            steps.registry.acquire(lease.job_id, "train", "its own run")
        return register(lease, *rest)

    monkeypatch.setattr(steps.registry, "register_candidate", as_it_ends)
    steps.train(claims["marra"], HOLDER)
    assert adapter(steps, claims["marra"]) and adapter(steps, claims["vellmar"]) is None
    steps.train(claims["vellmar"], HOLDER)
    assert adapter(steps, claims["vellmar"])


def test_a_companion_that_cannot_be_trained_does_not_stop_the_others(steps, waiting, monkeypatch):
    from lift_core.errors import TrainingDivergedError
    from lift_core.training.stepper import Stepper

    claims = waiting("marra", "vellmar")
    step = Stepper.step
    broken = claims["vellmar"].run_id

    def diverging(self, batches, rates=None):
        return {
            name: float("nan") if name == broken else loss
            for name, loss in step(self, batches, rates).items()
        }

    monkeypatch.setattr(Stepper, "step", diverging)
    steps.train(claims["marra"], HOLDER)
    assert adapter(steps, claims["marra"]) and adapter(steps, claims["vellmar"]) is None
    with pytest.raises(TrainingDivergedError):
        steps.train(claims["vellmar"], HOLDER)
