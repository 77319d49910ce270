"""Scripts on their way to a Redis server and back, with as little around them as can be.

redis-py packs each word of a command by itself, in Python where hiredis is not installed. The
words of a script are text and can be packed at once: a renewal of 10,000 leases takes no longer
than a pipeline of as many PEXPIRE (benchmarks/RESULTS.md). The connection is the pool's all the
same, checked, retried and given back as for any command of the client.

A client that is not redis-py's own, or on whose way to a connection somebody stands to see what
is sent (as tracing tools do), sends scripts itself.
"""

from __future__ import annotations

import inspect
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from types import FunctionType
from typing import Any, ParamSpec, TypeVar

from redis import ConnectionPool, Redis
from redis.client import Pipeline
from redis.connection import AbstractConnection
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, ResponseError

from django_celery_once.locks.scripts import Script

#: Whether redis-py measures by itself what its clients send, as newer versions can.
_is_measured: Callable[[], bool]
try:
    from redis.observability import get_observability_instance
except ImportError:
    _is_measured = bool
else:
    _is_measured = get_observability_instance().is_enabled

P = ParamSpec("P")
T = TypeVar("T")
Words = Sequence[str | int]

#: redis-py before 5.3 wants the name of the command.
_COMMAND = inspect.signature(ConnectionPool.get_connection).parameters["command_name"]
_NAMED = ("EVALSHA",) if _COMMAND.default is inspect.Parameter.empty else ()
#: What redis-py says of a pool that has no connection left; nothing was sent. Its pools hold 100
#: connections since redis-py 8, and do not wait.
AT_ITS_BOUND = "Too many connections"
#: Seconds that a command waits for a connection, and between two looks.
PATIENCE, SHORTEST_PAUSE, LONGEST_PAUSE = 5.0, 0.005, 0.1


def _own(kind: type, name: str) -> Any:
    """Return redis-py's own method, or ``None`` (no class has that) where it is replaced."""
    method: Any = getattr(kind, name)
    if type(method) is not FunctionType:
        return None
    module = str(method.__globals__.get("__name__", ""))
    return method if module.startswith("redis.") else None


#: By what a command passes on its way from a client to the server, and what pipelines add.
_EXECUTE = _own(Redis, "execute_command")
_EVALSHA = _own(Redis, "evalsha")
_SEND = _own(AbstractConnection, "send_command")
_PIPELINES = [
    (kind, name, _own(kind, name))
    for kind, name in [
        (Redis, "pipeline"),
        (Pipeline, "evalsha"),
        (Pipeline, "execute_command"),
        (Pipeline, "execute"),
    ]
]


def run(client: Any, script: Script, key: str, words: Words, *beside: str) -> Any:
    """Run a script on a key, and others ``beside`` it; return the server's answer.

    Raise what redis-py raises.
    """
    return _persistently(_run, client, script, (key, *beside), words)


def run_many(client: Any, script: Script, calls: Sequence[tuple[str, Words]]) -> list[Any]:
    """Run a script on many keys in one pipeline; return the server's answers."""
    return _persistently(_run_many, client, script, calls)


def failures() -> tuple[type[Exception], ...]:
    """Return what redis-py raises on purpose, and its fork valkey-py where that is in use."""
    return (OSError, *errors("RedisError", "RedisClusterException", "ValkeyError"))


def stumbled(error: Exception) -> bool:
    """Return whether redis-py met a connection that another thread has closed meanwhile.

    At the end of a request, django-redis' CLOSE_CONNECTION closes those of all threads, also
    where one waits for its answer; redis-py then fails on what is no longer there.
    """
    if isinstance(error, failures()):
        return False
    frames = [frame for frame, _line in traceback.walk_tb(error.__traceback__)]
    return str(frames[-1].f_globals.get("__name__", "")).startswith(("redis.", "valkey."))


def _persistently(send: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Send once more what stumbled; raise ``ConnectionError`` where that does, too."""
    try:
        return _with_patience(send, *args, **kwargs)
    except Exception as error:
        if not stumbled(error):
            raise
    try:
        return send(*args, **kwargs)
    except Exception as error:
        if not stumbled(error):
            raise
        raise RedisConnectionError(f"another thread closed the connection ({error})") from error


def _with_patience(send: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """Send when the client's pool has a connection, which others are about to give back."""
    deadline, pause = time.monotonic() + PATIENCE, SHORTEST_PAUSE
    while True:
        try:
            return send(*args, **kwargs)
        except errors("ConnectionError") as error:
            if str(error) != AT_ITS_BOUND or time.monotonic() > deadline:
                raise
        time.sleep(pause)
        pause = min(LONGEST_PAUSE, 2 * pause)


def _run(client: Any, script: Script, keys: Sequence[str], words: Words) -> Any:
    if not _is_plain(client):
        return _run_by_client(client, script, keys, words)
    command = [packed("EVALSHA", script.sha, len(keys), *keys, *words)]

    def talk(connection: Any) -> Any:
        connection.send_packed_command(command)
        return connection.read_response()

    try:
        return _on_connection(client, talk)
    except NoScriptError:
        return client.eval(script.text, len(keys), *keys, *words)


def _run_many(client: Any, script: Script, calls: Sequence[tuple[str, Words]]) -> list[Any]:
    if not _has_plain_pipelines(client):
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
    """Return whether nobody but redis-py stands between a client and its connections.

    Methods are told by identity: a proxy (as wrapt's) has the class and the globals of what it
    wraps, and equals it.
    """
    if type(client) is not Redis:
        return False
    own, pool = client.__dict__, client.connection_pool
    return (
        Redis.execute_command is _EXECUTE
        and Redis.evalsha is _EVALSHA
        and "execute_command" not in own
        and "evalsha" not in own
        and pool.connection_class.send_command is _SEND
        and client.connection is None
        and getattr(pool, "cache", None) is None
        and not _is_measured()
    )


def _has_plain_pipelines(client: Any) -> bool:
    """Return the same of a client's pipelines."""
    return (
        _is_plain(client)
        and "pipeline" not in client.__dict__
        and all(getattr(kind, name) is method for kind, name, method in _PIPELINES)
    )


def _run_by_client(client: Any, script: Script, keys: Sequence[str], words: Words) -> Any:
    try:
        return client.evalsha(script.sha, len(keys), *keys, *words)
    except errors("NoScriptError"):
        return client.eval(script.text, len(keys), *keys, *words)


def errors(*names: str) -> tuple[type[Exception], ...]:
    """Return the errors of these names of the client libraries that are in use."""
    used = [sys.modules.get(f"{library}.exceptions") for library in ("redis", "valkey")]
    return tuple(getattr(each, name) for each in used for name in names if hasattr(each, name))


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
