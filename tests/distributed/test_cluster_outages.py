"""Locks in a Redis Cluster: all that a store does, over all slots, and when servers die."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import redis
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.test import override_settings

from django_celery_once import LockUnavailable, keys
from django_celery_once.doctor.examinations import examine
from django_celery_once.doctor.findings import State
from django_celery_once.doctor.server import examine_eviction
from django_celery_once.doctor.store import examine_round_trip
from django_celery_once.locks import LockStore, Start, open_store
from django_celery_once.locks.cluster import ClusterConnectionFactory, ClusterStore
from tests.configurations import ids
from tests.distributed.cluster import Cluster
from tests.distributed.sentinel import wait_until
from tests.locks import test_contract, test_follow_ups
from tests.locks.stores import lock, running

# The contract of all stores, with the ``store`` of this module.
for module in (test_contract, test_follow_ups):
    globals().update({name: each for name, each in vars(module).items() if name[:5] == "test_"})


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Return three primaries that no test kills."""
    with Cluster() as started:
        yield started


@pytest.fixture
def store(cluster: Cluster) -> Iterator[LockStore]:
    """Return an empty store."""
    cluster.flush()
    with override_settings(CACHES={**settings.CACHES, "locks": cluster.cache()}):
        yield open_store("locks")


def test_locks_are_on_all_servers(store: LockStore, cluster: Cluster) -> None:
    """Take, find, renew and free many keys, wherever their slots are."""
    assert isinstance(store, ClusterStore)
    many = [running(lock(f"once:tests.report:{number}")) for number in range(300)]
    assert [store.acquire(each, 60) for each in many] == [None] * 300
    assert all(count > 50 for count in cluster.counts())
    assert store.renew(many, 60) == [(each, Start.MINE) for each in many]
    assert store.renew([running(lock(many[0].key))], 60)[0][1] is Start.ANOTHER
    scan = store.scan(keys.key_prefix("tests.report"))
    assert scan.complete
    assert {each.key for each in scan.locks} == {each.key for each in many}
    part = store.scan(limit=10)
    assert (len(part.locks), part.complete) == (10, False)
    assert store.force_release(many[0].key) is not None
    assert None not in [store.release(each) for each in many[1:]]
    assert cluster.counts() == [0, 0, 0]


@pytest.mark.usefixtures("store")
def test_the_checks_ask_nobody(cluster: Cluster) -> None:
    """Warn of what is missing, find no fault otherwise, and connect to nothing."""
    assert ids() == []
    nowhere = {**cluster.cache(), "LOCATION": "redis://127.0.0.1:1"}
    with override_settings(CACHES={**settings.CACHES, "locks": nowhere, "default": nowhere}):
        assert ids() == ["W008"]
    nodes = cluster.cache(CLUSTER_NODES=["127.0.0.1"])
    with override_settings(CACHES={**settings.CACHES, "locks": nodes}):
        assert ids() == ["E002"]
    with pytest.raises(ImproperlyConfigured, match=r"CLUSTER_NODES'\] is \['127.0.0.1'\]"):
        ClusterConnectionFactory({"CLUSTER_NODES": ["127.0.0.1"]}).connect("redis://127.0.0.1:1")


def test_the_doctor_looks_at_every_server(store: LockStore, cluster: Cluster) -> None:
    """Tell of the one server that may drop locks."""
    assert isinstance(store, ClusterStore)
    assert examine_round_trip(store).state is State.OK
    assert examine_eviction(store.server()).state is State.OK
    with redis.Redis.from_url(cluster.primaries[2].url()) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
        assert examine_eviction(store.server()).state is State.WARNING
        client.config_set("maxmemory-policy", "noeviction")


def test_the_doctor_knows_a_cluster_behind_a_plain_client(cluster: Cluster) -> None:
    """Say what is missing, though a third of the keys can be had."""
    plain = cluster.cache(CONNECTION_FACTORY="django_redis.pool.ConnectionFactory")
    with override_settings(CACHES={**settings.CACHES, "locks": plain}):
        found = dict(examine())["lock store"]
    assert found.state is State.WRONG
    assert "ClusterConnectionFactory" in found.advice


@pytest.mark.usefixtures("store")
def test_one_living_server_is_enough_to_begin_with(cluster: Cluster) -> None:
    """Find the cluster by another server than the first."""
    others = [("127.0.0.1", each.port) for each in cluster.primaries]
    entry = {**cluster.cache(CLUSTER_NODES=others), "LOCATION": "redis://127.0.0.1:1"}
    with override_settings(CACHES={**settings.CACHES, "locks": entry}):
        assert open_store("locks").acquire(lock(), 60) is None


def test_an_outage_of_the_cluster_is_not_a_duplicate() -> None:
    """Raise for every verb when the servers are gone."""
    with (
        Cluster() as mortal,
        override_settings(CACHES={**settings.CACHES, "locks": mortal.cache()}),
    ):
        store = open_store("locks")
        many = [running(lock(f"once:t:{number}")) for number in range(20)]
        assert [store.acquire(each, 60) for each in many] == [None] * 20
        for server in mortal.primaries:
            server.kill()
        verbs: list[Callable[[], Any]] = [
            lambda: store.acquire(lock(), 60),
            lambda: store.start(many[0], 60),
            lambda: store.renew(many, 60),
            lambda: store.release(many[0]),
            lambda: store.inspect(many[0].key),
            lambda: store.scan(),
            lambda: store.blocked(),
        ]
        for verb in verbs:
            with pytest.raises(LockUnavailable):
                verb()


def test_locks_outlive_a_server_with_a_replica() -> None:
    """Hold the key, refuse a second call, or say that it can't be told; then hold it again."""
    with (
        Cluster(replicas=True) as mortal,
        override_settings(CACHES={**settings.CACHES, "locks": mortal.cache()}),
    ):
        store = open_store("locks")
        many = [lock(f"once:t:{number}") for number in range(60)]
        assert [store.acquire(each, 60) for each in many] == [None] * 60
        mortal.wait_for_copies()
        mortal.primaries[1].kill()
        outages = 0

        def all_refused() -> bool:
            nonlocal outages
            try:
                holders = [store.acquire(lock(each.key), 60) for each in many]
            except LockUnavailable:
                outages += 1
                return False
            assert [each and each.owner for each in holders] == [each.owner for each in many]
            return True

        wait_until(all_refused, "all locks refused again", 60)
        assert None not in [store.release(each) for each in many]
