"""What is said of a task before it is called."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any, ClassVar

import pytest
from django.core.exceptions import ImproperlyConfigured

from django_celery_once import QueueOnce
from tests.celery_app import app

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize(
    ("once", "words"),
    [
        ({"keys": ["emial"]}, r"names 'emial'.*there is: email"),
        ({"timeouts": 5}, "did you mean 'timeout'"),
        ({"label": "{month"}, "no valid format string"),
        ({"label": "{month} report"}, r"\['label'\] names 'month'.*there is: email"),
        ({"force": True}, "for one call only"),
        (
            {"key": lambda email, month: month},
            r"\['key'\] does not fit the arguments .* \(there is: email\): missing .*'month'",
        ),
        ({"key": lambda: 1}, r"once\['key'\] does not fit .*: too many positional arguments"),
        ({"until": "expired"}, r"needs once\['timeout'\]"),
        (
            {"until": "never"},
            "must be one of 'finished', 'started', 'running', 'expired', not 'never'",
        ),
        ({"on_duplicate": "joined"}, "must be one of 'raise', 'reject', 'join', 'wait'"),
    ],
)
def test_bad_options_of_a_task_fail_at_its_definition(once: dict[str, Any], words: str) -> None:
    """Name the task and what is wrong with it before anything is queued."""
    with pytest.raises(ImproperlyConfigured, match=rf"tests\.task\.bad.*{words}"):

        @app.task(base=QueueOnce, name="tests.task.bad", once=once, lazy=False, shared=False)
        def bad(email: str) -> None: ...


def test_a_get_key_of_ones_own_is_refused() -> None:
    """Do not ignore quietly what made the key under celery-once."""

    class OwnKey:
        def get_key(self, args: Any = None, kwargs: Any = None) -> str:
            return "own"

    with pytest.raises(ImproperlyConfigured, match=r"own get_key\(\).* once\['key'\] a callable"):

        class Mixed(OwnKey, QueueOnce):
            abstract = True


def by_tenant(tenant: str, *_others: object) -> str:
    """Make the key of what a tenant may do once."""
    return tenant


class ForTenants(QueueOnce):
    """A project's base: the key names the tenant."""

    abstract = True
    once: ClassVar[dict[str, Any]] = {"key": by_tenant, "graceful": True, "timeout": 60}


class Long(ForTenants):
    """One with an option of its own."""

    abstract = True
    once: ClassVar[dict[str, Any]] = {"timeout": 600}


class Joining(ForTenants):
    """Another."""

    abstract = True
    once: ClassVar[dict[str, Any]] = {"on_duplicate": "join"}


class Both(Joining, Long):
    """What each of them says, and their base."""

    abstract = True


class Plain:
    """A mixin that is no task."""

    once: ClassVar[dict[str, Any]] = {"label": "a job"}


def once_of(*bases: type, **once: Any) -> dict[str, Any]:
    """Return the options of a task with such bases and ``once`` of its own."""
    return dict(type("Task", bases, {"abstract": True, **({"once": once} if once else {})}).once)  # type: ignore[attr-defined]


BASE = {"key": by_tenant, "on_duplicate": "reject", "timeout": 60}


@pytest.mark.parametrize(
    ("bases", "once", "merged"),
    [
        ((ForTenants,), {}, BASE),
        ((ForTenants,), {"timeout": 5}, {**BASE, "timeout": 5}),
        ((ForTenants,), {"blocking": True}, {**BASE, "on_duplicate": "wait"}),
        ((ForTenants,), {"on_duplicate": None}, {**BASE, "on_duplicate": None}),
        (
            (ForTenants,),
            {"keys": ["a"]},
            {"keys": ("a",), "on_duplicate": "reject", "timeout": 60},
        ),
        ((Both,), {}, {**BASE, "on_duplicate": "join", "timeout": 600}),
        ((Both,), {"label": "x"}, {**BASE, "on_duplicate": "join", "timeout": 600, "label": "x"}),
        ((Plain, ForTenants), {}, {**BASE, "label": "a job"}),
    ],
)
def test_options_are_merged_along_the_bases(
    bases: tuple[type, ...], once: dict[str, Any], merged: dict[str, Any]
) -> None:
    """Let each say what it has to say, the nearest last."""
    assert once_of(*bases, **once) == merged


def test_the_options_of_a_call_come_from_all_bases() -> None:
    """Let a decorator add to a base's options, so that the tenant stays in the key."""

    @app.task(base=ForTenants, once={"timeout": 5}, lazy=False, shared=False)
    def bill(tenant: str, month: str) -> None: ...

    asked = bill.once_options()
    assert (asked.key, asked.timeout, asked.on_duplicate) == (by_tenant, 5, "reject")
    assert bill.once_key("a", "May") == bill.once_key("a", "June") != bill.once_key("b", "May")


@pytest.mark.parametrize("once", [{"until": "running"}, {"until": "expired", "timeout": None}])
def test_what_contradicts_a_base_is_refused(once: dict[str, Any]) -> None:
    """Name the task, and what makes no sense together."""
    with pytest.raises(ImproperlyConfigured, match=r"Task: once\['"):
        once_of(ForTenants, **once)


PROGRAM = """
from celery import Celery
from django_celery_once import QueueOnce
app = Celery("alone", broker="memory://")
@app.task(base=QueueOnce)
def report(email): ...
from django.conf import settings
settings.configure(CACHES={"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}})
import django
django.setup()
try:
    report.delay("a")
except Exception as error:
    print(type(error).__name__, error)
"""


def test_a_missing_app_is_named() -> None:
    """Import and define before ``django.setup()``; say what is missing at the first call."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], check=True, capture_output=True, text=True
    )
    assert done.stdout.startswith("ImproperlyConfigured")
    assert "INSTALLED_APPS" in done.stdout


CELERYS_OWN_IMPORT = """
from celery import signals
from testproject.celery import app
imports = []
signals.import_modules.connect(lambda **signal: imports.append(1), weak=False)
app.loader.import_default_modules()
print(len(imports), sorted(name for name in app.tasks if name.startswith("testproject")))
"""


def test_the_check_of_tasks_survives_celerys_import() -> None:
    """Import no deeper where Celery runs Django's checks while it imports the tasks."""
    done = subprocess.run(
        [sys.executable, "-c", CELERYS_OWN_IMPORT],
        env={**os.environ, "DJANGO_SETTINGS_MODULE": "testproject.settings"},
        check=True,
        capture_output=True,
        text=True,
    )
    names = [
        f"testproject.reports.tasks.{each}" for each in ("send_pdf_report", "send_sales_summary")
    ]
    # The check of tasks imports them, and so does the first of caches, if that comes before:
    # Django runs checks in no order.
    assert done.stdout.strip() in {f"2 {names}", f"3 {names}"}
