"""The second process: what it must see, and what becomes of one that can't look."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import redis
from django.conf import ENVIRONMENT_VARIABLE

from django_celery_once.doctor import processes
from django_celery_once.doctor.findings import State
from django_celery_once.doctor.witness import look_at
from django_celery_once.locks import open_store
from testproject.redis_server import RedisServer
from tests.configurations import once
from tests.locks.stores import lock


def test_a_second_process_sees_the_lock(redis_server: RedisServer) -> None:
    """A real process with these settings; nothing is left."""
    found = processes.examine_second_process(open_store("locks"))
    assert found.state is State.OK, found.seen
    with redis.Redis.from_url(redis_server.url(1)) as client:
        assert client.keys() == []


def test_a_second_process_does_not_see_this_one_s_memory() -> None:
    """It looks into the cache that its settings name, and finds nothing."""
    found = processes.examine_second_process(open_store("locks_locmem"))
    assert found.state is State.WRONG
    assert "did not see" in found.seen


def test_settings_without_a_module_are_not_examined(monkeypatch: pytest.MonkeyPatch) -> None:
    """settings.configure() can't be handed to another process."""
    monkeypatch.delenv(ENVIRONMENT_VARIABLE)
    found = processes.examine_second_process(open_store("locks"))
    assert found.state is State.NOT_EXAMINED


def test_what_a_failing_process_says_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker with these settings would fail in the same way."""
    monkeypatch.setenv(ENVIRONMENT_VARIABLE, "no.such.settings")
    found = processes.examine_second_process(open_store("locks"))
    assert found.state is State.WRONG
    assert "ModuleNotFoundError: No module named 'no'" in found.seen


@pytest.mark.parametrize(
    ("program", "words"),
    [
        ("#!/bin/sh\nexit 7\n", "exit code 7"),
        ("#!/bin/sh\nexec sleep 60\n", "timed out"),
        ("", "Exec format error"),
    ],
)
def test_an_interpreter_that_cannot_look(
    program: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It ends without a word, hangs, or is no program: the round goes on."""
    interpreter = tmp_path / "python"
    interpreter.write_text(program)
    interpreter.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(interpreter))
    monkeypatch.setattr(processes, "PATIENCE_SECONDS", 1)
    found = processes.examine_second_process(open_store("locks"))
    assert found.state is State.WRONG
    assert words in found.seen


def test_the_witness_is_refused_a_held_key() -> None:
    """It sees the owner, is refused and frees nothing."""
    store, held = open_store("locks"), lock()
    store.acquire(held, 60)
    assert look_at("locks", held.key) == {"owner": held.owner, "refused": True, "freed": False}
    left = store.inspect(held.key)
    assert left is not None
    assert left.token == held.token


def test_the_witness_leaves_nothing_in_a_cache_of_its_own() -> None:
    """Where it could take the key, it gives it back."""
    with once(CACHE="locks_locmem"):
        assert look_at("locks", "once:t:1") == {"owner": None, "refused": False, "freed": False}
    assert open_store("locks_locmem").inspect("once:t:1") is None


def test_the_witness_speaks_though_settings_write(tmp_path: Path) -> None:
    """Lines that a project's settings print do not hide the answer."""
    held = lock()
    open_store("locks").acquire(held, 60)
    module = tmp_path / "chatty.py"
    module.write_text("from tests.settings import *\nprint('hello', end='')\n")
    ended = subprocess.run(
        [sys.executable, "-m", "django_celery_once.doctor.witness", "locks", held.key],
        env={**processes.environment(), ENVIRONMENT_VARIABLE: "chatty"}
        | {"PYTHONPATH": f"{tmp_path}:{processes.environment()['PYTHONPATH']}"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "hello\nonce_doctor: {" in ended.stdout
    assert "RuntimeWarning" not in ended.stderr
