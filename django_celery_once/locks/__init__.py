"""The lock store: who holds which key, in a Django cache."""

from django_celery_once.locks.base import Lock, LockStore, Phase, Scan, Start
from django_celery_once.locks.stores import open_store

__all__ = ["Lock", "LockStore", "Phase", "Scan", "Start", "open_store"]
