"""Traces a program that includes it (``celery -I``) with sentry-sdk, and logs its runs."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sentry_sdk

logger = logging.getLogger(__name__)


def _tell(event: Any, _hint: Any) -> None:
    logger.warning("traced %s in %s", event["transaction"], event["contexts"]["trace"]["trace_id"])


@contextmanager
def page() -> Iterator[str]:
    """Stand for a page that is traced; yield the trace's id."""
    with sentry_sdk.start_transaction(name="a page", op="http.server") as transaction:
        yield transaction.trace_id


sentry_sdk.init(
    dsn="http://key@127.0.0.1:1/1",  # nobody is there, and nothing is sent
    traces_sample_rate=1.0,
    before_send=lambda _event, _hint: None,
    before_send_transaction=_tell,
)
