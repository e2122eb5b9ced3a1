"""The parts of the benchmark ``together`` that train nothing: its documents, and the distance of adapters."""

import json

import pytest
import torch
from safetensors.torch import save_file

from lift_core.benchmarks.together import _distance
from lift_core.benchmarks.training_data import read_documents
from lift_core.errors import LiftError


def article(title, count):
    asked = [{"paragraph": 0, "question": f"{n}?", "answers": [f"{title} {n}"]} for n in range(count)]
    return json.dumps({"title": title, "qas": asked})


def test_documents_are_the_first_articles_with_enough_pairs(tmp_path):
    lines = [article("Marra", 3), article("Too_short", 1), article("Odo_Krell", 5), article("Tolm", 4)]
    (tmp_path / "squad_dev.jsonl").write_text("\n".join(lines))
    found = read_documents(tmp_path, 2, 3)
    assert [title for title, _ in found] == ["Marra", "Odo Krell"]
    assert [[pair.answer for pair in pairs] for _, pairs in found][1] == [f"Odo_Krell {n}" for n in range(3)]
    with pytest.raises(LiftError, match="3 such articles, and 4"):
        read_documents(tmp_path, 4, 3)


def adapter(folder, a, b):
    folder.mkdir()
    save_file({"x.lora_A.weight": a, "x.lora_B.weight": b}, folder / "adapter_model.safetensors")
    return folder


def test_the_distance_is_that_of_what_adapters_do_not_of_their_matrices(tmp_path):
    a, b = torch.randn(2, 5), torch.randn(4, 2)
    one = adapter(tmp_path / "one", a, b)
    # The same product from other matrices.
    same = adapter(tmp_path / "same", 2 * a, b / 2)
    other = adapter(tmp_path / "other", a, 1.5 * b)
    assert _distance(same, one) == pytest.approx(0, abs=1e-6)
    assert _distance(other, one) == pytest.approx(0.5, rel=1e-5)
