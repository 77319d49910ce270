"""A command that queues a task twice in one transaction, for ``tests/test_journal_callers.py``."""

from __future__ import annotations

from typing import Any

from django.contrib.auth.models import Group
from django.core.management.base import BaseCommand
from django.db import transaction

from tests import duplicates


class Command(BaseCommand):
    """Save something and fail with a duplicate."""

    def handle(self, *args: Any, **options: Any) -> None:
        """Let the duplicate roll the transaction back."""
        with transaction.atomic():
            Group.objects.create(name="saved")
            duplicates.queue_twice()
