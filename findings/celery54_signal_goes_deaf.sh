#!/bin/sh
# A receiver that was there for a moment makes a Celery app deaf to all that come after it.
#
# Version       celery 5.4.0, kombu 5.4.2
# Likely guess  A function that was connected to before_task_publish, disconnected and forgotten
#               leaves nothing behind: receivers that are connected later are called.
# Seen          They are never called again when this app publishes, whatever keeps them alive,
#               though the signal lists them. Another app of the same process calls them.
# Why           An app remembers the *list* of receivers when it publishes for the first time, and
#               sends the signal only while that list is not empty. A weak receiver that has died
#               makes the signal replace its list at the next connect(). If the old one was empty
#               then, it stays so for ever. Celery 5.7 empties and fills the one list.
# It costs      Whatever hangs on this signal: trace headers, tenants, audits. Nothing is logged.
#
# Needs the network, for pip. Fails if what is seen has changed.
set -eu
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
"${PYTHON:-python3}" -m venv "$room/venv"
"$room/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    celery==5.4.0 kombu==5.4.2

cat >"$room/program.py" <<'PYTHON'
from celery import Celery, signals

site = Celery("site", broker="memory://")
signal = signals.before_task_publish


def publish(app):
    app.send_task("reports.send")


def look_once():
    """Count what is published while this function runs, as a test or a shell session would."""
    seen = []

    def count(**_signal):
        seen.append(1)

    signal.connect(count)
    publish(site)
    signal.disconnect(count)
    return len(seen)


print("the passing receiver was called:", look_once())

kept = []
signal.connect(lambda **_signal: kept.append(1), weak=False)
for _time in range(5):
    publish(site)
print("receivers connected:", len(signal.receivers))
print("the kept receiver was called, of 5 times:", len(kept))
publish(Celery("other", broker="memory://"))
print("and by another app, of 1 time:", len(kept))
PYTHON

cat >"$room/expected" <<'TEXT'
the passing receiver was called: 1
receivers connected: 1
the kept receiver was called, of 5 times: 0
and by another app, of 1 time: 1
TEXT

"$room/venv/bin/python" "$room/program.py" | tee "$room/seen"
diff "$room/expected" "$room/seen"
