"""The site that shows django-celery-once at work, end to end."""

from __future__ import annotations

from testproject.celery import app as celery_app

__all__ = ["celery_app"]
