"""Settings of the workers that tests start: as for the tests, with a lease to choose.

By default it is longer than any test waits for a lock: one that is seen free was released.
"""

from __future__ import annotations

import json
import os

from tests.settings import *  # noqa: F403

DJANGO_CELERY_ONCE["LEASE"] = float(os.environ.get("INTEGRATION_LEASE", "60"))  # noqa: F405
DJANGO_CELERY_ONCE["TASKS"] = json.loads(os.environ.get("INTEGRATION_TASKS", "{}"))  # noqa: F405
if "INTEGRATION_SECOND_STORE" in os.environ:
    second = {"LOCATION": os.environ["INTEGRATION_SECOND_STORE"]}
    CACHES["second"] = {**CACHES["locks"], **second}  # noqa: F405
INSTALLED_APPS += os.environ.get("INTEGRATION_APPS", "").split()  # noqa: F405
if "INTEGRATION_LOCKS" in os.environ:
    CACHES["locks"] = json.loads(os.environ["INTEGRATION_LOCKS"])  # noqa: F405
