#!/bin/sh
# No one word lets the calls of a beat entry expire under both usual schedulers.
#
# Version       celery 5.7.0, django-celery-beat 2.9.0, Django 5.2.8
# Likely guess  "options" of an entry in beat_schedule are apply_async's, whatever the scheduler:
#               {"expires": 60} makes a call expire after a minute. An unknown word is an error.
# Seen          The built-in scheduler takes "expires" and lets "expire_seconds" fall; django-
#               celery-beat's DatabaseScheduler does it the other way round. Neither says so.
# Why           The built-in one hands the options to apply_async, which takes any keyword. The
#               other one sorts them into columns, of which one is called expire_seconds, and
#               forgets the rest (expires, countdown, time_limit, serializer, …).
# It costs      A project that moves its schedule into the database has calls that never expire:
#               after an hour without a worker, a call a minute is 60 runs at once.
#
# Needs the network, for pip. Fails if what is seen has changed.
set -eu
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
"${PYTHON:-python3}" -m venv "$room/venv"
"$room/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    celery==5.7.0 django-celery-beat==2.9.0 Django==5.2.8

cat >"$room/program.py" <<'PYTHON'
import os
import sys
import time

import django
from celery import Celery, signals
from celery.beat import Service
from django.conf import settings
from django.core.management import call_command

settings.configure(
    INSTALLED_APPS=["django.contrib.contenttypes", "django_celery_beat"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
    USE_TZ=True,
)
django.setup()
call_command("migrate", verbosity=0)

WORDS = ("expires", "expire_seconds")
site = Celery("site", broker="memory://", set_as_current=True)
site.conf.result_expires = None
site.conf.beat_schedule = {
    word: {"task": "ping", "schedule": 0.2, "args": (word,), "options": {word: 60}}
    for word in WORDS
}


@site.task(name="ping")
def ping(word): ...


sent = {}


@signals.before_task_publish.connect(weak=False)
def note(headers, body, **_signal):
    sent[body[0][0]] = "expires" if headers["expires"] else "never expires"


for scheduler in (
    "celery.beat:PersistentScheduler",
    "django_celery_beat.schedulers:DatabaseScheduler",
):
    sent.clear()
    file = os.path.join(sys.argv[1], "schedule")
    beat = Service(site, scheduler_cls=scheduler, schedule_filename=file).scheduler
    deadline = time.monotonic() + 30
    while len(sent) < len(WORDS) and time.monotonic() < deadline:
        beat.tick()
        time.sleep(0.05)
    for word in WORDS:
        print(f"{scheduler.partition(':')[2]}, {word}=60: {sent.get(word)}")
PYTHON

cat >"$room/expected" <<'TEXT'
PersistentScheduler, expires=60: expires
PersistentScheduler, expire_seconds=60: never expires
DatabaseScheduler, expires=60: never expires
DatabaseScheduler, expire_seconds=60: expires
TEXT

"$room/venv/bin/python" "$room/program.py" "$room" | tee "$room/seen"
diff "$room/expected" "$room/seen"
