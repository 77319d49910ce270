"""The slow work: one run at a time for each report."""

from __future__ import annotations

import time

from celery import shared_task
from django.conf import settings
from django.core.mail import EmailMessage
from django.utils import timezone

from django_celery_once import QueueOnce
from testproject.reports.models import ReportRequest, Sale
from testproject.reports.months import Month
from testproject.reports.pdf import render_report


@shared_task(
    base=QueueOnce,
    bind=True,
    once={"keys": ["email", "month"], "timeout": 600, "label": "{month} report"},
)
def send_pdf_report(self: QueueOnce, email: str, month: str) -> None:
    """Mail the month's sales to ``email``, as a PDF."""
    with ReportRequest.objects.note(str(self.request.id), email, month).followed():
        time.sleep(settings.REPORT_SECONDS)
        report_mail(Month.parse(month), email).send()


@shared_task(base=QueueOnce, once={"label": "sales summary"})
def send_sales_summary() -> None:
    """Mail this year's number of sales to the shop; beat asks for it every minute."""
    today = timezone.localdate()
    time.sleep(settings.SUMMARY_SECONDS)
    count = Sale.objects.filter(sold_on__year=today.year).count()
    EmailMessage(
        subject=f"Sales summary of {today}",
        body=f"{count} sales this year so far.",
        to=["shop@example.com"],
    ).send()


def report_mail(month: Month, email: str) -> EmailMessage:
    mail = EmailMessage(
        subject=f"Your sales report for {month.name}",
        body=f"Here is the sales report for {month.name}.",
        to=[email],
    )
    mail.attach(f"sales-{month}.pdf", render_report(month, email), "application/pdf")
    return mail
