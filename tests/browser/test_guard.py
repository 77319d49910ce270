"""The submit guard under a fast hand: buttons, Back, downloads and uploads."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Request, Route, expect

from tests.browser.shop import STARTED

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.usefixtures("shop")]

DUPLICATE = "Your monthly report is already being prepared. You don't need to send it again."
GUARD_SECONDS, CLICK_SECONDS = 10, 1


WATCH_SUBMITS = """
window.addEventListener("submit", (event) => {
    const prevented = event.defaultPrevented ? " prevented" : "";
    console.log(`submit ${event.submitter.value}${prevented}`);
});
"""


STOP_AND_SEND = """() => {
    const click = (name) => document.querySelector(`#two [value=${name}]`).click();
    setTimeout(() => {
        click("send");
        navigation.addEventListener("navigateerror", () => click("preview"), { once: true });
        setTimeout(stop, 200);
    });
}"""


@pytest.fixture
def posted(page: Page) -> list[Request]:
    """Return the posts of the window so far."""
    seen: list[Request] = []
    page.on("request", lambda each: seen.append(each) if each.method == "POST" else None)
    return seen


@pytest.fixture
def submits(page: Page) -> list[str]:
    """Return what the clicks of the window led to so far."""
    seen: list[str] = []
    page.add_init_script(WATCH_SUBMITS)
    page.on("console", lambda each: seen.append(each.text) if "submit" in each.text else None)
    return seen


@pytest.fixture
def held(page: Page) -> list[Route]:
    """Hold back what forms send, so that a second click meets the first's page."""
    routes: list[Route] = []

    def hold(route: Route) -> None:
        if route.request.method == "POST" or "?" in route.request.url:
            routes.append(route)
        else:
            route.continue_()

    page.route("**/*", hold)
    return routes


def let_go(page: Page, held: list[Route]) -> None:
    """Send what was held back; the browser has dropped all but the last."""
    wait_for(page, lambda: bool(held))
    for route in held:
        route.continue_()


def wait_for(page: Page, ready: Callable[[], bool]) -> None:
    """Let the window tell what happens, until something has."""
    for _ in range(400):
        if ready():
            return
        page.wait_for_timeout(25)
    pytest.fail("It never happened")


def middle(page: Page, name: str) -> tuple[float, float]:
    """Return where to click on a button: the mouse itself waits for no answer."""
    box = page.get_by_role("button", name=name, exact=True).bounding_box()
    assert box is not None
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


@pytest.mark.parametrize("name", ["Preview", "Send"])
def test_the_button_that_was_clicked_arrives_once(
    page: Page, name: str, submits: list[str], posted: list[Request], held: list[Route]
) -> None:
    """On a double click one post leaves, with the name and value of its button."""
    page.goto("/buttons/")
    page.fill("[name=name]", "Eva")
    page.mouse.dblclick(*middle(page, name))
    wait_for(page, lambda: len(submits) == 2)
    assert submits == [f"submit {name.lower()}", f"submit {name.lower()} prevented"]
    let_go(page, held)
    expect(page.locator("#sent")).to_have_text(f"POST Eva {name.lower()}")
    assert len(posted) == 1


def test_enter_sends_the_first_button_once(
    page: Page, submits: list[str], posted: list[Request], held: list[Route]
) -> None:
    """Enter, pressed twice, is a click on the form's first button."""
    page.goto("/buttons/")
    page.locator("[name=name]").press_sequentially("Eva")
    page.keyboard.press("Enter")
    page.keyboard.press("Enter")
    wait_for(page, lambda: len(submits) == 2)
    assert submits == ["submit preview", "submit preview prevented"]
    let_go(page, held)
    expect(page.locator("#sent")).to_have_text("POST Eva preview")
    assert len(posted) == 1


def test_another_button_while_the_first_is_under_way(
    page: Page, submits: list[str], posted: list[Request], held: list[Route]
) -> None:
    """What the form was first sent with counts."""
    page.goto("/buttons/")
    page.fill("[name=name]", "Eva")
    for place in [middle(page, "Send"), middle(page, "Preview")]:
        page.mouse.click(*place)
    wait_for(page, lambda: len(submits) == 2)
    assert submits == ["submit send", "submit preview prevented"]
    let_go(page, held)
    expect(page.locator("#sent")).to_have_text("POST Eva send")
    assert len(posted) == 1


def test_a_button_that_gets_is_left_alone(
    page: Page, submits: list[str], posted: list[Request], held: list[Route]
) -> None:
    """A search is asked for as often as somebody likes."""
    page.goto("/buttons/")
    page.mouse.dblclick(*middle(page, "Search"))
    wait_for(page, lambda: len(submits) == 2)
    assert submits == ["submit search", "submit search"]
    let_go(page, held)
    expect(page.locator("#sent")).to_have_text("GET search")
    assert posted == []


def test_a_form_that_says_off_is_left_alone(
    page: Page, submits: list[str], held: list[Route]
) -> None:
    """Both clicks send."""
    page.goto("/buttons/")
    page.mouse.dblclick(*middle(page, "Unguarded"))
    wait_for(page, lambda: len(submits) == 2)
    assert submits == ["submit off", "submit off"]
    let_go(page, held)
    expect(page.locator("#sent")).to_have_text("POST off")


def test_a_form_with_a_script_of_its_own_is_left_alone(page: Page, posted: list[Request]) -> None:
    """Who prevents the default sends it as often as they like."""
    page.goto("/buttons/")
    page.mouse.dblclick(*middle(page, "Fetch"))
    expect(page.locator("#fetch")).to_have_attribute("data-answers", "200 200 ")
    assert page.locator("#fetch").get_attribute("aria-busy") is None
    assert len(posted) == 2


# A page that has the address of the next one is never kept.
@pytest.mark.parametrize(("address", "kept"), [("/ask/elsewhere/", True), ("/ask/", False)])
def test_back_and_send_again(
    browser: Browser, site: str, address: str, kept: bool, published: list[Any]
) -> None:
    """After Back the form can be sent, and the person is told that it is under way."""
    with browser.new_context(base_url=site) as context:  # a watch would keep it from being kept
        page = context.new_page()
        page.add_init_script(
            "window.addEventListener('pageshow', (event) => { window.kept = event.persisted; });"
        )
        page.goto(address)
        page.fill("[name=email]", "eva@example.com")
        page.get_by_role("button", name="Send").click()
        expect(page.locator(".message")).to_have_text(STARTED)
        page.go_back(wait_until="commit")
        page.wait_for_function("window.kept !== undefined")
        assert page.evaluate("window.kept") is kept
        assert page.locator("#ask").get_attribute("aria-busy") is None
        page.fill("[name=email]", "eva@example.com")
        page.get_by_role("button", name="Send").click()
        expect(page.locator(".message")).to_have_text(DUPLICATE)
    assert len(published) == 1


def test_a_download_can_be_asked_for_again(page: Page, posted: list[Request]) -> None:
    """The page stays, and so does the guard; after its time the form can be sent again."""
    page.clock.install(time=0)
    page.goto("/download/")
    page.clock.pause_at(60_000)
    button = page.get_by_role("button", name="Download")
    with page.expect_download():
        button.click()
    page.clock.run_for(GUARD_SECONDS * 1000 - 1)
    button.click()
    expect(page.locator("form")).to_have_attribute("aria-busy", "true")
    assert len(posted) == 1
    page.clock.run_for(1)
    assert page.locator("form").get_attribute("aria-busy") is None
    with page.expect_download():
        button.click()
    assert len(posted) == 2


@pytest.mark.parametrize(
    "way", ["form.action = '/nothing/'", "form.action = '/download/'", "form.target = '_blank'"]
)
def test_what_was_corrected_is_sent(page: Page, posted: list[Request], way: str) -> None:
    """Nobody tells that an answer has left the page where it was; an edit is another submit."""
    page.goto("/buttons/")
    page.evaluate(f"() => {{ const form = document.getElementById('two'); {way} }}")
    for name in ["Eva", "Ada"]:
        page.fill("[name=name]", name)
        with page.context.expect_event("request", lambda each: each.method == "POST") as request:
            page.get_by_role("button", name="Send").click(no_wait_after=True)
        assert f"name={name}" in (request.value.post_data or "")


def test_stop_lets_the_same_be_sent(page: Page, submits: list[str], held: list[Route]) -> None:
    """A navigation that was broken off is no submit under way."""
    page.goto("/buttons/")
    page.evaluate(STOP_AND_SEND)  # within the page: Playwright waits where it navigates
    wait_for(page, lambda: len(submits) == 2)
    assert submits == ["submit send", "submit preview"]


def test_a_new_tab_for_two_clicks(page: Page, submits: list[str], posted: list[Request]) -> None:
    """The form is held for an unsteady hand, and no longer."""
    page.clock.install(time=0)
    page.goto("/buttons/")
    page.clock.pause_at(60_000)
    page.evaluate("document.getElementById('two').target = '_blank'")
    page.mouse.dblclick(*middle(page, "Send"))
    page.clock.run_for(CLICK_SECONDS * 1000)
    page.mouse.click(*middle(page, "Send"))
    wait_for(page, lambda: len(submits) == 3)
    assert submits == ["submit send", "submit send prevented", "submit send"]


def test_a_later_listener_that_cancels(page: Page, posted: list[Request]) -> None:
    """What was not sent is no submit under way."""
    page.goto("/buttons/")
    page.evaluate(
        "window.addEventListener('submit', (event) => event.preventDefault(), { once: true })"
    )
    page.get_by_role("button", name="Send").click()
    assert page.locator("#two").get_attribute("aria-busy") is None
    page.get_by_role("button", name="Send").click()
    expect(page.locator("#sent")).to_have_text("POST send")
    assert len(posted) == 1


def test_an_upload_arrives_whole(
    page: Page, tmp_path: Path, held: list[Route], posted: list[Request], published: list[Any]
) -> None:
    """After two fast clicks the file is what was chosen; a duplicate keeps the text."""
    content = bytes(range(256)) * 4096
    letter = tmp_path / "letter.bin"
    letter.write_bytes(content)
    page.goto("/upload/")
    page.fill("[name=subject]", "May")
    page.set_input_files("[name=file]", letter)
    page.mouse.dblclick(*middle(page, "Send"))
    let_go(page, held)
    expect(page.locator(".message")).to_have_text(
        f"letter.bin {hashlib.sha256(content).hexdigest()}"
    )
    assert len(posted) == 1
    page.unroute_all()
    page.fill("[name=subject]", "May")
    page.set_input_files("[name=file]", letter)
    with page.expect_response(lambda each: each.request.method == "POST") as answer:
        page.get_by_role("button", name="Send").click()
    assert answer.value.status == 409
    expect(page.locator(".errorlist li")).to_have_count(1)
    expect(page.locator(".errorlist li")).to_have_text(
        re.compile("^Your letter is already being prepared")
    )
    expect(page.locator("[name=subject]")).to_have_value("May")
    assert len(published) == 1
