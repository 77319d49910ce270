"""Examination of who else keeps data where the locks are."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from urllib.parse import parse_qs, unquote, urlsplit

from django.conf import settings
from django.core.cache import DEFAULT_CACHE_ALIAS
from django.core.exceptions import ImproperlyConfigured
from django.utils.text import get_text_list

from django_celery_once.celery_apps import apps
from django_celery_once.doctor.findings import Finding, not_examined, ok, warning
from django_celery_once.locks import LockStore, open_store
from django_celery_once.locks.redis import RedisStore
from django_celery_once.record import record

SCHEMES = {"redis", "rediss", "redis+socket", "socket"}


@record
class Address:
    """A Redis database: a host and port, or the path of a socket (with port 0)."""

    host: str
    port: int
    database: int

    def same_as(self, other: Address) -> bool:
        """Return whether both are one database; names are looked up."""
        here, there = (self.port, self.database), (other.port, other.database)
        if here != there:
            return False
        return self.host == other.host or bool(_resolved(self.host) & _resolved(other.host))


def examine_neighbours(store: LockStore) -> Finding:
    """Find what shares the locks' database: broker, results, the default cache."""
    shared = [name for name, same in _neighbours(store) if same]
    if shared:
        return warning(
            f"The locks share their database with {get_text_list(shared, 'and')}: clearing it, or "
            "dropping keys when the memory is full, drops locks, too.",
            "Give locks a cache alias with a database of its own, and name it in "
            "DJANGO_CELERY_ONCE['CACHE'].",
        )
    here = _address_of_store(store)
    if here is not None and here.port and not _resolved(here.host):
        return not_examined(
            f"The host of the locks' Redis, {here.host!r}, has no address here (Sentinel knows "
            "it?), so that it can't be compared."
        )
    return ok(
        "Neither CACHES['default'] nor the Celery broker or result backend uses the locks' "
        "database."
    )


def _neighbours(store: LockStore) -> Iterator[tuple[str, bool]]:
    yield "CACHES['default']", _is_default_cache(store)
    here = _address_of_store(store)
    if here is not None:
        confs = [app.conf for app in apps()]
        urls = [conf.broker_write_url or conf.broker_url for conf in confs]
        yield "the Celery broker", _is_among(here, urls)
        yield "the Celery result backend", _is_among(here, [conf.result_backend for conf in confs])


def _is_among(here: Address, urls: Iterable[object]) -> bool:
    return any(here.same_as(each) for url in urls for each in _addresses(url))


def _is_default_cache(store: LockStore) -> bool:
    if store.alias == DEFAULT_CACHE_ALIAS:
        return True
    default = open_store(DEFAULT_CACHE_ALIAS)
    here, there = _address_of_store(store), _address_of_store(default)
    if here is not None and there is not None:
        return here.same_as(there)
    names = ("BACKEND", "LOCATION")
    mine, other = settings.CACHES[store.alias], settings.CACHES[DEFAULT_CACHE_ALIAS]
    return all(mine.get(name) == other.get(name) for name in names)


def _address_of_store(store: LockStore) -> Address | None:
    """Return where a store's locks are; ``None`` where that is no one Redis."""
    if not isinstance(store, RedisStore):
        return None
    try:
        host, port, path, database = store.address()
    except ImproperlyConfigured:  # django-redis' ShardClient, which is many databases
        return None
    if path:
        return Address(str(path), 0, int(str(database or 0)))
    if not host:
        return None
    return Address(str(host), int(str(port or 6379)), int(str(database or 0)))


def _addresses(urls: object) -> Iterator[Address]:
    """Yield the Redis databases in a setting of Celery: a URL, several, or none."""
    given: Iterable[object] = urls if isinstance(urls, list | tuple) else [urls]
    for each in given:
        for url in each.split(";") if isinstance(each, str) else ():
            parts = urlsplit(url.strip())
            if parts.scheme not in SCHEMES:
                continue
            asked = parse_qs(parts.query)
            if parts.scheme.endswith("socket"):
                [database] = asked.get("virtual_host") or asked.get("db") or ["0"]
                yield Address(unquote(parts.path), 0, _number(database))
            else:
                [database] = asked.get("db") or [parts.path]
                yield Address(parts.hostname or "localhost", parts.port or 6379, _number(database))


def _number(database: str) -> int:
    digits = database.strip("/")
    return int(digits) if digits.isdigit() else 0


def _resolved(host: str) -> set[object]:
    try:
        return {address[4][0] for address in socket.getaddrinfo(host, None)}
    except OSError:
        return set()
