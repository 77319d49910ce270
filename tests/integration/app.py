"""The Celery application of the integration tests.

A test process and the workers it starts share it: the addresses are in the environment.
"""

from __future__ import annotations

import json
import os
from contextlib import suppress

from celery import Celery
from kombu import pools

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.integration.settings")

app = Celery(
    "integration",
    set_as_current=False,
    include=[
        f"tests.integration.{name}"
        for name in (
            "tasks",
            "argument_tasks",
            "canvas_tasks",
            "option_tasks",
            "rerun_tasks",
            "serializer_tasks",
        )
    ],
)


def configure() -> None:
    """Read the addresses from the environment, again where a test has changed them."""
    queue_type = os.environ.get("INTEGRATION_QUEUE_TYPE", "classic")
    exchange_type = os.environ.get("INTEGRATION_EXCHANGE_TYPE", "direct")
    app.conf.update(
        task_default_queue_type=queue_type,
        task_create_missing_queue_type=queue_type,
        task_default_exchange_type=exchange_type,
        task_create_missing_queue_exchange_type=exchange_type,
        broker_url=os.environ.get("INTEGRATION_BROKER", "memory://"),
        result_backend=os.environ.get("INTEGRATION_RESULTS", "cache+memory://"),
        task_default_queue=os.environ.get("INTEGRATION_QUEUE", "integration"),
        broker_transport_options={
            "visibility_timeout": int(os.environ.get("INTEGRATION_VISIBILITY", "3600")),
            # RabbitMQ: tell of a message that got lost; do not try for ever to connect.
            "confirm_publish": True,
            **{"max_retries": 2, "interval_start": 0, "interval_step": 0.1},
        },
        worker_soft_shutdown_timeout=float(os.environ.get("INTEGRATION_SOFT_SHUTDOWN", "0")),
        worker_max_tasks_per_child=int(os.environ.get("INTEGRATION_TASKS_PER_CHILD", "0")) or None,
        broker_connection_retry_on_startup=True,
        # Once: a new pool child ends the connection that a main process has published by.
        task_publish_retry_policy={"max_retries": 1, "interval_start": 0},
        worker_prefetch_multiplier=1,
        # After a lost connection, Celery's main and pool threads would both wait for
        # RabbitMQ's answer to a new prefetch count, and one of them for ever.
        worker_enable_prefetch_count_reduction=False,
        result_expires=3600,
        task_serializer=os.environ.get("INTEGRATION_SERIALIZER", "json"),
        result_serializer=os.environ.get("INTEGRATION_SERIALIZER", "json"),
        accept_content=os.environ.get("INTEGRATION_ACCEPT", "json").split(),
        beat_schedule=json.loads(os.environ.get("INTEGRATION_SCHEDULE", "{}")),
        **json.loads(os.environ.get("INTEGRATION_CELERY", "{}")),
    )
    vars(app)["_pool"] = None
    for cached in ("amqp", "backend"):
        vars(app).pop(cached, None)
    vars(vars(app)["_local"]).pop("backend", None)


def forget_connections() -> None:
    """Let the next call open a connection of its own to the broker."""
    with app.connection_for_write() as connection:
        for group in (pools.connections, pools.producers):
            with suppress(KeyError):
                del group[connection]
    configure()


configure()
