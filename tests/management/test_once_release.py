"""``once_release``: locks are freed by hand, and only those that were looked at."""

from __future__ import annotations

import json
import os
import pty
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from celery import Celery
from django.core.management import CommandError, call_command
from django.test import override_settings

from django_celery_once import live
from django_celery_once.keys import key_prefix
from django_celery_once.live import free
from django_celery_once.locks import Lock, LockStore, open_store
from django_celery_once.management.commands import once_release
from django_celery_once.signals import Outcome, lock_released
from testproject.redis_server import RedisServer
from tests.celery_app import app
from tests.configurations import once
from tests.locks.stores import lock, running
from tests.management.programs import MANAGE, document, manage, output
from tests.outages import caches_at

TASK = "reports.send"
CTRL_C = b"\x03"


@pytest.fixture
def store() -> LockStore:
    """Return the lock store."""
    return open_store("locks")


@pytest.fixture
def released() -> Iterator[list[tuple[str, str]]]:
    """Return the keys, and the outcomes, that ``lock_released`` tells."""
    told: list[tuple[str, str]] = []

    def listen(lock: Lock, outcome: str, **_kwargs: Any) -> None:
        told.append((lock.key, outcome))

    lock_released.connect(listen)
    yield told
    lock_released.disconnect(listen)


def hold(number: int = 1, task: str = TASK) -> Lock:
    """Take a lock."""
    made = lock(f"{key_prefix(task)}{number}", task=task)
    assert open_store("locks").acquire(made, 600) is None
    return made


def run(of: Lock) -> Lock:
    """Let a living worker run the task."""
    started = running(of)
    open_store("locks").start(started, 60)
    return started


def refused(*arguments: str) -> CommandError:
    """Run a command that must not succeed; return its error."""
    with pytest.raises(CommandError) as caught:
        output("once_release", *arguments)
    return caught.value


def test_a_queued_lock_is_freed(store: LockStore, released: list[tuple[str, str]]) -> None:
    """The sentence says whose lock it was, and the journal learns of it."""
    held = hold()
    store.acquire(replace(held, token="other", owner="other"), 600)
    said = output("once_release", held.key)
    assert said.startswith(f"Freed {held.key} (May report, task {held.owner}, queued, accepted ")
    assert "1 duplicate refused" in said
    assert store.inspect(held.key) is None
    assert released == [(held.key, Outcome.RELEASED)]


def test_who_and_why_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    """The log names the operator and the reason."""
    output("once_release", hold().key, "--reason", "worker lost")
    [record] = [each for each in caplog.records if "freed the lock" in each.getMessage()]
    assert record.getMessage().startswith("once_release (")
    assert record.getMessage().endswith(": worker lost")


def test_a_user_without_a_name_can_free_locks(
    store: LockStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Containers run as users that no passwd file knows."""
    for name in ("LOGNAME", "USER", "LNAME", "USERNAME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr("os.getuid", lambda: 4_000_000)
    held = hold()
    output("once_release", held.key)
    assert store.inspect(held.key) is None
    assert "once_release freed the lock" in caplog.text


def test_a_living_holder_is_refused(store: LockStore) -> None:
    """The sentence says that the call may run twice, and how to free it all the same."""
    held = run(hold())
    with pytest.raises(CommandError) as caught:
        output("once_release", held.key)
    assert caught.value.returncode == 1
    ended = manage("once_release", held.key)
    assert f"Refused to free {held.key}" in ended.stdout
    assert "may run twice" in ended.stdout
    assert "--force" in ended.stdout
    assert ended.returncode == 1
    assert store.inspect(held.key) is not None


def test_force_frees_a_living_holder(store: LockStore) -> None:
    """An operator who insists gets it, with the warning."""
    held = run(hold())
    assert "may run twice" in output("once_release", held.key, "--force")
    assert store.inspect(held.key) is None


def test_a_dead_holder_needs_no_force(store: LockStore) -> None:
    """A worker that gave no sign of life for longer than LEASE is no reason to refuse."""
    held = running(hold())
    store.start(held, 200)
    store.shorten(held, 100)
    assert "no sign of life for 100 s" in output("once_release", held.key)
    assert store.inspect(held.key) is None


@pytest.mark.parametrize("force", [[], ["--force"]])
def test_a_dry_run_changes_nothing(
    store: LockStore, force: list[str], released: list[tuple[str, str]]
) -> None:
    """It says what would be done and frees nothing, forced or not."""
    held = hold()
    assert output("once_release", held.key, "--dry-run", *force).startswith("Would free ")
    assert store.inspect(held.key) is not None
    assert released == []


def test_a_dry_run_of_what_would_be_refused_is_exit_code_1() -> None:
    """A script learns of the refusal before it acts."""
    held = run(hold())
    assert refused(held.key, "--dry-run").returncode == 1
    assert document("once_release", held.key, "--dry-run", "--force")["dry_run"] is True


def test_all_locks_of_a_task(store: LockStore) -> None:
    """Those of the task are freed, those of one with a longer name are not."""
    held = [hold(number) for number in range(3)]
    other = hold(9, f"{TASK}er")
    told = document("once_release", "--task", TASK)
    assert {each["key"] for each in told["locks"]} == {each.key for each in held}
    assert {each["action"] for each in told["locks"]} == {"freed"}
    assert store.inspect(other.key) is not None


def test_one_living_holder_does_not_save_the_others(
    store: LockStore, capsys: pytest.CaptureFixture[str]
) -> None:
    """What can be freed is freed, and the rest is counted."""
    dead, living = hold(1), run(hold(2))
    assert str(refused("--task", TASK)) == "Not done for 1 of 2; see above."
    assert store.inspect(dead.key) is None
    assert store.inspect(living.key) is not None


@pytest.mark.parametrize("arguments", [["once:nobody:1"], ["--task", "nobody"], ["no key"]])
def test_nothing_to_free_is_exit_code_1(arguments: list[str]) -> None:
    """The sentence says what there is not, and how to find what there is."""
    error = refused(*arguments)
    assert "There is no lock" in str(error)
    assert "once_locks lists" in str(error)
    assert error.returncode == 1


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["once:a:1", "--task", "a"],
        ["--task", "reports.*"],
        ["--task", ""],
        ["once:a:1", "--format", "yaml"],
        ["once:a:1", "once:a:2"],
    ],
    ids=" ".join,
)
def test_bad_arguments_are_exit_code_2(arguments: list[str]) -> None:
    """Nothing is guessed: neither which lock, nor a pattern for many."""
    assert manage("once_release", *arguments).returncode == 2


def test_only_the_lock_that_was_looked_at_is_freed(
    store: LockStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Between the look and the release another task took the key: it keeps it."""
    held = hold()
    successor = replace(held, owner="next", token="next")

    def overtaken(seen: Lock, **kwargs: Any) -> Lock | None:
        store.release(held)
        store.acquire(successor, 600)
        return free(seen, **kwargs)

    monkeypatch.setattr(once_release, "free", overtaken)
    error = refused(held.key)
    assert error.returncode == 1
    left = store.inspect(held.key)
    assert left is not None
    assert left.owner == "next"


def test_revoke_tells_the_workers(store: LockStore) -> None:
    """Workers hear the task's id, and whether to end it."""
    heard: list[dict[str, Any]] = []
    held = run(hold())
    with app.connection_for_read() as connection:
        mailbox: Any = app.control.mailbox  # type: ignore[attr-defined]
        node = mailbox(connection).Node("listener", channel=connection.channel())
        with node.listen(callback=lambda body, _message: heard.append(body)):
            told = document("once_release", held.key, "--force", "--revoke")
            deadline = time.monotonic() + 10
            while not heard and time.monotonic() < deadline:
                connection.drain_events(timeout=10)
    assert told["locks"][0]["revoked"] is True
    assert heard[0]["arguments"]["task_id"] == held.owner
    assert heard[0]["arguments"]["terminate"] is True


def test_a_broker_that_is_down_does_not_keep_the_lock(
    store: LockStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The lock is freed, the sentence says that the task was not revoked, the code is 1."""
    down = Celery("down", broker="redis://127.0.0.1:1/0", set_as_current=False)
    monkeypatch.setattr(live, "app_of", lambda _name: down)
    held = hold()
    assert refused(held.key, "--revoke").returncode == 1
    assert store.inspect(held.key) is None


def test_an_outage_is_exit_code_3(spare_redis_server: RedisServer) -> None:
    """No traceback: which cache failed, and how."""
    spare_redis_server.kill()
    with override_settings(CACHES=caches_at(spare_redis_server)):
        assert refused("once:reports.send:1").returncode == 3


def test_an_outage_half_way_tells_what_was_done(
    spare_redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first lock is freed, of the others nobody knows; the code says outage."""
    with override_settings(CACHES=caches_at(spare_redis_server)):
        for number in range(3):
            hold(number)

        def last_answer(seen: Lock, **kwargs: Any) -> Lock | None:
            last = free(seen, **kwargs)
            spare_redis_server.kill()
            return last

        monkeypatch.setattr(once_release, "free", last_answer)

        written: list[dict[str, Any]] = []
        monkeypatch.setattr(
            once_release.Command, "write_json", lambda _self, told: written.append(told)
        )
        assert refused("--task", TASK, "--format=json").returncode == 3
    [told] = written
    assert [each["action"] for each in told["locks"]] == ["freed", "unknown", "unknown"]


def test_a_store_that_cannot_list_frees_by_key() -> None:
    """``--task`` says what to do instead; KEY works."""
    with once(CACHE="locks_locmem"):
        held = lock()
        open_store("locks_locmem").acquire(held, 600)
        assert refused("--task", held.task).returncode == 2
        assert "Freed " in output("once_release", held.key)


def test_an_incomplete_search_is_no_success(monkeypatch: pytest.MonkeyPatch) -> None:
    """More locks than a search reads: what was found is freed, and it says to go on."""
    monkeypatch.setattr("django_celery_once.management.selection.MOST_LOCKS", 1)
    hold(1)
    hold(2)
    error = refused("--task", TASK)
    assert "stopped early" in str(error)
    assert error.returncode == 1


@pytest.mark.skipif(sys.platform == "win32", reason="needs a terminal")
@pytest.mark.parametrize(
    ("arguments", "answer", "freed"),
    [
        ([], b"y\n", True),
        ([], b"n\n", False),
        ([], b"\n", False),
        ([], b"\x04", False),
        ([], CTRL_C, False),
        (["--no-input"], b"", True),
    ],
)
def test_a_terminal_is_asked(
    store: LockStore, arguments: list[str], answer: bytes, freed: bool
) -> None:
    """Somebody at a terminal confirms; an answer other than yes frees nothing."""
    held = hold()
    code, screen = on_terminal(["once_release", held.key, *arguments], answer)
    assert (store.inspect(held.key) is None) is freed
    assert (code == 0) is freed
    assert ("Free this lock? [y/N]" in screen) is (not arguments)
    assert "Traceback" not in screen


def on_terminal(arguments: list[str], answer: bytes) -> tuple[int, str]:
    """Run ``manage.py`` on a terminal of its own and type ``answer`` at its question."""
    terminal, its_side = pty.openpty()
    with subprocess.Popen(
        [sys.executable, str(MANAGE), *arguments],
        stdin=its_side,
        stdout=its_side,
        stderr=its_side,
        cwd=MANAGE.parent,
        start_new_session=True,
        preexec_fn=let_interrupt,
    ) as program:
        os.close(its_side)
        try:
            screen = type_answer(terminal, program, answer)
            code = program.wait(60)
        finally:
            program.kill()
    os.close(terminal)
    return code, screen.decode()


def let_interrupt() -> None:
    """Hear Ctrl-C, which the job of a shell, or a test's runner, may have been told not to."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def type_answer(terminal: int, program: subprocess.Popen[bytes], answer: bytes) -> bytes:
    """Answer the program's question once; return all that it wrote.

    Ctrl-C is pressed until it is heard: Python loses one that comes between the question and
    the read behind it.
    """
    screen = b""
    interrupting = False
    while True:
        if not select.select([terminal], [], [], 1 if interrupting else None)[0]:
            program.send_signal(signal.SIGINT)
            continue
        try:
            chunk = os.read(terminal, 4096)
        except OSError:  # Linux' way to say that the other end is closed
            return screen
        if not chunk:
            return screen
        screen += chunk
        if b"[y/N] " in screen and answer == CTRL_C:
            interrupting = True
            program.send_signal(signal.SIGINT)
        elif b"[y/N] " in screen and answer:
            os.write(terminal, answer)
        answer = b"" if b"[y/N] " in screen else answer


def test_a_lock_in_another_cache() -> None:
    """A key is looked for, and freed, wherever it is."""
    made = lock("once:reports.other:1", task="reports.other")
    open_store("locks_django").acquire(made, 60)
    with once(TASKS={"reports.other": {"cache": "locks_django"}}):
        assert [each["action"] for each in document("once_release", made.key)["locks"]] == ["freed"]
    assert open_store("locks_django").inspect(made.key) is None


def test_one_cache_is_away(
    spare_redis_server: RedisServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the others hold of a task is freed; the code says that there may be more."""
    made = lock("once:reports.other:1", task="reports.other")
    open_store("locks_django").acquire(made, 60)
    spare_redis_server.kill()
    moved = once(TASKS={"reports.other": {"cache": "locks_django"}})
    with (
        moved,
        override_settings(CACHES=caches_at(spare_redis_server)),
        pytest.raises(CommandError, match="Its locks are missing here") as raised,
    ):
        call_command("once_release", "--task", "reports.other", "--format=json")
    told = json.loads(capsys.readouterr().out)
    assert (raised.value.returncode, told["complete"]) == (3, False)
    assert [each["action"] for each in told["locks"]] == ["freed"]
