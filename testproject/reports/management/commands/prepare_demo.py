"""Fill an empty site with what the demo shows."""

from __future__ import annotations

import os
from typing import Any

from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.core.management.base import BaseCommand
from django.db.models import Q
from django.utils import timezone

from testproject.reports.models import ReportRequest, ReportState, Sale
from testproject.reports.months import last_months
from testproject.reports.sample_sales import sales_of

STAFF = "staff"
OF_THE_PACKAGE = Q(content_type__app_label="django_celery_once")
TO_LOOK = Q(content_type__app_label="reports", codename__startswith="view_")


class Command(BaseCommand):
    help = (
        "Add a year of sample sales and the user 'staff', whose password is taken "
        "from DEMO_PASSWORD. Requests that an earlier demo left unfinished fail."
    )

    def handle(self, *args: Any, **options: Any) -> None:
        self.add_sales()
        self.add_staff(os.environ["DEMO_PASSWORD"])
        ReportRequest.objects.unfinished().update(state=ReportState.FAILED)

    def add_sales(self) -> None:
        for month in last_months(timezone.localdate()):
            if not Sale.objects.in_month(month).exists():
                Sale.objects.bulk_create(sales_of(month))

    def add_staff(self, password: str) -> None:
        """A member of staff, no superuser, with the rights that the admin pages ask for."""
        staff, _ = get_user_model().objects.get_or_create(username=STAFF)
        staff.is_staff = True
        staff.set_password(password)
        staff.save()
        staff.user_permissions.set(Permission.objects.filter(OF_THE_PACKAGE | TO_LOOK))
