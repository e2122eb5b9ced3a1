"""Make the buckets and bring the registry's tables up to date: a task of the stack.

It talks to the services that the settings name, embedded or the user's own.
"""

from __future__ import annotations

import sys
import time

from lift_core.errors import ServiceUnavailableError
from lift_core.registry import AdapterRegistry
from lift_core.settings import Settings, get_settings
from lift_core.store import ObjectStore

_PATIENCE_SECONDS = 60.0
_READY_KEY = ".lift-ready"


def main() -> int:
    """Do both; exit code 1 and the reason on stderr if a service stays away."""
    settings = get_settings()
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            prepare(settings)
        except ServiceUnavailableError as error:
            if time.monotonic() > deadline:
                sys.stderr.write(f"{error}\n")
                return 1
            time.sleep(0.5)
        else:
            return 0


def prepare(settings: Settings) -> None:
    """Buckets, a first put (a server that was killed answers before it can write), tables."""
    store = ObjectStore.from_settings(settings)
    store.ensure_buckets()
    store.put_bytes(settings.work_bucket, _READY_KEY, b"")
    AdapterRegistry.from_settings(settings).upgrade()


if __name__ == "__main__":
    sys.exit(main())
