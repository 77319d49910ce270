"""A Redis Cluster of three primaries on free ports, each with a replica where asked to.

with Cluster() as redis:
    redis.primaries[0].kill()
"""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any, Self

import redis

from testproject.redis_server import HOST, RedisServer
from tests.distributed.sentinel import QUICK, wait_until

PRIMARIES = 3
SLOTS = 16384


class Cluster:
    """Servers that share the keys by their slots."""

    def __init__(self, *, replicas: bool = False, node_timeout: int = 1000) -> None:
        self._count = PRIMARIES * (2 if replicas else 1)
        self._options = {
            **QUICK,
            "cluster-enabled": "yes",
            "cluster-node-timeout": str(node_timeout),
        }
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with self._stack as stack:
            servers = [stack.enter_context(RedisServer(self._options)) for _ in range(self._count)]
            self.primaries, self.replicas = servers[:PRIMARIES], servers[PRIMARIES:]
            for number, server in enumerate(self.primaries):
                slots = range(number * SLOTS // PRIMARIES, (number + 1) * SLOTS // PRIMARIES)
                _ask(server, "CLUSTER SET-CONFIG-EPOCH", number + 1)
                _ask(server, "CLUSTER ADDSLOTS", *slots)  # a range needs Redis 7
            for server in servers[1:]:
                _ask(servers[0], "CLUSTER MEET", HOST, server.port)
            wait_until(lambda: all(self._knows_all(each) for each in servers), "all acquainted")
            for primary, replica in zip(self.primaries, self.replicas, strict=False):
                _ask(replica, "CLUSTER REPLICATE", _ask(primary, "CLUSTER MYID"))
            wait_until(lambda: all(self._is_whole(each) for each in servers), "all slots served")
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_exit: object) -> None:
        self._stack.close()

    def cache(self, **options: Any) -> dict[str, Any]:
        """Return an entry of CACHES with short socket time-outs; other ``OPTIONS`` are added."""
        return {
            "BACKEND": "django_redis.cache.RedisCache",
            "LOCATION": self.primaries[0].url().removesuffix("/0"),
            "OPTIONS": {
                "CONNECTION_FACTORY": "django_celery_once.locks.cluster.ClusterConnectionFactory",
                "SOCKET_CONNECT_TIMEOUT": 1,
                "SOCKET_TIMEOUT": 1,
                **options,
            },
        }

    def flush(self) -> None:
        """Empty all primaries."""
        for server in self.primaries:
            _ask(server, "FLUSHALL")

    def wait_for_copies(self) -> None:
        """Wait until each primary's replica has all that it has."""
        wait_until(self._is_copied, "the replicas in step")

    def counts(self) -> list[int]:
        """Return how many keys each primary holds."""
        return [int(_ask(server, "DBSIZE")) for server in self.primaries]

    def _knows_all(self, server: RedisServer) -> bool:
        nodes = _ask(server, "CLUSTER NODES")
        return len(nodes) == self._count and "handshake" not in str(nodes)

    def _is_copied(self) -> bool:
        pairs = zip(self.primaries, self.replicas, strict=True)
        return all(_ask(one, "DBSIZE") == _ask(copy, "DBSIZE") for one, copy in pairs)

    def _is_whole(self, server: RedisServer) -> bool:
        if _ask(server, "CLUSTER INFO")["cluster_state"] != "ok":
            return False
        replicas = [
            each for each in _ask(server, "CLUSTER NODES").values() if "slave" in each["flags"]
        ]
        return len(replicas) == len(self.replicas)


def _ask(server: RedisServer, *command: object) -> Any:
    with redis.Redis.from_url(server.url(), socket_timeout=5, decode_responses=True) as client:
        return client.execute_command(*command)
