"""People who double-click: what their browsers ask for, and show in the end."""

from __future__ import annotations

import itertools
from collections import Counter
from dataclasses import dataclass, field

from playwright.sync_api import Browser, BrowserContext, Page, Request, Response

#: Milliseconds for which a page must have asked for nothing new, and the longest wait for it.
QUIET, LONGEST = 250, 30_000
STEP = 50
#: Milliseconds that the button is held down, each time: as long as the pause between.
HELD = (0, 15, 30, 60)
#: People who click at the same time.
AT_ONCE = 5

_people = itertools.count()


@dataclass
class Seen:
    """What many double clicks led to."""

    submits: int = 0
    failures: list[str] = field(default_factory=list)
    pages: Counter[str] = field(default_factory=Counter)
    words: set[str] = field(default_factory=set)
    silent: int = 0


class Person:
    """A browser of their own."""

    def __init__(
        self, browser: Browser, address: str, cookies: dict[str, str], *, guard: bool
    ) -> None:
        self.address = address
        self.underway = 0
        self.submits = 0
        self.failures: list[str] = []
        self.context: BrowserContext = browser.new_context()
        self.context.add_cookies(
            [{"name": name, "value": value, "url": address} for name, value in cookies.items()]
        )
        self.context.route("**/live.js", lambda route: route.abort())  # the demo's own
        if not guard:
            self.context.route("**/submit-guard.js", lambda route: route.abort())
        self.page: Page = self.context.new_page()
        self.page.on("request", self._begin)
        self.page.on("requestfinished", self._end)
        self.page.on("requestfailed", self._end)
        self.page.on("response", self._look)

    def fill_in(self) -> None:
        """Open the form, and ask for what nobody has asked for."""
        self.page.goto(self.address)
        self.page.fill("[name=email]", f"person-{next(_people)}@example.com")

    def double_click(self, held: int) -> None:
        """Click twice on the button, wherever it is by then."""
        box = self.page.locator("button[type=submit]").bounding_box()
        assert box is not None
        place = (box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
        self.page.mouse.dblclick(*place, delay=held)

    def settle(self) -> None:
        """Wait until the page stays as it is."""
        quiet = 0
        for _step in range(LONGEST // STEP):
            quiet = 0 if self.underway else quiet + STEP
            if quiet >= QUIET:
                return
            self.page.wait_for_timeout(STEP)
        raise AssertionError("The page never came to rest")

    def tell(self, seen: Seen) -> None:
        """Add what is on the page now."""
        kinds = self.page.locator(".message").evaluate_all("all => all.map(p => p.classList[1])")
        status = self.page.locator(".once-status-words").all_inner_texts()
        words = [*self.page.locator(".message").all_inner_texts(), *status]
        seen.pages[" and ".join([*sorted(set(kinds)), *(["status"] if status else [])])] += 1
        seen.words.update(words)
        seen.silent += not words

    def _begin(self, request: Request) -> None:
        if request.is_navigation_request():
            self.underway += 1
            self.submits += request.method == "POST"

    def _end(self, request: Request) -> None:
        self.underway -= request.is_navigation_request()

    def _look(self, response: Response) -> None:
        if response.status >= 500:
            self.failures.append(f"{response.status} {response.url}")


def double_clicks(
    browser: Browser, address: str, count: int, cookies: dict[str, str], *, guard: bool
) -> Seen:
    """Let five people double-click at the same time, until it was ``count`` times."""
    seen = Seen()
    people = [Person(browser, address, cookies, guard=guard) for _each in range(AT_ONCE)]
    for _round in range(count // AT_ONCE):
        for person in people:
            person.fill_in()
        for person, held in zip(people, itertools.cycle(HELD), strict=False):
            person.double_click(held)
        for person in people:
            person.settle()
            person.tell(seen)
    for person in people:
        seen.submits += person.submits
        seen.failures += person.failures
        person.context.close()
    return seen
