#!/bin/sh
# One Redis pipeline makes a span whose name has tens of thousands of characters.
#
# Version       opentelemetry-instrumentation-redis 0.66b2, opentelemetry-sdk 1.45.2, redis 8.1.0
#               (the client), redis-server 6 or newer on the PATH
# Likely guess  A pipeline's span is called PIPELINE, or by its first command; names of spans are
#               few and short, since backends group by them. The instrumentation cuts a statement
#               at 1,000 characters.
# Seen          Its name is the names of all its commands, one after the other, at any length:
#               10,000 commands make 79,999 characters, and a statement of 119,999 beside it. A
#               pipeline with one command more is another name. The cut is made for each command,
#               not for the sum.
# It costs      A tracing bill: a name for each length of a batch (of a renewal of leases, of a
#               set_many), and spans of a size that a collector may refuse.
#
# Needs the network, for pip. Fails if what is seen has changed.
set -eu
command -v redis-server >/dev/null || { echo "no redis-server on the PATH" >&2; exit 2; }
room=$(mktemp -d)
server=
trap '[ -z "$server" ] || kill "$server"; rm -rf "$room"' EXIT
"${PYTHON:-python3}" -m venv "$room/venv"
"$room/venv/bin/python" -m pip install --quiet --disable-pip-version-check \
    opentelemetry-instrumentation-redis==0.66b2 opentelemetry-sdk==1.45.2 redis==8.1.0
redis-server --port 0 --unixsocket "$room/redis" --save "" --dir "$room" >"$room/log" 2>&1 &
server=$!

cat >"$room/program.py" <<'PYTHON'
import sys
import time

import redis
from opentelemetry.instrumentation.redis import RedisInstrumentor
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

client = redis.Redis(unix_socket_path=f"{sys.argv[1]}/redis")
for _try in range(100):
    try:
        client.ping()
        break
    except redis.ConnectionError:
        time.sleep(0.1)

spans = InMemorySpanExporter()
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(spans))
RedisInstrumentor().instrument(tracer_provider=provider)

for length in (1, 3, 10_000):
    pipeline = client.pipeline(transaction=False)
    for number in range(length):
        pipeline.pexpire(f"key {number}", 1000)
    pipeline.execute()

for span in spans.get_finished_spans():
    shown = span.name if len(span.name) < 40 else span.name[:23] + "…"
    print(f"{shown}: {len(span.name)} characters, statement {len(span.attributes['db.statement'])}")
PYTHON

cat >"$room/expected" <<'TEXT'
PEXPIRE: 7 characters, statement 11
PEXPIRE PEXPIRE PEXPIRE: 23 characters, statement 35
PEXPIRE PEXPIRE PEXPIRE…: 79999 characters, statement 119999
TEXT

"$room/venv/bin/python" "$room/program.py" "$room" | tee "$room/seen"
diff "$room/expected" "$room/seen"
