"""Where the tests' tables live."""

from __future__ import annotations

from django.db.models import Model


class LockTableRouter:
    """Keep the table of the DatabaseCache alias in a database of its own."""

    def db_for_read(self, model: type[Model], **hints: object) -> str | None:
        """Return the database of the cache's table; leave the others alone."""
        return "locks" if model._meta.app_label == "django_cache" else None

    db_for_write = db_for_read

    def allow_migrate(self, db: str, app_label: str, **hints: object) -> bool:
        """Tell whether the table belongs into the database ``db``."""
        return (db == "locks") == (app_label == "django_cache")
