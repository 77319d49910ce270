"""Requests at a steady rate: every call is asked for twice or more, as by a double click."""

from __future__ import annotations

import http.client
import itertools
import json
import random
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Self
from urllib.parse import urlsplit

from benchmarks.soak.tasks import TASKS

#: Requests for one name, one after the other.
CLICKS = 2
POLICIES = ("raise", "raise", "reject", "join", "rerun")
#: Names in use at a time: more than run at once, few enough for keys to come again.
NAMES = 200
SENDERS = 4
#: Times that all of them send at once before the soak begins: pools of connections are as large
#: as the most requests there ever were at a time, and must not grow by chance later.
BURSTS = 50


class Load:
    """Senders of requests, for the length of a block.

    ``accepted`` has the ids of the tasks and when each was queued.
    """

    def __init__(self, address: str, rate: float, seed: int) -> None:
        self.answers: Counter[str] = Counter()
        self.accepted: dict[str, float] = {}
        self._host = urlsplit(address).netloc
        self._rate = rate
        self._dice = random.Random(seed)
        self._mutex, self._stop = threading.Lock(), threading.Event()
        self._sender = threading.Thread(target=self._send)
        self._names = itertools.cycle(f"report-{number}" for number in range(NAMES))

    @property
    def requests(self) -> int:
        """Return how many requests were answered so far."""
        with self._mutex:
            return self.answers.total()

    def __enter__(self) -> Self:
        with ThreadPoolExecutor(SENDERS) as senders:
            for _burst in range(BURSTS):
                list(senders.map(self._click, [self._draw() for _each in range(SENDERS)]))
        self._sender.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._stop.set()
        self._sender.join()

    def _send(self) -> None:
        """Send at the rate until told to stop; what is late is sent at once."""
        begin, pause = time.monotonic(), CLICKS / self._rate
        with ThreadPoolExecutor(SENDERS) as senders:
            for number in itertools.count():
                if self._stop.wait(max(0.0, begin + number * pause - time.monotonic())):
                    return
                senders.submit(self._click, self._draw())

    def _draw(self) -> str:
        task, policy = self._dice.choice(list(TASKS)), self._dice.choice(POLICIES)
        return f"/{task}/{policy}/{next(self._names)}/"

    def _click(self, path: str) -> None:
        for _each in range(CLICKS):
            try:
                answer, task_id = self._ask(path)
            except OSError as error:
                answer, task_id = type(error).__name__, ""
            with self._mutex:
                self.answers[answer] += 1
                if task_id:
                    self.accepted.setdefault(task_id, time.time())

    def _ask(self, path: str) -> tuple[str, str]:
        connection = http.client.HTTPConnection(self._host, timeout=30)
        try:
            connection.request("POST", path, headers={"Accept": "application/json"})
            response = connection.getresponse()
            body = json.loads(response.read()) if response.status in (202, 409) else {}
            return str(response.status), body.get("task_id", "") if response.status == 202 else ""
        finally:
            connection.close()
