"""The URLs of the tests; a test that needs others sets ``ROOT_URLCONF``."""

from __future__ import annotations

from django.contrib import admin
from django.urls import path

urlpatterns = [path("admin/", admin.site.urls)]
