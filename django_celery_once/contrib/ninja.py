"""Duplicates and outages in APIs made with django-ninja."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.functional import Promise

from django_celery_once import answers, transactions
from django_celery_once.exceptions import AlreadyQueued, NotQueued
from django_celery_once.wording import STANDARD, Wording

if TYPE_CHECKING:
    from ninja import NinjaAPI

PROBLEM = "application/problem+json"


def add_exception_handlers(
    api: NinjaAPI, *, label: str | Promise = "", wording: Wording = STANDARD
) -> None:
    """Let an API answer ``AlreadyQueued`` with 409 and ``NotQueued`` (an outage) with 503.

    The body is a problem detail (RFC 9457); what the view did in an open transaction is undone.
    ``label`` and ``wording`` are as with ``once_view``.
    """
    for error in (AlreadyQueued, NotQueued):
        handler = partial(exception_handler, label=label, wording=wording)
        api.add_exception_handler(error, handler)


def exception_handler(
    request: HttpRequest,
    exc: AlreadyQueued | NotQueued,
    *,
    label: str | Promise = "",
    wording: Wording = STANDARD,
) -> HttpResponse:
    """Answer either error, as a handler of django-ninja."""
    answer = answers.to_error(exc, request, label=label, wording=wording)
    response = JsonResponse(answer.problem(), status=answer.status, content_type=PROBLEM)
    answers.finish(request, response, answer)
    transactions.roll_back()
    return response
