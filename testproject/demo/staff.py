"""A member of staff who looks at the admin's pages."""

from __future__ import annotations

from urllib.parse import urlencode

from testproject.demo.site import Site
from testproject.demo.visitor import Page, Visitor

DUPLICATES = "/admin/django_celery_once/blockedduplicate/"


class Staff:
    """Logged in with the name and password that the demo prints."""

    def __init__(self, site: Site, address: str) -> None:
        self.visitor = Visitor(address)
        login = f"/admin/login/?next={DUPLICATES}"
        form = self.visitor.get(login)
        self.visitor.submit(login, form, username=site.user, password=site.password)

    def duplicates(self, words: str) -> Page:
        """Search the list of blocked duplicates."""
        return self.visitor.get(f"{DUPLICATES}?{urlencode({'q': words})}")

    def blocked(self, duplicates: Page) -> list[str]:
        """Follow the link of the first row; return where each blocked request came from."""
        _accepted, *blocked, _end = self.visitor.get(duplicates.link("/change/")).timeline()
        return [where for _when, _what, _who, where, _task_id in blocked]
