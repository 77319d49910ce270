"""The second process: say on the standard output what it sees of a lock.

python -m django_celery_once.doctor.witness ALIAS KEY
"""

from __future__ import annotations

import json
import sys
import time
import uuid

import django

from django_celery_once.doctor.probe import MARK, SECONDS
from django_celery_once.locks import Lock, open_store


def look_at(alias: str, key: str) -> dict[str, object]:
    """Look at a lock, ask for its key, and try to free it."""
    store = open_store(alias)
    seen = store.inspect(key)
    mine = Lock(key=key, owner="once_doctor-witness", token=uuid.uuid4().hex, since=time.time())
    refused = store.acquire(mine, SECONDS) is not None
    freed = refused and store.release(mine) is not None
    if not refused:
        store.release(mine)
    return {"owner": seen.owner if seen else None, "refused": refused, "freed": freed}


if __name__ == "__main__":
    django.setup()
    sys.stdout.write(f"\n{MARK}{json.dumps(look_at(*sys.argv[1:]))}\n")
