"""Queue a slow Celery task once, however often it is asked for."""

from django_celery_once.exceptions import AlreadyQueued, LockUnavailable
from django_celery_once.task import QueueOnce
from django_celery_once.unqueued import BrokerUnavailable

__all__ = ["AlreadyQueued", "BrokerUnavailable", "LockUnavailable", "QueueOnce"]
