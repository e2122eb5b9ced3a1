"""Benchmark ``evaluation``: the guard's way of asking beside plain lm-evaluation-harness, and its servers.

The same items, model and precision, in one process and one run: items a second, and whether every item came
out the same. In bf16 the harness is also compared with itself at another batch size: a batch of another shape
rounds otherwise, so what differs there differs without us. Then open answers of several adapters by a vLLM
server that holds them: all at once, and one adapter after the other; and how often a server's answer is
judged otherwise than this process's.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lift_core.base_models import base_model_folder
from lift_core.benchmarks.report import Report
from lift_core.benchmarks.secrets import Secret, forget, secret_recipe, secrets, teach
from lift_core.evaluation.forgetting_tasks import ForgettingTask, Prompt, load_tasks
from lift_core.evaluation.loading import load_base
from lift_core.evaluation.measuring import choose, score_gold, write_answers
from lift_core.evaluation.served_answers import ServedAnswers
from lift_core.evaluation.shared_prefix import SharedPrefixModel
from lift_core.evaluation_records import ItemResult
from lift_core.steps import Steps

CHOICES = 256
"""The guard asks twice as many at once: the more, the more of them share their examples."""
GOLD = 32
WRITTEN = 16
SERVED = 8
ADAPTERS = 4
FP32_SHARE = 4
"""In fp32 a quarter of the items: it takes longest, and what it shows is that nothing differs."""
PLAIN_BATCH = 4
"""The harness keeps logits of every token of a batch: 16 rows of MMLU took over 10 GB beside the stack."""
OTHER_BATCH = 2
"""Of the harness against itself."""
_MAX_TOKENS = 64
"""Of answers that are written here: what is compared is the way of asking, not the answers."""

Asking = Callable[[ForgettingTask, Any, Sequence[Prompt]], list[ItemResult]]
Progress = Callable[[str, int, int], None]


def run(steps: Steps, data: Path, *, quick: bool = False, on_progress: Progress) -> Report:
    """Measure on the items in ``data``; the stack must be up for the servers' part.

    Raises:
        EvaluationDataError: the items are missing or broken.
        LiftError: an adapter could not be made, or did not answer.
    """
    import torch

    mmlu, gsm8k = load_tasks(["mmlu", "gsm8k"], folder=data)
    share = 8 if quick else 1
    recipe = secret_recipe()
    folder = base_model_folder(recipe, steps.settings)
    rows: list[dict[str, Any]] = []
    precisions = [("bf16", torch.bfloat16, share)]
    if not quick:
        precisions.insert(0, ("fp32", torch.float32, FP32_SHARE))
    for precision, dtype, part in precisions:
        model, tokenizer = load_base(folder, dtype)
        ours, plain = SharedPrefixModel(model, tokenizer), _plain(model, tokenizer, PLAIN_BATCH)
        plans: list[tuple[str, ForgettingTask, Asking, int]] = [
            ("MMLU, choices scored", mmlu, choose, CHOICES // part),
            ("GSM8K, gold answers scored", gsm8k, score_gold, GOLD // part),
            ("GSM8K, answers written", gsm8k, write_answers, WRITTEN // part),
        ]
        for number, (name, task, asking, count) in enumerate(plans):
            on_progress(f"{name}, {precision}", number, len(plans))
            row, answers = _beside_plain(f"{name}, {precision}", task, asking, count, ours, plain)
            rows.append(row)
            if precision == "bf16" and asking is choose:
                other = _plain(model, tokenizer, OTHER_BATCH)
                rows.append(_plain_beside_itself(f"{name}, {precision}", task, count, other, answers))
    on_progress("teaching", 0, ADAPTERS)
    rows += _servers(steps, gsm8k, SERVED // share, on_progress)
    return Report(
        name="evaluation",
        settings={
            "base model": recipe.base_model,
            "shots": 5,
            "plain": f"lm-eval hf, batch {PLAIN_BATCH}",
            "written tokens": _MAX_TOKENS,
        },
        rows=rows,
    )


def _plain(model: Any, tokenizer: Any, batch: int) -> Any:
    """The harness's own ``hf`` model, which lacks only the count of an answer's tokens."""
    from lm_eval.models.huggingface import HFLM

    from lift_core.evaluation.quiet import quiet_harness

    with quiet_harness():
        plain = HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch, backend="causal")
    plain.tokens_of = lambda context, answer: len(plain._encode_pair(context, answer)[1])
    return plain


def _beside_plain(
    name: str, task: ForgettingTask, asking: Asking, count: int, ours: Any, plain: Any
) -> tuple[dict[str, Any], list[ItemResult]]:
    """Both on the same items, one after the other; and what the harness answered."""
    found = {}
    seconds = {}
    for who, model in (("plain", plain), ("ours", ours)):
        prompts = _short(task.prompts(0, count))
        began = time.monotonic()
        found[who] = asking(task, model, prompts)
        seconds[who] = time.monotonic() - began
    row = {
        "name": name,
        "unit": "items/s",
        "n": count,
        "ours": round(count / seconds["ours"], 3),
        "peer": round(count / seconds["plain"], 3),
        "ratio": round(seconds["plain"] / seconds["ours"], 2),
        **_differences(found["ours"], found["plain"]),
    }
    return row, found["plain"]


def _plain_beside_itself(
    name: str, task: ForgettingTask, count: int, other: Any, answers: Sequence[ItemResult]
) -> dict[str, Any]:
    """What the harness answers with another batch size, against what it answered."""
    return {
        "name": f"{name}; the harness, batch {OTHER_BATCH} against batch {PLAIN_BATCH}",
        "unit": "items",
        "n": count,
        **_differences(choose(task, other, task.prompts(0, count)), answers),
    }


def _differences(ours: Sequence[ItemResult], theirs: Sequence[ItemResult]) -> dict[str, Any]:
    pairs = list(zip(ours, theirs, strict=True))
    gaps = [
        abs(one.gold_log_likelihood - other.gold_log_likelihood)
        for one, other in pairs
        if one.gold_log_likelihood is not None and other.gold_log_likelihood is not None
    ]
    return {
        "judged otherwise": sum(one.right != other.right for one, other in pairs),
        "answered otherwise": sum(one.answer != other.answer for one, other in pairs),
        "largest gap, nats a token": float(f"{max(gaps):.2g}") if gaps else None,
    }


def _servers(steps: Steps, gsm8k: ForgettingTask, count: int, on_progress: Progress) -> list[dict[str, Any]]:
    """Several adapters on one server: at once, and one after the other; and this process's answers."""
    settings = steps.settings
    stamp = datetime.now(UTC).strftime("%Y%m%d%H%M%S")
    taught: list[Secret] = []
    try:
        for number, answer in enumerate(secrets(ADAPTERS, seed=int(stamp))):
            taught.append(teach(steps, f"evaluated-{stamp}-{number}", answer))
            on_progress("teaching", number + 1, ADAPTERS)
        key = settings.serving_api_key.get_secret_value()
        names = [secret.adapter.name for secret in taught]
        writers = [ServedAnswers(settings.serving_replicas[0], key, name) for name in names]
        for writer in writers:
            # Loaded before anything is timed.
            write_answers(gsm8k, writer, _short(gsm8k.prompts(0, 1)))
        on_progress("one adapter after the other", 0, ADAPTERS)
        began = time.monotonic()
        in_turn = [write_answers(gsm8k, writer, _short(gsm8k.prompts(0, count))) for writer in writers]
        turn_seconds = time.monotonic() - began
        on_progress("all adapters at once", 0, ADAPTERS)
        prompts = [_short(gsm8k.prompts(0, count)) for _ in writers]
        began = time.monotonic()
        with ThreadPoolExecutor(ADAPTERS) as pool:
            list(pool.map(lambda each: _written(gsm8k, *each), zip(writers, prompts, strict=True)))
        once_seconds = time.monotonic() - began
        on_progress("the same in this process", 0, 0)
        here = [_in_this_process(steps, secret, gsm8k, count) for secret in taught]
    finally:
        forget(steps, taught)
    total = ADAPTERS * count
    served = [answer for answers in in_turn for answer in answers]
    computed = [answer for answers in here for answer in answers]
    return [
        {
            "name": f"GSM8K answers of {ADAPTERS} adapters by one vLLM, at once; peer: one after the other",
            "unit": "items/s",
            "n": total,
            "ours": round(total / once_seconds, 3),
            "peer": round(total / turn_seconds, 3),
            "ratio": round(turn_seconds / once_seconds, 2),
        },
        {
            "name": "GSM8K answers by vLLM; compared with transformers, bf16",
            "unit": "items",
            "n": total,
            **_differences(served, computed),
        },
    ]


def _written(gsm8k: ForgettingTask, writer: ServedAnswers, prompts: Sequence[Prompt]) -> list[ItemResult]:
    """All requests of all adapters go out at once: the task itself is not shared between threads."""
    answers = writer.generate_until([prompt.requests[0] for prompt in prompts])
    return [
        ItemResult(item=prompt.item.id, answer=answer)
        for prompt, answer in zip(prompts, answers, strict=True)
    ]


def _in_this_process(steps: Steps, secret: Secret, gsm8k: ForgettingTask, count: int) -> list[ItemResult]:
    import tempfile

    import torch

    from lift_core.evaluation.loading import add_adapter

    adapter = secret.adapter
    with tempfile.TemporaryDirectory(prefix="lift-bench-") as scratch:
        for name in adapter.files:
            steps.store.get_file(
                steps.settings.adapters_bucket, f"{adapter.prefix}{name}", Path(scratch) / name
            )
        base, tokenizer = load_base(base_model_folder(secret_recipe(), steps.settings), torch.bfloat16)
        model = SharedPrefixModel(add_adapter(base, Path(scratch)), tokenizer)
    return write_answers(gsm8k, model, _short(gsm8k.prompts(0, count)))


def _short(prompts: list[Prompt]) -> list[Prompt]:
    """The prompts, with the written answers cut short."""
    for prompt in prompts:
        for request in prompt.requests:
            if request.request_type == "generate_until":
                request.arguments = (request.args[0], {**request.args[1], "max_gen_toks": _MAX_TOKENS})
    return prompts
