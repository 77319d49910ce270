"""The system checks of the cache that holds the locks; none touches the network."""

from __future__ import annotations

import socket
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings
from django.core.cache import DEFAULT_CACHE_ALIAS
from django.core.cache.backends.base import BaseCache
from django.test import override_settings

from django_celery_once import checks
from tests.configurations import (
    DATABASE_CACHE,
    ENOUGH,
    NO_WAIT,
    core,
    django_redis,
    django_valkey,
    found,
    ids,
    locks_in,
    nowhere,
    once,
)
from tests.guarded_tasks import report


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """Refuse every connection, and list the addresses asked for."""
    asked: list[object] = []

    def refuse(_socket: socket.socket, address: object) -> None:
        asked.append(address)
        raise AssertionError(f"a check connects to {address}")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket.socket, "connect_ex", refuse)
    return asked


def test_e002_unknown_alias() -> None:
    """The message lists the aliases there are."""
    with once(CACHE="lokcs"):
        (message,) = found()
    assert message.id == "django_celery_once.E002"
    assert "'lokcs', which is not in CACHES (default, locks" in message.msg


def test_e002_backend_that_can_not_be_imported() -> None:
    """A misspelt backend is an error, not a traceback; Django's own checks raise it later."""
    with locks_in(core("redis.RedisCash")):
        assert [each.id for check in checks.CHECKS for each in check()] == [
            "django_celery_once.E002"
        ]


@pytest.mark.parametrize(
    "cache",
    [
        django_redis(CLIENT_CLASS="django_redis.client.ShardClient", **NO_WAIT),
        django_valkey(CLIENT_CLASS="django_valkey.client.sharded.ShardClient", **NO_WAIT),
    ],
)
def test_e002_client_that_can_not_hold_locks(cache: dict[str, Any]) -> None:
    """A ShardClient is refused by name."""
    with locks_in(cache):
        (message,) = found()
    assert message.id == "django_celery_once.E002"
    assert "ShardClient" in message.msg


@pytest.mark.parametrize(
    "cache",
    [
        core("locmem.LocMemCache"),
        core("dummy.DummyCache"),
        core("filebased.FileBasedCache", LOCATION=Path(tempfile.gettempdir(), "once-unused")),
        {**django_valkey(), "BACKEND": "django_valkey.async_cache.cache.AsyncValkeyCache"},
    ],
)
@pytest.mark.filterwarnings("ignore:coroutine .* was never awaited")  # Django's close()
def test_e003_cache_of_one_process(cache: dict[str, Any]) -> None:
    """A cache that other processes do not see, or whose answers are not awaited, holds no locks."""
    with locks_in(cache):
        (message,) = found()
    assert message.id == "django_celery_once.E003"
    assert cache["BACKEND"].rpartition(".")[2] in message.msg


def test_e004_database_cache_beside_the_data() -> None:
    """Locks in the application's own database are refused."""
    with locks_in({**DATABASE_CACHE, "OPTIONS": ENOUGH}), override_settings(DATABASE_ROUTERS=[]):
        assert ids() == ["E004"]


def test_database_cache_in_its_own_database_is_fine() -> None:
    """With an alias of its own and room enough, the database can hold locks."""
    with locks_in({**DATABASE_CACHE, "OPTIONS": ENOUGH}):
        assert ids() == []


@pytest.mark.parametrize("options", [{}, {"MAX_ENTRIES": 99_999}])
def test_w005_culling(options: dict[str, Any]) -> None:
    """A table that drops rows beyond a small number is told."""
    with locks_in({**DATABASE_CACHE, "OPTIONS": options}):
        (message,) = found()
    assert message.id == "django_celery_once.W005"
    assert str(options.get("MAX_ENTRIES", 300)) in message.msg


@pytest.mark.parametrize(
    "cache",
    [
        django_redis(IGNORE_EXCEPTIONS=True, **NO_WAIT),
        django_valkey(IGNORE_EXCEPTIONS=True, **NO_WAIT),
        core("memcached.PyMemcacheCache", LOCATION="127.0.0.1:1", OPTIONS={"ignore_exc": True}),
    ],
)
def test_w006_hidden_outages(cache: dict[str, Any]) -> None:
    """An alias that hides outages is told."""
    with locks_in(cache):
        assert ids() == ["W006"]


@override_settings(DJANGO_REDIS_IGNORE_EXCEPTIONS=True)
def test_w006_hidden_outages_by_the_global_setting() -> None:
    """django-redis' setting for all aliases counts as well."""
    with locks_in(django_redis(**NO_WAIT)):
        assert ids() == ["W006"]


@pytest.mark.parametrize("options", [{"SOCKET_TIMEOUT": None}, {"CONNECTION_POOL_KWARGS": {}}])
def test_w007_redis_without_time_out(
    options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A Redis that may hang its callers is told, whatever redis-py has by default."""
    from redis.connection import AbstractConnection

    def without_default(self: object, socket_timeout: float | None = None) -> None: ...

    monkeypatch.setattr(AbstractConnection, "__init__", without_default)
    with locks_in(django_redis(**options)):
        (message,) = found()
    assert message.id == "django_celery_once.W007"
    assert "SOCKET_TIMEOUT" in (message.hint or "")


@pytest.mark.parametrize(
    "cache",
    [
        django_redis(**NO_WAIT),
        django_valkey(**NO_WAIT),
        django_valkey(**NO_WAIT, CLIENT_CLASS="django_valkey.client.herd.HerdClient"),
        core("redis.RedisCache", LOCATION=nowhere(), OPTIONS={"socket_timeout": 1}),
        core("memcached.PyMemcacheCache", LOCATION="127.0.0.1:1"),
    ],
)
def test_a_shared_cache_with_time_out_is_fine(cache: dict[str, Any]) -> None:
    """With a socket time-out, a Redis or Valkey backend holds locks, and so does Memcached."""
    with locks_in(cache):
        assert ids() == []


@pytest.mark.parametrize("kind", [django_redis, django_valkey])
def test_w008_locks_beside_the_application(kind: Callable[..., dict[str, Any]]) -> None:
    """Locks in the alias that the application clears are told."""
    caches = {DEFAULT_CACHE_ALIAS: kind(**NO_WAIT)}
    with override_settings(CACHES=caches, DJANGO_CELERY_ONCE={}):
        assert ids() == ["W008"]


@pytest.mark.parametrize(
    "cache",
    [
        django_redis(),
        django_redis(CLIENT_CLASS="django_redis.client.HerdClient"),
        core("redis.RedisCache", LOCATION=nowhere()),
        core("memcached.PyMemcacheCache", LOCATION="127.0.0.1:1"),
        {**DATABASE_CACHE, "OPTIONS": ENOUGH},
    ],
)
def test_no_network(cache: dict[str, Any], no_network: list[object]) -> None:
    """No check talks to the cache, the database or the broker."""
    with locks_in(cache):
        for check in checks.CHECKS:
            check(app_configs=None, databases=None)
    assert no_network == []


def test_w008_locks_in_the_applications_redis_database() -> None:
    """See through two names for one database."""
    one = {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": "redis://127.0.0.1:1/3",
        "OPTIONS": {"SOCKET_TIMEOUT": 1},
    }
    other = {**one, "LOCATION": "redis://127.0.0.1:1/4"}
    with override_settings(CACHES={"default": one, "locks": dict(one)}):
        assert ids() == ["W008"]
    with override_settings(CACHES={"default": one, "locks": other}):
        assert ids() == []


def test_e002_a_location_that_can_not_be_read() -> None:
    """Name the alias instead of the client's traceback."""
    broken = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": "localhost:6379"}
    with override_settings(CACHES={**settings.CACHES, "locks": broken}):
        (message,) = found()
    assert message.id == "django_celery_once.E002"
    assert "cache 'locks'" in message.msg


def test_e004_a_database_whose_requests_are_transactions() -> None:
    """Find that the locks' own database follows the request, too."""
    cache = {"BACKEND": "django.core.cache.backends.db.DatabaseCache", "LOCATION": "locks"}
    databases = {**settings.DATABASES}
    databases["locks"] = {**databases["locks"], "ATOMIC_REQUESTS": True}
    with override_settings(CACHES={**settings.CACHES, "locks": cache}, DATABASES=databases):
        assert "E004" in ids()


@pytest.mark.usefixtures("no_network")
def test_the_caches_of_tasks_are_checked_too() -> None:
    """Each alias that a task names is looked at, and the message says who names it."""
    with once(TASKS={report.name: {"cache": "lokcs"}}):
        (message,) = found()
    assert message.id == "django_celery_once.E002"
    assert "'lokcs', which is not in CACHES (default, locks" in message.msg
    assert f"once['cache'] of {report.name}; did you mean 'locks'?" in (message.hint or "")


@pytest.mark.usefixtures("no_network")
def test_an_unfit_cache_of_a_task() -> None:
    """What is said of the setting's cache is said of a task's."""
    with once(TASKS={report.name: {"cache": "locks_locmem"}}):
        (message,) = found()
    assert (message.id, "'locks_locmem'" in message.msg) == ("django_celery_once.E003", True)
    assert f"Point once['cache'] of {report.name} at" in (message.hint or "")
    with once(TASKS={report.name: {"cache": "default"}}):
        assert ids() == ["E003", "W008"]


class Elsewhere(BaseCache):
    """A cache of another library."""

    def __init__(self, _location: str, params: dict[str, Any]) -> None:
        super().__init__(params)


@pytest.mark.parametrize(
    ("cache", "library"),
    [
        (
            {**django_valkey(), "BACKEND": "django_valkey.cluster_cache.cache.ClusterValkeyCache"},
            "django_valkey",
        ),
        ({"BACKEND": f"{__name__}.Elsewhere"}, "tests"),
    ],
)
def test_w019_a_cache_of_another_library(cache: dict[str, Any], library: str) -> None:
    """A cache that is used as any other, whatever its server could do, is told."""
    with locks_in(cache):
        (message,) = found()
    assert message.id == "django_celery_once.W019"
    assert f" of {library}, which has no compare-and-delete" in message.msg
