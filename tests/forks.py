"""Python programs in forks of a process that has imported the libraries.

Importing them is most of what a short program costs. The settings, this package and the tests'
modules are imported in the fork, in the environment that it is given.
"""

from __future__ import annotations

import atexit
import multiprocessing
import os
import runpy
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from multiprocessing import process
from pathlib import Path

context = multiprocessing.get_context("forkserver")
context.set_forkserver_preload(["tests.libraries"])


class Fork:
    """A ``python`` program in a process group of its own; to be used as a ``subprocess.Popen``.

    ``words`` are a file or ``-m`` and a module, with arguments; ``streams`` are files for what it
    reads and writes.
    """

    def __init__(
        self,
        words: Sequence[str],
        environment: Mapping[str, str],
        streams: tuple[Path, Path, Path],
        folder: Path | None = None,
    ) -> None:
        there = folder or Path.cwd()
        given = ([*words], {**environment}, streams, there)
        self._process = context.Process(target=_run, args=given)
        self._process.start()
        # A fork of this process, as billiard's, would end or await all children that it knows.
        process._children.discard(self._process)  # type: ignore[attr-defined]
        assert self._process.pid is not None
        self.pid: int = self._process.pid

    def poll(self) -> int | None:
        """Return the exit code of a program that has ended."""
        return self._process.exitcode

    def wait(self, seconds: float | None = None) -> int:
        """Wait for its end, and return the exit code."""
        self._process.join(seconds)
        if self._process.exitcode is None:
            raise subprocess.TimeoutExpired("python", seconds or 0)
        return self._process.exitcode

    def send_signal(self, number: int) -> None:
        """Send a signal to a program that has not ended."""
        if self.poll() is None:
            os.kill(self.pid, number)


def run(
    *words: str,
    environment: Mapping[str, str],
    folder: Path,
    text: str = "",
    seconds: float = 120,
) -> subprocess.CompletedProcess[str]:
    """Run a program that reads a text, and return what it has written."""
    with tempfile.TemporaryDirectory(prefix="once-fork-") as room:
        given, written, complained = (Path(room, name) for name in "012")
        given.write_text(text)
        fork = Fork(words, environment, (given, written, complained), folder)
        try:
            code = fork.wait(seconds)
        except subprocess.TimeoutExpired:
            os.killpg(fork.pid, signal.SIGKILL)
            raise
        return subprocess.CompletedProcess(words, code, written.read_text(), complained.read_text())


def _run(
    words: list[str], environment: dict[str, str], streams: tuple[Path, Path, Path], folder: Path
) -> None:
    os.setsid()
    os.chdir(folder)
    multiprocessing.current_process().name = "MainProcess"
    os.environ.clear()
    os.environ.update(environment)
    for number, (path, mode) in enumerate(zip(streams, ("rb", "ab", "ab"), strict=True)):
        with path.open(mode) as stream:
            os.dup2(stream.fileno(), number)
    sys.stdin = os.fdopen(0)
    more = [each for each in environment.get("PYTHONPATH", "").split(os.pathsep) if each]
    module = words[1] if words[0] == "-m" else ""
    sys.path[:0] = [str(folder) if module else str(Path(words[0]).resolve().parent), *more]
    sys.argv = words[1:] if module else words
    try:
        if module:
            runpy.run_module(module, run_name="__main__", alter_sys=True)
        else:
            runpy.run_path(words[0], run_name="__main__")
    finally:
        atexit._run_exitfuncs()  # which multiprocessing leaves out
