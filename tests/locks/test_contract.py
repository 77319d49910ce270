"""What every lock store does, on every cache that can hold locks."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from django.core.cache import caches
from django.core.management import call_command

from django_celery_once.locks import Lock, LockStore, Phase, Start, open_store
from tests.locks.stores import lock, running

STORES = [
    "locks",
    "locks_django",
    "locks_valkey",
    "locks_locmem",
    pytest.param("locks_db", marks=pytest.mark.django_db(databases=["default", "locks"])),
    pytest.param("locks_memcached", marks=pytest.mark.needs("memcached")),
]


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest) -> Iterator[LockStore]:
    """Return an empty store."""
    if request.param == "locks_db":
        request.getfixturevalue("db")
        call_command("createcachetable", database="locks", verbosity=0)
    caches[request.param].clear()
    yield open_store(request.param)
    caches[request.param].clear()


def wait_until(true: Callable[[], bool], seconds: float = 5) -> None:
    """Wait for something that time alone brings about."""
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.02)


def found(store: LockStore, key: str) -> Lock:
    """Return the lock under a key; it must be there."""
    held = store.inspect(key)
    assert held is not None
    return held


def test_a_free_key_is_taken(store: LockStore) -> None:
    """Take a free key and keep everything that was said of it."""
    mine = lock()
    assert store.inspect(mine.key) is None
    assert store.acquire(mine, 600) is None
    held = found(store, mine.key)
    assert replace(held, remaining=0) == mine
    assert 590 < held.remaining <= 600


def test_anothers_key_is_refused_and_the_hit_counted(store: LockStore) -> None:
    """Return the holder, what is left of its lock and the number of refusals."""
    mine = lock()
    store.acquire(mine, 600)
    for hits in (1, 2, 3):
        holder = store.acquire(lock(), 600)
        assert holder is not None
        assert (holder.owner, holder.hits, holder.phase) == (mine.owner, hits, Phase.QUEUED)
        assert 590 < holder.remaining <= 600
    assert found(store, mine.key).hits == 3


def test_asking_again_with_one_token_is_one_call(store: LockStore) -> None:
    """Survive a client that repeats a command whose answer was lost."""
    mine = lock()
    store.acquire(mine, 600)
    store.start(running(mine), 60)
    assert store.acquire(mine, 600) is None
    assert (found(store, mine.key).phase, found(store, mine.key).hits) == (Phase.RUNNING, 0)


def test_the_same_task_id_under_another_token_is_refused(store: LockStore) -> None:
    """Take no second message of a task for its successor unless it says so."""
    mine = lock()
    store.acquire(mine, 600)
    assert store.acquire(replace(mine, token="other"), 600) is not None


def test_a_successor_replaces_and_keeps_the_story(store: LockStore) -> None:
    """Move the lock to the next message of the task: a retry."""
    mine = lock()
    store.acquire(mine, 600)
    store.acquire(lock(), 600)
    store.start(running(mine), 60)
    retry = replace(lock(), owner=mine.owner, label="", requester="")
    assert store.acquire(retry, 900, replacing=running(mine)) is None
    held = found(store, mine.key)
    assert (held.token, held.run, held.phase, held.hits) == (retry.token, "", Phase.QUEUED, 1)
    assert (held.since, held.label, held.requester) == (mine.since, mine.label, mine.requester)
    assert held.remaining > 600
    assert store.release(running(mine)) is None
    assert store.release(retry) is not None


def test_a_reservation_moves_to_its_message(store: LockStore) -> None:
    """Keep a key until the commit, then hand it to the message with the words of its own."""
    mine = lock(phase=Phase.RESERVED, label="")
    assert store.acquire(mine, 60) is None
    holder = store.acquire(lock(), 600)
    assert holder is not None
    assert (holder.phase, holder.owner) == (Phase.RESERVED, mine.owner)
    message = replace(lock(label="June report", requester=""), owner=mine.owner)
    assert store.acquire(message, 600, replacing=mine) is None
    held = found(store, mine.key)
    assert (held.token, held.phase, held.hits) == (message.token, Phase.QUEUED, 1)
    assert (held.label, held.requester, held.since) == ("June report", "7", mine.since)
    assert held.remaining > 60
    assert store.release(mine) is None
    assert store.release(message) is not None


def test_a_message_may_start_under_its_reservation(store: LockStore) -> None:
    """Run where the key could not be moved from the reservation: the store was away."""
    mine = lock(phase=Phase.RESERVED)
    store.acquire(mine, 60)
    run = replace(running(replace(lock(), owner=mine.owner)), previous=mine.token)
    assert store.start(run, 60) == (Start.MINE, None)
    held = found(store, mine.key)
    assert (held.phase, held.token) == (Phase.RUNNING, run.token)
    assert store.release(run) is not None


def test_a_successor_of_another_run_is_refused(store: LockStore) -> None:
    """Never take the lock from a run that has it meanwhile."""
    mine = lock()
    store.acquire(mine, 600)
    store.start(running(mine, "second"), 60)
    assert store.acquire(lock(), 600, replacing=running(mine, "first")) is not None
    assert found(store, mine.key).run == "second"


def test_a_run_that_its_lock_never_learned_of_has_a_successor(store: LockStore) -> None:
    """Hand on the lock of a run that began while the store was away."""
    mine = lock()
    store.acquire(mine, 600)
    retry = replace(lock(), owner=mine.owner)
    assert store.acquire(retry, 600, replacing=running(mine)) is None
    assert found(store, mine.key).token == retry.token


def test_another_task_can_succeed(store: LockStore) -> None:
    """Hand a key to another task with a story of its own."""
    mine, next_one = lock(), lock(label="next")
    store.acquire(mine, 600)
    store.acquire(lock(), 600)
    assert store.acquire(next_one, 600, replacing=mine) is None
    assert replace(found(store, mine.key), remaining=0) == next_one


def test_a_run_starts_under_a_lease(store: LockStore) -> None:
    """Turn the queued lock into a running one."""
    mine = lock()
    store.acquire(mine, 600)
    assert store.start(running(mine), 60) == (Start.MINE, None)
    held = found(store, mine.key)
    assert (held.phase, held.run, held.worker) == (Phase.RUNNING, "run-1", "celery@here")
    assert held.started >= held.since
    assert 50 < held.remaining <= held.lease == 60


def test_a_run_takes_a_free_key_back(store: LockStore) -> None:
    """Go on where the lock expired before its task began."""
    mine = running(lock())
    assert store.start(mine, 60) == (Start.TAKEN, None)
    assert replace(found(store, mine.key), remaining=0) == replace(mine, lease=60)


def test_a_run_finds_another_task(store: LockStore) -> None:
    """Say whose the key is, and count the hit."""
    theirs = lock()
    store.acquire(theirs, 600)
    start, holder = store.start(running(lock()), 60)
    assert start is Start.ANOTHER
    assert holder is not None
    assert (holder.owner, holder.hits) == (theirs.owner, 1)
    assert found(store, theirs.key).phase is Phase.QUEUED


def test_a_run_finds_a_newer_message_of_its_task(store: LockStore) -> None:
    """Count no hit of a task on itself."""
    theirs = lock()
    store.acquire(theirs, 600)
    start, holder = store.start(running(lock(owner=theirs.owner)), 60)
    assert start is Start.ANOTHER
    assert holder is not None
    assert (holder.owner, holder.hits) == (theirs.owner, 0)


def test_a_second_copy_finds_the_first_running(store: LockStore) -> None:
    """Tell a copy of the message that another run is under a live lease."""
    mine = lock()
    store.acquire(mine, 600)
    store.start(running(mine, "first"), 60)
    start, holder = store.start(running(mine, "second"), 60)
    assert start is Start.ELSEWHERE
    assert holder is not None
    assert holder.run == "first"
    assert found(store, mine.key).run == "first"


def test_a_copy_that_comes_again_takes_over_from_a_dead_run(store: LockStore) -> None:
    """Note the first coming, keep the key for the second, and then believe it."""
    mine = lock()
    store.acquire(mine, 600)
    store.start(running(mine, "dead"), 1)
    assert store.start(running(mine, "copy"), 60, again=0.0)[0] is Start.ELSEWHERE
    assert found(store, mine.key).remaining > 100
    assert store.start(running(mine, "copy"), 60, again=0.0) == (Start.MINE, None)
    held = found(store, mine.key)
    assert (held.run, held.sent_back) == ("copy", 0.0)
    assert store.release(running(mine, "dead")) is None


def test_a_copy_that_comes_again_finds_a_live_run(store: LockStore) -> None:
    """Let a renewal take the note of the first coming away."""
    mine = lock()
    store.acquire(mine, 600)
    alive = running(mine, "alive")
    store.start(alive, 60)
    assert store.start(running(mine, "copy"), 60)[0] is Start.ELSEWHERE
    assert store.renew([alive], 60) == [(alive, Start.MINE)]
    assert store.start(running(mine, "copy"), 60, again=0.0)[0] is Start.ELSEWHERE
    assert found(store, mine.key).run == "alive"


def test_what_another_copy_has_just_noted_says_nothing(store: LockStore) -> None:
    """Let several copies come in the time between two renewals: none runs beside the first."""
    mine = lock()
    store.acquire(mine, 600)
    store.start(running(mine, "alive"), 60)
    copies = [running(mine, f"copy {number}") for number in range(4)]
    found_by = [store.start(copy, 60, again=30)[0] for copy in copies]
    assert found_by == [Start.ELSEWHERE] * 4
    assert found(store, mine.key).run == "alive"


def test_a_dead_run_renews_nothing(store: LockStore) -> None:
    """Tell a run that wakes that its message runs elsewhere, and note no copy."""
    mine = lock()
    store.acquire(mine, 600)
    store.start(running(mine, "second"), 60)
    late = running(mine, "first")
    assert store.renew([late], 60) == [(late, Start.ELSEWHERE)]
    assert not found(store, mine.key).sent_back


def test_a_lock_is_shortened_by_its_own(store: LockStore) -> None:
    """Leave a run's lock a little longer, and nobody else's."""
    mine = lock()
    store.acquire(mine, 600)
    store.start(running(mine), 60)
    assert not store.shorten(running(mine, "other"), 5)
    assert not store.shorten(lock(), 5)
    assert not store.shorten(lock("once:t:nothing"), 5)
    assert store.shorten(running(mine), 5)
    assert found(store, mine.key).remaining <= 5
    assert store.inspect("once:t:nothing") is None


def test_a_message_may_know_its_lock_by_another_token(store: LockStore) -> None:
    """Start a retry whose lock was moved to it, or was not: the answer was lost."""
    for number, moved in enumerate((True, False)):
        mine = lock(f"once:tests.report:moved-{number}")
        store.acquire(mine, 600)
        store.start(running(mine, "first"), 60)
        retry = replace(lock(mine.key), owner=mine.owner)
        if moved:
            store.acquire(retry, 600, replacing=running(mine, "first"))
        second = replace(running(retry, "second"), previous=mine.token)
        assert store.start(second, 60) == (Start.MINE, None)
        held = found(store, mine.key)
        assert (held.token, held.run) == (retry.token, "second")
        assert store.release(running(mine, "first")) is None
        assert store.release(second) is not None


def test_a_lock_that_is_kept_is_not_shortened_by_its_run(store: LockStore) -> None:
    """Lengthen it only: its time is more than a lease, until it is less."""
    mine = lock(until="expired")
    store.acquire(mine, 600)
    run = running(mine)
    assert store.start(run, 60) == (Start.MINE, None)
    assert 590 < found(store, mine.key).remaining <= 600
    assert store.renew([run], 60) == [(run, Start.MINE)]
    assert 590 < found(store, mine.key).remaining <= 600
    assert store.shorten(run, 5)
    assert store.renew([run], 60) == [(run, Start.MINE)]
    assert 50 < found(store, mine.key).remaining <= 60
    assert found(store, mine.key).silence < 10


def test_the_end_of_a_run_leaves_a_lock_that_is_kept(store: LockStore) -> None:
    """Move it to nobody's message: no late run has it."""
    mine = lock(until="expired")
    store.acquire(mine, 600)
    run = running(mine)
    store.start(run, 60)
    kept = replace(mine, token="ended", phase=Phase.KEPT, label="")
    assert store.acquire(kept, 300, replacing=run) is None
    held = found(store, mine.key)
    assert (held.phase, held.until, held.owner) == (Phase.KEPT, "expired", mine.owner)
    assert (held.since, held.label, held.worker) == (mine.since, mine.label, "")
    assert 290 < held.remaining <= 300
    assert store.start(run, 60)[0] is Start.ANOTHER
    assert store.release(run) is None


def test_a_call_that_asks_again_is_not_counted(store: LockStore) -> None:
    """Tell the holder and its hits, and add none."""
    mine = lock()
    store.acquire(mine, 600)
    store.acquire(lock(), 600)
    holder = store.acquire(lock(), 600, hits=0)
    assert holder is not None
    assert (holder.owner, holder.hits) == (mine.owner, 1)
    assert found(store, mine.key).hits == 1


def test_leases_are_renewed_together(store: LockStore) -> None:
    """Lengthen one's own, take back the lost, leave another's alone."""
    mine, gone, stolen = (running(lock(f"once:tests.report:{name}")) for name in "abc")
    thief = lock(stolen.key)
    for each in (mine, thief):
        store.acquire(replace(each, run="", phase=Phase.QUEUED), 600)
    store.start(mine, 2)
    outcome = store.renew([mine, gone, stolen], 60)
    assert outcome == [(mine, Start.MINE), (gone, Start.TAKEN), (stolen, Start.ANOTHER)]
    assert found(store, mine.key).remaining > 50
    assert replace(found(store, gone.key), remaining=0) == replace(gone, lease=60)
    assert (found(store, stolen.key).owner, found(store, stolen.key).hits) == (thief.owner, 0)


def test_no_leases_to_renew(store: LockStore) -> None:
    """Accept an empty list."""
    assert store.renew([], 60) == []


def test_the_owner_releases_and_gets_the_last_record(store: LockStore) -> None:
    """Free the key and tell how often it was asked for."""
    mine = lock()
    store.acquire(mine, 600)
    store.acquire(lock(), 600)
    last = store.release(mine)
    assert last is not None
    assert (last.owner, last.hits) == (mine.owner, 1)
    assert store.inspect(mine.key) is None
    assert store.release(mine) is None


def test_a_stranger_releases_nothing(store: LockStore) -> None:
    """Leave a lock alone that has another token."""
    mine = lock()
    store.acquire(mine, 600)
    assert store.release(replace(mine, token="other")) is None
    assert store.inspect(mine.key) is not None


def test_a_late_run_releases_nothing(store: LockStore) -> None:
    """Leave the lock alone when another run of the same message has it."""
    mine = lock()
    store.acquire(mine, 600)
    store.start(running(mine, "second"), 60)
    assert store.release(running(mine, "first")) is None
    assert store.release(running(mine, "second")) is not None


def test_a_run_that_could_not_register_releases(store: LockStore) -> None:
    """Free a lock that never learned of its run."""
    mine = lock()
    store.acquire(mine, 600)
    assert store.release(running(mine)) is not None


def test_a_release_without_a_run_frees_any_run(store: LockStore) -> None:
    """Let the worker's main process free the lock of a dead child."""
    mine = lock()
    store.acquire(mine, 600)
    store.start(running(mine), 60)
    assert store.release(mine) is not None


def test_releasing_without_a_token_is_an_error(store: LockStore) -> None:
    """Never mistake a forgotten token for force."""
    with pytest.raises(ValueError, match="token"):
        store.release(lock(token=""))


def test_people_can_force(store: LockStore) -> None:
    """Free whoever holds it and say who that was."""
    mine = lock()
    store.acquire(mine, 600)
    store.start(running(mine), 60)
    removed = store.force_release(mine.key)
    assert removed is not None
    assert removed.owner == mine.owner
    assert store.force_release(mine.key) is None


def test_a_lock_expires_by_itself(store: LockStore) -> None:
    """Free the key when its time is up."""
    mine = lock()
    store.acquire(mine, 1)
    wait_until(lambda: store.inspect(mine.key) is None)
    assert store.acquire(lock(), 600) is None


def test_words_of_every_script_survive(store: LockStore) -> None:
    """Keep labels that are not ASCII."""
    mine = lock(label="Отчёт 📄 für März")
    store.acquire(mine, 600)
    assert found(store, mine.key).label == mine.label
