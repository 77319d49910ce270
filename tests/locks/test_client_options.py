"""What an alias may say of its client matters to the cache, not to locks."""

from __future__ import annotations

import importlib.util
from dataclasses import replace
from typing import Any

import pytest
from django.conf import settings
from django.core.cache import caches
from django.test import override_settings

from django_celery_once.locks import Phase, Start, open_store
from testproject.redis_server import RedisServer
from tests.locks.stores import lock, running

DJANGO_REDIS = "django_redis.cache.RedisCache"
DJANGO_VALKEY = "django_valkey.cache.ValkeyCache"
DJANGO = "django.core.cache.backends.redis.RedisCache"


def needs(module: str) -> list[pytest.MarkDecorator]:
    """Leave a test out where a package that nobody needs is not there."""
    there = importlib.util.find_spec(module) is not None
    return [pytest.mark.skipif(not there, reason=f"{module} is not installed")]


def pool(**options: Any) -> dict[str, Any]:
    """Return django-redis' options for its connections."""
    return {"CONNECTION_POOL_KWARGS": options}


SERIALIZERS = "django_redis.serializers"
COMPRESSORS = "django_redis.compressors"
OPTIONS = [
    pytest.param(
        DJANGO_REDIS, {"SERIALIZER": f"{SERIALIZERS}.pickle.PickleSerializer"}, id="pickle"
    ),
    pytest.param(DJANGO_REDIS, {"SERIALIZER": f"{SERIALIZERS}.json.JSONSerializer"}, id="json"),
    pytest.param(
        DJANGO_REDIS,
        {"SERIALIZER": f"{SERIALIZERS}.msgpack.MSGPackSerializer"},
        id="msgpack",
        marks=needs("msgpack"),
    ),
    pytest.param(DJANGO_REDIS, {"COMPRESSOR": f"{COMPRESSORS}.zlib.ZlibCompressor"}, id="zlib"),
    pytest.param(DJANGO_REDIS, pool(decode_responses=True), id="text"),
    pytest.param(DJANGO_REDIS, pool(protocol=2), id="resp2"),
    pytest.param(DJANGO_REDIS, pool(protocol=3), id="resp3"),
    pytest.param(DJANGO_REDIS, pool(protocol=3, decode_responses=True), id="resp3-text"),
    pytest.param(DJANGO_VALKEY, {}, id="valkey"),
    pytest.param(DJANGO_VALKEY, pool(protocol=3, decode_responses=True), id="valkey-resp3-text"),
    pytest.param(
        DJANGO_VALKEY, {"CLIENT_CLASS": "django_valkey.client.herd.HerdClient"}, id="valkey-herd"
    ),
    pytest.param(DJANGO, {"protocol": 2}, id="django-resp2"),
    pytest.param(DJANGO, {"protocol": 3}, id="django-resp3"),
    pytest.param(DJANGO, {"protocol": 3, "decode_responses": True}, id="django-resp3-text"),
    *[
        pytest.param(
            DJANGO_REDIS,
            {"PARSER_CLASS": f"redis._parsers.{parser}", **pool(protocol=protocol)},
            id=f"{parser.strip('_')}-{protocol}",
            marks=needs("hiredis") if parser == "_HiredisParser" else [],
        )
        for parser, protocol in [
            ("_RESP2Parser", 2),
            ("_RESP3Parser", 3),
            ("_HiredisParser", 2),
            ("_HiredisParser", 3),
        ]
    ],
]


@pytest.mark.parametrize(("backend", "options"), OPTIONS)
def test_all_verbs_work(
    backend: str, options: dict[str, Any], spare_redis_server: RedisServer
) -> None:
    """Take, refuse, look at, run, renew, find, hand on and free a lock."""
    # A server of its own: django-redis has one pool for an address, whatever its options.
    cache = {"BACKEND": backend, "LOCATION": spare_redis_server.url(), "OPTIONS": options}
    with override_settings(CACHES={**settings.CACHES, "locks": cache}):
        play_all_verbs()


def play_all_verbs() -> None:
    """Live through the life of a lock."""
    store, mine, other = open_store("locks"), lock(label="für Zoë ✓"), lock(call="words")
    assert store.acquire(mine, 60) is None
    held = store.acquire(lock(mine.key), 60)
    assert held is not None
    assert replace(held, remaining=0, hits=0) == mine
    assert held.hits == 1
    run = running(mine)
    assert store.start(run, 30) == (Start.MINE, None)
    found, holder = store.start(running(lock(mine.key)), 30)
    assert (found, holder and holder.phase) == (Start.ANOTHER, Phase.RUNNING)
    followed = store.acquire(other, 60, follow=True)
    assert followed is not None
    assert followed.follow_up is not None
    assert followed.follow_up.owner == other.owner
    taken = running(lock("once:tests.report:2"))
    assert store.renew([run, taken], 30) == [(run, Start.MINE), (taken, Start.TAKEN)]
    assert {each.key for each in store.scan().locks} == {mine.key, taken.key}
    assert store.blocked() == []
    assert store.shorten(taken, 10)
    assert not store.shorten(lock(taken.key), 10)
    assert store.release(lock(mine.key)) is None
    last = store.release(run)
    assert last is not None
    assert last.follow_up is not None
    assert last.follow_up.call == "words"
    following = store.inspect(mine.key)
    assert following is not None
    assert following.owner == other.owner
    assert store.force_release(mine.key) is not None
    assert store.force_release(mine.key) is None
    assert store.inspect(mine.key) is None


@pytest.mark.parametrize(
    "options",
    [pool(protocol=2), pool(protocol=3), {"COMPRESSOR": f"{COMPRESSORS}.zlib.ZlibCompressor"}],
)
def test_the_cache_itself_works_beside(
    options: dict[str, Any], spare_redis_server: RedisServer
) -> None:
    """Share an alias with values of the cache's own."""
    cache = {"BACKEND": DJANGO_REDIS, "LOCATION": spare_redis_server.url(), "OPTIONS": options}
    with override_settings(CACHES={**settings.CACHES, "locks": cache}):
        caches["locks"].set("theirs", {"a": [1]}, 60)
        play_all_verbs()
        assert caches["locks"].get("theirs") == {"a": [1]}
