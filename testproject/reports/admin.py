from __future__ import annotations

from django.contrib import admin

from testproject.reports.models import ReportRequest, Sale


@admin.register(ReportRequest)
class ReportRequestAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ("month", "email", "state", "requested_at", "task_id")
    list_filter = ("state", "month")
    search_fields = ("email", "task_id")


@admin.register(Sale)
class SaleAdmin(admin.ModelAdmin):  # type: ignore[type-arg]
    list_display = ("sold_on", "product", "quantity", "unit_price")
    list_filter = ("product",)
