#!/bin/sh
# An entry that somebody has switched off runs again after the next deploy, or does not: it
# depends on where the schedule is kept.
#
# Version       celery 5.7.0, celery-redbeat 2.4.2, django-celery-beat 2.9.0, Django 5.2.8, redis-
#               server 6 or newer on the PATH
# Likely guess  Both keep the entries of beat_schedule outside, so that operators can change them
#               without a deploy. A restart of beat leaves both changes alone, or takes both back.
# Seen          celery-redbeat writes the whole definition anew at each start: what was switched
#               off is on. django-celery-beat leaves it off, but takes back the arguments that
#               were changed beside.
# Why           "enabled" is a part of redbeat's definition, and no part of what django-celery-
#               beat writes from beat_schedule. All else is written by both.
# It costs      The job that was stopped because it did harm does it again with the next deploy,
#               and whoever was used to the other scheduler looks for the person who switched it
#               on.
#
# Needs the network, for pip. Fails if what is seen has changed.
set -eu
command -v redis-server >/dev/null || { echo "no redis-server on the PATH" >&2; exit 2; }
room=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server"; rm -rf "$room"' EXIT
"${PYTHON:-python3}" -m venv "$room/venv"
"$room/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    celery==5.7.0 celery-redbeat==2.4.2 django-celery-beat==2.9.0 Django==5.2.8
redis-server --port 0 --unixsocket "$room/redis" --save "" --dir "$room" >"$room/log" 2>&1 &
server=$!

cat >"$room/program.py" <<'PYTHON'
import sys
import time

import django
import redis
from celery import Celery
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

from django_celery_beat.models import PeriodicTask
from redbeat import RedBeatSchedulerEntry

client = redis.Redis(unix_socket_path=f"{sys.argv[1]}/redis")
for _try in range(100):
    try:
        client.ping()
        break
    except redis.ConnectionError:
        time.sleep(0.1)

site = Celery("site", broker="memory://", set_as_current=True)
site.conf.redbeat_redis_url = f"unix://{sys.argv[1]}/redis"
site.conf.beat_schedule = {"clean": {"task": "clean", "schedule": 3600.0, "args": ("all",)}}


def start(scheduler):
    """Let beat read its schedule, as at its start."""
    Service(site, scheduler_cls=scheduler).scheduler


REDIS = "redbeat.schedulers:RedBeatScheduler"
DATABASE = "django_celery_beat.schedulers:DatabaseScheduler"

start(REDIS)
entry = RedBeatSchedulerEntry.from_key("redbeat:clean", app=site)
entry.enabled, entry.args = False, ["nothing"]
entry.save()
start(REDIS)
entry = RedBeatSchedulerEntry.from_key("redbeat:clean", app=site)
print("celery-redbeat:", "on" if entry.enabled else "off", list(entry.args))

start(DATABASE)
PeriodicTask.objects.filter(name="clean").update(enabled=False, args='["nothing"]')
start(DATABASE)
row = PeriodicTask.objects.get(name="clean")
print("django-celery-beat:", "on" if row.enabled else "off", row.args)
PYTHON

cat >"$room/expected" <<'TEXT'
celery-redbeat: on ['all']
django-celery-beat: off ["all"]
TEXT

"$room/venv/bin/python" "$room/program.py" "$room" | tee "$room/seen"
diff "$room/expected" "$room/seen"
