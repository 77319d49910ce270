"""What a broker can lose, and the book in which it is seen."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import redis

from testproject.redis_server import RedisServer
from tests.rabbitmq_server import RabbitMQServer

_TASK_ID = re.compile(rb'"id": "([0-9a-f-]{36})"')


class Messages:
    """What RabbitMQ was sent: it loses none.

    It confirms what is on its disk, and keeps that until it is acknowledged.
    """

    def lost(self, _task_id: str) -> bool:
        """Return whether a message of a task was taken from the queue and never seen again."""
        return False


class RedisMessages(Messages):
    """Counts how often each task's message was queued, and noted by the worker that took it.

    Kombu takes a message from Redis (BRPOP) and only then notes it as not yet acknowledged. A
    worker or a broker that dies in between takes the message with it: nobody can deliver it
    again. The server's append-only file tells.
    """

    def __init__(self, url: str, queue: str) -> None:
        self._queued: Counter[str] = Counter()
        self._noted: Counter[str] = Counter()
        with redis.Redis.from_url(url) as client:
            folder = Path(client.config_get("dir")["dir"])
            self._waiting = b"".join(client.lrange(queue, 0, -1)).decode()
        for path in sorted(folder.rglob("*.aof")):
            for command in _commands(path.read_bytes()):
                self._count(command, queue.encode())

    def lost(self, task_id: str) -> bool:
        taken = task_id not in self._waiting
        return taken and self._queued[task_id] > self._noted[task_id]

    def _count(self, command: list[bytes], queue: bytes) -> None:
        match command:
            case [verb, key, *values] if key == queue and verb.upper() in (b"LPUSH", b"RPUSH"):
                counted = self._queued
            case [verb, b"unacked", *values] if verb.upper() == b"HSET":
                counted = self._noted
            case _:
                return
        for value in values:
            found = _TASK_ID.search(value)
            if found:
                counted[found[1].decode()] += 1


def read_messages(broker: RabbitMQServer | RedisServer, queue: str) -> Messages:
    """Return what is known of the messages of a queue."""
    if isinstance(broker, RedisServer):
        return RedisMessages(broker.url(), queue)
    return Messages()


def _commands(book: bytes) -> Iterator[list[bytes]]:
    """Yield the commands of an append-only file, as far as it is whole (Redis protocol)."""
    at = 0
    while book[at : at + 1] == b"*":
        end = book.index(b"\r\n", at)
        parts, at = int(book[at + 1 : end]), end + 2
        command = []
        for _part in range(parts):
            end = book.index(b"\r\n", at)
            length = int(book[at + 1 : end])
            command.append(book[end + 2 : end + 2 + length])
            at = end + 2 + length + 2
        yield command
