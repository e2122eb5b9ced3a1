"""The two embedded vLLM servers: one writes question-answer pairs, one serves adapters.

They are two because LoRA is dear on the CPU: with LoRA enabled even the base model's output
falls to a fraction, so the generator has its adapter merged into its weights.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import shutil
import sys
from pathlib import Path

from lift_core.processor import multiplies_bf16, usable_cores
from lift_core.stack.ports import HOST
from lift_core.stack.service import SHARED_CORES, get_json

MAX_MODEL_LEN = 2048
"""Tokens of context. Prompts are a few hundred; a longer one only costs memory here."""
CPU_BLOCK_TOKENS = 32
"""Tokens of a block of the prefix cache."""
MAX_LORAS = 4
"""Adapters in one batch. Each takes memory for the largest rank."""
MAX_CPU_LORAS = 32
"""Adapters kept in memory beside those; one that was pushed out is read from its local copy again."""
ADAPTER_PLUGINS = "lift,lift_serving"
"""Entry points of `lift_core.serving.vllm_plugin`; vLLM loads no other plugin then."""
LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""The values that vLLM takes for ``--max-lora-rank``."""
_FEW_CORES = 8


def command(
    model: Path, port: int, lora_rank: int | None = None, *, gpu_share: float = 0.25
) -> tuple[str, ...]:
    """Command of one server; with ``lora_rank`` it serves adapters of up to that rank.

    On a GPU it takes ``gpu_share`` of the memory: two servers and the training share the one card.

    The module, not the console script: that one asks for a distribution named ``vllm``,
    which the CPU build is not.
    """
    words = [
        *(sys.executable, "-m", "vllm.entrypoints.openai.api_server"),
        *("--model", str(model), "--served-model-name", model.name),
        *("--host", HOST, "--port", str(port)),
        *("--dtype", precision(), "--max-model-len", str(MAX_MODEL_LEN)),
    ]
    if lora_rank is not None:
        words += ["--enable-lora", "--max-lora-rank", str(fitting_rank(lora_rank))]
        words += ["--max-loras", str(MAX_LORAS), "--max-cpu-loras", str(MAX_CPU_LORAS)]
    else:
        # So that the writing of pairs can show how much of its prompts the prefix cache held.
        words.append("--enable-prompt-tokens-details")
    if is_cpu_build():
        # Compiling took 50 to 75 s of each start on 2 cores, and gave 372 tokens/s instead of 343.
        words.append("--enforce-eager")
        # A seeded request whose prompt is computed in chunks ends vLLM 0.32's CPU engine ("CPU Generator
        # does not use offset", gpu_model_runner.py): prompts are computed whole.
        words += ["--no-enable-chunked-prefill", "--max-num-batched-tokens", str(2 * MAX_MODEL_LEN)]
        if lora_rank is None:
            # Prompts of a few hundred tokens share a title, a context and a sentence: with the CPU's default
            # blocks of 128 tokens half of that is computed anew, and pairs take 1.6 to 1.8 times as long.
            words += ["--block-size", str(CPU_BLOCK_TOKENS)]
        if _is_small():
            words += ["--distributed-executor-backend", "uni"]
    else:
        words += ["--gpu-memory-utilization", f"{gpu_share:g}"]
    return tuple(words)


def environment(api_key: str, compiled: Path, *, adapters: bool) -> dict[str, str]:
    """Variables of a server. The key goes here because a command line can be read by all.

    ``compiled`` is the folder for what torch compiles on a CPU (:func:`drop_compiled`). A server of
    ``adapters`` finds them in the registry and the object store by itself, through LIFT's plugins; the other
    has no business there.
    """
    values = {
        "VLLM_API_KEY": api_key,
        "VLLM_PLUGINS": ADAPTER_PLUGINS if adapters else "",
        "VLLM_NO_USAGE_STATS": "1",
        "DO_NOT_TRACK": "1",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }
    if adapters:
        # What its resolver is asked for, and the gateway's word that a quarantined one must go.
        values["VLLM_ALLOW_RUNTIME_LORA_UPDATING"] = "1"
    if is_cpu_build():
        values["VLLM_CPU_KVCACHE_SPACE"] = "1"
        values["TORCHINDUCTOR_CACHE_DIR"] = str(compiled)
        if _is_small():
            values |= _sharing_environment()
    return values


def drop_compiled(folder: Path) -> None:
    """Make a server compile anew what it needs: a few small kernels, seconds.

    A kill in the midst of compiling can leave half a library, with which the engine would end after every
    later start ("file too short"): torch looks for it by its name, and does not look whether it is whole.

    Raises:
        OSError: the folder is there and cannot be removed.
    """
    if folder.exists():
        shutil.rmtree(folder)


def _sharing_environment() -> dict[str, str]:
    """Variables for a server that shares a few cores with the training.

    vLLM's default is a worker process bound to all cores but one, which its engine polls without
    pause. Beside a training on the same two cores that costs both of them a good part of their speed
    (docs/log.md has the figures). So the engine runs the model itself, on all cores
    (``--distributed-executor-backend uni``, which is allowed only without V1 multiprocessing).
    """
    values = {
        "VLLM_ENABLE_V1_MULTIPROCESSING": "0",
        "OMP_NUM_THREADS": str(len(usable_cores())),
        **SHARED_CORES,
    }
    # What vLLM does for its workers: its kernels and torch must share one OpenMP runtime.
    spec = importlib.util.find_spec("torch")
    runtime = Path(spec.origin).parent / "lib" / "libgomp.so.1" if spec and spec.origin else None
    if runtime is not None and runtime.is_file():
        values["LD_PRELOAD"] = str(runtime)
    return values


def precision() -> str:
    """The precision in which the model is computed: on a CPU the processor's faster one."""
    return "bfloat16" if not is_cpu_build() or multiplies_bf16() else "float32"


def _is_small() -> bool:
    return len(usable_cores()) <= _FEW_CORES


def ready(port: int, since: float) -> bool:
    """Whether the server answers; ``since`` does not matter, as it answers only once it has started."""
    return get_json(f"http://{HOST}:{port}/health") is not None


def fitting_rank(rank: int) -> int:
    """The smallest value of ``--max-lora-rank`` that takes ``rank``; ValueError if none does."""
    for fitting in LORA_RANKS:
        if fitting >= rank:
            return fitting
    raise ValueError(f"vLLM serves adapters up to rank {LORA_RANKS[-1]}, not {rank}")


def is_cpu_build() -> bool:
    """Whether the CPU build of vLLM is installed."""
    return any(importlib.metadata.distributions(name="vllm-cpu"))
