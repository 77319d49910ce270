"""What was sold, and who asked for a report of it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import ClassVar, Self

from django.db import models
from django.db.models import F, Sum
from django.utils.translation import gettext_lazy as _

from testproject.reports.months import Month


@dataclass(frozen=True)
class ProductSales:
    """One line of a report; the amount is in cents."""

    product: str
    units: int
    amount: int


class SaleQuerySet(models.QuerySet["Sale"]):
    def in_month(self, month: Month) -> Self:
        return self.filter(sold_on__year=month.year, sold_on__month=month.month)

    def by_product(self) -> list[ProductSales]:
        """Return what each product brought, the best one first."""
        rows = self.values_list("product").annotate(
            units=Sum("quantity"), amount=Sum(F("quantity") * F("unit_price"))
        )
        return [ProductSales(*row) for row in rows.order_by("-amount", "product")]


class Sale(models.Model):
    sold_on = models.DateField(_("sold on"), db_index=True)
    product = models.CharField(_("product"), max_length=60)
    quantity = models.PositiveIntegerField(_("quantity"))
    unit_price = models.PositiveIntegerField(_("unit price in cents"))

    objects = SaleQuerySet.as_manager()

    class Meta:
        verbose_name = _("sale")
        verbose_name_plural = _("sales")
        ordering: ClassVar = ["-sold_on", "pk"]

    def __str__(self) -> str:
        return f"{self.quantity} x {self.product}, {self.sold_on}"


class ReportRequestQuerySet(models.QuerySet["ReportRequest"]):
    def unfinished(self) -> Self:
        return self.filter(state__in=[ReportState.QUEUED, ReportState.RUNNING])

    def note(self, task_id: str, email: str, month: str) -> ReportRequest:
        """Return the row of an accepted request.

        The view and the worker both call this: who comes first writes the row.
        """
        asked_for = {"email": email, "month": month}
        return self.get_or_create(task_id=task_id, defaults=asked_for)[0]


class ReportState(models.TextChoices):
    QUEUED = "queued", _("queued")
    RUNNING = "running", _("being prepared")
    SENT = "sent", _("sent")
    FAILED = "failed", _("failed")


class ReportRequest(models.Model):
    """One accepted request; a refused duplicate leaves no row here."""

    email = models.EmailField(_("e-mail address"))
    month = models.CharField(_("month"), max_length=7)
    task_id = models.CharField(_("task id"), max_length=255, unique=True)
    requested_at = models.DateTimeField(_("requested at"), auto_now_add=True)
    state = models.CharField(
        _("state"),
        max_length=10,
        choices=ReportState,
        default=ReportState.QUEUED,
    )

    objects = ReportRequestQuerySet.as_manager()

    class Meta:
        verbose_name = _("report request")
        verbose_name_plural = _("report requests")
        ordering: ClassVar = ["-requested_at"]

    def __str__(self) -> str:
        return f"{self.month} report for {self.email}"

    @contextmanager
    def followed(self) -> Iterator[None]:
        """Record how the run inside the ``with`` block goes."""
        self.enter(ReportState.RUNNING)
        try:
            yield
        except BaseException:
            self.enter(ReportState.FAILED)
            raise
        self.enter(ReportState.SENT)

    def enter(self, state: ReportState) -> None:
        self.state = state
        self.save(update_fields=["state"])

    @property
    def once_key(self) -> str:
        """The key of the call, which is all that its status needs beside the task id."""
        from testproject.reports.tasks import send_pdf_report  # which needs this module

        return send_pdf_report.once_key(self.email, self.month)

    @property
    def label(self) -> str:
        return _("%(month)s report") % {"month": self.month_name}

    @property
    def month_name(self) -> str:
        return Month.parse(self.month).name
