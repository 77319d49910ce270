"""What every test process has to itself: Redis, Memcached, a folder, database names.

The addresses go into the environment *before* Django's settings are loaded, so that
a program which a test starts with ``DJANGO_SETTINGS_MODULE=tests.settings`` sees the
very same servers and databases.
"""

from __future__ import annotations

import atexit
import os
import shutil
import tempfile
from pathlib import Path

from testproject.redis_server import RedisServer
from tests.memcached_server import MemcachedServer, find_memcached


class Surroundings:
    """The servers and the folder of one test process."""

    def __init__(self) -> None:
        self.redis = RedisServer()
        executable = find_memcached()
        self.memcached = MemcachedServer(executable) if executable else None
        self.folder = Path(tempfile.mkdtemp(prefix="once-tests-"))

    def start(self) -> None:
        """Start the servers and tell the environment where they are."""
        atexit.register(self.stop)
        self.redis.start()
        os.environ["TEST_REDIS_URL"] = self.redis.url().rpartition("/")[0]
        os.environ["TEST_FOLDER"] = str(self.folder)
        os.environ["TEST_DATABASE_NAME"] = f"once_test_{os.getpid()}"
        os.environ.pop("TEST_MEMCACHED", None)  # A parent's.
        if self.memcached:
            self.memcached.start()
            os.environ["TEST_MEMCACHED"] = self.memcached.address

    def flush(self, *, but_ends: bool = False) -> None:
        """Empty the servers, for the next test; ``but_ends``: but for which messages have ended.

        A worker that goes on serving may still get those, up to a lease later.
        """
        import redis

        with redis.Redis.from_url(self.redis.url()) as client:
            used = [int(name.removeprefix("db")) for name in client.info("keyspace")]
            if not but_ends:
                client.flushall()
        for number in used if but_ends else ():
            with redis.Redis.from_url(self.redis.url(number)) as client:
                if names := [each for each in client.scan_iter() if b":ended:" not in each]:
                    client.unlink(*names)
        if self.memcached:
            self.memcached.flush()

    def stop(self) -> None:
        """End the servers and remove the folder; to stop twice does no harm."""
        atexit.unregister(self.stop)
        self.redis.stop()
        if self.memcached:
            self.memcached.stop()
        shutil.rmtree(self.folder, ignore_errors=True)
