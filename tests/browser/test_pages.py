"""Each page of the web side: under a strict policy, on a phone, and for assistive technology."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from django.urls import reverse
from playwright.sync_api import Page, ViewportSize, expect

from django_celery_once.locks import open_store
from django_celery_once.models import BlockedDuplicate
from tests.admin import people
from tests.admin.test_locks import KEY, hold, hold_without_worker
from tests.browser.axe import violations
from tests.browser.conftest import OpenWindow
from tests.browser.test_people import ask
from tests.factories import make_rejection
from tests.web import send

pytestmark = pytest.mark.needs("chromium")

PHONE: ViewportSize = {"width": 390, "height": 844}
APP = "admin:django_celery_once"


@dataclass(frozen=True)
class Visit:
    """A way to a page, and what is to be seen there."""

    name: str
    go: Callable[[Page], Any]
    sight: str
    urls: str = "tests.browser.shop"

    def __str__(self) -> str:
        return self.name


def ask_twice(page: Page, address: str = "/ask/") -> None:
    ask(page)
    ask(page, address)


def report(page: Page, times: int = 1) -> None:
    """Ask for a report on the demo's page."""
    page.goto("/")
    for _ in range(times):
        page.fill("[name=email]", "eva@example.com")
        page.get_by_role("button", name="Send me the report").click()
        expect(page.locator(".message")).to_have_count(1)


def upload_twice(page: Page) -> None:
    send.delay("May")
    page.goto("/upload/")
    page.fill("[name=subject]", "May")
    page.set_input_files("[name=file]", {"name": "a", "mimeType": "text/plain", "buffer": b"a"})
    page.get_by_role("button", name="Send").click()


DEMO = "testproject.urls"
VISITS = [
    Visit("form", lambda page: page.goto("/ask/"), "#ask"),
    Visit("success", ask, ".message.success"),
    Visit("duplicate", ask_twice, ".message.info"),
    Visit("form again", lambda page: ask_twice(page, "/ask/again/"), ".errorlist"),
    Visit("upload", lambda page: page.goto("/upload/"), "[name=file]"),
    Visit("upload again", upload_twice, ".errorlist"),
    Visit("download", lambda page: page.goto("/download/"), "button"),
    Visit("buttons", lambda page: page.goto("/buttons/"), "#two"),
    Visit(
        "answer to a duplicate",
        lambda page: page.goto("/refuse/?countdown=5"),
        "main p[role=status]",
    ),
    Visit("answer to an outage", lambda page: page.goto("/outage/"), "main p[role=status]"),
    Visit("demo", lambda page: page.goto("/"), "form", DEMO),
    Visit("demo, success", report, ".message.success", DEMO),
    Visit("demo, duplicate", lambda page: report(page, 2), ".message.info", DEMO),
    Visit("demo, outbox", lambda page: page.goto("/outbox/"), ".card", DEMO),
]


@pytest.fixture(params=VISITS, ids=str)
def visit(request: pytest.FixtureRequest, settings: Any) -> Visit:
    """Return a way to a page of the site it is on."""
    found: Visit = request.param
    settings.ROOT_URLCONF = found.urls
    return found


def test_nothing_is_blocked_and_nothing_sticks_out(
    visit: Visit, page: Page, blocked: list[str]
) -> None:
    """The policy ``default-src 'self'`` is enough, and so is the width of a phone."""
    page.set_viewport_size(PHONE)
    visit.go(page)
    page.wait_for_load_state("networkidle")
    expect(page.locator(visit.sight).first).to_be_visible()
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE["width"]
    assert blocked == []


@pytest.mark.needs("npm")
def test_axe_finds_nothing(visit: Visit, open_window: OpenWindow) -> None:
    """The page has no violation that axe-core knows."""
    page = open_window(bypass_csp=True)
    visit.go(page)
    expect(page.locator(visit.sight).first).to_be_visible()
    assert violations(page) == []


@pytest.mark.needs("npm")
@pytest.mark.usefixtures("shop", "no_locks")
def test_axe_finds_nothing_in_an_outage(open_window: OpenWindow) -> None:
    """The form that is shown again is as good as the first."""
    page = open_window(bypass_csp=True)
    ask(page)
    expect(page.locator(".errorlist")).to_be_visible()
    assert violations(page) == []


@pytest.mark.needs("npm")
@pytest.mark.usefixtures("shop")
def test_axe_finds_what_is_wrong(open_window: OpenWindow) -> None:
    """A field without a label is found, so that silence means something."""
    page = open_window(bypass_csp=True)
    page.goto("/ask/")
    page.evaluate("document.querySelector('label').remove()")
    assert [each.split(":")[0] for each in violations(page)] == ["label"]


def admin_pages() -> list[str]:
    """Return the addresses of the app's pages in the admin, with something on each."""
    store = open_store("locks")
    hold(store, lease=60)
    hold_without_worker(store, f"{KEY}-lost")
    BlockedDuplicate.objects.record(make_rejection())
    incident = BlockedDuplicate.objects.get()
    return [
        reverse(f"{APP}_blockedduplicate_changelist"),
        reverse(f"{APP}_blockedduplicate_change", args=[incident.pk]),
        reverse(f"{APP}_blockedduplicate_overview"),
        reverse(f"{APP}_blockedduplicate_prune"),
        reverse(f"{APP}_heldlock_changelist"),
        reverse(f"{APP}_heldlock_history", args=["once"]),
    ]


@pytest.mark.needs("npm")
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_in_the_admin(open_window: OpenWindow, scheme: Any) -> None:
    """The content of each page is sound; what stands around it is Django's own."""
    page = open_window(people.superuser(), bypass_csp=True, color_scheme=scheme)
    found = {}
    for address in admin_pages():
        page.goto(address)
        found[address] = violations(page, "#content")
    page.goto(reverse(f"{APP}_heldlock_changelist"))
    page.click("button[name=mark]")
    page.wait_for_selector("input[name=reason]")
    found["release"] = violations(page, "#content")
    page.goto(reverse(f"{APP}_blockedduplicate_prune"))
    page.fill("input[name=days]", "0")
    page.click("#content input[type=submit]")
    page.wait_for_selector("input[name=confirmed]", state="attached")
    found["prune, asked"] = violations(page, "#content")
    assert {address: wrong for address, wrong in found.items() if wrong} == {}
