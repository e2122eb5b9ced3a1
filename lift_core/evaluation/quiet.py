"""The harness without its running commentary."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def quiet_harness() -> Iterator[None]:
    """Keep the harness from warning about what is meant so: loaded models, and data that it did not fetch."""
    logger = logging.getLogger("lm_eval")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
