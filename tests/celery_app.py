"""The Celery application of the tests; a started worker uses it, too.

``TEST_BROKER_URL`` and ``TEST_RESULT_BACKEND`` point it at real servers.
"""

from __future__ import annotations

import os

from celery import Celery

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")

app = Celery("tests")
app.config_from_object("django.conf:settings", namespace="CELERY")
app.set_default()
