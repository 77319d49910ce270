"""Scripts on their way to a Redis server and back, with as little around them as can be.

redis-py packs each word of a command by itself, in Python where hiredis is not installed. The
words of a script are text and can be packed at once: a renewal of 10,000 leases takes no longer
than a pipeline of as many PEXPIRE (benchmarks/RESULTS.md). The connection is the pool's all the
same, checked, retried and given back as for any command of the client.

A client that is not redis-py's own, or whose ``execute_command`` somebody has wrapped to see
what is sent (as tracing tools do), sends scripts itself.
"""

from __future__ import annotations

import inspect
import traceback
from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any, ParamSpec, TypeVar

import redis.client
from redis import ConnectionPool, Redis
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisClusterException, RedisError, ResponseError

from django_celery_once.locks.scripts import Script

P = ParamSpec("P")
T = TypeVar("T")
Words = Sequence[str | int]

#: redis-py before 5.3 wants the name of the command.
_COMMAND = inspect.signature(ConnectionPool.get_connection).parameters["command_name"]
_NAMED = ("EVALSHA",) if _COMMAND.default is inspect.Parameter.empty else ()
#: What redis-py raises on purpose.
_TOLD = (RedisError, RedisClusterException, OSError)


def run(client: Any, script: Script, key: str, words: Words) -> Any:
    """Run a script on a key; return the server's answer, and raise what redis-py raises."""
    return _persistently(_run, client, script, key, words)


def run_many(client: Any, script: Script, calls: Sequence[tuple[str, Words]]) -> list[Any]:
    """Run a script on many keys in one pipeline; return the server's answers."""
    return _persistently(_run_many, client, script, calls)


def stumbled(error: Exception) -> bool:
    """Return whether redis-py met a connection that another thread has closed meanwhile.

    At the end of a request, django-redis' CLOSE_CONNECTION closes those of all threads, also
    where one waits for its answer; redis-py then fails on what is no longer there.
    """
    if isinstance(error, _TOLD):
        return False
    frames = [frame for frame, _line in traceback.walk_tb(error.__traceback__)]
    return str(frames[-1].f_globals.get("__name__", "")).startswith("redis.")


def _persistently(send: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Send once more what stumbled; raise ``ConnectionError`` where that does, too."""
    try:
        return send(*args, **kwargs)
    except Exception as error:
        if not stumbled(error):
            raise
    try:
        return send(*args, **kwargs)
    except Exception as error:
        if not stumbled(error):
            raise
        raise RedisConnectionError(f"another thread closed the connection ({error})") from error


def _run(client: Any, script: Script, key: str, words: Words) -> Any:
    if not _is_plain(client):
        return _run_by_client(client, script, key, words)
    command = [packed("EVALSHA", script.sha, 1, key, *words)]

    def talk(connection: Any) -> Any:
        connection.send_packed_command(command)
        return connection.read_response()

    try:
        return _on_connection(client, talk)
    except NoScriptError:
        return client.eval(script.text, 1, key, *words)


def _run_many(client: Any, script: Script, calls: Sequence[tuple[str, Words]]) -> list[Any]:
    if not _is_plain(client):
        pipeline = client.pipeline(transaction=False)
        pipeline.script_load(script.text)
        for key, words in calls:
            pipeline.evalsha(script.sha, 1, key, *words)
        answers: list[Any] = pipeline.execute()
    else:
        commands = [packed("EVALSHA", script.sha, 1, key, *words) for key, words in calls]
        load = packed("SCRIPT", "LOAD", script.text)
        data, count = b"".join([load, *commands]), len(calls) + 1
        answers = _on_connection(client, lambda connection: _answers(connection, data, count))
    return answers[1:]


def packed(*words: str | int) -> bytes:
    """Return a command as the server reads it (RESP, an array of bulk strings)."""
    texts = [str(word) for word in words]
    command = "".join([f"*{len(texts)}\r\n", *[f"${len(text)}\r\n{text}\r\n" for text in texts]])
    if command.isascii():
        return command.encode()
    parts = [text.encode() for text in texts]
    return b"".join(
        [b"*%d\r\n" % len(parts), *[b"$%d\r\n%b\r\n" % (len(part), part) for part in parts]]
    )


def _is_plain(client: Any) -> bool:
    """Return whether nobody but redis-py stands between a client and its connections."""
    execute = getattr(type(client), "execute_command", None)
    return (
        isinstance(client, Redis)
        and isinstance(execute, FunctionType)
        and execute.__globals__ is vars(redis.client)
        and client.connection is None
        and getattr(client.connection_pool, "cache", None) is None
    )


def _run_by_client(client: Any, script: Script, key: str, words: Words) -> Any:
    try:
        return client.evalsha(script.sha, 1, key, *words)
    except NoScriptError:
        return client.eval(script.text, 1, key, *words)


def _on_connection(client: Any, talk: Callable[[Any], T]) -> T:
    """Let ``talk`` have a connection of the client's pool, as often as its retry policy says."""
    pool = client.connection_pool
    connection = pool.get_connection(*_NAMED)
    try:
        answer: T = connection.retry.call_with_retry(
            lambda: talk(connection), lambda _error: connection.disconnect()
        )
    except ResponseError:
        raise
    except BaseException:
        connection.disconnect()  # an answer that is still to come is not the next command's
        raise
    finally:
        pool.release(connection)
    return answer


def _answers(connection: Any, data: bytes, count: int) -> list[Any]:
    """Send commands and read their answers; raise the first error, when all are read."""
    connection.send_packed_command([data])
    answers: list[Any] = []
    for _each in range(count):
        try:
            answers.append(connection.read_response())
        except ResponseError as error:
            answers.append(error)
    for answer in answers:
        if isinstance(answer, ResponseError):
            raise answer
    return answers
