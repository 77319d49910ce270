"""Which store keeps the locks of a Django cache."""

from __future__ import annotations

from django.conf import settings
from django.core.cache import InvalidCacheBackendError, caches
from django.core.exceptions import ImproperlyConfigured

from django_celery_once.locks.base import LockStore
from django_celery_once.locks.cache import CacheStore
from django_celery_once.locks.cluster import ClusterStore
from django_celery_once.locks.redis import RedisStore


def open_store(alias: str, whose: str = "Locks") -> LockStore:
    """Return the store of locks in a cache of ``CACHES``, on this thread's connection.

    Raise ``ImproperlyConfigured`` for an unknown alias, which says ``whose`` locks they are, or a
    client that can't hold locks.
    """
    try:
        cache = caches[alias]
    except InvalidCacheBackendError as error:
        if alias in settings.CACHES:
            raise
        raise ImproperlyConfigured(
            f"{whose} are to be in {alias!r}, which is not in CACHES "
            f"({', '.join(sorted(settings.CACHES))})"
        ) from error
    if ClusterStore.serves(cache):
        return ClusterStore(alias, cache)
    if RedisStore.serves(cache):
        return RedisStore(alias, cache)
    return CacheStore(alias, cache)
