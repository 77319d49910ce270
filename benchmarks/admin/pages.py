"""The admin's pages as a person of the staff opens them, and what each asks of the database."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.urls import reverse

from django_celery_once.models import BlockedAttempt, BlockedDuplicate

MODEL = "admin:django_celery_once_blockedduplicate"
#: Each page is opened that often; the median tells of the page and not of its neighbours.
ROUNDS = 5


@dataclass
class Measure:
    """What opening a page took, in milliseconds."""

    queries: list[float] = field(default_factory=list)
    total: float = 0.0

    @property
    def slowest(self) -> float:
        return max(self.queries, default=0.0)

    def __str__(self) -> str:
        count = len(self.queries)
        return f"{count} queries, slowest {self.slowest:.1f} ms, total {self.total:.1f} ms"

    def time_query(self, execute: Any, *args: Any) -> Any:
        """Time a query (``connection.execute_wrapper``)."""
        start = time.perf_counter()
        try:
            return execute(*args)
        finally:
            self.queries.append(1000 * (time.perf_counter() - start))


def measure_all() -> Iterator[tuple[str, Measure]]:
    """Open every page; yield its name and the median of its measures."""
    client = staff()
    client.get(reverse("admin:index"))  # loads what only the first page of a process loads
    for name, address in addresses():
        found = [measure(client, address) for _round in range(ROUNDS)]
        yield name, sorted(found, key=lambda each: each.slowest)[ROUNDS // 2]


def staff() -> Client:
    """Return the browser of somebody whose permissions must be looked up."""
    user = User.objects.create_user("staff", is_staff=True)
    user.user_permissions.set(Permission.objects.all())
    client = Client()
    client.force_login(user)
    return client


def measure(client: Client, address: str) -> Measure:
    found = Measure()
    start = time.perf_counter()
    with connection.execute_wrapper(found.time_query):
        response = client.get(address)
    found.total = 1000 * (time.perf_counter() - start)
    assert response.status_code == 200, f"{address}: {response.status_code}"
    return found


def addresses() -> Iterator[tuple[str, str]]:
    """Yield pages with names: common and rare values of each filter and search."""
    incident = BlockedDuplicate.objects.filter(released_at=None)[5]
    attempt = BlockedAttempt.objects.filter(incident=incident)[0]
    rare, common = incident.last_requester, "user1@example.com"
    yield "list", listed()
    yield "list, last page", listed(p=200)
    yield "list, past hour", listed(window="1h")
    yield "list, common task", listed(task="reports.tasks.send_0", window="30d")
    yield "list, rare task", listed(task="reports.tasks.send_39", window="24h")
    yield "list, failed", listed(state="failure")
    yield "list, still held", listed(state="held")
    yield "list, task and failed", listed(task="reports.tasks.send_3", state="failure")
    yield "search, task in flight", listed(q=incident.holder_task_id)
    yield "search, refused task", listed(q=attempt.task_id)
    yield "search, key", listed(q=incident.key)
    yield "search, beginning of keys", listed(q="once:reports.tasks.send_1")
    yield "search, user", listed(q=rare)
    yield "search, busy user", listed(q=common)
    yield "search, schedule", listed(q="beat")
    yield "search, label", listed(q="Report 3 of customer 12")
    yield "search, task", listed(q="reports.tasks.send_0")
    yield "search, nothing found", listed(q="nobody@example.com")
    yield "detail", reverse(f"{MODEL}_change", args=[incident.pk])
    yield "overview", reverse(f"{MODEL}_overview")


def listed(**query: Any) -> str:
    return f"{reverse(f'{MODEL}_changelist')}?{urlencode(query)}"
