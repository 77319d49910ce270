"""How many accepted locks a failover loses, and for how long callers have no store.

    python -m benchmarks.failover --rounds 5

Starts a primary with two replicas under three sentinels (down-after-milliseconds 500) for each
round, lets four callers take locks at full speed, and kills the primary at a random moment
after the first thousand. The link to the replicas is slow or stalled where the table says so,
and what is on its way when the primary dies is lost.
"""

from __future__ import annotations

import argparse
import os
import random
from collections.abc import Sequence
from statistics import median

LAG = {"min-replicas-to-write": "1", "min-replicas-max-lag": "1"}
DISK = {"appendonly": "yes", "appendfsync": "everysec"}


def main() -> None:
    """Play the variants in turn, round by round; print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.failover", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5, help="how often each variant is played")
    parser.add_argument("--only", default="", help="play variants whose name has these words")
    asked = parser.parse_args()
    os.environ["DJANGO_SETTINGS_MODULE"] = "tests.settings"
    import django

    django.setup()
    _play(asked.rounds, asked.only)


def _play(rounds: int, only: str) -> None:
    from benchmarks.failover.rounds import Round, Variant, play

    variants = [
        Variant("replicas beside it"),
        Variant("replicas 5 ms away", delay=0.005),
        Variant("replicas 50 ms away", delay=0.05),
        Variant("50 ms away, min-replicas", LAG, delay=0.05),
        Variant("50 ms away, WAIT 1 500", delay=0.05, wait=500),
        Variant("link stalled for 5 s", stall=5),
        Variant("stalled, min-replicas", LAG, stall=5),
        Variant("restarted at once, no disk", restart=True),
        Variant("restarted at once, AOF", DISK, restart=True),
    ]
    variants = [each for each in variants if only in each.name]
    played: dict[str, list[Round]] = {each.name: [] for each in variants}
    for number in range(rounds):
        for each in random.sample(variants, len(variants)):
            played[each.name].append(play(each))
            seen = played[each.name][-1]
            print(f"round {number + 1}, {each.name}: {seen.lost} lost", flush=True)
    print(f"\n{'':27} lost of 1,000       lost in all         s without a store   locks/s")
    for name, found in played.items():
        lost = _spread([each.lost for each in found], "{:5.0f}")
        in_all = _spread([each.lost_in_all for each in found], "{:5.0f}")
        outage = _spread([each.outage for each in found], "{:5.2f}")
        speed = median(each.per_second for each in found)
        print(f"{name:27} {lost}   {in_all}   {outage}   {speed:7,.0f}")
    print("\nmedian, least and most")


def _spread(numbers: Sequence[float], how: str) -> str:
    return " ".join(how.format(each) for each in (median(numbers), min(numbers), max(numbers)))


if __name__ == "__main__":
    main()
