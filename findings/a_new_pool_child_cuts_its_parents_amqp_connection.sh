#!/bin/sh
# After a pool child was replaced, what a prefork worker's main process publishes next over AMQP
# fails, or is saved by a retry that nobody knows to be needed.
#
# Version       celery 5.7.0, kombu 5.7.0, amqp 5.4.2, billiard 4.3.2, RabbitMQ 3.10, Redis 7
# Likely guess  A forked child closes its copies of the descriptors that it has inherited, and the
#               parent's connection stays as it is.
# Seen          RabbitMQ sees the parent's connection end as the child starts. The parent's next
#               message raises without retry=True, and is sent by it (Celery's default). With Redis
#               nothing happens.
# Why           Kombu lets each pool of connections be closed after a fork, and amqp shuts a socket
#               down in both directions before it closes it: that ends the connection for all who
#               share it.
# It costs      With worker_max_tasks_per_child, time limits or crashes, and
#               task_publish_retry=False, every now and then a message that signal handlers or
#               bootsteps of the main process send is lost.
#
# Needs the network, for pip, and RabbitMQ where BROKER says. Fails if what is seen has changed.
set -eu
command -v redis-server >/dev/null || { echo "no redis-server on the PATH" >&2; exit 2; }
room=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server"; rm -rf "$room"' EXIT
"${PYTHON:-python3}" -m venv "$room/venv"
"$room/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    'celery[redis]==5.7.0' kombu==5.7.0 amqp==5.4.2 billiard==4.3.2
redis-server --port 0 --unixsocket "$room/redis" --save "" --dir "$room" >"$room/log" 2>&1 &
server=$!

cat >"$room/program.py" <<'PYTHON'
import os
import sys
import time

import redis
from billiard import Process
from celery import Celery

client = redis.Redis(unix_socket_path=f"{sys.argv[1]}/redis")
for _try in range(100):
    try:
        client.ping()
        break
    except redis.ConnectionError:
        time.sleep(0.1)

BROKERS = {
    "RabbitMQ": os.environ.get("BROKER", "amqp://guest:guest@127.0.0.1:5672//"),
    "Redis": f"redis+socket://{sys.argv[1]}/redis",
}


def nothing():
    """Be a child that does not touch the connection."""


def publish(site, **options):
    """Send a message; say how that went."""
    try:
        site.send_task("note", queue="findings", **options)
    except Exception as error:
        return type(error).__name__
    return "sent"


for name, url in BROKERS.items():
    site = Celery("site", broker=url, set_as_current=False)
    seen = [publish(site, retry=False)]
    for retry in (False, True):
        child = Process(target=nothing)
        child.start()
        child.join()
        seen.append(publish(site, retry=retry))
    with site.connection_for_write() as connection:
        connection.default_channel.queue_delete("findings")
    print(f"{name}: before {seen[0]}; after a child {seen[1]}, with retry=True {seen[2]}")
PYTHON

cat >"$room/expected" <<'TEXT'
RabbitMQ: before sent; after a child OperationalError, with retry=True sent
Redis: before sent; after a child sent, with retry=True sent
TEXT

"$room/venv/bin/python" "$room/program.py" "$room" | tee "$room/seen"
diff "$room/expected" "$room/seen"
