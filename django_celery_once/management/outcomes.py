"""What became of a lock that was to be freed, in words."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from django_celery_once.live import is_living
from django_celery_once.locks import Lock
from django_celery_once.management.wording import age, as_json, duration, phase, plain
from django_celery_once.record import record


class Action(StrEnum):
    """What was done with a lock."""

    FREED = "freed"
    WOULD_FREE = "would free"
    REFUSED = "refused"
    CHANGED = "changed"
    UNKNOWN = "unknown"


@record
class Result:
    """One lock and what became of it.

    ``revoked`` is ``None`` where nobody asked for it; ``trouble`` is why it failed.
    """

    lock: Lock
    action: Action
    revoked: bool | None = None
    trouble: str = ""

    @property
    def done(self) -> bool:
        """Return whether all was done that was asked for."""
        return self.action in (Action.FREED, Action.WOULD_FREE) and self.revoked is not False

    def sentence(self) -> str:
        """Return it in words."""
        lock = self.lock
        what = f"{plain(lock.label) or lock.task}, task {lock.owner}, {phase(lock)}"
        if self.action is Action.CHANGED:
            return (
                f"Left {lock.key} alone: it is not the lock that was looked at any more (by now "
                "freed, started, or another task's)."
            )
        if self.action is Action.UNKNOWN:
            return f"Left {lock.key} alone, or freed it: the lock store did not answer."
        if self.action is Action.REFUSED:
            return (
                f"Refused to free {lock.key} ({what}). {self._twice()} --force frees it all "
                "the same."
            )
        verb = "Freed" if self.action is Action.FREED else "Would free"
        refused = f"{lock.hits} duplicate{'s'[: lock.hits != 1]} refused"
        words = f"{verb} {lock.key} ({what}, accepted {duration(age(lock))} ago, {refused})."
        return " ".join([words, *self._more()])

    def _more(self) -> list[str]:
        if self.revoked:
            return ["The workers were told to drop its task."]
        if self.revoked is False:
            return [f"Its task could not be revoked: {self.trouble}"]
        return [self._twice()] if is_living(self.lock) else []

    def _twice(self) -> str:
        return (
            f"Its worker {self.lock.worker} gave a sign of life "
            f"{duration(self.lock.silence)} ago: once the lock is gone, the same call may run "
            "twice at the same time."
        )

    def as_json(self) -> dict[str, Any]:
        """Return it for scripts."""
        return {
            **as_json(self.lock),
            "action": self.action.value,
            "revoked": self.revoked,
            "message": self.sentence(),
        }
