"""Tests of django-celery-once; they mirror the package."""
