"""Five double clicks of each kind: one task, no error, and a page that tells.

Where ``DOUBLE_CLICKS`` says so, more, in fives: each takes a processor about a second.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser

from testproject.demo.findings import wait_until
from testproject.demo.programs import Program
from testproject.demo.site import Site
from tests.browser.double_clicks import double_clicks

pytestmark = [pytest.mark.needs("chromium"), pytest.mark.timeout(600)]

COUNT = int(os.environ.get("DOUBLE_CLICKS", "5"))
RECEIVED = re.compile(r"send_pdf_report\[[^\]]+\] received")
#: Each says by itself that the report is on its way, or there where this took very long.
SENTENCES = re.compile(
    r"Your monthly report is being prepared and will be mailed to person-\d+@example\.com\."
    r"|Your monthly report is already being prepared\. You don't need to send it again\."
    r"|\w+ \d+ report: (Waiting for its turn\.|Being prepared\.|Done\. Open the result)"
)
COOKIES: dict[str, dict[str, str]] = {
    "fast view": {},
    "300 ms view": {"POST": "0.3"},
    "300 ms result page": {"GET": "0.3"},
}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Return the demo's site, whose reports take longer than any double click."""
    data = tmp_path_factory.mktemp("double-clicks")
    settings = {"DJANGO_SETTINGS_MODULE": "tests.browser.slow_settings", "REPORT_SECONDS": "15"}
    with Site(data, **settings) as started:
        yield started


@pytest.fixture(scope="module")
def worker(site: Site) -> Program:
    """Return a worker that begins with everything at once."""
    return site.start_worker(1, "--pool=threads", "--concurrency=400")


@pytest.fixture(scope="module")
def address(site: Site) -> str:
    return site.start_web_somewhere()


def runs(worker: Program) -> int:
    return len(RECEIVED.findall(worker.output()))


#: Speeds, storages and guard: each pair of two of them.
KINDS = [
    ("fast view", "cookie", True),
    ("fast view", "session", False),
    ("300 ms view", "cookie", False),
    ("300 ms view", "session", True),
    ("300 ms result page", "cookie", True),
    ("300 ms result page", "session", False),
]


@pytest.mark.parametrize(("speed", "storage", "guard"), KINDS)
def test_double_clicks(
    browser: Browser,
    worker: Program,
    address: str,
    speed: str,
    storage: str,
    guard: bool,
    record_property: Callable[[str, object], None],
) -> None:
    """Whatever the browser throws away, the page in the end makes sense alone."""
    before = runs(worker)
    cookies = {**COOKIES[speed], "messages": storage}
    seen = double_clicks(browser, address, COUNT, cookies, guard=guard)
    ran = wait_until(lambda: runs(worker) - before, lambda count: count >= COUNT, 15)
    pages = ", ".join(f"{count} {kind}" for kind, count in seen.pages.most_common())
    line = f"{speed}, messages by {storage}, {'guard' if guard else 'no guard'}: {seen.submits}"
    record_property("seen", f"{line} submits, {ran} tasks; {pages}")
    assert ran == COUNT
    assert seen.failures == []
    assert seen.silent == 0
    assert {each for each in seen.words if not SENTENCES.fullmatch(each)} == set()
    # A fast view may have brought the next page, with its own form, under the second click.
    most = COUNT if guard and COOKIES[speed] else 2 * COUNT
    assert COUNT <= seen.submits <= most
