"""Asking adapters by name through the gateway, with vLLM behind it."""

from lift_core.serving.cache import AdapterCache
from lift_core.serving.client import Answer, GatewayClient, ReplicaClient

__all__ = ["AdapterCache", "Answer", "GatewayClient", "ReplicaClient"]
