"""What a client sends: read within bounds, checked, and put into the form that an adapter was trained on."""

from __future__ import annotations

import json
from typing import Any

from starlette.requests import Request

from lift_core.serving.gateway.refusals import Refusal

MAX_BODY_BYTES = 8 * 2**20
CHAT = "chat/completions"
COMPLETIONS = "completions"
SYSTEM_PROMPT_HEADER = "x-lift-system-prompt"


async def read_body(request: Request, max_bytes: int = MAX_BODY_BYTES) -> dict[str, Any]:
    """The request's JSON object, with a name of a model in it.

    Raises:
        Refusal: it is larger than ``max_bytes`` (413), is no JSON object, or names no model (400).
        ClientDisconnect: the client left.
    """
    declared = request.headers.get("content-length", "")
    if declared.isdecimal() and int(declared) > max_bytes:
        raise _too_large(max_bytes)
    received = bytearray()
    async for chunk in request.stream():
        received += chunk
        if len(received) > max_bytes:
            raise _too_large(max_bytes)
    try:
        body = json.loads(received)
    except (ValueError, RecursionError) as error:
        raise Refusal(400, "invalid_json", f"the request's body is not JSON: {error}") from error
    if not isinstance(body, dict):
        raise Refusal(400, "invalid_json", "the request's body is not a JSON object")
    if not isinstance(body.get("model"), str) or not body["model"]:
        raise Refusal(
            400, "model_missing", "the request names no model: see /v1/models for what can be asked", "model"
        )
    return body


def check_no_prompt_logprobs(body: dict[str, Any], path: str) -> None:
    """Return if a request asks for no log-probabilities of its prompt.

    vLLM's CPU engine with LoRA ends over them, whichever model is asked: its LoRA layer over the logits has
    room for the generated tokens alone.

    Raises:
        Refusal: it does.
    """
    # vLLM takes those of the answer for the prompt as well where the prompt is echoed; in a chat it has a
    # default for them.
    of_answer = body.get("top_logprobs", 0) if path == CHAT else body.get("logprobs")
    if body.get("prompt_logprobs") is not None or (body.get("echo") and of_answer is not None):
        raise Refusal(
            400,
            "prompt_logprobs_refused",
            "log-probabilities of the prompt end vLLM's CPU engine: leave out prompt_logprobs, and echo "
            "with log-probabilities (`lift serve gateway --allow-prompt-logprobs` lets them through)",
            "prompt_logprobs" if body.get("prompt_logprobs") is not None else "echo",
        )


def needs_system_message(body: dict[str, Any], request: Request) -> bool:
    """Whether a chat request comes without a system message, and without the wish to have none."""
    messages = body.get("messages")
    if request.headers.get(SYSTEM_PROMPT_HEADER, "").strip().lower() == "none":
        return False
    # What is no list of messages is vLLM's to refuse.
    return isinstance(messages, list) and not any(
        isinstance(each, dict) and each.get("role") in ("system", "developer") for each in messages
    )


def _too_large(max_bytes: int) -> Refusal:
    return Refusal(413, "request_too_large", f"the request's body is larger than {max_bytes} bytes")
