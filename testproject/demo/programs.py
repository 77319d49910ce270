"""Programs that are started together and end together."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

#: Seconds a program gets to end by itself, and then to end in a hurry.
PATIENCE = 2.0
HURRY = 5.0


class ProgramError(Exception):
    """A program of the demo ended, or did not do what it was waited for."""


@dataclass(frozen=True)
class Program:
    """A running program; what it prints goes to the file ``log``."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    def output(self) -> str:
        return self.log.read_text(errors="replace")

    def wait_for_line(self, words: str, seconds: float) -> None:
        """Return once ``words`` were printed; raise ``ProgramError`` where they never are."""
        deadline = time.monotonic() + seconds
        while words not in self.output():
            if self.process.poll() is not None:
                raise ProgramError(f"{self.name} ended:\n{self.output()[-2000:]}")
            if time.monotonic() > deadline:
                raise ProgramError(f"{self.name} never said {words!r}:\n{self.output()[-2000:]}")
            time.sleep(0.05)

    def send(self, number: signal.Signals) -> None:
        if self.process.poll() is None:
            self.process.send_signal(number)

    def ends_within(self, seconds: float) -> bool:
        try:
            self.process.wait(seconds)
        except subprocess.TimeoutExpired:
            return False
        return True

    def kill_group(self) -> None:
        """End what is left of the program and of its children."""
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


class Programs:
    """A context manager around programs: leaving it ends them all, and only them."""

    def __init__(self, logs: Path, environment: Mapping[str, str], folder: Path) -> None:
        self.logs = logs
        self.environment = dict(environment)
        self.folder = folder
        self.running: list[Program] = []

    def __enter__(self) -> Self:
        self.logs.mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self, name: str, *command: str, **environment: str) -> Program:
        """Start a program in a process group of its own, so that Ctrl-C is ours to answer."""
        log = self.logs / f"{name}.log"
        with log.open("wb") as output:
            process = subprocess.Popen(
                command,
                cwd=self.folder,
                env={**self.environment, **environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        program = Program(name, process, log)
        self.running.append(program)
        return program

    def run(self, name: str, *command: str, **environment: str) -> None:
        """Run a program to its end; raise ``ProgramError`` if that is no good one."""
        program = self.start(name, *command, **environment)
        if program.process.wait():
            raise ProgramError(f"{name} failed:\n{program.output()[-2000:]}")
        self.running.remove(program)

    def ended(self) -> Program | None:
        """Return a program that ended though nobody asked it to."""
        return next((one for one in self.running if one.process.poll() is not None), None)

    def outputs(self) -> str:
        """Return the last lines of every log, for a look at what went wrong."""
        return "\n".join(
            f"--- {program.log.name}\n{program.output()[-4000:]}" for program in self.running
        )

    def stop(self) -> None:
        """End all: with SIGTERM, SIGQUIT (a worker drops its tasks) and SIGKILL."""
        steps = [(signal.SIGTERM, PATIENCE), (signal.SIGQUIT, HURRY)]
        for number, seconds in steps:
            deadline = time.monotonic() + seconds
            for program in self.running:
                program.send(number)
            for program in self.running:
                program.ends_within(max(0, deadline - time.monotonic()))
        for program in self.running:
            program.kill_group()
        self.running.clear()
