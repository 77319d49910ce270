"""Workers and callers under random faults, and a referee that watches them.

    python -m tests.chaos --seconds 120 --seed 7 --broker rabbitmq

The seed draws the set-up, the calls and the faults; how they fall together is up to the machine.
Ends with 1 where a promise was broken.
"""

from __future__ import annotations

import argparse
import random
import sys
import time
from collections.abc import Sequence

from django_celery_once.exceptions import LockUnavailable
from django_celery_once.locks import Lock, open_store
from tests.chaos.callers import start_callers
from tests.chaos.faults import Faults
from tests.chaos.messages import read_messages
from tests.chaos.setups import BROKERS, SetUp
from tests.chaos.stage import QUEUE, Stage

#: Seconds within which everything must have come to rest after the last fault.
SETTLE = 60.0
#: Seconds without a lock that are taken for rest: longer than a message is on its way.
REST = 10.0


def main() -> int:
    """Wreak havoc, judge, tell."""
    asked = _arguments()
    set_up = SetUp.draw(asked.broker, asked.seed)
    print(f"seed {asked.seed}, {asked.seconds:g} seconds, on {set_up}", flush=True)
    with Stage(set_up) as stage:
        from tests.chaos.report import summary, timeline
        from tests.chaos.verdict import judge
        from tests.chaos.watch import Watch

        faults = Faults(stage, asked.seed)
        callers = start_callers(asked.seed, asked.seconds)
        with Watch(stage) as watch:
            faults.wreak(asked.seconds)
            for caller in callers:
                caller.join(30)
                caller.kill()
            left = _settle(faults)
        faults.close()
        verdict = judge(faults.done, watch, read_messages(stage.broker, QUEUE), left)
        for violation in verdict.violations:
            print(*timeline(violation, verdict, faults.done), sep="\n")
        print(*summary(verdict, faults.done), sep="\n", flush=True)
        stage.keep_folder = bool(verdict.violations)
        if stage.keep_folder:
            print(f"the workers' logs are in {stage.folder}")
    words = f"SEED={asked.seed} SECONDS={asked.seconds:g} BROKER={asked.broker}"
    print(f"again:       make chaos {words}", flush=True)
    return 1 if verdict.violations else 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=120, help="how long to do damage")
    parser.add_argument(
        "--seed", type=int, default=random.randrange(10_000), help="what to draw it from"
    )
    parser.add_argument("--broker", choices=BROKERS, default="redis", help="what has the messages")
    return parser.parse_args()


def _settle(faults: Faults) -> Sequence[Lock]:
    """Wait until no lock is left for a while; return those that stay."""
    deadline = time.monotonic() + SETTLE
    last_seen = time.monotonic()
    while time.monotonic() - last_seen < REST:
        faults.supervise()
        locks = _locks()
        if locks:
            last_seen = time.monotonic()
            if last_seen > deadline:
                return locks
        time.sleep(0.2)
    return ()


def _locks() -> Sequence[Lock]:
    try:
        return open_store("locks").scan().locks
    except LockUnavailable:
        return ()


if __name__ == "__main__":
    sys.exit(main())
