"""The Django app."""

from django.apps import AppConfig
from django.utils.translation import gettext_lazy as _


class CeleryOnceConfig(AppConfig):
    """Connect the worker's side, the journal and the system checks."""

    name = "django_celery_once"
    verbose_name = _("Tasks queued once")
    default_auto_field = "django.db.models.BigAutoField"

    def ready(self) -> None:
        """Register and connect; nothing is read from the settings here."""
        from django_celery_once import beat, checks, journal, watch, worker

        worker.connect()
        beat.connect()
        watch.connect()
        journal.connect()
        checks.register()
