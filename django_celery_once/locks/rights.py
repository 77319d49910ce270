"""What a Redis user has to be allowed for locks: commands, and names of keys."""

from __future__ import annotations

from collections.abc import Iterator

from django_celery_once.record import record

#: Without these locks hold; but can't be listed, and little is known of their server.
LESSER = frozenset({"+scan", "+info"})


def refuses(said: str) -> bool:
    """Return whether a server's error says that its user may not do this, here or in a script."""
    return "no permissions" in said or "can't run this command" in said


@record
class Names:
    """The names of keys to try, each with the pattern of its kind, as an access list has it."""

    lock: tuple[str, str]
    end: tuple[str, str]
    followed: tuple[str, str]


@record
class Trial:
    """A command that leaves nothing behind, with the key it needs and the key's pattern, if any."""

    words: tuple[str, ...]
    pattern: str = ""

    @property
    def right(self) -> str:
        """Return what allows the command, as an access list has it."""
        first, *others = self.words
        return f"+{first}|{others[0]}".lower() if first == "SCRIPT" else f"+{first}".lower()

    def lacks(self, said: str) -> str:
        """Return which right is missing, by the error that the server gave; nothing for others."""
        if not refuses(said):
            return ""
        return f"~{self.pattern}" if "access" in said and self.pattern else self.right


def trials(names: Names) -> Iterator[Trial]:
    """Yield what the store asks of the server, as gently as it can be asked."""
    lock, locks = names.lock
    for words in (
        ("EVALSHA", "0" * 40, "1", lock),
        ("EVAL", "return 1", "1", lock),
        ("HSET", lock, "hits", "0"),
        ("HSETNX", lock, "hits", "0"),
        ("HINCRBY", lock, "hits", "1"),
        ("HGETALL", lock),
        ("HMGET", lock, "hits"),
        ("PEXPIRE", lock, "1000"),
        ("PTTL", lock),
        ("HDEL", lock, "hits"),
        ("DEL", lock),
    ):
        yield Trial(words, locks)
    end, ends = names.end
    yield Trial(("SET", end, "1", "PX", "1000"), ends)
    yield Trial(("EXISTS", end), ends)
    followed, pattern = names.followed
    for words in (
        ("SADD", followed, lock),
        ("SMEMBERS", followed),
        ("SREM", followed, lock),
    ):
        yield Trial(words, pattern)
    yield Trial(("SCRIPT", "LOAD", "return 1"))
    yield Trial(("SCAN", "0", "COUNT", "1"))
    yield Trial(("INFO",))
