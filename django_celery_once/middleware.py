"""Who asks, and kind answers where a view catches nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any

from asgiref.sync import iscoroutinefunction, markcoroutinefunction, sync_to_async
from django.http import HttpRequest
from django.http.response import HttpResponseBase

from django_celery_once import admin_answers, answers, journal, leftovers, requester
from django_celery_once.exceptions import AlreadyQueued, NotQueued
from django_celery_once.requester import Requester
from django_celery_once.unqueued import BrokerUnavailable
from django_celery_once.wording import STANDARD

GetResponse = Callable[[HttpRequest], Any]


class AlreadyQueuedMiddleware:
    """Remember who asks for tasks and answer what a view did not catch.

    ``AlreadyQueued`` becomes 409 and ``NotQueued``, an outage, 503: a page, a fragment for htmx or,
    where the client prefers JSON, ``application/problem+json`` (RFC 9457); in Django's admin, a
    message on the page that was used. Blocked duplicates are written to the database
    after the view, when its transaction is over. Works in both WSGI and ASGI.
    """

    sync_capable = True
    async_capable = True

    def __init__(self, get_response: GetResponse) -> None:
        self.get_response = get_response
        self._is_async = iscoroutinefunction(get_response)
        if self._is_async:
            markcoroutinefunction(self)

    def __call__(self, request: HttpRequest) -> HttpResponseBase | Awaitable[HttpResponseBase]:
        """Answer a request, in whichever mode the handler runs."""
        if self._is_async:
            return self._answer_async(request)
        with requester.asking(Requester("web", request=request)), leftovers.collected() as unused:
            try:
                response: HttpResponseBase = self.get_response(request)
                if leftovers.have_failed():
                    response = _saved_only(request, response)
            finally:
                leftovers.free(unused)
        journal.write_now()
        return response

    async def _answer_async(self, request: HttpRequest) -> HttpResponseBase:
        with requester.asking(Requester("web", request=request)), leftovers.collected() as unused:
            try:
                response: HttpResponseBase = await self.get_response(request)
                if leftovers.have_failed():
                    response = await sync_to_async(_saved_only)(request, response)
            finally:
                if unused:
                    await sync_to_async(leftovers.free)(unused)
        if journal.has_something():
            await sync_to_async(journal.write_now)()
        return response

    def process_exception(
        self, request: HttpRequest, exception: Exception
    ) -> HttpResponseBase | None:
        """Answer an ``AlreadyQueued`` or a ``NotQueued`` that a view let through."""
        if not isinstance(exception, AlreadyQueued | NotQueued):
            return None
        use = admin_answers.use_of(request)
        if use is not None:
            return admin_answers.respond(request, exception, use)
        return answers.respond(request, answers.to_error(exception, request))


def _saved_only(request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
    """Take back what a view has promised before its transaction was committed."""
    return answers.saved_only(request, response, STANDARD.only_saved(), BrokerUnavailable.code)
