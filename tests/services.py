"""The services that some tests need: where they are, and how to get them.

A test marked ``@pytest.mark.needs("postgresql")`` is left out, with one line that
says so, where the service does not answer. ``ONCE_REQUIRE=all`` (or a list such as
``ONCE_REQUIRE=postgresql,chromium``) makes that a failure.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from urllib.parse import unquote, urlsplit

import pytest

from tests.rabbitmq_server import find_rabbitmq_server

PROBE_SECONDS = 3
LEFT_OUT = "left out: "
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


class Missing(Exception):
    """A service is not to be had here."""


@dataclass(frozen=True)
class Service:
    """A service, how to find it, and what to do where it is missing.

    ``find`` returns its URL (or the path of its program), or raises ``Missing``.
    """

    name: str
    find: Callable[[], str]
    remedy: str


def postgresql_url() -> str:
    """Return the URL of a PostgreSQL server whose user may create databases."""
    return os.environ.get("TEST_POSTGRES_URL", "postgresql://postgres@127.0.0.1:5432/postgres")


def mariadb_url() -> str:
    """Return the URL of a MariaDB or MySQL server whose user may create databases."""
    return os.environ.get("TEST_MARIADB_URL", "mysql://root@127.0.0.1:3306/")


def rabbitmq_url() -> str:
    """Return the URL of a RabbitMQ server."""
    return os.environ.get("TEST_RABBITMQ_URL", "amqp://guest:guest@127.0.0.1:5672//")


def find_postgresql() -> str:
    import psycopg

    try:
        psycopg.connect(postgresql_url(), connect_timeout=PROBE_SECONDS).close()
    except psycopg.Error as error:
        raise Missing(first_line(error)) from error
    return postgresql_url()


def find_mariadb() -> str:
    import pymysql

    address = urlsplit(mariadb_url())
    try:
        pymysql.connect(
            host=address.hostname,
            port=address.port or 3306,
            user=address.username,
            password=unquote(address.password or ""),
            connect_timeout=PROBE_SECONDS,
        ).close()
    except pymysql.MySQLError as error:
        raise Missing(first_line(error)) from error
    return mariadb_url()


def find_rabbitmq() -> str:
    from kombu import Connection

    with Connection(rabbitmq_url(), connect_timeout=PROBE_SECONDS) as connection:
        try:
            connection.connect()
        except connection.connection_errors as error:
            raise Missing(first_line(error)) from error
    return rabbitmq_url()


def find_rabbitmq_program() -> str:
    path = find_rabbitmq_server()
    if path is None:
        raise Missing("no rabbitmq-server with epmd on the PATH")
    return path


def find_memcached() -> str:
    """Return the address of the Memcached server that ``tests.surroundings`` started."""
    if "TEST_MEMCACHED" not in os.environ:
        raise Missing("no memcached on the PATH")
    return os.environ["TEST_MEMCACHED"]


def find_chromium() -> str:
    named = os.environ.get("TEST_CHROMIUM", "")
    for name in [named] if named else BROWSERS:
        if path := shutil.which(name):
            return path
    raise Missing(f"no {named or ' or '.join(BROWSERS[:3])} on the PATH")


def find_npm() -> str:
    if path := shutil.which("npm"):
        return path
    raise Missing("no npm on the PATH")


def first_line(error: BaseException) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0]


SERVICES = {
    service.name: service
    for service in [
        Service(
            "postgresql",
            find_postgresql,
            "install and start it (apt-get install postgresql), or set TEST_POSTGRES_URL",
        ),
        Service(
            "mariadb",
            find_mariadb,
            "install and start it (apt-get install mariadb-server), or set TEST_MARIADB_URL",
        ),
        Service(
            "rabbitmq",
            find_rabbitmq,
            "install and start it (apt-get install rabbitmq-server), or set TEST_RABBITMQ_URL",
        ),
        Service(
            "rabbitmq-server",
            find_rabbitmq_program,
            "install it (apt-get install rabbitmq-server); the tests start one of their own",
        ),
        Service(
            "memcached",
            find_memcached,
            "install it (apt-get install memcached); the tests start one of their own",
        ),
        Service(
            "chromium",
            find_chromium,
            "install it (apt-get install chromium), or set TEST_CHROMIUM to its path",
        ),
        Service("npm", find_npm, "install it (apt-get install npm)"),
    ]
}


@cache
def locate(name: str) -> tuple[str, str]:
    """Return (URL, "") of the service ``name``, or ("", why it is missing)."""
    try:
        return SERVICES[name].find(), ""
    except Missing as error:
        return "", str(error)


def need(name: str) -> str:
    """Return the URL of the service ``name``; skip the running test where it is missing.

    Fails the test instead where ``ONCE_REQUIRE`` asks for the service.
    """
    url, why = locate(name)
    if url:
        return url
    words = f"{name}: {why}; {SERVICES[name].remedy}"
    if name in required():
        pytest.fail(f"ONCE_REQUIRE asks for {words}", pytrace=False)
    pytest.skip(LEFT_OUT + words)


def required() -> set[str]:
    """Return the names of the services that ``ONCE_REQUIRE`` asks for.

    Raises ``pytest.UsageError`` for a name that is no service.
    """
    names = {name.strip() for name in os.environ.get("ONCE_REQUIRE", "").split(",")} - {""}
    if names == {"all"}:
        return set(SERVICES)
    if unknown := names - set(SERVICES):
        raise pytest.UsageError(
            f"ONCE_REQUIRE names {', '.join(sorted(unknown))}; "
            f"there are: all, {', '.join(SERVICES)}"
        )
    return names
