"""A person at a browser, in plain HTTP: cookies, forms with CSRF tokens, redirects."""

from __future__ import annotations

import html
import re
import urllib.error
import urllib.parse
import urllib.request
from dataclasses import dataclass
from http.cookiejar import CookieJar

TOKEN = re.compile(r'name="csrfmiddlewaretoken" value="([^"]+)"')
MESSAGE = re.compile(r'<p class="message (\w+)">(.*?)</p>', re.DOTALL)
TAG = re.compile(r"<[^>]*>")


def plain(markup: str) -> str:
    """Return the words of a piece of HTML."""
    return " ".join(html.unescape(TAG.sub(" ", markup)).split())


@dataclass(frozen=True)
class Page:
    """What is on the screen after the last redirect."""

    status: int
    markup: str

    @property
    def messages(self) -> list[tuple[str, str]]:
        """Level and words of each message at the top of the page."""
        return [(level, plain(words)) for level, words in MESSAGE.findall(self.markup)]

    def cells(self, column: str) -> list[str]:
        """Return what an admin list or form shows for a field."""
        cell = re.compile(rf'<t[dh] class="field-{column}[^"]*">(.*?)</t[dh]>', re.DOTALL)
        return [plain(words) for words in cell.findall(self.markup)]

    def timeline(self) -> list[list[str]]:
        """Return the cells of each line of the table that tells what happened."""
        _before, _found, table = self.markup.partition('id="once-timeline">')
        lines = re.findall(r"<tr>(.*?)</tr>", table.partition("</table>")[0], re.DOTALL)
        cells = [re.findall(r"<td[^>]*>(.*?)</td>", line, re.DOTALL) for line in lines]
        return [[plain(words) for words in line] for line in cells if line]

    def link(self, part: str) -> str:
        """Return the first link whose address contains ``part``."""
        for address in re.findall(r'href="([^"]+)"', self.markup):
            if part in address:
                return html.unescape(address)
        raise LookupError(f"no link to {part} on the page")


class Visitor:
    """One browser session on a site."""

    def __init__(self, site: str) -> None:
        self.site = site
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(CookieJar()))

    def get(self, path: str) -> Page:
        return self._open(path, None)

    def submit(self, path: str, page: Page, **fields: str) -> Page:
        """Fill in the form on ``page`` and send it to ``path``."""
        token = TOKEN.search(page.markup)
        if token is None:
            raise LookupError(f"no form on the page for {path}")
        values = {"csrfmiddlewaretoken": token[1], **fields}
        return self._open(path, urllib.parse.urlencode(values).encode())

    def _open(self, path: str, data: bytes | None) -> Page:
        address = urllib.parse.urljoin(self.site, path)
        try:
            with self._opener.open(address, data, timeout=30) as answer:
                return Page(answer.status, answer.read().decode())
        except urllib.error.HTTPError as error:
            return Page(error.code, error.read().decode(errors="replace"))
