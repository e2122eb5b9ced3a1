"""Asking adapters by name through vLLM."""

from lift_core.serving.cache import AdapterCache
from lift_core.serving.client import Answer, ServingClient

__all__ = ["AdapterCache", "Answer", "ServingClient"]
