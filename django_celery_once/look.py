"""What a worker answers to ``once_doctor``: whether it sees a lock that was taken elsewhere."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django_celery_once.locks import open_store

#: The name of the remote control command.
COMMAND = "once_look"


def register() -> None:
    """Let this worker answer; only workers import what this needs."""
    from celery.worker.control import inspect_command

    inspect_command(name=COMMAND, visible=False)(look)


def look(state: Any, keys: Mapping[str, str]) -> dict[str, Any]:
    """Return, for each alias in ``CACHES``, what its key is called here and whether it is held.

    The name of the Celery ``app`` is with it: other projects' workers may be at the same broker.
    """
    locks = {alias: _look(alias, key) for alias, key in keys.items()}
    return {"app": state.app.main, "locks": locks}


def _look(alias: str, key: str) -> dict[str, Any]:
    try:
        store = open_store(alias)
        return {"name": store.name_of(key), "held": store.inspect(key) is not None}
    except Exception as error:
        # What is wrong is for the doctor to say, who asked.
        return {"name": "", "held": False, "trouble": f" ({error})"}
