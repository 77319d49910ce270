"""A steady load with kills for some minutes: memory, descriptors and connections must be flat.

    python -m benchmarks.soak --minutes 10 --rate 20

A web server (a thread for each request) queues tasks, each asked for twice; two workers run
them. A process of the second worker's pool is killed every so often, and every fifth time the
whole worker. Ends with 1 where something has grown, a lock is left, or a call was lost.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.soak.sampler import Sampler
from benchmarks.soak.stage import Stage
from benchmarks.soak.verdict import Row, rows, table
from django_celery_once.locks import Lock, open_store

if TYPE_CHECKING:
    from benchmarks.soak.load import Load

#: Kills of which the last is that of the whole worker.
KILLS = 5
#: Seconds in which all locks must be gone at the end. That of a task with ``acks_late`` whose
#: worker was killed waits for the message: for its visibility time-out, 20 seconds, and then for
#: Kombu's next look, which may take 100.
SETTLE = 160.0


def main() -> int:
    """Load, kill and look; tell."""
    asked = _arguments()
    with Stage(asked.pool, asked.concurrency, results=asked.results, seed=asked.seed) as stage:
        import django

        django.setup()

        from benchmarks.soak.load import Load
        from benchmarks.soak.referee import judge, overlaps
        from tests.integration.referee import all_entries

        load, sampler = Load(stage.address, asked.rate, asked.seed), Sampler(stage)
        with load:
            _watch(asked, stage, load, sampler)
        left, found = _settle(), list(rows(sampler.samples))
        entries = all_entries()
        calls = judge(stage, load.accepted, entries)
        beside = list(overlaps(entries, stage.killed))
        lasting, peak = sampler.lasting_keys(), max(each.clients for each in sampler.server)
    print(*table(found), sep="\n")
    for lock in left:
        print(f"left: {lock}")
    for late, early in beside:
        print(f"overlap: {late} beside {early}")
    print(f"requests: {load.requests} {dict(load.answers)}")
    print(f"calls accepted: {len(load.accepted)} {dict(calls)}; kills: {len(stage.kills)}")
    print(f"runs beside another of their key: {len(beside)}")
    print(f"lock server: at most {peak} clients, locks left: {len(left)}, lasting keys: {lasting}")
    broken = left or beside or calls["lost"] or not all(row.flat for row in found)
    print(f"flat: {'no' if broken else 'yes'}", flush=True)
    if asked.json:
        _save(asked.json, found, sampler)
    return 1 if broken else 0


def _watch(asked: argparse.Namespace, stage: Stage, load: Load, sampler: Sampler) -> None:
    """Take samples and kill, until the time is up."""
    begin = time.monotonic()
    next_kill, kills = begin + asked.kill_every, 0
    while (now := time.monotonic()) < begin + asked.minutes * 60:
        sampler.take(load.requests)
        if asked.kill_every and now >= next_kill:
            next_kill += asked.kill_every
            kills += 1
            if kills % KILLS and asked.pool == "prefork":
                stage.kill_child()
            else:
                stage.kill_worker()
        time.sleep(asked.sample_every)


def _settle() -> Sequence[Lock]:
    """Return the locks that are left when all should have come to rest."""
    deadline = time.monotonic() + SETTLE
    while (left := open_store("locks").scan().locks) and time.monotonic() < deadline:
        time.sleep(0.5)
    return left


def _save(path: Path, found: Sequence[Row], sampler: Sampler) -> None:
    told = {
        "rows": [
            {
                **asdict(row),
                "growth": row.growth,
                "per_thousand": row.per_thousand,
                "flat": row.flat,
            }
            for row in found
        ],
        "samples": [asdict(sample) for sample in sampler.samples],
        "lock_server": [asdict(sample) for sample in sampler.server],
    }
    path.write_text(json.dumps(told, indent=1))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.soak", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10, help="how long (10)")
    parser.add_argument("--rate", type=float, default=20, help="requests a second (20)")
    parser.add_argument(
        "--pool", choices=["prefork", "threads", "gevent"], default="prefork", help="of the workers"
    )
    parser.add_argument("--concurrency", type=int, default=2, help="of each worker (2)")
    parser.add_argument(
        "--kill-every", type=float, default=20, help="seconds between two kills; 0: none (20)"
    )
    parser.add_argument("--sample-every", type=float, default=3, help="seconds (3)")
    parser.add_argument("--results", action="store_true", help="keep results in Redis, too")
    parser.add_argument("--seed", type=int, default=7, help="what to draw calls and kills from")
    parser.add_argument("--json", type=Path, help="file for all samples")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
