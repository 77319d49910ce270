"""Function views that answer a duplicate kindly."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeVar, overload

from asgiref.sync import iscoroutinefunction, sync_to_async
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.functional import Promise

from django_celery_once import answers, transactions
from django_celery_once.exceptions import AlreadyQueued, NotQueued
from django_celery_once.requester import asking_by
from django_celery_once.wording import STANDARD, Wording

View = TypeVar("View", bound=Callable[..., Any])
Answering = Callable[[HttpRequest, AlreadyQueued | NotQueued], HttpResponseBase]


@overload
def once_view(view: View, /) -> View: ...
@overload
def once_view(
    *, redirect_to: Any = None, label: str | Promise = "", wording: Wording = STANDARD
) -> Callable[[View], View]: ...
def once_view(
    view: Any = None,
    /,
    *,
    redirect_to: Any = None,
    label: str | Promise = "",
    wording: Wording = STANDARD,
) -> Any:
    """Answer ``AlreadyQueued`` and ``NotQueued`` (an outage) from a view, sync or async.

    Use it bare or with arguments. ``redirect_to`` (what ``django.shortcuts.redirect`` takes)
    sends a duplicate to a page, with the sentence as a message; without it the answer is that
    of ``AlreadyQueuedMiddleware``. ``label`` names the thing that was asked for ("monthly
    report"), ``wording`` has the sentences. An outage is a 503 in any case. What the view did
    in an open transaction is undone.
    """

    def answer(request: HttpRequest, error: AlreadyQueued | NotQueued) -> HttpResponseBase:
        told = answers.to_error(error, request, label=label, wording=wording)
        if redirect_to is None or isinstance(error, NotQueued):
            response: HttpResponseBase = answers.respond(request, told)
        else:
            response = answers.redirect(request, told, redirect_to)
        transactions.roll_back()
        return response

    guard = functools.partial(_guard, answer=answer)
    return guard if view is None else guard(view)


def _guard(view: Any, answer: Answering) -> Any:
    if iscoroutinefunction(view):
        return _guard_async(view, answer)

    @functools.wraps(view)
    def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        try:
            with asking_by(request):
                return view(request, *args, **kwargs)
        except (AlreadyQueued, NotQueued) as error:
            return answer(request, error)

    return guarded


def _guard_async(view: Any, answer: Answering) -> Any:
    @functools.wraps(view)
    async def guarded(request: HttpRequest, *args: Any, **kwargs: Any) -> Any:
        try:
            with asking_by(request):
                return await view(request, *args, **kwargs)
        except (AlreadyQueued, NotQueued) as error:
            # A thread, since user, session and templates may need the database.
            return await sync_to_async(answer)(request, error)

    return guarded
