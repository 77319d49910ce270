"""A PostgreSQL database for the journal, for the length of a run."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

#: The same as in tests.services, which needs pytest.
URL = "postgresql://postgres@127.0.0.1:5432/postgres"
CONNECT_SECONDS = 3


@contextmanager
def database() -> Iterator[str]:
    """Create a database and yield its URL, or "" where no server answers; drop it at the end."""
    import psycopg
    from psycopg.sql import SQL, Identifier

    url = os.environ.get("TEST_POSTGRES_URL", URL)
    try:
        server = psycopg.connect(url, autocommit=True, connect_timeout=CONNECT_SECONDS)
    except psycopg.OperationalError as error:
        print(f"No PostgreSQL ({str(error).splitlines()[0]}): TEST_POSTGRES_URL names one.")
        yield ""
        return
    name = f"once_speed_{os.getpid()}"
    with server:
        server.execute(SQL("CREATE DATABASE {}").format(Identifier(name)))
        try:
            yield f"{url.rpartition('/')[0]}/{name}"
        finally:
            server.execute(SQL("DROP DATABASE {} WITH (FORCE)").format(Identifier(name)))
