"""Shops and their domains."""

from __future__ import annotations

from django_tenants.models import DomainMixin, TenantMixin


class Shop(TenantMixin):  # type: ignore[misc]
    """A tenant."""

    auto_create_schema = True


class Domain(DomainMixin):  # type: ignore[misc]
    """Where a tenant is found."""
