"""Turbo and htmx, which take the place of pages by themselves: the guard, and a status again."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.test import Client
from playwright.sync_api import Page, Request, Route, expect

from django_celery_once.locks import open_store
from tests.admin import people
from tests.browser.test_people import EMAIL
from tests.web import send

pytestmark = [pytest.mark.needs("chromium", "npm"), pytest.mark.usefixtures("shop")]

SUBMITTED = """
window.submitted = 0;
document.addEventListener("turbo:submit-end", () => { window.submitted += 1; });
"""


@pytest.fixture
def posted(page: Page) -> list[str]:
    """Return the names that the window has sent so far."""
    seen: list[str] = []

    def note(request: Request) -> None:
        if request.method == "POST":
            seen.append((request.post_data or "").rpartition("name=")[2])

    page.on("request", note)
    return seen


def visit(page: Page, address: str) -> None:
    """Open a page with Turbo, and wait for its script."""
    page.add_init_script(SUBMITTED)
    page.goto(address, wait_until="load")
    page.wait_for_function("() => window.Turbo !== undefined")


def fill_in(page: Page, name: str, times: int) -> None:
    """Send the form, and wait until Turbo has its answer, or knows that there is none."""
    page.fill("#order [name=name]", name)
    page.get_by_role("button", name="Send").click()
    page.wait_for_function("times => window.submitted === times", arg=times)


@pytest.mark.parametrize("address", ["", "?morph=1", "?again=1", "?again=1&morph=1"])
def test_turbo_sends_what_was_corrected(page: Page, posted: list[str], address: str) -> None:
    """After 422 and 303, in a new form or in one that was morphed, the next submit is sent."""
    visit(page, f"/swapped/turbo/{address}")
    fill_in(page, "Eva", 1)
    fill_in(page, "Ada", 2)
    assert posted == ["Eva", "Ada"]


def test_turbo_sends_again_after_a_network_error(page: Page, posted: list[str]) -> None:
    """What did not arrive is no submit under way, also where nothing was corrected."""
    visit(page, "/swapped/turbo/")
    page.route("**/swapped/turbo/", lambda route: route.abort())
    fill_in(page, "Eva", 1)
    page.unroute_all()
    fill_in(page, "Eva", 2)
    assert posted == ["Eva", "Eva"]
    assert page.locator("#order").get_attribute("aria-busy") is None


def test_turbo_sends_a_double_click_once(page: Page, posted: list[str]) -> None:
    """Turbo takes care of that itself: the guard leaves its forms to it."""
    visit(page, "/swapped/turbo/")
    held: list[Route] = []
    page.route("**/swapped/turbo/", lambda route: held.append(route))
    page.fill("#order [name=name]", "Eva")
    page.get_by_role("button", name="Send").dblclick()
    for route in held:
        route.continue_()
    page.wait_for_function("() => window.submitted === 1")
    assert posted == ["Eva"]


@pytest.mark.parametrize("library", ["turbo", "htmx"])
def test_a_status_that_comes_back_asks_again(
    page: Page, log_in: Callable[[Client], None], library: str, published: list[Any]
) -> None:
    """A copy of the page, as Back brings it without a request, is followed as the first was."""
    log_in(people.superuser())
    send.delay(EMAIL)
    page.goto(f"/swapped/{library}/", wait_until="load")
    expect(page.locator(".once-status-words")).to_contain_text("Waiting for its turn.")
    page.evaluate("window.whole = true")
    page.click("#away")
    page.wait_for_url("**/buttons/")
    expect(page.locator("h1")).to_have_text("Buttons")
    open_store("locks").force_release(send.once_key(EMAIL))
    page.go_back()
    expect(page.locator("h1")).to_have_text(library)
    expect(page.locator(".once-status-words")).to_contain_text("No longer in progress.")
    assert page.evaluate("window.whole")


def test_a_status_that_is_put_back_asks_again(
    page: Page, log_in: Callable[[Client], None], published: list[Any]
) -> None:
    """One that was taken off the page for a while is followed when it is there again."""
    log_in(people.superuser())
    send.delay(EMAIL)
    page.clock.install()
    page.goto("/swapped/turbo/", wait_until="load")
    page.evaluate("() => { window.kept = document.querySelector('.once-status'); kept.remove(); }")
    page.clock.run_for(2000)
    open_store("locks").force_release(send.once_key(EMAIL))
    page.evaluate("() => document.body.append(kept)")
    page.clock.run_for(2000)
    expect(page.locator(".once-status-words")).to_contain_text("No longer in progress.")
