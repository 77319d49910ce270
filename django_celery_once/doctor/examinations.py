"""The round of all examinations, in the order in which one failure explains the next."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from functools import partial

from django.core.exceptions import ImproperlyConfigured

from django_celery_once import registry
from django_celery_once.conf import conf
from django_celery_once.doctor import (
    celery_app,
    neighbours,
    processes,
    project,
    rights,
    server,
    store,
    waiting,
)
from django_celery_once.doctor.findings import Finding, not_examined, ok, wrong
from django_celery_once.exceptions import LockUnavailable
from django_celery_once.keys import key_prefix
from django_celery_once.locks import LockStore, open_store
from django_celery_once.locks.redis import RedisStore
from django_celery_once.locks.rights import refuses

#: Keys to look at, of which a Redis Cluster has some elsewhere for a client that knows of none.
KEYS = 20
ADVICE = (
    "Start the server, or correct the alias that DJANGO_CELERY_ONCE['CACHE'], or the "
    "once['cache'] of a task, names."
)
CLUSTER_ADVICE = (
    "The server is one of a Redis Cluster: set CONNECTION_FACTORY in the alias' OPTIONS to "
    "'django_celery_once.locks.cluster.ClusterConnectionFactory'."
)

SERVER_ADVICE = "Look at the cache's server and at the network."
RIGHTS_ADVICE = "Grant the server's user what 'permissions' says."
LOGIN_ADVICE = "Correct the user and the password that the alias gives the server."
Examination = Callable[[], Finding | Iterable[Finding]]

ON_STORES: dict[str, Callable[[LockStore], Finding]] = {
    "round trip": store.examine_round_trip,
    "second process": processes.examine_second_process,
    "stranger": store.examine_stranger,
    "expiry": store.examine_expiry,
}
ON_SERVERS: dict[str, Callable[[server.Info], Finding]] = {
    "server version": server.examine_version,
    "eviction": server.examine_eviction,
    "replication": server.examine_replication,
    "persistence": server.examine_persistence,
}
ON_PROJECTS: dict[str, Examination] = {
    "eager mode": celery_app.examine_eager,
    "broker": celery_app.examine_broker,
    "result backend": celery_app.examine_results,
    "workers": celery_app.examine_workers,
    "middleware": project.examine_middleware,
    "migrations": project.examine_migrations,
    "pruning": project.examine_prune,
    "waiting calls": waiting.examine_waiting,
}


def examine() -> Iterator[tuple[str, Finding]]:
    """Yield the name of each examination with what it found, as soon as it is known."""
    yield from _run("settings", project.examine_settings)
    aliases = _aliases()
    for alias in aliases:
        for name, finding in _examine_store(alias):
            yield name, _named(finding, alias, among=aliases)
    yield from _run("neighbours", _examine_neighbours)
    for name, examination in ON_PROJECTS.items():
        yield from _run(name, examination)


def _aliases() -> list[str]:
    try:
        return registry.aliases()
    except ImproperlyConfigured:
        return [""]  # what is wrong has been told; the setting CACHE may be sound


def _named(finding: Finding, alias: str, among: list[str]) -> Finding:
    """Return a finding that says which of several caches it is about."""
    seen = finding.seen if len(among) == 1 else f"{alias}: {finding.seen}"
    return replace(finding, seen=seen, cache=alias)


def _examine_neighbours() -> Iterator[Finding]:
    aliases = _aliases()
    for alias in aliases:
        finding = neighbours.examine_neighbours(open_store(alias or conf.cache))
        yield _named(finding, alias, among=aliases)


def _examine_store(alias: str) -> Iterator[tuple[str, Finding]]:
    try:
        opened = open_store(alias or conf.cache)
        for number in range(KEYS):
            opened.inspect(f"{key_prefix('once_doctor')}{number}")
    except (LockUnavailable, ImproperlyConfigured) as error:
        yield "lock store", wrong(str(error), _advice(error, ADVICE))
        if refuses(str(error)):
            yield from _run("permissions", partial(rights.examine_rights, opened))
        else:
            yield "permissions", not_examined("The lock store does not answer.")
        for name in (*ON_STORES, *ON_SERVERS):
            yield name, not_examined("The lock store does not answer.")
        return
    yield "lock store", ok(f"CACHES[{opened.alias!r}] answers.")
    yield from _run("permissions", partial(rights.examine_rights, opened))
    for name, examination in ON_STORES.items():
        yield from _run(name, partial(examination, opened))
    yield from _examine_server(opened)


def _advice(error: Exception, otherwise: str) -> str:
    cause = type(error.__cause__).__name__
    if cause == "MovedError" or "MOVED" in str(error):
        return CLUSTER_ADVICE
    if cause == "AuthenticationError":
        return LOGIN_ADVICE
    return RIGHTS_ADVICE if refuses(str(error)) else otherwise


def _examine_server(opened: LockStore) -> Iterator[tuple[str, Finding]]:
    if not isinstance(opened, RedisStore):
        trouble = f"CACHES[{opened.alias!r}] is no Redis."
    else:
        try:
            info = opened.server()
        except LockUnavailable as error:
            trouble = str(error)
        else:
            for name, examination in ON_SERVERS.items():
                yield from _run(name, partial(examination, info))
            return
    for name in ON_SERVERS:
        yield name, not_examined(trouble)


def _run(name: str, examination: Examination) -> Iterator[tuple[str, Finding]]:
    """Examine; whatever is raised is a finding, too, and the round goes on."""
    try:
        found = examination()
        for each in [found] if isinstance(found, Finding) else list(found):
            yield name, each
    except ImproperlyConfigured as error:
        yield name, not_examined(f"The settings can't be read: {error}")
    except LockUnavailable as error:
        yield name, wrong(str(error), _advice(error, SERVER_ADVICE))
    except Exception as error:
        yield name, wrong(f"The examination failed: {error!r}", "Correct what it says.")
