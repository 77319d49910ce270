"""Tasks that run where they are called."""

from __future__ import annotations

from typing import Any

import pytest

from django_celery_once import QueueOnce
from django_celery_once.locks import Lock, Phase, open_store
from tests.celery_app import app
from tests.guarded_tasks import bound, held

pytestmark = pytest.mark.django_db


requests: list[dict[str, Any]] = []


@app.task(bind=True, name="tests.task.plain")
def plain(self: Any, email: str) -> None:
    requests.append(dict(vars(self.request)))


@app.task(bind=True, base=QueueOnce, name="tests.task.seeing")
def seeing(self: QueueOnce, email: str) -> None:
    requests.append(dict(vars(self.request)))


@pytest.mark.usefixtures("eager")
class TestEager:
    """``task_always_eager``, ``apply`` and direct calls."""

    def test_delay_locks_runs_and_releases(self) -> None:
        """Hold the lock while the body runs, not longer."""
        assert bound.delay("a").get() is True
        assert open_store("locks").inspect(bound.once_key("a")) is None

    def test_a_failure_releases(self) -> None:
        """Free the lock when the body raises, propagated or not."""

        @app.task(base=QueueOnce, name="tests.task.failing")
        def failing(email: str) -> None:
            raise ValueError(email)

        assert failing.delay("a").status == "FAILURE"
        with pytest.raises(ValueError, match="a"):
            failing.apply_async(("a",), throw=True)
        assert open_store("locks").scan().locks == ()

    def test_a_retry_runs_again_and_releases(self) -> None:
        """Carry an eager retry through."""
        tries = []

        @app.task(bind=True, base=QueueOnce, name="tests.task.retrying")
        def retrying(self: QueueOnce, email: str) -> int:
            tries.append(self.once_lock_held())
            if len(tries) < 3:
                raise self.retry(countdown=0)
            return len(tries)

        assert retrying.delay("a").get() == 3
        assert tries == [True, True, True]
        assert open_store("locks").scan().locks == ()

    @pytest.mark.parametrize(
        "options",
        [
            {},
            {"task_id": "mine"},
            {"headers": {"trace": "7"}},
            {"shadow": "shown", "reply_to": "me", "argsrepr": "(secret)", "expires": 5},
            {"priority": 3, "queue": "other", "exchange": "other", "routing_key": "other"},
            {"ignore_result": True, "serializer": "pickle", "compression": "zlib"},
            {"link": bound.si("linked"), "link_error": bound.si("linked")},
        ],
        ids=lambda options: next(iter(options), "none"),
    )
    def test_the_body_sees_its_request(self, options: dict[str, Any]) -> None:
        """Show the same to the body as to that of a plain task."""
        requests.clear()
        results = [task.apply_async(("a",), **options) for task in (plain, seeing)]
        assert [each["id"] for each in requests] == [result.id for result in results]
        for request in requests:
            for own in ("id", "root_id", "task", "once_run", "_protected"):
                request.pop(own, None)
            (request["headers"] or {}).pop("once", None)
            request["headers"] = request["headers"] or None
        plain_request, seen = requests
        assert seen == plain_request
        assert open_store("locks").scan().locks == ()

    def test_apply_and_direct_calls_touch_no_lock(self) -> None:
        """Run beside a held lock and leave it as it was."""
        open_store("locks").acquire(Lock(bound.once_key("a"), "other", "token"), 60)
        assert bound.apply(("a",)).get() is False
        assert bound("a") is False
        assert held(bound.once_key("a")).phase is Phase.QUEUED


@pytest.mark.usefixtures("eager")
def test_a_subclass_with_its_own_before_start_is_guarded() -> None:
    """Guard the run before a hook that does not call super, and only once."""
    seen = []

    class Careless(QueueOnce):
        def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
            seen.append(self.once_lock_held())

    class Mixin:
        def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
            seen.append(self.once_lock_held())  # type: ignore[attr-defined]

    class Mixed(Mixin, QueueOnce):
        abstract = True

    class Careful(Careless):
        def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
            super().before_start(task_id, args, kwargs)

    for number, base in enumerate((Careless, Careful, Mixed)):

        @app.task(base=base, name=f"tests.task.hooked{number}")
        def hooked(email: str) -> None: ...

        hooked.delay("a").get()
    assert seen == [True, True, True]
    assert open_store("locks").scan().locks == ()


@pytest.mark.usefixtures("eager")
def test_a_task_that_queues_itself_where_it_runs() -> None:
    """Refuse it as a duplicate: nothing runs afterwards."""

    @app.task(bind=True, base=QueueOnce, name="tests.task.again", once={"keys": []})
    def again(self: QueueOnce) -> str:
        return str(self.apply_async(once={"graceful": True}).status)

    assert again.delay().get() == "REJECTED"
    assert open_store("locks").scan().locks == ()
