"""The registry over HTTP: a FastAPI application that whoever mounts it protects."""

from lift_core.api.app import create_app

__all__ = ["create_app"]
