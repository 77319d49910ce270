"""Somebody who asks the site for the same report, again and again."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

from testproject.demo.findings import wait_until
from testproject.demo.visitor import Page, Visitor

PATIENCE = 60.0
MONTH = re.compile(r'<option value="(\d{4}-\d\d)"')
ROW = re.compile(r'<li data-task="([^"]+)" data-state="(\w+)">(.*?)</li>', re.DOTALL)


class Asking:
    """One e-mail address and one month, at several web servers."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self.addresses = addresses
        self.email = f"ada.{secrets.token_hex(4)}@example.com"
        self.month = MONTH.findall(Visitor(addresses[0]).get("/").markup)[0]

    def once(self) -> Page:
        """Submit the form; return the page that answers."""
        visitor = Visitor(self.addresses[0])
        return self._submit(visitor, visitor.get("/"))

    def at_once(self, times: int) -> list[Page]:
        """Submit the form from several browsers at the same moment, all servers in turn."""
        together = Barrier(times)

        def submit(number: int) -> Page:
            visitor = Visitor(self.addresses[number % len(self.addresses)])
            form = visitor.get("/")
            together.wait(PATIENCE)
            return self._submit(visitor, form)

        with ThreadPoolExecutor(times) as browsers:
            return list(browsers.map(submit, range(times)))

    def requests(self) -> list[tuple[str, str]]:
        """Return task id and state of each request that the page lists, the latest first."""
        page = Visitor(self.addresses[-1]).get("/")
        return [(task, state) for task, state, row in ROW.findall(page.markup) if self.email in row]

    def states_in_the_end(self) -> list[str]:
        """Wait until nothing is unfinished; return the states that the page shows then."""
        return wait_until(
            lambda: [state for _, state in self.requests()],
            lambda states: set(states) <= {"sent", "failed"},
            PATIENCE,
        )

    def _submit(self, visitor: Visitor, form: Page) -> Page:
        return visitor.submit("/", form, email=self.email, month=self.month)
