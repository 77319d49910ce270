#!/bin/sh
# The first use of a Redis script tears a Sentry transaction apart: all that follows is an orphan.
#
# Version       sentry-sdk 2.75.0, redis 8.1.0 (the client), redis-server 6 or newer on the PATH
# Likely guess  A script that the server does not know yet is a normal thing: redis-py's Script
#               object is answered NOSCRIPT, loads it and asks again. The trace shows three spans
#               in the view.
# Seen          The span of the first EVALSHA is never sent, and is the parent of everything after
#               it: of SCRIPT LOAD, of the second EVALSHA, and of spans that have nothing to do
#               with Redis. Their parent is nowhere in the trace.
# Why           The integration enters a span before the command and leaves it after the command's
#               value; no finally. What raises (NOSCRIPT is an exception within redis-py) leaves
#               its span current.
# It costs      Sporadic, unreproducible gaps: once for each script, server restart and process. A
#               redis-py Lock is released by such a script, so that the first release does it,
#               too.
#
# Needs the network, for pip. Fails if what is seen has changed.
set -eu
command -v redis-server >/dev/null || { echo "no redis-server on the PATH" >&2; exit 2; }
room=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server"; rm -rf "$room"' EXIT
"${PYTHON:-python3}" -m venv "$room/venv"
"$room/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    sentry-sdk==2.75.0 redis==8.1.0
redis-server --port 0 --unixsocket "$room/redis" --save "" --dir "$room" >"$room/log" 2>&1 &
server=$!

cat >"$room/program.py" <<'PYTHON'
import sys
import time

import redis
import sentry_sdk
from sentry_sdk.integrations.redis import RedisIntegration

client = redis.Redis(unix_socket_path=f"{sys.argv[1]}/redis")
for _try in range(100):
    try:
        client.ping()
        break
    except redis.ConnectionError:
        time.sleep(0.1)

sent = []
sentry_sdk.init(
    dsn="http://key@127.0.0.1:1/1",
    traces_sample_rate=1.0,
    integrations=[RedisIntegration()],
    before_send_transaction=lambda event, _hint: sent.append(event),
)
script = client.register_script("return ARGV[1]")
for view in ("first view", "second view"):
    with sentry_sdk.start_transaction(name=view):
        script(args=["x"])
        with sentry_sdk.start_span(op="template.render", name="a page"):
            pass

for event in sent:
    root = event["contexts"]["trace"]["span_id"]
    known = {span["span_id"] for span in event["spans"]}
    for span in event["spans"]:
        above = span["parent_span_id"]
        where = "in the view" if above == root else "in a span" if above in known else "in nothing"
        word = " ".join(span["description"].split()[:1])
        print(f"{event['transaction']}: {span['op']} {word}: {where}")
PYTHON

cat >"$room/expected" <<'TEXT'
first view: db.redis SCRIPT: in nothing
first view: db.redis EVALSHA: in nothing
first view: template.render a: in nothing
second view: db.redis EVALSHA: in the view
second view: template.render a: in the view
TEXT

"$room/venv/bin/python" "$room/program.py" "$room" | tee "$room/seen"
diff "$room/expected" "$room/seen"
