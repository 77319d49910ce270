"""A primary, its replicas and three sentinels that watch them, on free ports.

with Constellation() as redis:
    redis.primary.kill()
    redis.wait_for_failover()
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Self

import redis

from testproject.redis_server import HOST, RedisServer

#: django-redis keeps one pool for each name in a process.
_numbers = itertools.count()
SENTINELS, QUORUM = 3, 2
#: Replicas that are copied to at once, not after the five seconds that wait for more of them.
QUICK = {"repl-diskless-sync": "yes", "repl-diskless-sync-delay": "0"}


class SentinelServer(RedisServer):
    """One sentinel, which takes a primary for dead after ``down_after`` milliseconds."""

    def __init__(self, name: str, primary: RedisServer, down_after: int) -> None:
        super().__init__()
        self._name = name
        self._watched = primary
        self._down_after = down_after

    def _arguments(self, port: int, folder: Path) -> list[str]:
        settings = folder / f"sentinel-{port}.conf"  # which the sentinel goes on writing
        if not settings.exists():
            lines = [
                f"bind {HOST}",
                f"port {port}",
                f"dir {folder}",
                f"sentinel monitor {self._name} {HOST} {self._watched.port} {QUORUM}",
                f"sentinel down-after-milliseconds {self._name} {self._down_after}",
                f"sentinel failover-timeout {self._name} 2000",
            ]
            settings.write_text("\n".join(lines) + "\n")
        return [str(settings), "--sentinel"]


class Constellation:
    """Servers under Sentinel; ``options`` are lines of redis.conf for primary and replicas.

    ``through`` makes of the primary's port that at which the replicas reach it.
    """

    def __init__(
        self,
        replicas: int = 1,
        down_after: int = 500,
        options: Mapping[str, str] | None = None,
        through: Callable[[int], int] = int,
    ) -> None:
        self._through = through
        self.name = f"once{next(_numbers)}"
        self._options = {**QUICK, **(options or {})}
        self._down_after = down_after
        self._count = replicas
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with self._stack as stack:
            self.primary = stack.enter_context(RedisServer(self._options))
            port = self._through(self.primary.port or 0)
            follows = {**self._options, "replicaof": f"{HOST} {port}"}
            self.replicas = [stack.enter_context(RedisServer(follows)) for _ in range(self._count)]
            wait_until(self._is_copied, "the replicas in step")
            self.sentinels = [
                stack.enter_context(SentinelServer(self.name, self.primary, self._down_after))
                for _ in range(SENTINELS)
            ]
            wait_until(self._is_watched, "the sentinels acquainted", 30)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_exit: object) -> None:
        self._stack.close()

    def addresses(self) -> list[tuple[str, int]]:
        """Return where the sentinels listen."""
        return [(HOST, each.port) for each in self.sentinels if each.port]

    def cache(self, **options: Any) -> dict[str, Any]:
        """Return an entry of CACHES with short socket time-outs; other ``OPTIONS`` are added."""
        return {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": f"redis://{self.name}/1",
            "OPTIONS": {
                "CLIENT_CLASS": "django_redis.client.SentinelClient",
                "CONNECTION_FACTORY": "django_redis.pool.SentinelConnectionFactory",
                "SENTINELS": self.addresses(),
                "SENTINEL_KWARGS": {"socket_timeout": 0.5, "socket_connect_timeout": 0.5},
                "SOCKET_CONNECT_TIMEOUT": 0.5,
                "SOCKET_TIMEOUT": 0.5,
                **options,
            },
        }

    def primary_port(self) -> int:
        """Return the port of what the sentinels take for the primary."""
        port = self._agreed()
        assert port is not None, "the sentinels do not agree"
        return port

    def wait_for_failover(self, seconds: float = 60) -> RedisServer:
        """Wait until another server is the primary for all sentinels, and return it."""
        before = self.primary.port
        wait_until(lambda: self._agreed() not in (None, before), "a failover", seconds)
        (new,) = (each for each in self.replicas if each.port == self._agreed())
        wait_until(lambda: info(new)["role"] == "master", "the new primary writable")
        return new

    def wait_for_copies(self) -> None:
        """Wait until the replicas have all that the primary has acknowledged."""
        with redis.Redis.from_url(self.primary.url()) as client:
            assert client.wait(self._count, 20_000) == self._count

    def _is_copied(self) -> bool:
        links = [info(each).get("master_link_status") for each in self.replicas]
        return links == ["up"] * len(links)

    def _is_watched(self) -> bool:
        """Return whether each sentinel knows the others and, by INFO, the replicas."""
        for each in self.sentinels:
            with redis.Redis(HOST, each.port or 0, socket_timeout=1) as client:
                state = client.sentinel_master(self.name)
                replicas = client.sentinel_slaves(self.name)
            if int(state["num-other-sentinels"]) < SENTINELS - 1:
                return False
            if len(replicas) < self._count:
                return False
            if any(replica["master-link-status"] != "ok" for replica in replicas):
                return False
        return True

    def _agreed(self) -> int | None:
        """Return the port that all living sentinels name for the primary."""
        named = set()
        for each in self.sentinels:
            if each.is_running():
                with redis.Redis(HOST, each.port or 0, socket_timeout=1) as client:
                    named.add(int(client.sentinel_get_master_addr_by_name(self.name)[1]))
        return named.pop() if len(named) == 1 else None


def info(server: RedisServer) -> dict[str, Any]:
    """Return what a server says of its replication."""
    with redis.Redis.from_url(server.url(), socket_timeout=1) as client:
        return dict(client.info("replication"))


def wait_until(true: Callable[[], bool], what: str, seconds: float = 20) -> None:
    """Wait for servers, boundedly; say what never came."""
    deadline = time.monotonic() + seconds
    while not true():
        if time.monotonic() > deadline:
            raise TimeoutError(f"never seen within {seconds:g} s: {what}")
        time.sleep(0.1)  # each look asks several servers
