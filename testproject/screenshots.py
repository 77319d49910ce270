"""Take the README's pictures in a real browser.

    python -m testproject.screenshots docs/images

starts a site of its own, asks for reports with more clicks than needed, and ends all.
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path

from playwright.sync_api import Page, ViewportSize, sync_playwright

from testproject.demo.site import Site

FLAGS = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking"]
SIZE: ViewportSize = {"width": 1120, "height": 740}
ADMIN_SIZE: ViewportSize = {"width": 1280, "height": 480}
DUPLICATES = "/admin/django_celery_once/blockedduplicate/"


def main() -> int:
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else "docs/images")
    folder.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="once-pictures-") as data,
        Site(Path(data), REPORT_SECONDS="20") as site,
        sync_playwright() as playwright,
    ):
        site.start_worker()
        address = site.start_web_somewhere()
        browser = playwright.chromium.launch(executable_path=find_chromium(), args=FLAGS)
        ask(browser.new_page(), address, "grace@example.com", month=0, again=1)
        page = browser.new_page(viewport=SIZE)
        log_in(page, site, address)
        ask(page, address, "linus@example.com", month=2, again=3)
        ask(page, address, "ada@example.com", month=0, again=1)
        page.screenshot(path=folder / "form-message.png")
        page.set_viewport_size(ADMIN_SIZE)
        page.goto(address + DUPLICATES)
        page.click("#toggle-nav-sidebar")
        page.evaluate("scrollTo(0, 0)")
        page.screenshot(path=folder / "admin-blocked-duplicates.png", animations="disabled")
        browser.close()
    return 0


def find_chromium() -> str:
    for name in ("chromium", "chromium-browser", "google-chrome"):
        if found := shutil.which(name):
            return found
    raise SystemExit("There is no Chromium on the PATH: apt-get install chromium")


def log_in(page: Page, site: Site, address: str) -> None:
    page.goto(address + DUPLICATES)
    page.fill("[name=username]", site.user)
    page.fill("[name=password]", site.password)
    page.click("[type=submit]")
    page.wait_for_selector("#changelist")


def ask(page: Page, address: str, email: str, month: int, again: int) -> None:
    """Submit the form, then ``again`` times more; month 0 is the latest one."""
    page.goto(address)
    page.fill("[name=email]", email)
    page.select_option("[name=month]", index=month)
    page.click("button[type=submit]")
    page.wait_for_selector(".message.success")
    for _ in range(again):
        page.click("button[type=submit]")
        page.wait_for_selector(".message.info")


if __name__ == "__main__":
    sys.exit(main())
