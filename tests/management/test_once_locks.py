"""``once_locks``: who holds which key."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.test import override_settings

from django_celery_once.keys import key_prefix
from django_celery_once.locks import Lock, open_store
from testproject.redis_server import RedisServer
from tests.configurations import once
from tests.locks.stores import lock, running
from tests.management.programs import document, manage, output
from tests.outages import caches_at

TASK = "reports.send"


def hold(number: int = 1, task: str = TASK, alias: str = "locks", **fields: Any) -> Lock:
    """Take a lock for almost ten minutes."""
    made = lock(f"{key_prefix(task)}{number}", task=task, **fields)
    assert open_store(alias).acquire(made, 590) is None
    return made


def ago(seconds: float) -> float:
    """Return when that was, in epoch seconds."""
    return time.time() - seconds


def keys(*arguments: str) -> list[str]:
    """Return the keys that are listed."""
    return [each["key"] for each in document("once_locks", *arguments)["locks"]]


def test_an_empty_store_has_no_locks() -> None:
    """Nothing is held: one sentence says so."""
    assert output("once_locks") == "No locks.\n"


def test_a_queued_lock_in_words() -> None:
    """Phase, age, time left, refused duplicates, holder and key stand in one line."""
    held = hold(since=ago(250), label="May report")
    open_store("locks").acquire(replace(held, token="another", owner="another"), 600)
    heading, names, row, empty, total = output("once_locks").splitlines()
    assert (heading, empty, total) == (TASK, "", "1 lock.")
    assert names.index("AGE") == row.index("4 min")
    cells = [cell.strip() for cell in row.split("  ") if cell.strip()]
    assert cells == ["queued", "4 min", "9 min", "1", "-", held.owner, "May report", held.key]


def test_columns_are_aligned_over_all_tasks() -> None:
    """One task's long worker name moves the columns of the others, too."""
    hold(1, since=ago(5))
    other = hold(2, "reports.other", since=ago(500))
    open_store("locks").start(running(other), 60)
    rows = [line for line in output("once_locks").splitlines() if line.startswith("  ")]
    assert {row.index("PHASE") for row in rows[::2]} == {2}
    assert len({row.rindex("  ") for row in rows}) == 1


def test_a_dead_worker_is_told() -> None:
    """A running lock that nobody has renewed for longer than LEASE shows no sign of life."""
    held = hold()
    store = open_store("locks")
    run = running(held)
    store.start(run, 200)
    store.shorten(run, 109.9)
    assert "running, no sign of life for 90 s  " in output("once_locks")
    [told] = document("once_locks")["locks"]
    assert (told["living"], round(told["silent_seconds"])) == (False, 90)


def test_a_living_worker_is_told() -> None:
    """A renewed lock names the worker."""
    open_store("locks").start(running(hold()), 60)
    [told] = document("once_locks")["locks"]
    assert (told["phase"], told["living"], told["worker"]) == ("running", True, "celery@here")
    assert "sign of life" not in output("once_locks")


def test_the_document_has_all_that_scripts_need() -> None:
    """Times are ISO 8601 in UTC, spans are seconds, and the lock's secrets are left out."""
    held = hold(since=1777636800.25)
    found = document("once_locks")
    [told] = found.pop("locks")
    assert found == {"complete": True, "found": 1, "unreachable": []}
    assert told.pop("age_seconds") == pytest.approx(ago(1777636800.25), abs=5)
    assert told.pop("remaining_seconds") == pytest.approx(590, abs=5)
    assert told == {
        "key": held.key,
        "cache": "locks",
        "task": TASK,
        "label": "May report",
        "task_id": held.owner,
        "phase": "queued",
        "since": "2026-05-01T12:00:00.250+00:00",
        "begins": None,
        "started": None,
        "worker": "",
        "living": None,
        "silent_seconds": None,
        "requested_by": "7",
        "duplicates_refused": 0,
        "followed_by": None,
    }


def test_labels_cannot_write_over_the_terminal() -> None:
    """Control characters and line ends in a user's words are shown, not obeyed."""
    hold(label="\x1b[31mMay\nreport " + "x" * 200)
    text = output("once_locks")
    assert "\x1b" not in text
    assert "\N{REPLACEMENT CHARACTER}[31mMay\N{REPLACEMENT CHARACTER}report" in text
    assert "x" * 30 not in text


def test_the_oldest_come_first_and_the_rest_is_told() -> None:
    """``--limit`` keeps the oldest locks and says how many there are."""
    held = [hold(number, since=ago(number * 100)) for number in (1, 3, 2)]
    assert keys("--limit=2") == [held[1].key, held[2].key]
    assert "2 of 3 locks, the oldest; --limit shows more." in output("once_locks", "--limit", "2")
    assert document("once_locks", "--limit=2")["found"] == 3


def test_a_search_that_stopped_early_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    """More locks than a search reads: the listing is not complete."""
    monkeypatch.setattr("django_celery_once.management.selection.MOST_LOCKS", 1)
    hold(1)
    hold(2)
    assert "The search stopped early" in output("once_locks")
    assert document("once_locks")["complete"] is False


def test_an_incomplete_search_never_says_that_there_is_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nothing found in the time given is not nothing."""
    monkeypatch.setattr("django_celery_once.management.selection.MOST_LOCKS", 1)
    hold(1)
    hold(2)
    assert "No locks." not in output("once_locks", "--older-than", "9d")


@pytest.mark.parametrize(
    ("pattern", "found"),
    [
        ("reports.send", ["reports.send"]),
        ("reports.se", []),
        ("reports.*", ["reports.send", "reports.sender"]),
        ("*", ["mail", "reports.send", "reports.sender"]),
        ("ä" * 200, []),
    ],
)
def test_task_is_a_name_or_a_prefix(pattern: str, found: list[str]) -> None:
    """A name is that task's alone; ``*`` at its end stands for anything."""
    for number, task in enumerate(["reports.send", "reports.sender", "mail"]):
        hold(number, task)
    listed = document("once_locks", "--task", pattern)["locks"]
    assert sorted(each["task"] for each in listed) == found


def test_task_names_that_no_key_spells_out() -> None:
    """A name that is cut in the key is found by its whole."""
    name = "reports.größe." + "x" * 200
    held = hold(task=name)
    assert keys("--task", name) == [held.key]
    assert keys("--task", "reports.grö*") == [held.key]


@pytest.mark.parametrize(
    ("span", "count"),
    [("0", 3), ("90", 2), ("90s", 2), ("2m", 2), ("1h", 1), ("1.5h", 1), ("2d", 0)],
)
def test_older_than_takes_units(span: str, count: int) -> None:
    """Seconds, minutes, hours and days since the call was accepted."""
    for number, age in enumerate([10, 130, 6000]):
        hold(number, since=ago(age))
    assert len(keys("--older-than", span)) == count


@pytest.mark.parametrize("alias", ["locks", "locks_django", "locks_locmem"])
def test_one_key_is_shown_whatever_the_store(alias: str) -> None:
    """``--key`` needs no listing."""
    held = hold(alias=alias)
    with once(CACHE=alias):
        assert keys("--key", held.key) == [held.key]


@pytest.mark.parametrize("key", ["once:nobody:1", "", "no key", "once:ä:1", "celery"])
def test_an_unknown_key_is_exit_code_1(key: str) -> None:
    """There is no such lock, or it can be none."""
    with pytest.raises(CommandError, match=r"There is no lock under") as caught:
        output("once_locks", "--key", key)
    assert caught.value.returncode == 1


def test_a_store_that_cannot_list_says_what_to_do() -> None:
    """The sentence names the cache and the way out; the arguments were wrong for it."""
    with once(CACHE="locks_locmem"), pytest.raises(CommandError, match="--key KEY") as caught:
        output("once_locks")
    assert "CACHES['locks_locmem'] (LocMemCache) can't list its keys" in str(caught.value)
    assert caught.value.returncode == 2


@pytest.mark.parametrize(
    "arguments",
    [
        ["--limit", "0"],
        ["--limit", "-1"],
        ["--limit", "many"],
        ["--limit", "1.5"],
        ["--older-than", "soon"],
        ["--older-than", "-5"],
        ["--older-than", "1w"],
        ["--older-than", ""],
        ["--older-than", "nan"],
        ["--task", ""],
        ["--task", "a*b"],
        ["--task", "a", "--key", "b"],
        ["--key", "b", "--limit", "3"],
        ["--key", "b", "--older-than", "3"],
        ["--format", "xml"],
        ["positional"],
    ],
    ids=" ".join,
)
def test_bad_arguments_are_command_errors(arguments: list[str]) -> None:
    """Each wrong argument is named, and none is guessed at."""
    with pytest.raises(CommandError):
        output("once_locks", *arguments)


def test_an_outage_is_exit_code_3(spare_redis_server: RedisServer) -> None:
    """No traceback: which cache failed, and how."""
    spare_redis_server.kill()
    with (
        override_settings(CACHES=caches_at(spare_redis_server)),
        pytest.raises(CommandError, match=r"cache 'locks'\) failed at SCAN") as caught,
    ):
        output("once_locks")
    assert caught.value.returncode == 3


def test_wrong_settings_are_exit_code_2() -> None:
    """An alias that is not there is named."""
    with once(CACHE="nowhere"), pytest.raises(CommandError, match="'nowhere'") as caught:
        output("once_locks")
    assert caught.value.returncode == 2


def test_exit_codes_of_the_process() -> None:
    """What a shell sees, for each code."""
    codes = {
        (): 0,
        ("--key", "once:nobody:1"): 1,
        ("--limit", "0"): 2,
        ("--key", "a", "--limit", "1"): 2,
    }
    assert {given: manage("once_locks", *given).returncode for given in codes} == codes


def test_an_outage_ends_the_process_with_code_3() -> None:
    """The message goes to the standard error, and nothing else is written."""
    nowhere = {"BACKEND": "django_redis.cache.RedisCache", "LOCATION": "redis://127.0.0.1:1/1"}
    ended = manage("once_locks", CACHES={"default": nowhere, "locks": nowhere})
    assert (ended.returncode, ended.stdout) == (3, "")
    assert ended.stderr.startswith("CommandError: The lock store (cache 'locks') failed")
    assert "Traceback" not in ended.stderr


def test_help_tells_the_exit_codes() -> None:
    """A script's author need not read the source."""
    assert "Exit codes: 0 " in manage("once_locks", "--help").stdout


TWO = {"reports.other": {"cache": "locks_django"}}


def test_the_locks_of_all_caches() -> None:
    """One table, with the alias of each where there are several."""
    first, second = hold(1), hold(2, "reports.other", "locks_django")
    with once(TASKS=TWO):
        assert [each["cache"] for each in document("once_locks")["locks"]] == [
            "locks",
            "locks_django",
        ]
        lines = output("once_locks").splitlines()
        assert [each["key"] for each in document("once_locks", "--key", second.key)["locks"]] == [
            second.key
        ]
    rows = [line.split() for line in lines if "once:" in line]
    assert [(row[0], row[-1]) for row in rows] == [
        ("locks", first.key),
        ("locks_django", second.key),
    ]
    assert "CACHE" not in output("once_locks")


def test_an_outage_of_one_cache_hides_no_other(
    spare_redis_server: RedisServer, capsys: pytest.CaptureFixture[str]
) -> None:
    """What the others hold is listed; the document and the code say that one is missing."""
    held = hold(2, "reports.other", "locks_django")
    spare_redis_server.kill()
    with once(TASKS=TWO), override_settings(CACHES=caches_at(spare_redis_server)):
        with pytest.raises(CommandError, match=r"'locks'.* Its locks are missing here") as raised:
            call_command("once_locks", "--format=json")
        told = json.loads(capsys.readouterr().out)
        with pytest.raises(CommandError, match="'locks'"):
            call_command("once_locks", "--key", "once:reports.other:nobody")
    assert raised.value.returncode == 3
    assert ([each["key"] for each in told["locks"]], told["complete"]) == ([held.key], False)
    assert told["unreachable"] == ["locks"]


def test_a_cache_that_cannot_list_beside_one_that_can() -> None:
    """It is said whose locks are not listed, and how to ask for them."""
    hold()
    with once(TASKS={"reports.other": {"cache": "locks_db"}}):
        text = output("once_locks")
        assert document("once_locks")["complete"] is False
    assert "1 lock." in text
    assert "CACHES['locks_db'] (DatabaseCache) can't list its keys: ask for its locks" in text
