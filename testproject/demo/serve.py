"""The demo for a person: everything runs until Ctrl-C."""

from __future__ import annotations

import socket
import time
from pathlib import Path
from typing import NoReturn

from testproject.demo.programs import ProgramError
from testproject.demo.site import Site
from testproject.redis_server import HOST

WELCOME = """
The demo is running. Open {address}

  1. Choose a month and press "Send me the report", then press it again. One report is
     prepared; the second time you are told so.
  2. See the mail and its PDF in {address}/outbox/
  3. See what was blocked in {address}/admin/
     Log in as: {user}   password: {password}

Mails are kept in {outbox}
Logs are in {logs}
Press Ctrl-C to end everything.
"""


def serve(data: Path, port: int) -> NoReturn:
    """Run the site on ``port`` until a signal, or ``ProgramError`` where a program ends."""
    if not port_is_free(port):
        raise ProgramError(
            f"Port {port} of {HOST} is taken. "
            f"Choose another one: make demo ARGS='--port {port + 1}'"
        )
    print("Starting Redis, the database, a worker, beat and the web server ...", flush=True)
    with Site(data) as site:
        site.start_worker()
        site.start_beat()
        address = site.start_web(port)
        welcome = WELCOME.format(
            address=address,
            user=site.user,
            password=site.password,
            outbox=site.outbox,
            logs=site.logs,
        )
        print(welcome, flush=True)
        watch(site)


def watch(site: Site) -> NoReturn:
    """Raise ``ProgramError`` when a program has ended by itself."""
    while (ended := site.programs.ended()) is None:
        time.sleep(0.5)
    raise ProgramError(f"{ended.name} has ended by itself:\n{ended.output()[-2000:]}")


def port_is_free(port: int) -> bool:
    with socket.socket() as probe:
        # As the web server does it: a port that was in use a second ago is free.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
    return True
