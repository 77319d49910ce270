from __future__ import annotations

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("", include("testproject.reports.urls")),
    path("once/", include("django_celery_once.urls")),
    path("admin/", admin.site.urls),
]
