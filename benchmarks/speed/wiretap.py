"""What a call sends to the server, told by the server (MONITOR)."""

from __future__ import annotations

from collections.abc import Callable

from redis import Redis

#: What ends the listening.
END = "speed-end-of-call"


def sent(url: str, call: Callable[[], object]) -> list[list[str]]:
    """Return the commands of a call, in words. None of the words may have a blank in it."""
    client, listener = Redis.from_url(url), Redis.from_url(url)
    commands: list[list[str]] = []
    with listener.monitor() as monitor:
        call()
        client.echo(END)
        for told in monitor.listen():
            if END in told["command"]:
                return [words for words in commands if words[0] not in ("HELLO", "CLIENT")]
            if told["client_type"] != "lua":
                commands.append(told["command"].split(" "))
    return []
