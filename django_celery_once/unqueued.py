"""A call that its broker could not be given."""

from __future__ import annotations

from kombu.exceptions import OperationalError

from django_celery_once.exceptions import NotQueued


class BrokerUnavailable(NotQueued, OperationalError):
    """The broker can't be reached, so nothing was queued, and the key is free.

    It is the ``kombu.exceptions.OperationalError`` that Celery raises, by a name of its own, for
    views to tell it from others. ``task_name`` is the task; the cause is chained.
    """

    code = "broker_unavailable"

    def __init__(self, message: str = "", *, task_name: str = "") -> None:
        self.task_name = task_name
        self.message = message or "The broker can't be reached; nothing was queued."
        super().__init__(self.message)


def tell_of_broker(error: BaseException, task_name: str) -> None:
    """Raise ``BrokerUnavailable`` where that is what an error of publishing means."""
    if isinstance(error, OperationalError) and not isinstance(error, BrokerUnavailable):
        words = f"{task_name} was not queued, since its broker can't be reached: {error}"
        raise BrokerUnavailable(words, task_name=task_name) from error
