"""The object store and the layout of its keys."""

from lift_core.store import layout
from lift_core.store.client import ListeningUnsupportedError, ObjectStore

__all__ = ["ListeningUnsupportedError", "ObjectStore", "layout"]
