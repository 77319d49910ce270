"""``once_doctor``: the whole round, in a process of its own and against real servers."""

from __future__ import annotations

import json
import re
from io import StringIO
from typing import Any

import pytest
import redis
from django.conf import settings
from django.core.cache import caches
from django.core.management import CommandError, call_command
from django.db import connections
from django.test import override_settings

from django_celery_once.doctor import examinations
from testproject.redis_server import RedisServer
from tests.configurations import once
from tests.management.programs import manage
from tests.outages import caches_at

COMMITTED = pytest.mark.django_db(transaction=True, databases=["default", "locks"])
HERE = pytest.mark.django_db(databases=["default", "locks"])
NAMES = [
    "settings",
    "lock store",
    "permissions",
    "round trip",
    "second process",
    "stranger",
    "expiry",
    "server version",
    "eviction",
    "replication",
    "persistence",
    "neighbours",
    "eager mode",
    "broker",
    "result backend",
    "workers",
    "middleware",
    "migrations",
    "pruning",
    "waiting calls",
]


def states(text: str) -> dict[str, str]:
    """Return the state of each examination in a JSON document."""
    return {each["name"]: each["state"] for each in json.loads(text)["examinations"]}


def locks_in(**cache: Any) -> dict[str, Any]:
    """Return settings with the locks in another cache."""
    return {"CACHES": {**settings.CACHES, "locks": cache}}


def redis_at(url: str) -> dict[str, Any]:
    """Return settings with the locks in another Redis."""
    return locks_in(BACKEND="django_redis.cache.RedisCache", LOCATION=url)


def keys_in(server: RedisServer) -> list[bytes]:
    """Return all keys of a server's databases."""
    found: list[bytes] = []
    for number in range(4):
        with redis.Redis.from_url(server.url(number)) as client:
            found += client.keys()
    return found


@HERE
def test_a_sound_set_up_is_healthy(redis_server: RedisServer) -> None:
    """Every examination is made, all is well but for workers, and nothing is left."""
    ended = manage("once_doctor", "--format=json")
    assert (ended.returncode, ended.stderr) == (0, "")
    assert json.loads(ended.stdout)["healthy"] is True
    assert states(ended.stdout) == {**dict.fromkeys(NAMES, "ok"), "workers": "warning"}
    assert keys_in(redis_server) == []


@HERE
def test_text_for_people() -> None:
    """One line for each examination, with what was seen; a count at the end."""
    ended = manage("once_doctor")
    lines = ended.stdout.splitlines()
    named = [line[14:30].strip() for line in lines if line[:1].strip()]
    assert named[: len(NAMES)] == NAMES
    assert re.search(r"acquire \d+\.\d ms", ended.stdout)
    assert lines[-1] == "19 ok, 1 warning."
    assert max(map(len, lines)) <= 100


@COMMITTED
@pytest.mark.parametrize(
    "alias",
    [
        "locks_django",
        "locks_valkey",
        "locks_db",
        pytest.param("locks_memcached", marks=pytest.mark.needs("memcached")),
    ],
)
def test_every_shared_cache_is_healthy(alias: str) -> None:
    """Django's RedisCache, Valkey, the database cache and Memcached hold locks; nothing is left."""
    cache = settings.CACHES[alias]
    if alias == "locks_db":
        cache = {**cache, "OPTIONS": {"MAX_ENTRIES": 100_000}}
        call_command("createcachetable", database="locks", verbosity=0)
    ended = manage("once_doctor", "--format=json", **locks_in(**cache))
    assert ended.returncode == 0, ended.stdout
    found = states(ended.stdout)
    assert [found[name] for name in examinations.ON_STORES] == ["ok"] * 4
    server = "ok" if alias in {"locks_django", "locks_valkey"} else "not examined"
    assert {found[name] for name in examinations.ON_SERVERS} == {server}


@COMMITTED
def test_expired_entries_are_swept_from_the_database_cache() -> None:
    """The database cache keeps what has expired until somebody asks: the doctor does."""
    call_command("createcachetable", database="locks", verbosity=0)
    caches["locks_db"].clear()
    with once(CACHE="locks_db"):
        list(examinations.examine())
    with connections["locks"].cursor() as cursor:
        cursor.execute("SELECT cache_key FROM once_test_locks")
        assert not cursor.fetchall()


@HERE
def test_the_memory_of_one_process_is_wrong() -> None:
    """Another process sees nothing of it; the round goes on, and the code is 1."""
    local = {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}
    ended = manage("once_doctor", "--format=json", **locks_in(**local))
    found = states(ended.stdout)
    assert ended.returncode == 1
    assert found["second process"] == "wrong"
    assert found["settings"] == "wrong"
    assert found["migrations"] == "ok"
    assert ended.stderr == "CommandError: Something is wrong: settings, second process.\n"


@HERE
def test_a_cache_that_keeps_nothing_is_wrong() -> None:
    """Each examination on the store finds it out."""
    dummy = {"BACKEND": "django.core.cache.backends.dummy.DummyCache"}
    found = states(manage("once_doctor", "--format=json", **locks_in(**dummy)).stdout)
    assert {found[name] for name in examinations.ON_STORES} == {"wrong"}


@HERE
def test_a_store_that_is_down_is_said_and_the_rest_examined() -> None:
    """No traceback and no wait for each examination that needs the store."""
    ended = manage("once_doctor", "--format=json", **redis_at("redis://127.0.0.1:1/0"))
    found = states(ended.stdout)
    assert ended.returncode == 1
    assert found.pop("lock store") == "wrong"
    needing = {"permissions", *examinations.ON_STORES, *examinations.ON_SERVERS}
    assert {name for name, state in found.items() if state == "not examined"} == needing
    assert {found["middleware"], found["migrations"], found["neighbours"]} == {"ok"}
    assert "Traceback" not in ended.stderr


def test_a_database_that_is_down_is_said_and_the_rest_examined() -> None:
    """Its error is told, and that tasks are guarded all the same."""
    nowhere = {"ENGINE": "django.db.backends.sqlite3", "NAME": "no/such/folder/db.sqlite3"}
    ended = manage("once_doctor", DATABASES={"default": nowhere, "locks": nowhere})
    assert ended.returncode == 1
    assert "wrong         migrations      The log's database, DATABASES['default'], fails:" in (
        ended.stdout
    )
    assert "tasks are guarded" in " ".join(ended.stdout.split())
    assert "not examined  pruning         The rows can't be counted:" in ended.stdout
    assert "17 ok, 1 warning, 1 wrong, 1 not examined." in ended.stdout


@HERE
def test_a_server_that_evicts_is_wrong() -> None:
    """A real server with little memory and allkeys-lru."""
    with RedisServer({"maxmemory": "2mb", "maxmemory-policy": "allkeys-lru"}) as server:
        ended = manage("once_doctor", **redis_at(server.url()))
        assert keys_in(server) == []
    assert ended.returncode == 1
    assert "maxmemory-policy is allkeys-lru, maxmemory 2.00M" in ended.stdout
    assert "-> Set maxmemory-policy noeviction" in ended.stdout


@HERE
def test_a_replica_is_wrong(redis_server: RedisServer) -> None:
    """A replica of a real primary takes no locks."""
    with RedisServer({"replicaof": f"127.0.0.1 {redis_server.port}"}) as replica:
        ended = manage("once_doctor", "--format=json", **redis_at(replica.url()))
    found = states(ended.stdout)
    assert (found["round trip"], found["replication"]) == ("wrong", "wrong")
    assert "Traceback" not in ended.stderr


@HERE
def test_info_may_be_forbidden(spare_redis_server: RedisServer) -> None:
    """A user without INFO holds locks all the same; what INFO tells is not examined."""
    with redis.Redis.from_url(spare_redis_server.url()) as client:
        client.acl_setuser(
            "app", enabled=True, passwords=["+pw"], keys=["*"], commands=["+@all", "-info"]
        )
    url = spare_redis_server.url().replace("://", "://app:pw@")
    ended = manage("once_doctor", "--format=json", **redis_at(url))
    found = states(ended.stdout)
    assert ended.returncode == 0
    assert {found[name] for name in examinations.ON_SERVERS} == {"not examined"}


@HERE
def test_warnings_alone_are_exit_code_0() -> None:
    """A missing middleware is worth a word, not a failure."""
    ended = manage("once_doctor", MIDDLEWARE=[])
    assert ended.returncode == 0
    assert "18 ok, 2 warnings." in ended.stdout


@HERE
def test_settings_that_cannot_be_read() -> None:
    """The doctor names them and does not stumble over them."""
    ended = manage("once_doctor", "--format=json", DJANGO_CELERY_ONCE={"CASHE": "x", "LEASE": "1"})
    assert ended.returncode == 1
    assert states(ended.stdout)["settings"] == "wrong"
    assert "did you mean 'CACHE'" in ended.stdout
    assert "Traceback" not in ended.stderr


@HERE
def test_a_store_that_ceases_half_way(
    spare_redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server dies during the round: the rest of the round is made."""
    first, *_rest = examinations.ON_STORES

    def dying(_store: object) -> Any:
        spare_redis_server.kill()
        raise RuntimeError("half-way")

    monkeypatch.setitem(examinations.ON_STORES, first, dying)
    out = StringIO()
    with (
        override_settings(CACHES=caches_at(spare_redis_server)),
        pytest.raises(CommandError) as caught,
    ):
        call_command("once_doctor", "--format=json", stdout=out)
    found = states(out.getvalue())
    assert caught.value.returncode == 1
    assert set(found) == set(NAMES)
    assert {found[name] for name in examinations.ON_STORES} == {"wrong"}
    assert found["middleware"] == "ok"


@pytest.mark.parametrize("arguments", [["--format", "html"], ["now"], ["--key", "x"]])
def test_bad_arguments_are_exit_code_2(arguments: list[str]) -> None:
    """Nothing is examined."""
    ended = manage("once_doctor", *arguments)
    assert (ended.returncode, ended.stdout) == (2, "")


@HERE
def test_every_cache_is_examined(redis_server: RedisServer) -> None:
    """Each finding names its cache where there are several; one that is away is wrong."""
    out = StringIO()
    with once(TASKS={"reports.*": {"cache": "locks_django"}}):
        call_command("once_doctor", "--format=json", stdout=out)
    told = json.loads(out.getvalue())["examinations"]
    for name in ("lock store", "round trip", "second process", "eviction", "neighbours"):
        each = {finding["cache"]: finding for finding in told if finding["name"] == name}
        assert set(each) == {"locks", "locks_django"}, name
        assert each["locks_django"]["seen"].startswith("locks_django: ")
    assert {finding["cache"] for finding in told if finding["name"] == "middleware"} == {""}
