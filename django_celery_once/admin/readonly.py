"""What staff may look at and nobody edits."""

from __future__ import annotations

from typing import Any

from django.http import HttpRequest


class ReadOnly:
    """Refuse to add, change and delete in a ``ModelAdmin``, to superusers as well."""

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse new rows."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse edits."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Refuse deletion."""
        return False
