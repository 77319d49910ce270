"""Blocked duplicates: what was refused, in whose favour, and who asked."""

from __future__ import annotations

import time
import uuid
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, ClassVar, Self

from django.conf import settings
from django.db import IntegrityError, models, transaction
from django.db.models.functions import Greatest
from django.utils.translation import gettext_lazy as _
from django.utils.translation import ngettext

from django_celery_once.columns import cut, moment, storable, user_key
from django_celery_once.conf import conf
from django_celery_once.locks import Lock
from django_celery_once.signals import Rejection

#: The namespace of incidents among name-based UUIDs (RFC 9562, section 6.5).
INCIDENTS = uuid.UUID("f1cb6f4e-6f1c-4c3c-9d0a-3d5e5b0f7a51")


def incident_id(key: str, holder_task_id: str) -> uuid.UUID:
    """Return the primary key of an incident, known without asking the database."""
    return uuid.uuid5(INCIDENTS, storable(f"{key}\n{holder_task_id}"))


def _where_one_is_open(database: str) -> AbstractContextManager[Any]:
    """Return a savepoint where a transaction is open, which must survive what fails in it."""
    if transaction.get_connection(database).in_atomic_block:
        return transaction.atomic(using=database)
    return nullcontext()


class IncidentQuerySet(models.QuerySet["BlockedDuplicate"]):
    """Verbs that write an incident without reading it first, and the old ones."""

    def aged(self, days: float) -> Self:
        """Return the incidents whose last refused call is more than ``days`` days ago."""
        return self.filter(last_rejection__lt=moment(max(0.0, time.time() - days * 86_400)))

    def record(self, last: Rejection, attempts: Sequence[Rejection] = ()) -> None:
        """Count up to ``last`` and keep ``attempts``: two statements, at most four.

        The lock counted the hits, so the row takes the highest figure, whoever writes last.
        Outside a transaction each statement stands for itself, without a BEGIN and a COMMIT:
        a count without its attempt is a true one.
        """
        if last.holder.hits == 1 or not self._count(last):
            # By itself: where another has just inserted the row, InnoDB keeps a shared lock on
            # it, and two of those that go on to update it would deadlock.
            is_new = self._insert_new(last, min([last, *attempts], key=lambda each: each.at))
            if not is_new:
                self._count(last)
        BlockedAttempt.keep(attempts, self.db)

    def settle(self, lock: Lock, at: float, outcome: str = "") -> bool:
        """Write the last figure of a lock that was freed at ``at`` (epoch seconds), and why.

        Return whether the incident was there.
        """
        found = self.filter(pk=incident_id(lock.key, lock.owner)).update(
            rejections=Greatest(models.F("rejections"), lock.hits),
            released_at=moment(at),
            outcome=outcome,
        )
        return bool(found)

    def _insert_new(self, last: Rejection, first: Rejection) -> bool:
        """Insert the row; return whether it was missing."""
        try:
            with _where_one_is_open(self.db):
                BlockedDuplicate.of(last, first).save(force_insert=True, using=self.db)
        except IntegrityError:
            return False
        return True

    def _count(self, last: Rejection) -> int:
        holder = last.holder
        return self.filter(pk=incident_id(holder.key, holder.owner)).update(
            rejections=Greatest(models.F("rejections"), holder.hits),
            last_rejection=Greatest(models.F("last_rejection"), moment(last.at)),
            last_requester=cut(last.requester.label, 200),
        )


def forget_user(collector: Any, field: Any, rows: Any, using: str) -> None:
    """Keep the rows of a deleted user (``on_delete``), where users and log are one database.

    Where they are not, a row keeps the number of a user who is no more.
    """
    if using == conf.log_database:
        models.SET_NULL(collector, field, rows, using)


# Django must not look for rows before it asks: their table may be in another database.
forget_user.lazy_sub_objs = True  # type: ignore[attr-defined]


def _user_field() -> models.ForeignKey[Any, Any]:
    # No constraint: the log may live in another database than the users.
    return models.ForeignKey(
        settings.AUTH_USER_MODEL,
        forget_user,
        null=True,
        blank=True,
        db_constraint=False,
        related_name="+",
        verbose_name=_("user"),
    )


class BlockedDuplicate(models.Model):
    """An incident: all calls that were refused in favour of one holder of a key."""

    class Outcome(models.TextChoices):
        """Why the holder's lock was freed (``signals.Outcome``)."""

        SUCCESS = "success", _("the task succeeded")
        FAILURE = "failure", _("the task failed")
        IGNORED = "ignored", _("the task asked to be ignored")
        REJECTED = "rejected", _("the task rejected its message")
        REVOKED = "revoked", _("the task was revoked, or expired")
        KILLED = "killed", _("the task's process was killed")
        STARTED = "started", _("the task started (only its queue is guarded)")
        RELEASED = "released", _("somebody released the lock")
        WITHDRAWN = "withdrawn", _("the call was taken back before it was queued")

    id = models.UUIDField(primary_key=True, editable=False)
    task_name = models.CharField(_("task"), max_length=255)
    key = models.CharField(_("key"), max_length=200)
    label = models.CharField(_("label"), max_length=200, blank=True)
    holder_task_id = models.CharField(_("task in flight"), max_length=255)
    holder_user = _user_field()
    held_since = models.DateTimeField(_("held since"))
    rejections = models.PositiveIntegerField(_("blocked"), default=0)
    first_rejection = models.DateTimeField(_("first blocked"))
    last_rejection = models.DateTimeField(_("last blocked"))
    last_requester = models.CharField(_("last asked by"), max_length=200, blank=True)
    released_at = models.DateTimeField(_("lock freed"), null=True, blank=True)
    outcome = models.CharField(_("freed because"), max_length=10, choices=Outcome, blank=True)

    objects = IncidentQuerySet.as_manager()

    class Meta:
        verbose_name = _("blocked duplicate")
        verbose_name_plural = _("blocked duplicates")
        ordering = ("-last_rejection",)
        default_permissions = ("view", "delete")
        permissions: ClassVar = [("export_blockedduplicate", "Can export blocked duplicates")]
        # What the admin lists, filters and searches by; PostgreSQL needs the operator class to
        # find the beginning of a text.
        indexes: ClassVar = [
            models.Index(fields=["last_rejection", "task_name"], name="once_blocked_time"),
            models.Index(fields=["task_name", "last_rejection"], name="once_blocked_task"),
            models.Index(fields=["outcome", "last_rejection"], name="once_blocked_outcome"),
            models.Index(fields=["last_requester", "last_rejection"], name="once_blocked_who"),
            models.Index(fields=["holder_task_id"], name="once_blocked_holder"),
            models.Index(
                fields=["key"], name="once_blocked_key", opclasses=["varchar_pattern_ops"]
            ),
            models.Index(
                fields=["label"], name="once_blocked_label", opclasses=["varchar_pattern_ops"]
            ),
        ]

    def __str__(self) -> str:
        blocked = ngettext("blocked %(count)d time", "blocked %(count)d times", self.rejections)
        return f"{self.label or self.task_name}: {blocked % {'count': self.rejections}}"

    @classmethod
    def of(cls, rejection: Rejection, first: Rejection) -> Self:
        """Return the unsaved row of an incident, from its last and first refused call."""
        holder = rejection.holder
        return cls(
            id=incident_id(holder.key, holder.owner),
            task_name=cut(rejection.task_name, 255),
            key=cut(holder.key, 200),
            label=cut(holder.label or rejection.label, 200),
            holder_task_id=cut(holder.owner, 255),
            holder_user_id=user_key(holder.requester),
            held_since=moment(holder.since),
            rejections=holder.hits,
            first_rejection=moment(first.at),
            last_rejection=moment(rejection.at),
            last_requester=cut(rejection.requester.label, 200),
        )


class BlockedAttempt(models.Model):
    """One refused call; an incident keeps the first of them."""

    class Source(models.TextChoices):
        """Where a call came from."""

        WEB = "web", _("web page")
        WORKER = "worker", _("another task")
        BEAT = "beat", _("schedule")
        COMMAND = "command", _("command")
        OTHER = "other", _("other program")

    class Policy(models.TextChoices):
        """What the caller of a duplicate got."""

        RAISE = "raise", _("refused (AlreadyQueued)")
        REJECT = "reject", _("refused quietly")
        JOIN = "join", _("given the result of the first")
        WAIT = "wait", _("refused after a wait")
        RERUN = "rerun", _("answered by one more run")
        SKIP = "skip", _("passed over in a chain or group")
        REVOKE = "revoke", _("revoked at its start")

    id = models.BigAutoField(primary_key=True)
    incident = models.ForeignKey(
        BlockedDuplicate, models.CASCADE, related_name="attempts", verbose_name=_("incident")
    )
    number = models.PositiveIntegerField(_("number"))
    at = models.DateTimeField(_("time"))
    user = _user_field()
    requester = models.CharField(_("asked by"), max_length=200, blank=True)
    source = models.CharField(_("came from"), max_length=10, choices=Source)
    path = models.CharField(_("path"), max_length=500, blank=True)
    view_name = models.CharField(_("view"), max_length=200, blank=True)
    policy = models.CharField(_("answer"), max_length=10, choices=Policy)
    task_id = models.CharField(_("refused task"), max_length=255)
    arguments = models.TextField(_("arguments"), blank=True)

    class Meta:
        verbose_name = _("blocked attempt")
        verbose_name_plural = _("blocked attempts")
        ordering = ("incident", "number")
        default_permissions = ("view",)
        indexes: ClassVar = [
            models.Index(fields=["task_id"], name="once_attempt_task"),
            models.Index(fields=["requester", "at"], name="once_attempt_who"),
        ]

    def __str__(self) -> str:
        return f"{self.number}. {self.requester or self.get_source_display()}"

    @staticmethod
    def keep(rejections: Sequence[Rejection], database: str) -> None:
        """Insert rows of refused calls, in one statement."""
        rows = list(map(BlockedAttempt.of, rejections))
        with _where_one_is_open(database):
            if len(rows) == 1:
                rows[0].save(force_insert=True, using=database)
            elif rows:
                BlockedAttempt.objects.using(database).bulk_create(rows)

    @classmethod
    def of(cls, rejection: Rejection) -> Self:
        """Return the unsaved row of a refused call."""
        who = rejection.requester
        return cls(
            incident_id=incident_id(rejection.holder.key, rejection.holder.owner),
            number=rejection.holder.hits,
            at=moment(rejection.at),
            user_id=user_key(who.user_id),
            requester=cut(who.label, 200),
            source=who.source,
            path=cut(who.path, 500),
            view_name=cut(who.view_name, 200),
            policy=rejection.policy,
            task_id=cut(rejection.task_id, 255),
            arguments=storable(rejection.arguments),
        )


class HeldLock(models.Model):
    """No table: what the admin and its permissions know of the locks held now."""

    key = models.CharField(_("key"), max_length=200, primary_key=True)

    class Meta:
        managed = False
        verbose_name = _("live lock")
        verbose_name_plural = _("live locks")
        default_permissions = ("view",)
        permissions: ClassVar = [("release_lock", "Can release a lock")]

    def __str__(self) -> str:
        return self.key
