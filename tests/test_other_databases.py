"""Calls that wait for a commit, in a project with several databases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import pytest
from django.db import connections, transaction
from django.db.transaction import TransactionManagementError
from django.test import TestCase
from django.utils.connection import ConnectionDoesNotExist

from django_celery_once import AlreadyQueued, leftovers
from django_celery_once.locks import Phase, open_store
from tests.guarded_tasks import report

several = pytest.mark.django_db(transaction=True, databases=["default", "locks"])

OTHER = "locks"


def delay(email: str = "a", **options: Any) -> Any:
    """Ask for a call at the commit, in one line."""
    return report.apply_async_on_commit((email,), **options)


def reserve(email: str = "a", **options: Any) -> Any:
    """Reserve the key of a call, and ask for it at the commit."""
    with report.reserve(email) as reservation:
        return reservation.apply_async_on_commit((email,), **options)


def rerun(email: str = "a", **options: Any) -> Any:
    """Ask for one run more at the commit."""
    return delay(email, once={"on_duplicate": "rerun"}, **options)


ways = pytest.mark.parametrize("ask", [delay, reserve, rerun])


def phase(email: str = "a") -> Phase | None:
    """Return how the call stands; none for a free key."""
    lock = open_store("locks").inspect(report.once_key(email))
    return None if lock is None else lock.phase


@contextmanager
def atomic(*aliases: str) -> Iterator[None]:
    """Open transactions on these databases."""
    with ExitStack() as stack:
        for alias in aliases:
            stack.enter_context(transaction.atomic(using=alias))
        yield


@contextmanager
def rolled_back(*aliases: str) -> Iterator[None]:
    """Open transactions on these databases, and roll them back."""
    with atomic(*aliases):
        yield
        for alias in aliases:
            transaction.set_rollback(True, using=alias)


@several
@ways
@pytest.mark.parametrize("alias", ["default", OTHER])
def test_a_call_waits_for_the_transaction_that_is_open(ask: Callable[..., Any], alias: str) -> None:
    """Queue it at the commit, whichever database that is of."""
    with atomic(alias):
        ask()
        assert phase() is Phase.RESERVED
    assert phase() is Phase.QUEUED


@several
@ways
@pytest.mark.parametrize("alias", ["default", OTHER])
def test_a_rollback_queues_nothing(ask: Callable[..., Any], alias: str) -> None:
    """Free the key at the caller's next try, at the latest."""
    with rolled_back(alias):
        ask()
    leftovers.free_abandoned()
    assert phase() is None


@several
@ways
def test_a_rerun_waits_too(ask: Callable[..., Any]) -> None:
    """Let nothing follow a run for what was rolled back."""
    report.delay("a")
    with rolled_back(OTHER):
        rerun()
    [lock] = open_store("locks").scan().locks
    assert lock.follow_up is None
    with atomic(OTHER):
        rerun()
    [lock] = open_store("locks").scan().locks
    assert lock.follow_up is not None


@several
@ways
def test_using_says_whose_commit_it_is(ask: Callable[..., Any]) -> None:
    """Follow the database that is named, also where another one has a transaction."""
    with atomic("default"):
        with atomic(OTHER):
            ask(using=OTHER)
            assert phase() is Phase.RESERVED
        assert phase() is Phase.QUEUED
        ask("b", using=OTHER)
        assert phase("b") is Phase.QUEUED
    with rolled_back("default"):
        ask("c", using=OTHER)
    assert phase("c") is Phase.QUEUED


@several
@ways
def test_a_call_in_two_transactions_says_which(ask: Callable[..., Any]) -> None:
    """Name both databases and what to write; queue nothing, and keep no lock."""
    words = r"the databases 'default' and 'locks'.*using='default'"
    with atomic("default", OTHER):
        with pytest.raises(TransactionManagementError, match=words):
            ask()
        assert phase() is None
    assert phase() is None


@several
@ways
def test_a_database_that_is_not_there(ask: Callable[..., Any]) -> None:
    """Raise what Django raises; queue nothing, and keep no lock."""
    with pytest.raises(ConnectionDoesNotExist):
        ask(using="nowhere")
    assert phase() is None


@several
@ways
def test_a_savepoint_that_is_rolled_back_queues_nothing(ask: Callable[..., Any]) -> None:
    """Free the key though the transaction around it commits."""
    with atomic(OTHER):
        with rolled_back(OTHER):
            ask()
        ask("b")
    leftovers.free_abandoned()
    assert (phase("a"), phase("b")) == (None, Phase.QUEUED)


@several
@ways
def test_a_transaction_by_hand(ask: Callable[..., Any]) -> None:
    """Raise what Django raises where nobody would say when it commits."""
    connections[OTHER].ensure_connection()
    transaction.set_autocommit(False, using=OTHER)
    try:
        with pytest.raises(TransactionManagementError):
            ask()
        assert phase() is None
        with atomic("default"), pytest.raises(TransactionManagementError, match="using="):
            ask()
        with atomic(OTHER):
            ask("b")
        assert phase("b") is Phase.RESERVED
        connections[OTHER].commit()
    finally:
        transaction.set_autocommit(True, using=OTHER)  # then, Django does what waited for it
    assert phase("b") is Phase.QUEUED


@several
def test_a_duplicate_is_told_at_once() -> None:
    """Answer within the transaction of another database as within that of the default one."""
    with atomic(OTHER):
        report.delay_on_commit("a")
        with pytest.raises(AlreadyQueued):
            report.delay_on_commit("a")


@pytest.mark.django_db(databases=["default", OTHER])
class TestWithin:
    """A test case's own transactions, of all databases, are no caller's."""

    @ways
    def test_a_caller_needs_no_using(self, ask: Callable[..., Any]) -> None:
        """Wait for the default database's commit where the test alone has transactions."""
        with TestCase.captureOnCommitCallbacks(execute=True):
            ask()
            assert phase() is Phase.RESERVED
        assert phase() is Phase.QUEUED

    @ways
    def test_a_callers_transaction_counts(self, ask: Callable[..., Any]) -> None:
        """Wait for that of the database which the caller has opened one on."""
        with TestCase.captureOnCommitCallbacks(using=OTHER, execute=True), atomic(OTHER):
            ask()
        assert phase() is Phase.QUEUED
