"""Lock commands are seen by whoever stands on their way to the server."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterator
from typing import Any, ClassVar
from unittest import mock

import pytest
import redis
import sentry_sdk
import wrapt
from django.conf import settings
from django.core.cache import caches
from django.test import override_settings
from opentelemetry import metrics
from opentelemetry.instrumentation.redis import RedisInstrumentor
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from redis.client import Pipeline
from redis.connection import AbstractConnection, Connection
from sentry_sdk.integrations.redis import RedisIntegration

from django_celery_once.locks import Start, open_store, wire
from testproject.redis_server import RedisServer
from tests.locks.stores import lock, running

Method = Callable[..., Any]
See = Callable[[], object]
Wrapper = Callable[[Method, See], Any]


def plainly(method: Method, see: See) -> Any:
    """Wrap as sentry-sdk does."""

    def wrapper(*args: Any, **kwargs: Any) -> Any:
        see()
        return method(*args, **kwargs)

    return wrapper


def by_functools(method: Method, see: See) -> Any:
    """Wrap with the name and the attributes of what is wrapped."""
    return functools.wraps(method)(plainly(method, see))


def by_wrapt(method: Method, see: See) -> Any:
    """Wrap in a proxy, as OpenTelemetry and ddtrace do."""

    def wrapper(wrapped: Method, _instance: Any, args: Any, kwargs: Any) -> Any:
        see()
        return wrapped(*args, **kwargs)

    return wrapt.FunctionWrapper(method, wrapper)


def by_mock(method: Method, see: See) -> Any:
    """Wrap in a function that has the signature of what is wrapped."""
    return mock.create_autospec(method, side_effect=plainly(method, see))


_numbers = itertools.count()
WRAPPERS = [plainly, by_functools, by_wrapt, by_mock]


def take_and_refuse() -> None:
    """Ask for a lock, and for one that is held."""
    store, mine = open_store("locks"), lock(f"once:t:{next(_numbers)}")
    assert store.acquire(mine, 60) is None
    assert store.acquire(lock(mine.key), 60) is not None


def renew() -> None:
    """Renew two leases."""
    held = [running(lock(f"once:t:{next(_numbers)}")) for _each in range(2)]
    store = open_store("locks")
    assert {start for _lock, start in store.renew(held, 60)} == {Start.TAKEN}
    assert {start for _lock, start in store.renew(held, 60)} == {Start.MINE}


def client_of(alias: str) -> Any:
    """Return the client of a cache."""
    cache: Any = caches[alias]
    return (cache._cache if alias == "locks_django" else cache.client).get_client(write=True)


@pytest.mark.parametrize("alias", ["locks", "locks_django"])
def test_a_client_that_nobody_watches_is_plain(alias: str) -> None:
    """Pack what is sent to it at once, and count on it below."""
    assert wire._is_plain(client_of(alias))
    assert wire._has_plain_pipelines(client_of(alias))


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (redis.Redis, "execute_command"),
        (redis.Redis, "evalsha"),
        (AbstractConnection, "send_command"),
    ],
)
def test_a_wrapped_class(
    kind: type, name: str, wrapper: Wrapper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Let every wrapper see each command, from now on and until it is taken off."""
    seen: list[int] = []
    take_and_refuse()
    with monkeypatch.context() as patch:
        patch.setattr(kind, name, wrapper(getattr(kind, name), lambda: seen.append(1)))
        take_and_refuse()
        assert len(seen) >= 2
    seen.clear()
    take_and_refuse()
    assert seen == []
    assert wire._is_plain(client_of("locks"))


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_wrapped_before_this_app_is_there(
    wrapper: Wrapper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Take nothing for redis-py's own that was wrapped when this app was loaded."""
    assert wire._own(redis.Redis, "execute_command") is redis.Redis.execute_command
    wrapped = wrapper(redis.Redis.execute_command, lambda: None)
    monkeypatch.setattr(redis.Redis, "execute_command", wrapped)
    assert wire._own(redis.Redis, "execute_command") is None


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_a_wrapped_client(wrapper: Wrapper, monkeypatch: pytest.MonkeyPatch) -> None:
    """See the commands of this client alone."""
    seen: list[int] = []
    client = client_of("locks")
    with monkeypatch.context() as patch:
        wrapped = wrapper(client.execute_command, lambda: seen.append(1))
        patch.setitem(vars(client), "execute_command", wrapped)
        take_and_refuse()
        assert len(seen) >= 2
        assert wire._is_plain(client_of("locks_django"))
    assert wire._is_plain(client)


@pytest.mark.parametrize("wrapper", WRAPPERS)
@pytest.mark.parametrize(
    ("kind", "name"),
    [
        (redis.Redis, "pipeline"),
        (Pipeline, "evalsha"),
        (Pipeline, "execute_command"),
        (Pipeline, "execute"),
    ],
)
def test_wrapped_pipelines(
    kind: type, name: str, wrapper: Wrapper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Renew leases through what somebody watches, and nothing else."""
    seen: list[int] = []
    with monkeypatch.context() as patch:
        patch.setattr(kind, name, wrapper(getattr(kind, name), lambda: seen.append(1)))
        assert wire._is_plain(client_of("locks"))
        renew()
        assert len(seen) >= 2
    assert wire._has_plain_pipelines(client_of("locks"))


def test_a_client_whose_pipelines_are_wrapped(monkeypatch: pytest.MonkeyPatch) -> None:
    """See the renewals of this client."""
    seen: list[int] = []
    client = client_of("locks")
    monkeypatch.setitem(vars(client), "pipeline", by_wrapt(client.pipeline, lambda: seen.append(1)))
    renew()
    assert len(seen) >= 2


class Logged(redis.Redis):
    """A client of a project's own."""

    seen: ClassVar[list[str]] = []

    def parse_response(self, *args: Any, **options: Any) -> Any:
        """Note what is answered."""
        self.seen.append(args[1])
        return super().parse_response(*args, **options)  # type: ignore[no-untyped-call]


class LoggedConnection(Connection):
    """A connection of a project's own."""

    def send_command(self, *args: Any, **options: Any) -> None:
        """Note what is sent."""
        Logged.seen.append(args[0])
        super().send_command(*args, **options)  # type: ignore[no-untyped-call]


@pytest.mark.parametrize(
    "options",
    [
        {"REDIS_CLIENT_CLASS": f"{__name__}.Logged"},
        {"CONNECTION_POOL_KWARGS": {"connection_class": LoggedConnection}},
    ],
    ids=["client", "connection"],
)
def test_a_class_of_a_projects_own(
    options: dict[str, Any], spare_redis_server: RedisServer
) -> None:
    """Leave out nothing that it does."""
    cache = {**settings.CACHES["locks"], "LOCATION": spare_redis_server.url(), "OPTIONS": options}
    Logged.seen.clear()
    with override_settings(CACHES={**settings.CACHES, "locks": cache}):
        take_and_refuse()
    assert Logged.seen.count("EVALSHA") == 2


@pytest.fixture
def spans() -> Iterator[Callable[[], list[str]]]:
    """Trace redis-py with OpenTelemetry; return a function that returns the spans' names."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    RedisInstrumentor().instrument(tracer_provider=provider)
    yield lambda: [span.name for span in exporter.get_finished_spans()]
    RedisInstrumentor().uninstrument()


def test_opentelemetry(spans: Callable[[], list[str]]) -> None:
    """Have a span for each script, and one for all renewals of a worker's."""
    take_and_refuse()
    assert spans().count("EVALSHA") == 2
    renew()
    assert "SCRIPT LOAD EVALSHA EVALSHA" in spans()


def test_opentelemetry_on_one_client() -> None:
    """Have them for a client that is instrumented by itself."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    with override_settings(CACHES={**settings.CACHES}):  # a client of its own
        RedisInstrumentor.instrument_client(client_of("locks"), tracer_provider=provider)
        take_and_refuse()
        renew()
    names = [span.name for span in exporter.get_finished_spans()]
    assert names.count("EVALSHA") == 2
    assert "SCRIPT LOAD EVALSHA EVALSHA" in names


@pytest.fixture
def transactions(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """Trace redis-py with sentry-sdk; return what it would send. It takes nothing back itself."""
    for kind, name in [(redis.Redis, "execute_command"), (Pipeline, "execute")]:
        monkeypatch.setattr(kind, name, getattr(kind, name))
    sent: list[Any] = []
    sentry_sdk.init(
        dsn="http://key@127.0.0.1:1/1",
        traces_sample_rate=1.0,
        default_integrations=False,
        auto_enabling_integrations=False,
        integrations=[RedisIntegration()],
        before_send_transaction=lambda event, _hint: sent.append(event),
    )
    yield sent
    sentry_sdk.get_client().close(timeout=0)
    sentry_sdk.get_global_scope().set_client(None)


def test_sentry(transactions: list[Any]) -> None:
    """Have a span for each script, and one for all renewals of a worker's."""
    with sentry_sdk.start_transaction(name="a view"):
        take_and_refuse()
        renew()
    [transaction] = transactions
    told = [span["description"].split()[0] for span in transaction["spans"]]
    assert told.count("EVALSHA") == 2
    assert told.count("redis.pipeline.execute") >= 2


def test_redis_py_itself() -> None:
    """Count the scripts in the metrics that redis-py 7.2 and newer makes."""
    observability = pytest.importorskip("redis.observability", reason="redis-py has no metrics")
    reader = InMemoryMetricReader()
    metrics.set_meter_provider(MeterProvider(metric_readers=[reader]))
    measuring = observability.get_observability_instance()
    measuring.init(observability.OTelConfig(metric_groups=[observability.MetricGroup.COMMAND]))
    try:
        take_and_refuse()
        told: Any = reader.get_metrics_data()
    finally:
        measuring.shutdown()
    counts = {
        point.attributes["db.operation.name"]: point.count
        for resource in told.resource_metrics
        for scope in resource.scope_metrics
        for metric in scope.metrics
        for point in metric.data.data_points
        if "db.operation.name" in point.attributes
    }
    assert counts.get("EVALSHA") == 2
    assert wire._is_plain(client_of("locks"))
