"""The Celery app, and the contenders' no-op tasks on it.

A worker imports it too (``celery -A benchmarks.speed.app``), and then has nothing of the other
contenders loaded, as ``SPEED_ONLY`` says.
"""

from __future__ import annotations

import os

# Not setdefault: testproject has named its own where that is imported for its RedisServer.
os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.speed.settings"

import django
from celery import Celery

django.setup()

from benchmarks.speed import contenders, settings  # noqa: E402  (after django.setup)

app = Celery("speed", set_as_current=True)
app.config_from_object("django.conf:settings", namespace="CELERY")
# celery-once reads ONCE from the app's configuration, where the namespace has hidden it.
app.conf.ONCE = settings.CELERY_ONCE

CONTENDERS = {
    name: make(app) for name, make in contenders.MAKERS.items() if settings.ONLY in ("", name)
}
app.finalize()
