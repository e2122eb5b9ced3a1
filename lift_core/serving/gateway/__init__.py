"""The gateway: OpenAI's API for adapters by name or alias, in front of the vLLM servers.

It judges every name in the registry with every request, forwards immutable names alone, and passes nothing
on unless the answer bears that name. `app` puts it together.
"""
