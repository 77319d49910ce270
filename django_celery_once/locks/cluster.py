"""Locks in a Redis Cluster: each key on the server that has its slot."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from typing import Any, ClassVar

from django.core.cache.backends.base import BaseCache
from django.core.exceptions import ImproperlyConfigured
from django_redis.cache import RedisCache
from django_redis.pool import ConnectionFactory
from redis.cluster import ClusterNode, RedisCluster
from redis.connection import Connection, parse_url

from django_celery_once.locks.redis import RedisStore
from django_celery_once.locks.scripts import Script
from django_celery_once.locks.time_outs import has_time_out
from django_celery_once.locks.wire import Words

NODES = "CLUSTER_NODES"


class ClusterConnectionFactory(ConnectionFactory):  # type: ignore[misc]
    """Connect a django-redis alias to a Redis Cluster, as its ``CONNECTION_FACTORY``.

    ``LOCATION`` is the URL of any server of it. ``OPTIONS["CLUSTER_NODES"]`` may name more, as
    (host, port), of which one that lives is enough. All threads of a process share a client.
    Raise ``ImproperlyConfigured`` for nodes that are no such pairs.
    """

    _clusters: ClassVar[dict[tuple[int, str], RedisCluster]] = {}
    _connecting = threading.Lock()

    def parameters(self, url: str) -> dict[str, Any]:
        """Return what the client is made with; found out without connecting."""
        given = self.make_connection_params(url)
        del given["parser_class"]  # a cluster has one of its own
        self._nodes()
        return {**parse_url(url), **given, **self.pool_cls_kwargs, **self.redis_client_cls_kwargs}

    def connect(self, url: str) -> RedisCluster:
        """Return this process' client."""
        parameters = self.parameters(url)
        known = (os.getpid(), repr((sorted(parameters.items(), key=str), self._nodes())))
        with self._connecting:
            if known not in self._clusters:
                nodes = [ClusterNode(host, port) for host, port in self._nodes()]
                self._clusters[known] = RedisCluster(startup_nodes=nodes, **parameters)
            return self._clusters[known]

    def disconnect(self, connection: RedisCluster) -> None:
        """Close the connections to all servers."""
        connection.disconnect_connection_pools()

    def _nodes(self) -> list[tuple[str, int]]:
        given = self.options.get(NODES, [])
        try:
            return [(str(host), int(port)) for host, port in given]
        except (TypeError, ValueError):
            raise ImproperlyConfigured(
                f"OPTIONS[{NODES!r}] is {given!r}, and has to be a list of (host, port)"
            ) from None


os.register_at_fork(
    after_in_child=lambda: setattr(ClusterConnectionFactory, "_connecting", threading.Lock())
)


class ClusterStore(RedisStore):
    """Locks in the Redis Cluster of a django-redis alias with ``ClusterConnectionFactory``."""

    @staticmethod
    def serves(cache: BaseCache) -> bool:
        """Return whether a cache is connected to a Redis Cluster."""
        if not isinstance(cache, RedisCache):
            return False
        # isinstance() takes its time with django-redis' protocols.
        factory = getattr(cache.client, "connection_factory", None)
        return ClusterConnectionFactory in type(factory).__mro__

    def waits_forever(self) -> bool:
        """Return whether no socket time-out is set; found out without connecting."""
        return not has_time_out(self._parameters(), Connection)

    def address(self) -> tuple[object, ...]:
        """Return where ``LOCATION`` points to; a cluster has one database."""
        given = self._parameters()
        return (given.get("host"), given.get("port", 6379), None, 0)

    def server(self) -> dict[str, Any]:
        """Return INFO of a primary: of one that may drop locks, where there is one."""
        with self._client("INFO") as client:
            told = [dict(each.info()) for each in self._servers(client)]
        return max(told, key=lambda info: info.get("maxmemory_policy") != "noeviction")

    def _run_many(self, script: Script, calls: Sequence[tuple[str, Words]]) -> list[Any]:
        """Send one pipeline to each server, with the text: any may be new, and not have it."""
        with self._client(f"{len(calls)} leases") as client:
            pipeline = client.pipeline()
            for name, words in calls:
                pipeline.execute_command("EVAL", script.text, 1, name, *words)
            return list(pipeline.execute()) if calls else []

    def _end_of(self, name: str, token: str) -> str:
        """Return a key in the slot of the lock's; none where no hash tag can say that."""
        end = super()._end_of(name, token)
        _before, _brace, after = name.partition("{")
        if after.find("}") > 0:  # a tag of its own, as of a KEY_PREFIX
            return end
        return "" if "}" in name else f"{{{name}}}:ended:{token}"

    def _servers(self, client: RedisCluster) -> list[Any]:
        return [client.get_redis_connection(node) for node in client.get_primaries()]

    def _parameters(self) -> dict[str, Any]:
        client = self._cache.client  # type: ignore[attr-defined]
        return dict(client.connection_factory.parameters(client._server[0]))
