"""How a step is dealt out to the processes of one training; one process needs no other."""

import psutil
import pytest

from lift_core.training.encoding import Example
from lift_core.training.packing import Batch
from lift_core.training.parallel import shares, team


def test_one_process_needs_no_other():
    before = psutil.Process().children()
    with team(1) as ranks:
        assert (ranks.rank, ranks.size) == (0, 1)
        assert psutil.Process().children() == before


@pytest.mark.parametrize("count", [1, 2, 3, 5])
def test_every_example_is_dealt_once_and_the_shares_are_alike(count):
    lengths = {"one": (3, 40, 8, 8, 2, 25), "two": (7, 7, 30)}
    batches = [
        Batch(name, (0,) * 6, tuple(Example((number,) * (each - 1), (9,)) for number, each in enumerate(own)))
        for name, own in lengths.items()
    ]
    dealt = shares(batches, count)
    given = [(batch.adapter, example) for share in dealt for batch in share for example in batch.examples]
    assert sorted(given, key=str) == sorted(((b.adapter, e) for b in batches for e in b.examples), key=str)
    tokens = [sum(len(b.prefix) + sum(e.length for e in b.examples) for b in share) for share in dealt]
    assert len(tokens) == count and min(tokens) > 0
    assert max(tokens) <= sum(tokens) / count + 40 / 2 + 6
    # A prefix is computed once more where a batch is cut, and only there.
    assert sum(len(share) for share in dealt) <= len(batches) + count - 1


def test_where_there_are_too_few_examples_some_processes_get_none():
    dealt = shares([Batch("one", (0, 1), (Example((2,), (3,)),))], 3)
    assert [len(share) for share in dealt] == [1, 0, 0]
