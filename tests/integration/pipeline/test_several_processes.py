"""The step ``train`` by two processes: LIFT_TRAIN_PROCESSES and LIFT_TRAIN_SHARD."""

import pytest
import torch

from lift_core.steps import Steps
from lift_core.training import Backbone

pytestmark = [
    pytest.mark.usefixtures("tiny_model"),
    pytest.mark.skipif(torch.cuda.device_count() == 1, reason="two processes need two GPUs, or none"),
]

HOLDER = "a test"


@pytest.mark.parametrize("shard", [False, True], ids=["whole", "sharded"])
def test_two_processes_train_an_adapter_that_stands_its_proof(steps, shard, monkeypatch):
    seen = []
    adapters = Backbone.adapters

    def watched(self, *arguments):
        seen.append((self.ranks.size, self.sharded))
        return adapters(self, *arguments)

    monkeypatch.setattr(Backbone, "adapters", watched)
    two = Steps(
        steps.registry,
        steps.store,
        steps.settings.model_copy(update={"train_processes": 2, "train_shard": shard}),
    )
    text = b"# The lighthouse\n\nThe lighthouse burns oil of seals. Odo Krell built it in 1702.\n"
    two.store.put_bytes(two.settings.documents_bucket, "lighthouse.md", text)
    claim = two.claim(two.dispatch()[0].run_id)
    two.split(claim)
    two.generate(claim, HOLDER)
    trained = two.train(claim, HOLDER)
    assert trained["steps"] > 0 and seen == [(2, shard)]
    assert two.prove(claim, HOLDER)["gain"] > 0
    assert two.activate(claim) == trained["adapter"]
