"""``QueueOnce``: the base class of tasks that are queued once at a time."""

from __future__ import annotations

import functools
import inspect
import logging
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import replace
from typing import TYPE_CHECKING, Any, ClassVar

from celery import current_app, uuid
from celery.contrib.django.task import DjangoTask
from celery.result import EagerResult

from django_celery_once import claims, leftovers, reservations
from django_celery_once.arguments import Call
from django_celery_once.binding import bind, key_of_call, label_of_call
from django_celery_once.claims import Claim
from django_celery_once.conf import conf
from django_celery_once.definition import check_definition
from django_celery_once.gate import GUARDED, check_installed, guarded, pass_guard
from django_celery_once.header import KEY, NAME, Header, read_header
from django_celery_once.locks import Lock, Phase
from django_celery_once.options import OnceOptions, OnDuplicate
from django_celery_once.predecessor import inherit
from django_celery_once.reservations import Reservation
from django_celery_once.running import asked_by, current_run, report_duplicate, run_of
from django_celery_once.waits import queued_seconds

if TYPE_CHECKING:
    _Task = DjangoTask[Any, Any]
else:
    _Task = DjangoTask

logger = logging.getLogger(__name__)


class QueueOnce(_Task):
    """A task that is queued or running at most once for each key.

    Give its options as ``@shared_task(base=QueueOnce, once={…})``:

    - ``keys``: names of the parameters that make two calls the same (all by default);
    - ``key``: a callable that gets the call's arguments and returns the value to compare;
    - ``label``: a format string over the arguments (or a callable), words for people;
    - ``timeout``: seconds a lock may stay with a task that no worker runs;
    - ``on_duplicate``: ``"raise"`` or ``"reject"`` (also ``graceful=True``, as in celery-once);
    - ``until``: ``"finished"`` or ``"started"`` (also ``unlock_before_run=True``).

    ``apply_async(once={…})`` overrides them for one call; there, ``{"force": True}`` queues
    it whatever is under way.
    """

    abstract = True
    Request = "django_celery_once.request:OnceRequest"
    once: ClassVar[Mapping[str, Any]] = {}
    _once_signature: ClassVar[inspect.Signature]

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Check the options, and keep the guard where a subclass has its own ``before_start``."""
        super().__init_subclass__(**kwargs)
        own = inspect.getattr_static(cls, "before_start")
        if not hasattr(own, GUARDED):
            cls.before_start = guarded(own)  # type: ignore[method-assign]
        check_definition(cls)

    def once_key(self, *args: Any, **kwargs: Any) -> str:
        """Return the key of ``delay(*args, **kwargs)``.

        Raise ``TypeError`` for arguments that do not fit the task, or that have no canonical
        form (the message names the argument).
        """
        return self.get_key(args, kwargs)

    def get_key(self, args: Any = None, kwargs: Mapping[str, Any] | None = None) -> str:
        """Return the key of ``apply_async(args, kwargs)``, as celery-once spells it."""
        return key_of_call(self.name, bind(self, args, kwargs), self.once_options())

    def once_lock_held(self) -> bool:
        """Return whether the current run still has its lock, as far as its renewals know."""
        run = run_of(self.request)
        return run is not None and run.lease is not None and run.lease.held

    def apply_async(
        self,
        args: Any = None,
        kwargs: dict[str, Any] | None = None,
        task_id: str | None = None,
        producer: Any = None,
        link: Any = None,
        link_error: Any = None,
        shadow: str | None = None,
        once: Mapping[str, Any] | Reservation | None = None,
        **options: Any,
    ) -> Any:
        """Take the lock of this call and queue it, or answer as for a duplicate.

        ``once`` overrides the task's options for this call (a ``Reservation`` gives itself here);
        the rest is as in ``celery.app.task.Task.apply_async``. Return the ``AsyncResult``, or
        for a rejected duplicate ``EagerResult(None, None, "REJECTED")``. Raise ``AlreadyQueued``
        for a duplicate, ``LockUnavailable`` when the lock store can't be reached, and what
        publishing raises; in each case nothing was queued and no lock is left.
        """
        task_id = task_id or uuid()
        publish = functools.partial(
            super().apply_async, args, kwargs, task_id, producer, link, link_error, shadow
        )
        headers = dict(options.pop("headers", None) or {})
        claim = self._carried_claim(task_id, headers, options)
        if claim is None:
            call = Call.of(args, kwargs, options)
            if isinstance(once, Reservation):
                asked, claim = once.asked, self._reserved_claim(once, call, options)
            else:
                asked = self.once_options(once)
                claim = self._new_claim(task_id, call, asked, options)
            if claim.holder is not None:
                return self._refuse(claim, asked, call)
        headers[NAME] = claim.header.as_message()
        try:
            result = publish(headers=headers, **options)
        except BaseException:
            claim.give_back(type(self))
            raise
        setattr(result, KEY, claim.header.key)  # for whoever wants to know how it stands
        return result

    def reserve(self, *args: Any, **kwargs: Any) -> Reservation:
        """Take the lock of a call to come, for ``RESERVE`` seconds.

        Give the arguments that make the key, which are those in ``once["keys"]`` or all; where
        a ``key`` callable makes it, the arguments that this needs. Raise ``AlreadyQueued`` for
        a duplicate, whatever ``on_duplicate`` says, since what was to come next must not,
        ``LockUnavailable`` when the lock store can't be reached, and ``TypeError`` where an
        argument is missing or does not fit.
        """
        return self.reserve_with(args, kwargs)

    def reserve_with(
        self,
        args: Any = None,
        kwargs: Mapping[str, Any] | None = None,
        *,
        task_id: str | None = None,
        once: Mapping[str, Any] | None = None,
    ) -> Reservation:
        """Do as ``reserve``, with a task id or ``once`` options for this call."""
        asked, call = self.once_options(once), Call.of(args, kwargs, {})
        claim = self._new_claim(task_id or uuid(), call, asked, {}, reserving=True)
        if claim.holder is not None:
            self._refuse(claim, asked, call, policy="raise")
        return Reservation(self, claim, asked)

    def delay_on_commit(self, *args: Any, **kwargs: Any) -> Any:
        """Take the lock now and queue the call at the commit, as ``apply_async_on_commit``."""
        return self.apply_async_on_commit(args, kwargs)

    def apply_async_on_commit(  # type: ignore[override]
        self,
        args: Any = None,
        kwargs: dict[str, Any] | None = None,
        task_id: str | None = None,
        *,
        once: Mapping[str, Any] | None = None,
        **options: Any,
    ) -> Any:
        """Take the lock now and queue the call when the transaction commits.

        Return and raise now what ``apply_async`` would; at the commit, nothing is raised (see
        ``Reservation.apply_async_on_commit``). Outside a transaction, do as ``apply_async``.
        """
        if not reservations.in_transaction():
            return self.apply_async(args, kwargs, task_id=task_id, once=once, **options)
        asked, call = self.once_options(once), Call.of(args, kwargs, options)
        bind(self, args, kwargs)  # nothing may be missing here
        claim = self._new_claim(task_id or uuid(), call, asked, options, reserving=True)
        if claim.holder is not None:
            return self._refuse(claim, asked, call)
        return Reservation(self, claim, asked).apply_async_on_commit(args, kwargs, **options)

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        """Let the run in, or end it before its body (a hook of Celery's tracer)."""
        pass_guard(self, task_id)

    setattr(before_start, GUARDED, True)

    def _new_claim(
        self,
        task_id: str,
        call: Call,
        asked: OnceOptions,
        options: Mapping[str, Any],
        *,
        reserving: bool = False,
    ) -> Claim:
        if asked.force or not conf.enabled:
            why = "once['force']" if asked.force else "the setting ENABLED"
            logger.info("Queueing %s[%s] without a lock: %s", self.name, task_id, why)
            return claims.unguarded(task_id)
        check_installed()
        leftovers.free_abandoned()
        partly = reserving and not (asked.keys is None and asked.key is None)
        lock = self._new_lock(task_id, call, asked, partly=partly)
        if reserving:
            lock = replace(lock, phase=Phase.RESERVED)
            return claims.take(Claim(Header(), lock, conf.reserve))
        claim = self._claim_of(lock, asked, options)
        running = current_run(task_id)  # a task that replaces itself hands its lock on
        if running is None or running.lock.key != lock.key:
            return claims.take(claim)
        with running.standing_still():
            claim = claims.take(claim, running.lock)
            if claim.holder is None:
                running.hand_on()
        return claim

    def _new_lock(
        self, task_id: str, call: Call, asked: OnceOptions, *, partly: bool = False
    ) -> Lock:
        bound = bind(self, call.args, call.kwargs, partly=partly)
        return claims.new_lock(
            key_of_call(self.name, bound, asked),
            self.name,
            task_id,
            label=label_of_call(self.name, bound, asked, partly=partly),
            requester=asked_by().user_id,
        )

    def _reserved_claim(
        self, reservation: Reservation, call: Call, options: Mapping[str, Any]
    ) -> Claim:
        reserved, asked = reservation.lock, reservation.asked
        if not reserved.token:
            return claims.unguarded(reserved.owner)
        lock = claims.new_lock(
            reserved.key,
            self.name,
            reserved.owner,
            label=label_of_call(self.name, bind(self, call.args, call.kwargs), asked),
            requester=asked_by().user_id,
        )
        return claims.move(reserved, self._claim_of(lock, asked, options))

    def _claim_of(self, lock: Lock, asked: OnceOptions, options: Mapping[str, Any]) -> Claim:
        header = Header(lock.key, lock.token, asked.until, asked.timeout)
        return Claim(header, lock, self.queued_seconds(asked.timeout, options))

    def _carried_claim(
        self, task_id: str, headers: Mapping[str, Any], options: Mapping[str, Any]
    ) -> Claim | None:
        """Return the claim of a message that carries an earlier one on, as a retry does."""
        if not options.get("retries"):
            return None
        running = current_run(task_id)
        header = running.header if running else read_header(headers)
        if header is None:
            return None
        if not header.key:
            return claims.unguarded(task_id)
        old = running.lock if running else Lock(header.key, task_id, header.token)
        lock = claims.new_lock(header.key, self.name, task_id, label=old.label)
        seconds = self.queued_seconds(header.timeout, options)
        carried = Header(header.key, lock.token, header.until, header.timeout)
        with running.standing_still() if running else nullcontext():
            claim = claims.hand_over(old, Claim(carried, lock, seconds))
            if running and not claim.header.previous:
                running.hand_on()
        return claim

    def _refuse(
        self, claim: Claim, asked: OnceOptions, call: Call, policy: OnDuplicate | None = None
    ) -> Any:
        holder = claim.holder
        assert holder is not None  # noqa: S101
        if policy is None:
            beat = asked_by().source == "beat"  # its scheduler would log a traceback
            policy = "reject" if beat else asked.on_duplicate or conf.on_duplicate
        report_duplicate(self, claim.lock, holder, policy, asked, call)
        if policy == "reject":
            return EagerResult(None, None, "REJECTED")  # type: ignore[arg-type]
        raise claims.already_queued(self.name, holder)

    def once_options(self, once: Mapping[str, Any] | None = None) -> OnceOptions:
        """Return the options of a call: the task's, then the settings', then ``once``.

        Where none has a ``timeout``, celery-once's on the Celery app may stand in.
        """
        asked = OnceOptions.merge(self.once, conf.task_options(self.name), once or {})
        return inherit(asked, self.app.conf)

    def queued_seconds(self, timeout: float | None, options: Mapping[str, Any]) -> float:
        """Return the seconds to lock a call published with Celery's ``options``."""
        limits = {"expires": self.expires, **options}
        return queued_seconds(timeout or conf.timeout, limits, self.app.timezone)


def celery_conf() -> Mapping[str, Any]:
    """Return the configuration of this process's Celery app."""
    configuration: Mapping[str, Any] = current_app.conf
    return configuration


def registered_tasks() -> list[QueueOnce]:
    """Import the modules of tasks as a worker does; return the guarded tasks in them.

    Raise what importing or defining them raises.
    """
    current_app.loader.import_default_modules()
    return [task for task in current_app.tasks.values() if isinstance(task, QueueOnce)]
