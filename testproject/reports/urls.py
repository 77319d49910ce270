from __future__ import annotations

from django.urls import path

from testproject.reports import views

app_name = "reports"

urlpatterns = [
    path("", views.ReportView.as_view(), name="index"),
    path("requests/", views.RequestListView.as_view(), name="requests"),
    path("outbox/", views.outbox, name="outbox"),
    path("outbox/<slug:mail_id>.pdf", views.attachment, name="attachment"),
]
