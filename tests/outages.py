"""Settings that point the locks at a server which a test may stop, freeze or kill."""

from __future__ import annotations

from typing import Any

from django.conf import settings

from testproject.redis_server import RedisServer


def caches_at(server: RedisServer, **options: Any) -> dict[str, Any]:
    """Return CACHES with the locks on ``server``, behind short socket time-outs."""
    quick = {"SOCKET_CONNECT_TIMEOUT": 0.5, "SOCKET_TIMEOUT": 0.5, **options}
    locks = {**settings.CACHES["locks"], "LOCATION": server.url(), "OPTIONS": quick}
    return {**settings.CACHES, "locks": locks}
