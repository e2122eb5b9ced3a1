"""The registry: documents, versions, recipes, jobs, the stream's manifest, checkpoints, adapters,
aliases, evaluations and verdicts, events.

It is the truth: events and buckets only say that it is worth looking.
"""

from lift_core.registry.adapters import Adapters
from lift_core.registry.admission import Admission
from lift_core.registry.arrivals import Arrivals
from lift_core.registry.browsing import Browsing, parse_score_condition
from lift_core.registry.checkpoints import Checkpoints
from lift_core.registry.deadlines import Deadlines
from lift_core.registry.documents import Documents
from lift_core.registry.evaluations import Evaluations
from lift_core.registry.events import Events
from lift_core.registry.figures import Figures
from lift_core.registry.jobs import Jobs
from lift_core.registry.leases import Leases
from lift_core.registry.moves import Moves
from lift_core.registry.queueing import Queueing
from lift_core.registry.references import References
from lift_core.registry.removals import Removals
from lift_core.registry.reprocessing import Reprocessing
from lift_core.registry.runs import Runs
from lift_core.registry.search import Search
from lift_core.registry.stories import Stories
from lift_core.registry.webhooks import Webhooks

__all__ = ["AdapterRegistry", "parse_score_condition"]


class AdapterRegistry(
    Arrivals,
    Removals,
    Queueing,
    Reprocessing,
    Admission,
    Jobs,
    Leases,
    Checkpoints,
    Adapters,
    Browsing,
    Moves,
    Documents,
    Stories,
    Figures,
    Deadlines,
    Events,
    Evaluations,
    References,
    Runs,
    Search,
    Webhooks,
):
    """All that can be asked of the registry. Every call is one transaction."""
