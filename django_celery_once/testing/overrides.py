"""Other locks for a test, or none."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import ExitStack
from typing import Any, ClassVar

from django.conf import settings
from django.core.cache import caches
from django.test.utils import TestContextDecorator, override_settings

from django_celery_once import journal, leftovers
from django_celery_once.conf import NAME
from django_celery_once.reservations import Reservation
from django_celery_once.testing.brokers import kept_in_memory

#: The alias in ``CACHES`` of the locks in memory.
ALIAS = "once_in_memory"


class _SettingsOverride(TestContextDecorator):
    """Settings to override as they are when it begins. It may begin again before it ends."""

    silenced: ClassVar[Sequence[str]] = ()

    def __init__(self) -> None:
        super().__init__()
        self._begun: list[override_settings] = []

    def overrides(self) -> dict[str, Any]:
        """Return the settings to override."""
        return {"SILENCED_SYSTEM_CHECKS": [*settings.SILENCED_SYSTEM_CHECKS, *self.silenced]}

    def enable(self) -> None:
        """Override the settings."""
        override = override_settings(**self.overrides())
        override.enable()
        self._begun.append(override)

    def disable(self) -> None:
        """Put them back."""
        self._begun.pop().disable()


class once_disabled(_SettingsOverride):  # noqa: N801  as Django's override_settings
    """Queue every task unguarded: no lock, no duplicate.

    A context manager, and a decorator for functions (also async ones) and for subclasses of
    ``unittest.TestCase``, where it holds from each ``setUp`` to the end of the test's cleanups.
    The other keys of ``DJANGO_CELERY_ONCE`` stay.
    """

    silenced = ("django_celery_once.W011",)

    def overrides(self) -> dict[str, Any]:
        """Return the settings to override."""
        return {**super().overrides(), NAME: {**getattr(settings, NAME, {}), "ENABLED": False}}


class once_in_memory(_SettingsOverride):  # noqa: N801
    """Keep locks in the memory of this process, so that duplicates are refused without Redis.

    Those of tasks with a ``cache`` of their own are there, too.

    A context manager and a decorator like ``once_disabled``. The store is empty at the start,
    also where it is nested, and at the end nothing is left of what was locked or reserved. The
    guard is on, whatever ``ENABLED`` says; the other keys of ``DJANGO_CELERY_ONCE`` stay, but
    for those that are given: ``LOG=False`` for a test without a database. To override
    ``CACHES`` in it, keep those that are there. Other processes see no lock, so that what is
    guarded goes to no broker but ``memory://``: a call is a ``RuntimeError``, unless the
    ``real_broker`` is wanted.
    """

    silenced = ("django_celery_once.E003",)

    def __init__(self, *, real_broker: bool = False, **keys: Any) -> None:
        super().__init__()
        self._keys = {**keys, "CACHE": ALIAS, "ENABLED": True}
        self._reserved: list[set[Reservation]] = []
        self._real_broker = real_broker
        self._kept_in: list[ExitStack] = []

    def overrides(self) -> dict[str, Any]:
        """Return the settings to override."""
        outer = settings.CACHES.get(ALIAS, {}).get("LOCATION", "")
        cache = {
            "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
            "LOCATION": f"{outer}/{ALIAS}",
            "OPTIONS": {"MAX_ENTRIES": 1_000_000},  # more than that many are dropped at random
        }
        once = {**getattr(settings, NAME, {}), **self._keys}
        # Also the locks of tasks that have a cache of their own.
        tasks = {name: {**own, "cache": ALIAS} for name, own in once.get("TASKS", {}).items()}
        once["TASKS"] = {"*": {"cache": ALIAS}, **tasks}
        return {**super().overrides(), "CACHES": {**settings.CACHES, ALIAS: cache}, NAME: once}

    def enable(self) -> None:
        """Begin with a store of its own, which is empty."""
        super().enable()
        self._reserved.append(set(leftovers.here()))
        self._kept_in.append(ExitStack())
        if not self._real_broker:
            self._kept_in[-1].enter_context(kept_in_memory())

    def disable(self) -> None:
        """Drop what was locked, reserved and not yet written down."""
        self._kept_in.pop().close()
        leftovers.here().intersection_update(self._reserved.pop())
        journal.forget()
        caches[ALIAS].clear()
        super().disable()
