"""The app of the tenants."""

from __future__ import annotations

from django.apps import AppConfig


class ShopsConfig(AppConfig):
    """Shops."""

    name = "tests.tenants.shops"
    default_auto_field = "django.db.models.BigAutoField"
