"""Browsers without a login that are known again, by the cookie that secures their forms."""

from __future__ import annotations

from typing import TypeVar

from django.conf import settings
from django.test import AsyncClient, Client

Browser = TypeVar("Browser", Client, AsyncClient)


def known_again(client: Browser, name: str = "c") -> Browser:
    """Return a browser that has seen a form; another ``name`` is another's."""
    client.cookies[settings.CSRF_COOKIE_NAME] = name * 32
    return client
