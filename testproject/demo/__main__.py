"""``python -m testproject.demo``: start the demo, or check it with ``--check``."""

from __future__ import annotations

import argparse
import os
import signal
import sys
from pathlib import Path
from types import FrameType
from typing import NoReturn

from testproject.demo.check import check
from testproject.demo.programs import ProgramError
from testproject.demo.serve import serve
from testproject.demo.site import ROOT
from testproject.redis_server import RedisServerError

ENDINGS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


def main() -> int:
    arguments = parse_arguments()
    for number in ENDINGS:
        signal.signal(number, end)
    try:
        if arguments.check:
            return check()
        serve(Path(os.environ.get("DEMO_DATA", ROOT / "var")).resolve(), arguments.port)
    except (ProgramError, RedisServerError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("\nStopped. Everything that was started has ended.")
        return 130 if arguments.check else 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m testproject.demo", description=__doc__)
    parser.add_argument(
        "--check", action="store_true", help="play the story without a person, then end"
    )
    parser.add_argument("--port", type=int, default=8000, help="of the web server (8000)")
    return parser.parse_args()


def end(number: int, frame: FrameType | None) -> NoReturn:
    """Answer the first signal with an orderly end, which no further one cuts short."""
    for each in ENDINGS:
        signal.signal(each, signal.SIG_IGN)
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
