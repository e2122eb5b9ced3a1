"""Start the vLLM server of one role: ``serve.py generator|serving [OPTION OF VLLM]…``.

Which model each role has is read from the recipe (``LIFT_RECIPE``), so that servers and training
cannot disagree. Only the standard library: vLLM itself takes long enough to start.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

LORA_RANKS = (1, 8, 16, 32, 64, 128, 256, 320, 512)
"""The values that vLLM takes for ``--max-lora-rank``."""

PLUGINS = {
    "generator": {"VLLM_PLUGINS": ""},
    "serving": {"VLLM_PLUGINS": "lift,lift_serving", "VLLM_ALLOW_RUNTIME_LORA_UPDATING": "1"},
}
"""LIFT's plugins, by which the serving engine finds adapters; the other has no business there."""


def command(role: str, recipe: Mapping[str, Any], models: Path, options: Sequence[str]) -> list[str]:
    """The server's command; it answers under the names that the recipe uses."""
    if role == "generator":
        name, lora = recipe["generator"]["model"], []
    elif role == "serving":
        rank = next(fitting for fitting in LORA_RANKS if fitting >= recipe["lora"]["rank"])
        name, lora = recipe["base_model"], ["--enable-lora", "--max-lora-rank", str(rank)]
    else:
        raise SystemExit(f"serve.py: the role is generator or serving, not '{role}'")
    return [
        *(sys.executable, "-m", "vllm.entrypoints.openai.api_server"),
        *("--model", str(models / name), "--served-model-name", name),
        *("--host", "0.0.0.0", "--port", "8000"),  # noqa: S104 - the container's network; no port is published
        *("--dtype", "bfloat16"),
        *lora,
        *options,
    ]


def api_key(environment: Mapping[str, str]) -> str:
    """The key that clients must send, from a mounted secret or the environment; never none at all."""
    file = environment.get("VLLM_API_KEY_FILE")
    key = Path(file).read_text("utf-8").strip() if file else environment.get("VLLM_API_KEY", "")
    if not key:
        raise SystemExit(
            "serve.py: set VLLM_API_KEY, or VLLM_API_KEY_FILE to the path of a file that holds it"
        )
    return key


def main() -> None:
    """Become the server. The key goes by environment: a command line can be read by all."""
    role, *options = sys.argv[1:] or [""]
    recipe = json.loads(Path(os.environ["LIFT_RECIPE"]).read_text("utf-8"))
    words = command(role, recipe, Path(os.environ["LIFT_HOME"]) / "models", options)
    environment = os.environ | {"VLLM_API_KEY": api_key(os.environ)} | PLUGINS[role]
    os.execve(words[0], words, environment)  # noqa: S606 - no shell is wanted


if __name__ == "__main__":
    main()
