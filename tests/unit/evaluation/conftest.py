"""A tiny model with random weights, and a few items of our own in the documented schema."""

import json
from pathlib import Path

import pytest

SUBJECTS = ("anatomy", "astronomy", "virology")
LETTERS = "ABCD"


def mmlu_row(subject, split, number):
    choices = [f"{number + step} {subject} units" for step in (1, 2, 3, 4)]
    return {
        "id": f"{subject}-{split}-{number}",
        "subject": subject,
        "question": f"Brindle keeps {number} {subject} units and buys one more. How many has she?",
        "choices": choices[number % 4 :] + choices[: number % 4],
        "answer": -number % 4,
    }


def gsm8k_row(split, number):
    return {
        "id": f"{split}-{number}",
        "question": f"Ilse had {number} lamps and lit two more. How many are lit?",
        "answer": f"She lit {number} + 2 = <<{number}+2={number + 2}>>{number + 2}.\n#### {number + 2}",
    }


class ItemFiles:
    """The four files of a folder: change ``rows`` or ``folder``'s files, then ``write`` or read."""

    def __init__(self, folder):
        self.folder = folder
        self.rows = {
            "mmlu_test.jsonl": [mmlu_row(s, "test", n) for n in range(6) for s in SUBJECTS],
            "mmlu_dev.jsonl": [mmlu_row(s, "dev", 20 + n) for n in range(5) for s in SUBJECTS],
            "gsm8k_test.jsonl": [gsm8k_row("test", n) for n in range(10, 17)],
            "gsm8k_train_fewshot.jsonl": [gsm8k_row("train", 30 + n) for n in range(5)],
        }

    def write(self):
        self.folder.mkdir(exist_ok=True)
        for name, rows in self.rows.items():
            lines = "".join(f"{json.dumps(row)}\n" for row in rows)
            (self.folder / name).write_text(lines, encoding="utf-8")
        return self.folder


@pytest.fixture
def files(tmp_path):
    """Items of three MMLU subjects and of GSM8K, not written yet."""
    return ItemFiles(tmp_path / "items")


@pytest.fixture(scope="session")
def shipped_tasks():
    """The harness's index of MMLU and GSM8K: that of all it ships takes seconds to make."""
    import lm_eval.tasks

    shipped = Path(lm_eval.tasks.__file__).parent
    folders = [shipped / "mmlu" / "default", shipped / "gsm8k"]
    return lm_eval.tasks.TaskManager(include_path=folders, include_defaults=False)


@pytest.fixture
def few_tasks(shipped_tasks, monkeypatch):
    """The harness knows MMLU and GSM8K, or own tasks alone where there are some."""
    import lm_eval.tasks

    whole = lm_eval.tasks.TaskManager

    def few(include_path=None):
        return whole(include_path=include_path, include_defaults=False) if include_path else shipped_tasks

    monkeypatch.setattr(lm_eval.tasks, "TaskManager", few)


@pytest.fixture
def tiny_tokenizer(tiny):
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(str(tiny))


@pytest.fixture
def tiny_model(tiny):
    """The tiny model in fp32, its weights larger: with small ones it says the same whatever is asked."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(str(tiny), dtype=torch.float32).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.dim() == 2:
                parameter.mul_(16)
    return model
