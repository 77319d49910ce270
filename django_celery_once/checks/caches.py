"""Checks of the caches that hold locks."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator
from typing import Any

from django.conf import settings
from django.core import checks
from django.core.cache import DEFAULT_CACHE_ALIAS, caches
from django.core.cache.backends.base import BaseCache
from django.core.cache.backends.db import DatabaseCache
from django.core.cache.backends.dummy import DummyCache
from django.core.cache.backends.filebased import FileBasedCache
from django.core.cache.backends.locmem import LocMemCache
from django.core.exceptions import ImproperlyConfigured
from django.db import DEFAULT_DB_ALIAS, router

from django_celery_once import conf as configuration
from django_celery_once import registry
from django_celery_once.checks.messages import Message, message
from django_celery_once.conf import conf
from django_celery_once.locks import open_store
from django_celery_once.locks.redis import RedisStore
from django_celery_once.options import did_you_mean

#: Fewest entries at which a cache that culls is large enough not to drop locks.
ENOUGH_ENTRIES = 100_000
SETTING = f"{configuration.NAME}['CACHE']"

Check = Callable[[str], Iterator[Message]]


def _for_each_alias(check: Check) -> Callable[..., Iterator[Message]]:
    """Run a check for every alias that holds locks."""

    @functools.wraps(check)
    def run(**_kwargs: Any) -> Iterator[Message]:
        registry.import_tasks_once()
        for alias in registry.users():
            yield from check(alias)

    return run


def _lock_cache(alias: str) -> BaseCache | None:
    """Return a cache that holds locks, if the settings have it and it can be made."""
    try:
        return caches[alias] if alias in settings.CACHES else None
    except ImproperlyConfigured:
        return None


@_for_each_alias
def check_alias(alias: str) -> Iterator[Message]:
    """E002: a lock cache is not in CACHES, or can't hold locks."""
    try:
        store = open_store(alias)
        if isinstance(store, RedisStore):
            store.waits_forever()
    except Exception as error:
        if not configuration.problems():
            yield message(
                checks.Error,
                "E002",
                f"The lock store (cache {alias!r}) can't be opened: {error}.",
                f"Name a cache that all processes share in {_where(alias)}{_instead(alias)}.",
            )


def _instead(alias: str) -> str:
    return "" if alias in settings.CACHES else did_you_mean(alias, list(settings.CACHES))


def _where(alias: str) -> str:
    """Return where an alias is named: by the setting, or by tasks."""
    tasks = registry.users()[alias]
    named = [f"once['cache'] of {', '.join(tasks)}"] if tasks else []
    return " and ".join([*([SETTING] if alias == conf.cache else []), *named])


#: Caches that can't hold locks, and why.
UNFIT = {
    LocMemCache: "lives in one process: a worker could not free what a web process took",
    DummyCache: "keeps nothing",
    FileBasedCache: "is of one machine, and two processes may take the same lock in it",
}


@_for_each_alias
def check_shared(alias: str) -> Iterator[Message]:
    """E003: a lock cache is not shared by all processes, or keeps nothing."""
    cache = _lock_cache(alias)
    if why := _why_unfit(cache):
        yield message(
            checks.Error,
            "E003",
            f"CACHES[{alias!r}] is a {type(cache).__name__}, which {why}.",
            f"Point {_where(alias)} at a Redis cache; in settings for tests, "
            "add 'django_celery_once.E003' to SILENCED_SYSTEM_CHECKS.",
        )


def _why_unfit(cache: BaseCache | None) -> str:
    if inspect.iscoroutinefunction(getattr(cache, "add", None)):
        return "answers with coroutines, which nobody awaits here"
    return next((why for kind, why in UNFIT.items() if isinstance(cache, kind)), "")


@_for_each_alias
def check_database_cache(alias: str) -> Iterator[Message]:
    """E004: locks in the application's database follow its transactions."""
    cache = _lock_cache(alias)
    if not isinstance(cache, DatabaseCache):
        return
    database = router.db_for_write(cache.cache_model_class)
    if database == DEFAULT_DB_ALIAS:
        yield message(
            checks.Error,
            "E004",
            f"CACHES[{alias!r}] is a DatabaseCache in the application's own database "
            f"({database!r}): nobody sees a lock before its transaction commits.",
            "Add an alias of its own to DATABASES and route the cache table there, or use Redis.",
        )
    elif settings.DATABASES[database].get("ATOMIC_REQUESTS"):
        yield message(
            checks.Error,
            "E004",
            f"CACHES[{alias!r}] is a DatabaseCache in {database!r}, which has "
            "ATOMIC_REQUESTS: nobody sees a lock before the request ends.",
            f"Set ATOMIC_REQUESTS to False in DATABASES[{database!r}].",
        )


@_for_each_alias
def check_known(alias: str) -> Iterator[Message]:
    """W019: a cache of another library is used as any cache, whatever its server could do."""
    cache = _lock_cache(alias)
    if cache is None or RedisStore.serves(cache) or _is_of_django(type(cache)) or _why_unfit(cache):
        return
    kind = type(cache)
    yield message(
        checks.Warning,
        "W019",
        f"CACHES[{alias!r}] is a {kind.__name__} of {kind.__module__.partition('.')[0]}, which has "
        "no compare-and-delete here and can't be listed: a run that lost its lock may free its "
        "successor's.",
        f"Point {_where(alias)} at Redis or Valkey, by django_redis.cache.RedisCache, "
        "django_valkey.cache.ValkeyCache or Django's RedisCache.",
    )


def _is_of_django(kind: type) -> bool:
    ours = [each for each in kind.__mro__ if each is not BaseCache]
    return any(each.__module__.startswith("django.core.cache.backends.") for each in ours)


@_for_each_alias
def check_culling(alias: str) -> Iterator[Message]:
    """W005: the cache drops entries when it holds too many."""
    cache = _lock_cache(alias)
    entries = getattr(cache, "_max_entries", None)
    if isinstance(cache, DatabaseCache) and entries is not None and entries < ENOUGH_ENTRIES:
        yield message(
            checks.Warning,
            "W005",
            f"CACHES[{alias!r}] drops entries at random, locks among them, when it holds "
            f"more than {entries}.",
            f"Set MAX_ENTRIES in its OPTIONS to {ENOUGH_ENTRIES} or more.",
        )


@_for_each_alias
def check_hidden_outages(alias: str) -> Iterator[Message]:
    """W006: the alias hides outages from the application."""
    cache = _lock_cache(alias)
    options = getattr(settings, "CACHES", {}).get(alias, {}).get("OPTIONS", {})
    if getattr(cache, "_ignore_exceptions", False) or options.get("ignore_exc"):
        yield message(
            checks.Warning,
            "W006",
            f"CACHES[{alias!r}] ignores errors (IGNORE_EXCEPTIONS). Locks do not: while it "
            "can't be reached, callers get LockUnavailable.",
            f"Give locks an alias without it, or choose {configuration.NAME}['ON_CACHE_ERROR'] "
            "= 'enqueue' if tasks shall be queued all the same.",
        )


@_for_each_alias
def check_socket_timeouts(alias: str) -> Iterator[Message]:
    """W007: a Redis that hangs would hang its callers."""
    store = _redis_store(alias)
    waits = store is not None and store.waits_forever()
    if waits:
        yield message(
            checks.Warning,
            "W007",
            f"CACHES[{alias!r}] has no socket time-out: a Redis that hangs would hang every "
            "call of a task.",
            "Set SOCKET_CONNECT_TIMEOUT and SOCKET_TIMEOUT in its OPTIONS (django-redis), or "
            "socket_connect_timeout and socket_timeout (Django's RedisCache).",
        )


@_for_each_alias
def check_default_alias(alias: str) -> Iterator[Message]:
    """W008: the application may clear the cache that holds the locks."""
    if _lock_cache(alias) is None:
        return
    if alias == DEFAULT_CACHE_ALIAS:
        shared = "Locks share CACHES['default'] with the application"
    elif _same_redis_database(alias, DEFAULT_CACHE_ALIAS):
        shared = f"CACHES[{alias!r}] and CACHES['default'] are one Redis database"
    else:
        return
    yield message(
        checks.Warning,
        "W008",
        f"{shared}: cache.clear() and eviction drop locks.",
        f"Give locks an alias and a database of their own, and name the alias in {_where(alias)}.",
    )


def _redis_store(alias: str) -> RedisStore | None:
    """Return the store of a Redis alias; ``None`` for others and for those that E002 names."""
    try:
        store = open_store(alias)
        if isinstance(store, RedisStore):
            store.waits_forever()
            return store
    except Exception:
        return None
    return None


def _same_redis_database(alias: str, other: str) -> bool:
    stores = [_redis_store(alias), _redis_store(other)]
    addresses = {store.address() for store in stores if store is not None}
    return None not in stores and len(addresses) == 1
