"""Dispatching: what lies in the inbox is recorded, and what may start is admitted.

The listing is the truth: an event only says that it is worth looking.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from lift_core.errors import TagError
from lift_core.recipes import load_recipe, named_recipe, operators_recipe
from lift_core.records import (
    MAX_PRIORITY,
    MIN_PRIORITY,
    AdmittedJob,
    Arrival,
    JobRequest,
    Recipe,
    Tenant,
)
from lift_core.registry import AdapterRegistry
from lift_core.settings import Settings
from lift_core.store import ObjectStore

RECIPE_TAG = "lift-recipe"
PRIORITY_TAG = "lift-priority"


class Dispatching:
    """One look at the inbox, over one registry and one object store."""

    def __init__(self, registry: AdapterRegistry, store: ObjectStore, settings: Settings) -> None:
        self._registry = registry
        self._store = store
        self._settings = settings
        # Longest first: of two prefixes that fit, the longer one holds.
        self._tenants = sorted(settings.tenants.values(), key=lambda tenant: -len(tenant.prefix))

    def run(self) -> list[AdmittedJob]:
        """List the inbox, record what is new, mark what is gone, and admit what may start.

        Raises:
            RecipeError: LIFT_RECIPE or LIFT_TENANTS names a recipe that there is not.
            ServiceUnavailableError: the store or the registry is away; what was recorded stays.
        """
        settings, bucket = self._settings, self._settings.documents_bucket
        default = load_recipe(settings.recipe)
        recipes = {
            tenant.prefix: operators_recipe(tenant.recipe, settings.recipes_dir) if tenant.recipe else default
            for tenant in self._tenants
        }
        present: set[str] = set()

        def listing() -> Iterator[Arrival]:
            for found in self._store.list(bucket):
                if not found.key.endswith("/"):
                    present.add(found.key)
                    yield found

        def request_for(found: Arrival) -> JobRequest:
            tenant = self.tenant_of(found.key)
            return self._request(found, recipes[tenant.prefix] if tenant else default)

        self._registry.record_arrivals(listing(), default, request_for)
        # All that is present is recorded by now: only where the numbers differ is something gone.
        if self._registry.current_count(bucket) != len(present):
            self._registry.mark_missing(bucket, present)
        if settings.removed_documents == "archive":
            self._registry.archive_removed(bucket)
        return self._registry.admit_jobs(bucket, settings.max_active_jobs, self._tenants)

    def tenant_of(self, key: str) -> Tenant | None:
        """The tenant under whose prefix a key lies, or None."""
        return next((tenant for tenant in self._tenants if key.startswith(tenant.prefix)), None)

    def _request(self, found: Arrival, recipe: Recipe) -> JobRequest:
        """What the object's tags ask for; what they do not say is the recipe of its prefix, priority 0.

        Raises:
            RecipeError: the tag names a recipe that there is not.
            TagError: the priority is no integer, or out of bounds.
            NotFoundError: the object is gone.
        """
        tags = self._store.tags(found.bucket, found.key)
        if name := tags.get(RECIPE_TAG):
            recipe = named_recipe(name, self._settings.recipes_dir)
        return JobRequest(recipe=recipe, priority=_priority(tags.get(PRIORITY_TAG, "0")))


def _priority(tag: str) -> int:
    if re.fullmatch(r"[+-]?[0-9]{1,4}", tag.strip()) and MIN_PRIORITY <= int(tag) <= MAX_PRIORITY:
        return int(tag)
    raise TagError(
        f"the tag {PRIORITY_TAG} must be an integer from {MIN_PRIORITY} to {MAX_PRIORITY}, not '{tag}'; the "
        "higher, the sooner: correct the tag and put the object again"
    )
