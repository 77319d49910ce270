#!/bin/sh
# In Celery's task_annotations, what is said of all tasks overrides what is said of one.
#
# Version       celery 5.7.0
# Likely guess  {"*": {"rate_limit": "100/s"}, "mail.send": {"rate_limit": "1/m"}} throttles
#               mail.send to one a minute, since the name is more precise than the asterisk, as in
#               task_routes; at least the order in the dictionary, or in a list of them, decides.
# Seen          mail.send has 100/s, in whichever order the two are written, in one dictionary or in
#               a list. What only the task's own entry names stays.
# Why           Both entries are applied, that of the task first and that for all after it, each by
#               setting attributes of the task's class.
# It costs      The one task that must be slow, for a provider's limit, is as fast as all others, and
#               its own entry looks right to whoever searches for the reason.
#
# Needs the network, for pip. Fails if what is seen has changed.
set -eu
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
"${PYTHON:-python3}" -m venv "$room/venv"
"$room/venv/bin/python" -m pip install --quiet --disable-pip-version-check celery==5.7.0

cat >"$room/program.py" <<'PYTHON'
from celery import Celery

ALL = {"*": {"rate_limit": "100/s"}}
ONE = {"mail.send": {"rate_limit": "1/m", "priority": 3}}


def body(): ...


for words, annotations in {
    "one after all": {**ALL, **ONE},
    "one before all": {**ONE, **ALL},
    "a list, one last": [ALL, ONE],
    "a list, one first": [ONE, ALL],
    "one alone": ONE,
}.items():
    app = Celery("site", broker="memory://", set_as_current=False)
    app.conf.task_annotations = annotations
    app.task(name="mail.send", shared=False)(body)
    app.finalize()
    task = app.tasks["mail.send"]
    print(f"{words}: {task.rate_limit}, priority {task.priority}")
PYTHON

cat >"$room/expected" <<'TEXT'
one after all: 100/s, priority 3
one before all: 100/s, priority 3
a list, one last: 100/s, priority 3
a list, one first: 100/s, priority 3
one alone: 1/m, priority 3
TEXT

"$room/venv/bin/python" "$room/program.py" | tee "$room/seen"
diff "$room/expected" "$room/seen"
