"""Admin pages for staff: what was blocked, and what is locked now."""

from django_celery_once.admin.blocked import BlockedDuplicateAdmin
from django_celery_once.admin.locks import HeldLockAdmin

__all__ = ["BlockedDuplicateAdmin", "HeldLockAdmin"]
