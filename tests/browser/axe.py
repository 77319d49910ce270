"""axe-core on a page: what it finds wrong for people who can't see, or use no mouse."""

from __future__ import annotations

from playwright.sync_api import Page

from tests.npm_packages import npm_file

# The search of a list is Django's own, and has no label that can be seen.
RUN = """async (part) => {
    const where = { include: [part ?? "html"], exclude: ["#changelist-search"] };
    const found = await axe.run(where, { resultTypes: ["violations"] });
    return found.violations.map((each) => `${each.id}: ` +
        each.nodes.map((node) => node.html.slice(0, 200)).join(" | "));
}"""


def violations(page: Page, part: str | None = None) -> list[str]:
    """Return what axe-core finds on the page, or in a part of it; its window bypasses the CSP."""
    if not page.evaluate("'axe' in window"):
        page.add_script_tag(path=npm_file("axe-core@4", "axe.min.js"))
    found: list[str] = page.evaluate(RUN, part)
    return found
