"""Answers over HTTP: the form that a client asks for, and nobody else's affairs."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.contrib.messages import INFO, WARNING, get_messages
from django.contrib.messages.storage.fallback import FallbackStorage
from django.http import HttpRequest
from django.test import RequestFactory, override_settings
from django.utils import translation

from django_celery_once import AlreadyQueued, LockUnavailable, answers
from django_celery_once.wording import Wording

HTML = "text/html; charset=utf-8"
PROBLEM = "application/problem+json"
HTMX = {"HX-Request": "true"}
BOOSTED = {**HTMX, "HX-Boosted": "true"}
RESTORING = {**HTMX, "HX-History-Restore-Request": "true"}
DUPLICATE = AlreadyQueued(12.2, task_id="id-1")
OUTAGE = LockUnavailable(alias="locks")
VARY = "Accept, HX-Request, HX-Boosted, HX-History-Restore-Request"


@pytest.fixture(autouse=True)
def _english() -> Any:
    with translation.override("en"):
        yield


def request_with(headers: dict[str, str], user: int | None = None, method: str = "POST") -> Any:
    """Return a request with these headers, of the user with this primary key."""
    request: Any = RequestFactory().generic(method, "/send/?a=1", headers=headers)
    request.user = AnonymousUser() if user is None else User(pk=user)
    request.session = {}
    request._messages = FallbackStorage(request)
    return request


def respond(error: Any, headers: dict[str, str], user: int | None = None) -> Any:
    request = request_with(headers, user)
    return answers.respond(request, answers.to_error(error, request))


def told(request: HttpRequest) -> list[tuple[int, str]]:
    return [(each.level, each.message) for each in get_messages(request)]


@pytest.mark.parametrize(
    ("accept", "kind"),
    [
        (None, HTML),
        ("", HTML),
        ("*/*", HTML),
        ("text/*", HTML),
        ("image/png", HTML),
        ("nonsense", HTML),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", HTML),
        ("application/json", PROBLEM),
        ("application/problem+json", PROBLEM),
        ("application/json, text/plain, */*", PROBLEM),
        ("application/*", PROBLEM),
        ("text/html;q=0.5, application/json;q=0.6", PROBLEM),
        ("text/html;q=0.6, application/json;q=0.5", HTML),
        ("application/json;q=0, */*", HTML),
    ],
)
@pytest.mark.parametrize(("error", "status"), [(DUPLICATE, 409), (OUTAGE, 503)])
def test_the_form_is_the_clients_choice(
    error: Exception, status: int, accept: str | None, kind: str
) -> None:
    """A page, unless a program says that it prefers JSON."""
    response = respond(error, {} if accept is None else {"Accept": accept})
    assert response.status_code == status
    assert response["Content-Type"] == kind
    assert response["Vary"] == VARY
    assert "no-store" in response["Cache-Control"]
    assert 1 <= int(response["Retry-After"]) <= 60


@pytest.mark.parametrize("error", [DUPLICATE, OUTAGE])
def test_htmx_gets_a_fragment_that_it_swaps(error: Exception) -> None:
    """One element, with a status that htmx 2 swaps, whatever ``hx-select`` looks for."""
    response = respond(error, HTMX)
    assert response.status_code == 200
    assert response["Content-Type"] == HTML
    assert response.content.startswith(b'<p class="once-answer" role="status">')
    assert response.content.strip().endswith(b"</p>")
    assert response["HX-Reselect"] == ".once-answer"
    assert response["Vary"] == VARY
    assert "no-store" in response["Cache-Control"]
    assert "Retry-After" not in response


def test_an_outage_leaves_the_form_in_place() -> None:
    """With htmx, too, the person can send it again."""
    assert respond(OUTAGE, HTMX)["HX-Reswap"] == "beforeend"
    assert "HX-Reswap" not in respond(DUPLICATE, HTMX)


@pytest.mark.parametrize("headers", [BOOSTED, RESTORING])
@pytest.mark.parametrize("error", [DUPLICATE, OUTAGE])
def test_a_boosted_link_and_back_get_a_page(error: Exception, headers: dict[str, str]) -> None:
    """What takes the place of a page is one, with a status that htmx swaps."""
    response = respond(error, headers)
    assert response.status_code == 200
    assert response.content.startswith(b"<!doctype html>")
    assert "HX-Reselect" not in response


def test_htmx_that_asks_for_json_gets_it() -> None:
    """Nothing is swapped then, so the status is the true one."""
    response = respond(DUPLICATE, {**HTMX, "Accept": "application/json"})
    assert (response.status_code, response["Content-Type"]) == (409, PROBLEM)
    assert response["Retry-After"] == "13"


@override_settings(TEMPLATES=[])
def test_without_templates_a_fragment_is_escaped_all_the_same() -> None:
    """A label with markup stays text."""
    request = request_with(HTMX)
    error = AlreadyQueued(5, label="own")
    answer = answers.to_error(error, request, label="<script>")
    response = answers.respond(request, answer)
    assert b"This &lt;script&gt; is already being prepared (" in response.content


@pytest.mark.parametrize(
    ("by", "user", "shown"),
    [("7", 7, True), ("", None, False), ("", 7, False), ("7", 8, False), ("7", None, False)],
)
def test_nobody_elses_task_is_told(by: str, user: int | None, shown: bool) -> None:
    """Only who asked first gets the id and the label of the task in flight."""
    error = AlreadyQueued(
        5, task_id="id-1", label="secret", requested_by=by, since=datetime.now(UTC)
    )
    for accept in ("application/json", "text/html"):
        text = respond(error, {"Accept": accept}, user).content.decode()
        assert ("id-1" in text) == (shown and accept == "application/json")
        assert ("secret" in text) == shown


def test_another_persons_duplicate_says_so() -> None:
    """The sentence of the answer is that of a message."""
    since = datetime.now(UTC) - timedelta(minutes=4, seconds=10)
    error = AlreadyQueued(5, requested_by="7", since=since)
    problem = answers.to_error(error, request_with({}, 8), label="report").problem()
    assert problem["detail"] == "A colleague already asked for this report 4 minutes ago."


def test_a_template_is_html_on_a_page_and_text_in_json() -> None:
    """A problem has no markup and no entities."""
    words = Wording(template="web/duplicate.html")
    request = request_with({})
    answer = answers.to_error(DUPLICATE, request, label="R&D report", wording=words)
    assert b'<a href="/tasks/id-1/">This R&amp;D report' in (
        answers.respond(request, answer).content
    )
    assert answer.problem()["detail"].startswith("This R&D report is already being prepared (")


@pytest.mark.parametrize(("by", "level"), [("7", INFO), ("8", WARNING)])
def test_redirect(by: str, level: int) -> None:
    """A browser is sent to a page that shows the sentence."""
    request = request_with({}, 7)
    answer = answers.to_error(AlreadyQueued(5, requested_by=by), request)
    response = answers.redirect(request, answer, "/done/")
    assert (response.status_code, response["Location"]) == (302, "/done/")
    assert "Retry-After" not in response
    assert response["Vary"] == VARY
    assert told(request) == [(level, answer.detail)]


@pytest.mark.parametrize(
    ("headers", "status"), [({"Accept": "application/json"}, 409), (HTMX, 200)]
)
def test_who_would_not_see_the_page_is_not_sent_there(headers: Any, status: int) -> None:
    """A program, or a part of a page, gets the sentence itself."""
    request = request_with(headers)
    response = answers.redirect(request, answers.to_error(DUPLICATE, request), "/done/")
    assert response.status_code == status
    assert told(request) == []


@pytest.mark.parametrize(
    ("method", "to", "status"),
    [
        ("GET", "/send/?a=1", 409),
        ("HEAD", "/send/?a=1", 409),
        ("GET", "/done/", 302),
        ("POST", "/send/?a=1", 302),
    ],
)
def test_no_page_redirects_to_itself(method: str, to: str, status: int) -> None:
    """A view that queues when it is looked at does not send a browser round in circles."""
    request = request_with({}, method=method)
    response = answers.redirect(request, answers.to_error(DUPLICATE, request), to)
    assert response.status_code == status


def test_a_boosted_form_follows_the_redirect() -> None:
    """htmx shows the page it is sent to, as a browser does."""
    request = request_with(BOOSTED)
    response = answers.redirect(request, answers.to_error(DUPLICATE, request), "/done/")
    assert response.status_code == 302
