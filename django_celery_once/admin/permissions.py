"""Who may do what with the locks, on whichever page they are met."""

from __future__ import annotations

from django.http import HttpRequest


def may_release_locks(request: HttpRequest) -> bool:
    """Return whether somebody may release a lock."""
    return request.user.has_perm("django_celery_once.release_lock")


def may_see_locks(request: HttpRequest) -> bool:
    """Return whether somebody may look at the locks: to release them is not without."""
    return request.user.has_perm("django_celery_once.view_heldlock") or may_release_locks(request)
