"""Structured logs: every line of a run carries its document, version, run and adapter."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, cast

import structlog

from lift_core.records import Claim


def logger_for(claim: Claim, **more: Any) -> structlog.stdlib.BoundLogger:
    """A logger whose lines name the claim's document, version and run."""
    logger = structlog.get_logger("lift").bind(
        document=claim.slug, version=claim.version, run=claim.run_id, **more
    )
    return cast(structlog.stdlib.BoundLogger, logger)


@contextmanager
def told_of(claim: Claim, **more: Any) -> Iterator[None]:
    """Let every line that is logged within name the claim's document, version and run, whoever logs it.

    Airflow's task logs and :func:`configure` both add what is bound here, also to lines of libraries.
    """
    with structlog.contextvars.bound_contextvars(
        document=claim.slug, version=claim.version, run=claim.run_id, **more
    ):
        yield


def quiet_libraries() -> None:
    """Keep other libraries' running commentary out of a run's log: one line a request, progress bars.

    Their warnings stay. Call it before transformers is imported.
    """
    for name in ("httpx", "httpx2"):
        logging.getLogger(name).setLevel(logging.WARNING)
    os.environ.setdefault("HF_HUB_DISABLE_PROGRESS_BARS", "1")
    os.environ.setdefault("TQDM_DISABLE", "1")


def configure(log_format: str = "text", level: int = logging.INFO) -> None:
    """Send logs to stderr, for people (``text``) or for programs (``json``): LIFT's and the libraries' alike.

    Airflow configures its own task logs; this is for the command line and the supervisor.
    """
    quiet_libraries()
    renderer: Any = (
        structlog.processors.JSONRenderer()
        if log_format == "json"
        else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    ending = [structlog.processors.format_exc_info, renderer]
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[structlog.stdlib.add_logger_name, *shared],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *ending],
        )
    )
    # Libraries warn through the standard library's loggers.
    logging.basicConfig(handlers=[handler], level=max(level, logging.WARNING), force=True)
    structlog.configure(
        processors=[*shared, *ending],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
