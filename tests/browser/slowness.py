"""What a visitor's cookies choose: how slow views are, and where messages are kept."""

from __future__ import annotations

import time
from collections.abc import Callable

from django.contrib.messages.storage.base import BaseStorage
from django.contrib.messages.storage.cookie import CookieStorage
from django.contrib.messages.storage.session import SessionStorage
from django.http import HttpRequest, HttpResponse


def slow(
    get_response: Callable[[HttpRequest], HttpResponse],
) -> Callable[[HttpRequest], HttpResponse]:
    """Take the seconds in the cookie that is named like the method, half of them before."""

    def middleware(request: HttpRequest) -> HttpResponse:
        half = float(request.COOKIES.get(str(request.method), 0)) / 2
        time.sleep(half)
        response = get_response(request)
        time.sleep(half)
        return response

    return middleware


def storage(request: HttpRequest) -> BaseStorage:
    """Return the storage of messages that the cookie names."""
    return (CookieStorage if request.COOKIES.get("messages") == "cookie" else SessionStorage)(
        request
    )
