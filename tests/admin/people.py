"""The browsers of the people who open the admin, or try to."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import Permission, User
from django.test import Client


def person(name: str, *permissions: str, **fields: Any) -> Client:
    """Return the browser of somebody who is logged in and has these permissions."""
    user = User.objects.create_user(name, **fields)
    user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
    client = Client()
    client.force_login(user)
    return client


def anonymous() -> Client:
    """Return the browser of somebody who is not logged in."""
    return Client()


def customer() -> Client:
    """Return the browser of somebody who has every permission, but is no staff."""
    return person("customer", *all_permissions())


def staff(*permissions: str) -> Client:
    """Return the browser of staff with these permissions only."""
    return person("clerk", *permissions, is_staff=True)


def viewer() -> Client:
    """Return the browser of staff who may look at everything and change nothing."""
    return person("viewer", "view_blockedduplicate", "view_heldlock", is_staff=True)


def releaser() -> Client:
    """Return the browser of staff who may look, and release locks."""
    permissions = ("view_blockedduplicate", "view_heldlock", "release_lock")
    return person("releaser", *permissions, is_staff=True)


def editor() -> Client:
    """Return the browser of staff with every permission of the app."""
    return person("editor", *all_permissions(), is_staff=True)


def superuser() -> Client:
    """Return the browser of a superuser."""
    return person("root", is_staff=True, is_superuser=True)


def all_permissions() -> list[str]:
    """Return the codenames of all permissions of the app."""
    found = Permission.objects.filter(content_type__app_label="django_celery_once")
    return list(found.values_list("codename", flat=True))
