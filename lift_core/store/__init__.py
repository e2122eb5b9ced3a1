"""The object store and the layout of its keys."""

from lift_core.store import layout
from lift_core.store.client import NotOfferedError, ObjectStore

__all__ = ["NotOfferedError", "ObjectStore", "layout"]
