"""Answers over HTTP to a duplicate and to an outage: a page, a problem or a fragment."""

from __future__ import annotations

import html
import math
from http import HTTPStatus
from typing import Any

from django.contrib import messages
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect, JsonResponse
from django.http.response import HttpResponseBase
from django.shortcuts import resolve_url
from django.template.exceptions import TemplateDoesNotExist
from django.template.loader import render_to_string
from django.utils.cache import add_never_cache_headers, patch_vary_headers
from django.utils.html import format_html, strip_tags
from django.utils.translation import gettext as _

from django_celery_once.audience import Named, Reader, Sight, sight, who
from django_celery_once.exceptions import AlreadyQueued, AlreadyQueuedHere, NotQueued
from django_celery_once.record import record
from django_celery_once.wording import STANDARD, Wording, asker_of

#: Longest ``Retry-After``, in seconds, and that of an outage.
MAX_RETRY_AFTER = 60
OUTAGE_RETRY_AFTER = 5
#: What an answer can be, the page first: also where the client does not say or asks for else.
MEDIA_TYPES = ["text/html", "application/json", "application/problem+json"]
#: The headers of a request that decide what it gets.
DECIDING = ["Accept", "HX-Request", "HX-Boosted", "HX-History-Restore-Request"]


@record
class Answer:
    """What a client is told, in whichever form. ``retry_after`` is in seconds.

    ``detail`` is for people, and HTML if it is marked as safe. ``level`` is that of a message.
    """

    status: int
    code: str
    title: str
    detail: str
    retry_after: int
    level: int = messages.ERROR
    task_id: str = ""

    def problem(self) -> dict[str, Any]:
        """Return the members of a problem detail (RFC 9457), with ``code`` and ``task_id``."""
        detail = self.detail
        if hasattr(detail, "__html__"):
            detail = html.unescape(strip_tags(detail))
        problem: dict[str, Any] = {
            "type": "about:blank",
            "title": HTTPStatus(self.status).phrase,
            "status": self.status,
            "detail": detail,
            "code": self.code,
        }
        if self.task_id:
            problem["task_id"] = self.task_id
        return problem


def to_duplicate(duplicate: AlreadyQueued, request: HttpRequest | None, detail: str) -> Answer:
    """Return the answer to a duplicate; the task's id only to who asked for it, and staff.

    Raise one that only the program can have caused.
    """
    if isinstance(duplicate, AlreadyQueuedHere):
        raise duplicate
    waits = duplicate.phase in {"reserved", "planned", "kept"}
    asked = who(duplicate.requested_by, duplicate.visitor)
    sees = sight(Named.EXCEPTION, Reader.of(request), asked)
    return Answer(
        status=409,
        code="already_queued",
        title=_("Already asked for") if waits else _("Already on its way"),
        detail=detail,
        retry_after=math.ceil(min(MAX_RETRY_AFTER, max(1.0, duplicate.countdown))),
        level=asker_of(duplicate, request).level,
        task_id=duplicate.task_id if sees is Sight.RESULT else "",
    )


def to_outage(error: NotQueued, detail: str) -> Answer:
    """Return the answer to an outage of the lock store, or of the broker."""
    return Answer(
        status=503,
        code=error.code,
        title=_("Not submitted"),
        detail=detail,
        retry_after=OUTAGE_RETRY_AFTER,
    )


def to_error(
    error: AlreadyQueued | NotQueued,
    request: HttpRequest | None,
    *,
    label: Any = "",
    wording: Wording = STANDARD,
) -> Answer:
    """Return the answer to either, in the words of ``wording``."""
    if isinstance(error, NotQueued):
        return to_outage(error, wording.lock_unavailable())
    detail = wording.already_queued(error, asker_of(error, request), label=label)
    return to_duplicate(error, request, detail)


def saved_only(
    request: HttpRequest, response: HttpResponseBase, detail: str, code: str
) -> HttpResponseBase:
    """Return the answer to a request whose data is saved, but whose call could not be queued.

    That is the view's own response, with a message in the place of those of a success, or else a
    503 in the form that the client prefers, with the ``code`` of what was away.
    """
    if prefers_page(request) and hasattr(request, "_messages"):
        take_back_success(request)
        messages.error(request, detail)
        return response
    answer = Answer(
        status=503,
        code=code,
        title=_("Saved, but not started"),
        detail=detail,
        retry_after=OUTAGE_RETRY_AFTER,
    )
    return respond(request, answer)


def respond(request: HttpRequest, answer: Answer) -> HttpResponse:
    """Return the answer in the form that the client prefers."""
    if prefers_problem(request):
        response: HttpResponse = JsonResponse(
            answer.problem(), content_type="application/problem+json"
        )
    elif prefers_fragment(request):
        response = _fragment(request, answer)
    else:
        response = _page(request, answer)
    finish(request, response, answer)
    return response


def redirect(request: HttpRequest, answer: Answer, to: Any) -> HttpResponseBase:
    """Return a redirect to a page that shows the answer as a message.

    ``to`` is whatever ``django.shortcuts.redirect`` takes. A client that would not show that
    page, or would come back to this one for ever, gets the answer itself.
    """
    url = resolve_url(to)
    comes_back = request.method in {"GET", "HEAD"} and url == request.get_full_path()
    if comes_back or not prefers_page(request):
        return respond(request, answer)
    messages.add_message(request, answer.level, answer.detail, fail_silently=True)
    response = HttpResponseRedirect(url)
    patch_vary_headers(response, DECIDING)
    return response


def finish(request: HttpRequest, response: HttpResponse, answer: Answer) -> None:
    """Give a response the status and headers of an answer.

    htmx 2 swaps no response that has an error's status, so htmx gets 200.
    """
    if prefers_problem(request) or not is_htmx(request):
        response.status_code = answer.status
        response["Retry-After"] = str(answer.retry_after)
    add_never_cache_headers(response)
    patch_vary_headers(response, DECIDING)


def prefers_problem(request: HttpRequest) -> bool:
    """Return whether the client would rather have JSON than a page."""
    return request.get_preferred_type(MEDIA_TYPES) in MEDIA_TYPES[1:]


def prefers_page(request: HttpRequest) -> bool:
    """Return whether the client would rather have a whole page than a problem or a fragment."""
    return not prefers_problem(request) and not prefers_fragment(request)


def is_htmx(request: HttpRequest) -> bool:
    """Return whether htmx asks."""
    return request.headers.get("HX-Request") == "true"


def prefers_fragment(request: HttpRequest) -> bool:
    """Return whether htmx asks for a part of a page; a boosted link and Back take a page."""
    whole = (request.headers.get(name) for name in ("HX-Boosted", "HX-History-Restore-Request"))
    return is_htmx(request) and "true" not in whole


def queued_messages(request: HttpRequest) -> list[Any]:
    """Return the messages that this request has added so far."""
    queued: list[Any] = getattr(messages.get_messages(request), "_queued_messages", [])
    return queued


def take_back_success(request: HttpRequest, told: int = 0) -> None:
    """Drop what was told of a success too soon, but for the first ``told`` messages."""
    queued = queued_messages(request)
    queued[told:] = [each for each in queued[told:] if each.level != messages.SUCCESS]


def _fragment(request: HttpRequest, answer: Answer) -> HttpResponse:
    try:
        text = render_to_string("django_celery_once/fragment.html", {"answer": answer}, request)
    except TemplateDoesNotExist:
        text = format_html('<p class="once-answer" role="status">{}</p>', answer.detail)
    response = HttpResponse(text)
    response["HX-Reselect"] = ".once-answer"  # whatever hx-select looks for
    if answer.status == HTTPStatus.SERVICE_UNAVAILABLE:
        response["HX-Reswap"] = "beforeend"  # keep the form: it is to be sent again
    return response


def _page(request: HttpRequest, answer: Answer) -> HttpResponse:
    try:
        text = render_to_string("django_celery_once/answer.html", {"answer": answer}, request)
    except TemplateDoesNotExist:  # a project without templates, or not those of its apps
        plain = f"{answer.title}\n\n{answer.problem()['detail']}\n"
        return HttpResponse(plain, content_type="text/plain; charset=utf-8")
    return HttpResponse(text)
