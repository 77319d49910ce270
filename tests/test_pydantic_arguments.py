"""Arguments that pydantic validates: however a call spells them, its key is that of the model.

Celery 5.5 does not understand annotations that are text (``from __future__ import annotations``).
"""

import datetime as dt
import logging
import subprocess
import sys
from decimal import Decimal
from ipaddress import IPv4Address
from typing import Any, cast
from uuid import UUID, uuid4

import pytest
from celery.app import base
from kombu.exceptions import EncodeError

from django_celery_once import AlreadyQueued, QueueOnce
from django_celery_once.canonical import UnsupportedArgumentError, canonical
from django_celery_once.signals import Rejection
from tests.celery_app import app
from tests.guarded_tasks import held

if not hasattr(base, "pydantic_wrapper"):
    pytest.skip("pydantic=True came with Celery 5.5", allow_module_level=True)

from pydantic import BaseModel, ConfigDict, Field, HttpUrl, SecretStr, field_validator

pytestmark = pytest.mark.django_db

#: From this version on, Celery sends a model as its dump.
SENDS_MODELS = hasattr(app.Task, "_dump_pydantic_arguments")
sends_models = pytest.mark.skipif(not SENDS_MODELS, reason="Celery 5.7 sends models")


class Line(BaseModel):
    product: str
    pieces: int = 1


class Order(BaseModel):
    number: int
    comment: str = ""
    due: dt.date | None = None
    lines: list[Line] = Field(default_factory=list)


class Stamped(BaseModel):
    number: int
    id: UUID = Field(default_factory=uuid4)


class Delivery(BaseModel):
    url: HttpUrl
    password: SecretStr = SecretStr("")
    hosts: list[IPv4Address] = []
    price: Decimal = Decimal(0)


class Open(BaseModel):
    model_config = ConfigDict(extra="allow")
    number: int


class Picky(BaseModel):
    number: int

    @field_validator("number")
    @classmethod
    def fail(cls, number: int) -> int:
        raise RuntimeError("only where the database is")


def define(function: Any, name: str, **options: Any) -> Any:
    """Return a task whose arguments pydantic validates."""
    given = {"name": f"tests.pydantic.{name}", "shared": False, "lazy": False, **options}
    return cast("Any", app.task)(function, base=QueueOnce, pydantic=True, **given)


def _ship(order: Order, shop: str = "main") -> None: ...
def _bound(self: Any, order: Order) -> None: ...
def _perhaps(order: Order | None = None) -> None: ...
def _stamped(order: Stamped) -> None: ...
def _deliver(order: Delivery) -> None: ...
def _open(order: Open) -> None: ...
def _picky(order: Picky) -> None: ...
def _many(orders: list[Order]) -> None: ...
def _free(order: Order, *more: int, **filters: str) -> None: ...


ship = define(_ship, "ship", once={"label": "order {order.number}"})
bound = define(_bound, "bound", bind=True)
perhaps = define(_perhaps, "perhaps")
stamped = define(_stamped, "stamped")
deliver = define(_deliver, "deliver")
opened = define(_open, "open")
picky = define(_picky, "picky")
many = define(_many, "many", serializer="pickle")
free = define(_free, "free")
chosen = define(_ship, "chosen", once={"key": lambda order, shop: order.number})
keyed = define(_ship, "keyed", once={"keys": ["order"]})

ORDER = Order(number=1, due=dt.date(2026, 5, 1), lines=[Line(product="a")])
SPELLED = [
    ORDER,
    ORDER.model_dump(),
    ORDER.model_dump(mode="json"),
    ORDER.model_dump(mode="json", exclude_defaults=True),
    {**ORDER.model_dump(), "number": "1"},
    {**ORDER.model_dump(), "number": 1.0},
]


@pytest.mark.parametrize("task", [ship, bound, perhaps, chosen, keyed])
@pytest.mark.parametrize("spelling", SPELLED)
def test_each_spelling_of_a_model_has_one_key(task: Any, spelling: Any) -> None:
    """Make the key of the model that the task will get."""
    assert task.once_key(spelling) == task.once_key(ORDER) == task.once_key(order=spelling)
    other = Order(number=2)
    assert task.once_key(other.model_dump()) == task.once_key(other) != task.once_key(ORDER)


def test_an_optional_model_may_be_none() -> None:
    """Tell none from one."""
    keys = {perhaps.once_key(each) for each in (None, ORDER, Order(number=2))}
    assert perhaps.once_key() == perhaps.once_key(None)
    assert len(keys) == 3


def test_other_parameters_are_none_of_pydantics() -> None:
    """Keep their types apart, as for any task."""
    assert free.once_key(ORDER, 1) == free.once_key(ORDER.model_dump(), 1)
    assert free.once_key(ORDER, 1) != free.once_key(ORDER, 2)
    assert free.once_key(ORDER, colour="red") != free.once_key(ORDER, colour="blue")


def test_a_random_default_does_not_tell_calls_apart() -> None:
    """Take the arguments as they are given where validating them makes new ones each time."""
    assert stamped.once_key({"number": 1}) == stamped.once_key({"number": 1})
    order = Stamped(number=1)
    assert stamped.once_key(order) == stamped.once_key(order.model_dump(mode="json"))
    assert stamped.once_key(order) != stamped.once_key(Stamped(number=1))


def test_values_without_a_canonical_form_are_written_as_their_dump() -> None:
    """Tell addresses apart, and secrets, whose dump is asterisks."""
    plain = {"url": "https://example.com/", "password": "a", "hosts": ["10.0.0.1"], "price": "1.0"}
    assert deliver.once_key(plain) == deliver.once_key(Delivery.model_validate(plain))
    for name, value in {
        "url": "https://b.example/",
        "password": "b",
        "hosts": [],
        "price": 2,
    }.items():
        assert deliver.once_key({**plain, name: value}) != deliver.once_key(plain), name


def test_what_a_model_does_not_declare_counts() -> None:
    """Tell calls apart by fields that a model only lets in."""
    assert opened.once_key({"number": 1, "a": 1}) == opened.once_key(
        Open.model_validate({"number": 1, "a": 1})
    )
    assert opened.once_key({"number": 1, "a": 1}) != opened.once_key({"number": 1})


def test_lists_of_models_are_written_too() -> None:
    """Write models where Celery does not validate, as pickle may send them."""
    assert many.once_key([ORDER]) == many.once_key([ORDER.model_copy()])
    assert many.once_key([ORDER]) != many.once_key([Order(number=2)])


@pytest.mark.parametrize("order", [{}, {"number": "one"}, "nonsense", 7, None])
@pytest.mark.parametrize("task", [ship, chosen, keyed])
def test_what_is_not_valid_fails_in_the_run(
    task: Any, order: Any, caplog: pytest.LogCaptureFixture
) -> None:
    """Queue it as plain Celery does, once: the caller learns nothing else."""
    with caplog.at_level(logging.WARNING, "django_celery_once"):
        task.delay(order)
    assert not caplog.records
    with pytest.raises(AlreadyQueued):
        task.delay(order)


def test_a_validator_that_fails_here_is_no_reason_to_refuse() -> None:
    """Let validators fail that only work in a worker."""
    picky.delay({"number": 1})
    with pytest.raises(AlreadyQueued):
        picky.delay({"number": 1})


def test_what_does_not_fit_is_refused_as_ever() -> None:
    """Raise ``TypeError``, naming the task, and queue nothing."""
    with pytest.raises(TypeError, match=r"tests\.pydantic\.ship"):
        ship.delay()
    with pytest.raises(TypeError, match=r"tests\.pydantic\.ship"):
        ship.delay(ORDER, "a", "b")


@pytest.mark.parametrize("spelling", SPELLED[1:])
def test_labels_see_the_model(spelling: Any) -> None:
    """Say the same words, however the order is spelled."""
    ship.delay(spelling)
    assert held(ship.once_key(ORDER)).label == "order 1"


@sends_models
@pytest.mark.parametrize("policy", ["raise", "rerun", "join", "wait", "reject"])
def test_a_model_is_sent_as_its_dump(policy: str) -> None:
    """Publish, and keep for later, what plain Celery sends."""
    ship.apply_async((ORDER,), once={"on_duplicate": policy})
    assert held(ship.once_key(ORDER)).task == ship.name


@pytest.mark.skipif(SENDS_MODELS, reason="Celery 5.7 sends models")
def test_an_older_celery_sends_no_model() -> None:
    """Raise what plain Celery raises, and keep no lock."""
    with pytest.raises(EncodeError):
        ship.delay(ORDER)
    ship.delay(ORDER.model_dump(mode="json"))


def test_a_reservation_is_for_the_model() -> None:
    """Let a call be reserved by one spelling and queued by another."""
    with keyed.reserve(ORDER.model_dump()) as reservation:
        reservation.delay(ORDER.model_dump(mode="json", exclude_defaults=True), shop="east")
    with pytest.raises(AlreadyQueued):
        keyed.reserve(order=ORDER)


def test_staff_see_no_secret_of_a_model(settings: Any, rejections: list[Rejection]) -> None:
    """Mask the fields of a model by their names, as in a dictionary."""
    settings.DJANGO_CELERY_ONCE = {"CACHE": "locks", "LOG_ARGUMENTS": "all"}
    given = {"url": "https://example.com/", "password": "hush"}
    deliver.delay(given)
    for spelling in (given, Delivery.model_validate(given)):
        with pytest.raises(AlreadyQueued):
            deliver.delay(spelling)
    for rejection in rejections:
        assert "example.com" in rejection.arguments
        assert "hush" not in rejection.arguments


def test_staff_see_what_a_callable_makes_of_the_model(
    settings: Any, rejections: list[Rejection]
) -> None:
    """Give the journal what the key was made of."""
    settings.DJANGO_CELERY_ONCE = {"CACHE": "locks", "LOG_ARGUMENTS": "keys"}
    chosen.delay(ORDER.model_dump(mode="json"))
    with pytest.raises(AlreadyQueued):
        chosen.delay(ORDER.model_dump(mode="json"))
    assert [each.arguments for each in rejections] == ["key=1"]


def test_a_field_that_nothing_can_write_names_the_argument() -> None:
    """Say what can't be part of a key."""

    class Odd(BaseModel):
        model_config = ConfigDict(arbitrary_types_allowed=True)
        thing: object

    with pytest.raises(UnsupportedArgumentError, match=r"a builtins\.object has no canonical form"):
        canonical(Odd(thing=object()))


def test_nothing_here_imports_pydantic() -> None:
    """Cost nothing where a project does not use it."""
    code = (
        "import django; django.setup(); import sys, tests.guarded_tasks as t; "
        "t.report.once_key('a'); sys.exit('pydantic' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
