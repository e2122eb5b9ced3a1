"""The registry: documents, versions, recipes, jobs, the stream's manifest, adapters, aliases, events.

It is the truth: events and buckets only say that it is worth looking.
"""

from lift_core.registry.adapters import Adapters
from lift_core.registry.arrivals import Arrivals
from lift_core.registry.documents import Documents
from lift_core.registry.jobs import Jobs

__all__ = ["Registry"]


class Registry(Arrivals, Jobs, Adapters, Documents):
    """All that can be asked of the registry. Every call is one transaction."""
