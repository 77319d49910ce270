"""Duplicates and outages in APIs made with Django REST framework."""

from __future__ import annotations

from typing import Any

from rest_framework import views
from rest_framework.renderers import JSONRenderer
from rest_framework.response import Response

from django_celery_once import answers, transactions
from django_celery_once.exceptions import AlreadyQueued, NotQueued
from django_celery_once.wording import STANDARD

PROBLEM = "application/problem+json"


def exception_handler(exc: Exception, context: dict[str, Any]) -> Response | None:
    """Answer ``AlreadyQueued`` with 409, ``NotQueued`` (an outage) with 503, the rest as DRF does.

    Name it in ``REST_FRAMEWORK["EXCEPTION_HANDLER"]``, or call it from your own. The data are
    those of a problem detail (RFC 9457); what the view did in an open transaction is undone.
    A view may have ``once_label`` and ``once_wording``, as with ``OnceViewMixin``.
    """
    if not isinstance(exc, AlreadyQueued | NotQueued):
        response: Response | None = views.exception_handler(exc, context)
        return response
    view, request = context.get("view"), context.get("request")
    answer = answers.to_error(
        exc,
        request,
        label=getattr(view, "once_label", ""),
        wording=getattr(view, "once_wording", STANDARD),
    )
    transactions.roll_back()
    as_json = isinstance(getattr(request, "accepted_renderer", None), JSONRenderer)
    return Response(
        answer.problem(),
        status=answer.status,
        headers={"Retry-After": str(answer.retry_after)},
        content_type=PROBLEM if as_json else None,
    )
