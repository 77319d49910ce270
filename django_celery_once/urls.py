"""The addresses of this app: ``path("once/", include("django_celery_once.urls"))``."""

from __future__ import annotations

from django.urls import path

from django_celery_once import views

app_name = "django_celery_once"

urlpatterns = [path("status/<str:token>/", views.status, name="status")]
