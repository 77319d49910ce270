"""Scripts on the client's own connections: packed, retried, never out of step, and seen."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import redis
from django.core.cache import caches
from redis.connection import AbstractConnection

from django_celery_once.locks import LockStore, Start, open_store, wire
from django_celery_once.locks.scripts import Script
from testproject.redis_server import RedisServer
from tests.locks.stores import lock, running

KEY = "once:t:1"
ECHO = Script("return {KEYS[1], ARGV[1], ARGV[2]}")
TAKES = Script("if ARGV[1] == 'fail' then return redis.error_reply('NO that') end return ARGV[1]")


@pytest.fixture
def client(redis_server: RedisServer) -> Iterator[Any]:
    """Return a client with one connection, so that an answer left over would be seen."""
    pool = redis.ConnectionPool.from_url(redis_server.url(), max_connections=1)
    yield redis.Redis(connection_pool=pool)
    pool.disconnect()


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the names of the commands that pass ``execute_command``, as a tracing tool sees."""
    names: list[str] = []
    execute: Any = redis.Redis.execute_command

    def watched(client: Any, *words: Any, **options: Any) -> Any:
        names.append(words[0])
        return execute(client, *words, **options)

    monkeypatch.setattr(redis.Redis, "execute_command", watched)
    return names


@pytest.mark.parametrize("word", ["plain", "", "Jahresübersicht 年", "two\r\nlines", 3600])
def test_words_arrive_as_they_are(client: Any, word: str | int) -> None:
    """Count bytes, not characters."""
    found = wire.run(client, ECHO, KEY, [word, "last"])
    assert [part.decode() for part in found] == [KEY, str(word), "last"]


@pytest.mark.parametrize("words", [("EVAL", "é", 1), ("EVAL", "e", 1)])
def test_packed_as_redis_py_packs(words: tuple[str | int, ...]) -> None:
    """Send the bytes that the client itself would send."""
    connection: Any = redis.Connection()
    assert wire.packed(*words) == b"".join(connection.pack_command(*words))


def test_a_script_is_loaded_when_it_is_missing(client: Any) -> None:
    """Send the text where the server has not seen it."""
    client.script_flush()
    assert wire.run(client, TAKES, KEY, ["1"]) == b"1"
    client.script_flush()
    assert wire.run_many(client, TAKES, [(KEY, ["1"]), (KEY, ["2"])]) == [b"1", b"2"]


def test_an_error_is_raised_and_leaves_nothing_behind(client: Any) -> None:
    """Read every answer before the first error is raised."""
    with pytest.raises(redis.ResponseError, match="that"):
        wire.run(client, TAKES, KEY, ["fail"])
    with pytest.raises(redis.ResponseError, match="that"):
        wire.run_many(client, TAKES, [(KEY, ["1"]), (KEY, ["fail"]), (KEY, ["3"])])
    assert wire.run(client, TAKES, KEY, ["4"]) == b"4"


def test_a_connection_that_broke_is_made_again(client: Any, redis_server: RedisServer) -> None:
    """Survive that the server ends an idle connection."""
    assert wire.run(client, TAKES, KEY, ["1"]) == b"1"
    with redis.Redis.from_url(redis_server.url()) as admin:
        admin.client_kill_filter(_type="normal", skipme=True)
    assert wire.run(client, TAKES, KEY, ["2"]) == b"2"


def test_an_interrupted_answer_is_never_the_next_one(
    client: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Drop the connection of a call that was interrupted (a soft time limit, Ctrl-C)."""
    wire.run(client, TAKES, KEY, ["0"])

    def interrupt(*_args: Any, **_kwargs: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(AbstractConnection, "read_response", interrupt)
        with pytest.raises(KeyboardInterrupt):
            wire.run(client, TAKES, KEY, ["lost"])
    assert wire.run(client, TAKES, KEY, ["next"]) == b"next"


@pytest.mark.parametrize("alias", ["locks", "locks_django"])
def test_who_watches_the_client_sees_the_scripts(alias: str, sent: list[str]) -> None:
    """Go through ``execute_command`` where somebody has wrapped it."""
    store: LockStore = open_store(alias)
    assert store.acquire(lock(), 60) is None
    assert store.acquire(lock(owner="other", token="t2"), 60) is not None
    assert sent.count("EVALSHA") == 2
    store.renew([running(lock())], 60)


def test_a_watched_client_renews_in_a_pipeline(sent: list[str]) -> None:
    """Find the same with a pipeline of the client's."""
    store = open_store("locks")
    held = [running(lock(f"once:t:{number}")) for number in range(3)]
    assert {start for _lock, start in store.renew(held, 60)} == {Start.TAKEN}
    assert {start for _lock, start in store.renew(held, 60)} == {Start.MINE}
    assert caches["locks"].get("none") is None
    assert "GET" in sent
