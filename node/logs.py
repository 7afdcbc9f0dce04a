"""The node's log, on standard error: events and names, never data."""

from __future__ import annotations

import logging
import sys
from collections.abc import MutableMapping
from pathlib import Path
from traceback import extract_tb
from typing import Any, Literal

import structlog


def configure(style: Literal["console", "json"], cohort: str) -> structlog.stdlib.BoundLogger:
    """Send this program's log, and what libraries log as warnings, to standard error in one style."""

    def named(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
        event.setdefault("cohort", cohort)
        return event

    shared: list[Any] = [
        named,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _without_values,
    ]
    renderer = structlog.processors.JSONRenderer() if style == "json" else structlog.dev.ConsoleRenderer(colors=False)
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(processor=renderer, foreign_pre_chain=shared))
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    logging.getLogger("cohortium").setLevel(logging.INFO)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
    )
    log: structlog.stdlib.BoundLogger = structlog.get_logger("cohortium.node")
    return log


def _without_values(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """Where an exception was raised instead of its words, which may quote a value."""
    raised = event.pop("exc_info", None)
    error = raised[1] if isinstance(raised, tuple) else sys.exc_info()[1] if raised else None
    if error is not None:
        event["error"] = type(error).__name__
        event["where"] = [f"{Path(f.filename).name}:{f.lineno}" for f in extract_tb(error.__traceback__)[-5:]]
    return event
