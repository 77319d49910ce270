"""A Redis user with few rights: those that the page about operations names, or one less."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import redis
from django.conf import settings
from django.test import override_settings

from django_celery_once.doctor import examinations
from django_celery_once.doctor.findings import State
from django_celery_once.doctor.rights import examine_rights
from django_celery_once.locks import open_store
from django_celery_once.locks.redis import RedisStore
from django_celery_once.locks.rights import LESSER
from testproject.redis_server import RedisServer
from tests.distributed.cluster import Cluster

PAGE = (Path(__file__).parent.parent.parent / "docs" / "operations.md").read_text()
GRANTS = re.findall(r"ACL SETUSER locks (.+)", PAGE)
RIGHTS = [each for grant in GRANTS for each in grant.split() if each[0] in "+~"]
#: What only a cluster asks for, or any client that connects.
ELSEWHERE = {"+cluster", "+@connection", "~{app:1:once:*"}
COMMANDS = [each for each in RIGHTS if each not in ELSEWHERE]


def grant(admin: redis.Redis, *more: str) -> None:
    """Give the user all that the page names, and ``more``, or take it."""
    admin.execute_command("ACL", "SETUSER", "locks", "reset")
    for given in GRANTS:
        admin.execute_command("ACL", "SETUSER", "locks", *given.split())
    admin.execute_command("ACL", "SETUSER", "locks", *more)


def cache_of(server: RedisServer, **options: Any) -> dict[str, Any]:
    """Return CACHES whose locks are that user's."""
    url = server.url().replace("//", "//locks:secret@").removesuffix("/0")
    locks = {**settings.CACHES["locks"], "LOCATION": url, "KEY_PREFIX": "app", **options}
    return {**settings.CACHES, "locks": locks}


@pytest.fixture
def admin(redis_server: RedisServer) -> Iterator[redis.Redis]:
    """Return somebody who may do everything, where the locks' user may do what the page says."""
    with (
        redis.Redis.from_url(redis_server.url()) as client,
        override_settings(CACHES=cache_of(redis_server)),
    ):
        grant(client)
        yield client
        client.execute_command("ACL", "DELUSER", "locks")


def test_the_rights_on_the_page_are_enough(admin: redis.Redis) -> None:
    """All that is examined of the store and of its server can be done with them."""
    found = dict(examinations._examine_store("locks"))
    del found["second process"]  # it has the settings' own user
    told = {name: each for name, each in found.items() if each.state is not State.OK}
    assert set(told) <= {"eviction"}  # of the tests' server


@pytest.mark.parametrize("right", COMMANDS)
def test_each_right_on_the_page_is_needed(admin: redis.Redis, right: str) -> None:
    """Whichever is taken away, it is named, with what grants it."""
    if right.startswith("+"):
        grant(admin, f"-{right[1:]}")
    else:
        patterns = [each for each in COMMANDS if each.startswith("~") and each != right]
        grant(admin, "resetkeys", *patterns)
    told = examine_rights(open_store("locks"))
    assert told.state is (State.WARNING if right in LESSER else State.WRONG)
    assert told.seen.startswith(f"The Redis user 'locks' lacks {right}: ")
    assert told.advice == f"Grant it: ACL SETUSER locks {right}"


@pytest.mark.parametrize(
    ("change", "advice"),
    [
        ("-evalsha", examinations.RIGHTS_ADVICE),
        ("-hgetall", examinations.RIGHTS_ADVICE),  # in a script
        ("resetkeys", examinations.RIGHTS_ADVICE),
        ("off", examinations.LOGIN_ADVICE),
    ],
)
def test_what_is_refused_is_no_outage(admin: redis.Redis, change: str, advice: str) -> None:
    """Nobody is sent to a server that is well."""
    admin.execute_command("ACL", "SETUSER", "locks", change)
    open_store("locks")._primary().connection_pool.disconnect()  # type: ignore[attr-defined]
    found = dict(examinations._examine_store("locks"))
    assert (found["lock store"].state, found["lock store"].advice) == (State.WRONG, advice)
    assert found["permissions"].state is not State.OK


def test_another_store_has_no_such_user() -> None:
    """There is nothing to examine."""
    assert examine_rights(open_store("locks_locmem")).state is State.NOT_EXAMINED


def test_a_cluster() -> None:
    """An end in the slot of its lock has a name of another kind."""
    with Cluster() as cluster, ExitStack() as stack:
        admins = [
            stack.enter_context(redis.Redis.from_url(each.url())) for each in cluster.primaries
        ]
        options = cluster.cache()["OPTIONS"]
        with override_settings(CACHES=cache_of(cluster.primaries[0], OPTIONS=options)):
            for more in ((), ("resetkeys", "~app:1:once:*", "~app:1:once-followed")):
                for admin in admins:
                    grant(admin, *more)
                store = open_store("locks")
                assert isinstance(store, RedisStore)
                assert store.lacking() == (["~{app:1:once:*"] if more else [])
