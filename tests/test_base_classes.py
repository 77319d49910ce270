"""Base classes of a project's own, with an ``apply_async`` that sends something along."""

from __future__ import annotations

import threading
from abc import ABC, ABCMeta
from typing import Any

import pytest
from celery import Task
from celery.contrib.django.task import DjangoTask

from django_celery_once import AlreadyQueued, QueueOnce, reruns
from django_celery_once.header import NAME, Header, read_header
from django_celery_once.republishing import Again, publish
from django_celery_once.task import Guarded
from tests.celery_app import app
from tests.guarded_tasks import held

pytestmark = pytest.mark.django_db
#: As a project's own classes name them, which know no type arguments.
Base: Any = Task
DjangoBase: Any = DjangoTask
here = threading.local()
calls: list[str] = []


class TenantTask(Base):  # type: ignore[misc]
    """Sends the tenant of its caller along, unless one is given."""

    abstract = True

    def apply_async(
        self, args: Any = None, kwargs: Any = None, *more: Any, headers: Any = None, **options: Any
    ) -> Any:
        """Add a header."""
        calls.append("tenant")
        headers = {"tenant": here.tenant, **(headers or {})}
        return super().apply_async(args, kwargs, *more, headers=headers, **options)


class ZealousTask(DjangoBase):  # type: ignore[misc]
    """Sends the tenant of this process along, whatever is given."""

    abstract = True

    def apply_async(self, args: Any = None, kwargs: Any = None, **options: Any) -> Any:
        """Set a header."""
        options["headers"] = {**(options.get("headers") or {}), "tenant": here.tenant}
        return super().apply_async(args, kwargs, **options)


class AbstractTask(ABC, Base):  # type: ignore[misc]
    """One with a metaclass."""

    abstract = True


BASES: dict[str, Any] = {
    "guard first": type("GuardFirst", (QueueOnce, TenantTask), {"abstract": True}),
    "guard last": type("GuardLast", (TenantTask, QueueOnce), {"abstract": True}),
    "zealous, guard first": type("ZealousLast", (QueueOnce, ZealousTask), {"abstract": True}),
    "zealous, guard last": type("ZealousFirst", (ZealousTask, QueueOnce), {"abstract": True}),
}
BASES["another below"] = type("Below", (BASES["guard first"], ZealousTask), {"abstract": True})


def _refresh(shop: str, number: int = 0) -> None: ...


@pytest.fixture(params=BASES)
def task(request: pytest.FixtureRequest) -> Any:
    """Return a task of each kind of base class."""
    here.tenant = "north"
    name = f"tests.base_classes.{request.param}"
    once = {"keys": ["shop"], "on_duplicate": "rerun"}
    app.tasks.pop(name, None)
    define: Any = app.task(base=BASES[request.param], name=name, once=once, shared=False)
    made = define(_refresh)
    calls.clear()
    return made


def test_the_guard_comes_last(task: Any) -> None:
    """In whichever order the bases are named."""
    order = type(app.tasks[task.name]).__mro__
    assert order[order.index(Guarded) + 1 :] == Guarded.__mro__[1:]


def test_a_call_is_made_once(task: Any, published: list[dict[str, Any]]) -> None:
    """The project's own part in it, too."""
    task.delay("a")
    assert calls in ([], ["tenant"])
    assert published[0]["tenant"] == "north"
    assert read_header(published[0]) is not None


def test_the_newest_tenant_is_kept(task: Any, published: list[dict[str, Any]]) -> None:
    """A follow-up is sent with that of the call whose arguments run, wherever it is released."""
    task.delay("a", 1)
    for number, here.tenant in ((2, "south"), (3, "east")):
        task.delay("a", number)
    here.tenant = "west"
    lock = held(task.once_key("a"))
    assert lock.follow_up is not None
    reruns.send(lock.follow_up)
    assert published[-1]["tenant"] == "east"
    assert published[-1]["id"] == lock.follow_up.owner
    assert len(published) == 3  # the first, what looks after the follow-up, and that


def test_a_duplicate_is_answered(task: Any) -> None:
    """As without a base class of one's own."""
    task.delay("a")
    with pytest.raises(AlreadyQueued):
        task.apply_async(("a",), once={"on_duplicate": "raise"})
    assert task.apply_async(("a",), once={"on_duplicate": "reject"}).state == "REJECTED"
    joined = task.apply_async(("a",), once={"on_duplicate": "join"})
    assert joined.id == held(task.once_key("a")).owner


def test_a_reservation_is_published(task: Any, published: list[dict[str, Any]]) -> None:
    """Under its own lock."""
    with task.reserve("b") as reservation:
        reservation.delay("b")
    assert published[0][NAME]["token"] == held(task.once_key("b")).token
    assert published[0]["tenant"] == "north"


def test_a_metaclass_fits() -> None:
    """The guard has none of its own."""

    class Kind(QueueOnce, AbstractTask):
        abstract = True

    assert issubclass(Kind, QueueOnce)
    assert isinstance(Kind, ABCMeta)


class CarelessTask(QueueOnce):
    """One that sends by name."""

    abstract = True

    def apply_async(  # type: ignore[override]
        self, args: Any = None, kwargs: Any = None, **options: Any
    ) -> Any:
        """Call no super."""
        return self.app.send_task(self.name, args, kwargs, **options)


class StrictTask(QueueOnce):
    """One that does without a tenant nowhere."""

    abstract = True

    def apply_async(  # type: ignore[override]
        self, args: Any = None, kwargs: Any = None, **options: Any
    ) -> Any:
        """Raise where there is none."""
        if not here.tenant:
            raise LookupError("no tenant")
        return super().apply_async(args, kwargs, **options)


@pytest.mark.parametrize("base", [CarelessTask, StrictTask])
def test_a_class_that_does_not_pass_it_on(base: type, published: list[dict[str, Any]]) -> None:
    """What is sent again goes past its ``apply_async``, and out once."""
    here.tenant = ""
    name = f"tests.base_classes.{base.__name__}"
    made: Any = app.task(base=base, name=name, shared=False)(_body)
    again = Again(Header("once:k", "t0"), {"tenant": "north"})
    publish(made, ("a",), {}, again, task_id="x")
    [headers] = published
    assert (headers["id"], headers["tenant"]) == ("x", "north")
    assert read_header(headers) == Header("once:k", "t0")


def _body(shop: str) -> None: ...
