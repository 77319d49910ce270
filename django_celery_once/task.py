"""``QueueOnce``: the base class of tasks that are queued once at a time."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

from celery import current_app
from celery.contrib.django.task import DjangoTask

from django_celery_once import canvas, claiming, policies, reservations
from django_celery_once.arguments import Call
from django_celery_once.binding import bind, key_of_call
from django_celery_once.claims import Claim
from django_celery_once.conf import conf
from django_celery_once.definition import check_definition
from django_celery_once.gate import GUARDED, guarded, pass_guard
from django_celery_once.header import CACHE, KEY, NAME
from django_celery_once.locks import Lock
from django_celery_once.options import OnceOptions, OnDuplicate
from django_celery_once.predecessor import inherit
from django_celery_once.reservations import Reservation
from django_celery_once.running import run_of
from django_celery_once.waits import MOMENTS, queued_seconds

if TYPE_CHECKING:
    _Task = DjangoTask[Any, Any]
else:
    _Task = DjangoTask


class QueueOnce(_Task):
    """A task that is queued or running at most once for each key.

    Give its options as ``@shared_task(base=QueueOnce, once={…})``:

    - ``keys``: names of the parameters that make two calls the same (all by default);
    - ``key``: a callable that gets the call's arguments and returns the value to compare;
    - ``label``: a format string over the arguments (or a callable), words for people;
    - ``timeout``: seconds a lock may stay with a task that no worker runs;
    - ``on_duplicate``: ``"raise"``; ``"reject"`` (also ``graceful=True``, as in celery-once);
      ``"join"``, to get the result of the task in flight; ``"wait"`` (also ``blocking=True``)
      for the key, at most ``blocking_timeout`` seconds; or ``"rerun"``, for one run more, with
      the newest arguments, when the one in flight has ended;
    - ``until``: ``"finished"``; ``"started"`` (also ``unlock_before_run=True``); ``"running"``,
      to queue every call but run one at a time; or ``"expired"``, at most once in ``timeout``
      seconds, however soon it ends, where ``release_on_failure`` frees the key of a run that
      fails;
    - ``cache``: the alias in ``CACHES`` that holds its locks, where that is not the setting's.

    ``apply_async(once={…})`` overrides them for one call, but for ``cache``; there,
    ``{"force": True}`` queues it whatever is under way.
    """

    abstract = True
    Request = "django_celery_once.request:OnceRequest"
    once: ClassVar[Mapping[str, Any]] = {}
    _once_signature: ClassVar[inspect.Signature]
    _once_parameters: ClassVar[Mapping[str, inspect.Parameter] | None]
    #: The options of the task's calls, and what they were read from.
    _once_read: ClassVar[tuple[Any, ...]] = ()

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
        the rest is as in ``celery.app.task.Task.apply_async``. Return the ``AsyncResult``: for a
        duplicate that joins, the holder's; for one that asks for a rerun, that run's; and for a
        rejected one ``EagerResult(None, None, "REJECTED")``. Raise ``AlreadyQueued`` for any
        other duplicate, ``LockUnavailable`` when the lock store can't be reached, and what
        publishing raises; in each case nothing was queued and no lock is left.
        """
        headers = dict(options.pop("headers", None) or {})
        claim = claiming.carried_claim(self, task_id, headers, options)
        if claim is None:
            call = Call.of(args, kwargs, options)
            asked = once.asked if isinstance(once, Reservation) else self.once_options(once)
            policy = policies.choose(self, asked)
            claim = self._claim(task_id, call, once, asked, options, policy)
            if claim.header.follows:
                policies.follow(self, claim, asked, call, options, policy)
            elif claim.holder is not None:
                stand_in = policies.stand_in(self, claim, asked, call, options, policy)
                if stand_in is None:
                    return policies.refuse(self, claim, asked, call, options, policy)
                claim = stand_in
        headers[NAME] = claim.header.as_message()
        try:
            result = super().apply_async(
                args, kwargs, claim.lock.owner, producer, link, link_error, shadow,
                headers=headers, **options,
            )  # fmt: skip
        except BaseException:
            claim.give_back(type(self))
            raise
        # One that waits for its turn has no lock yet.
        return _tell(result, claim.lock if claim.header.until != "running" else None)

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
        claim = claiming.new_reservation(self, task_id, call, asked)
        if claim.holder is not None:
            policies.refuse(self, claim, asked, call, {}, policy="raise")
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
        policy = policies.choose(self, asked)
        claim = claiming.new_reservation(self, task_id, call, asked, policy)
        if claim.holder is not None and policy == "rerun":
            return policies.ask_at_commit(self, claim, args, kwargs, {"once": once, **options})
        if claim.holder is not None:
            return policies.refuse(self, claim, asked, call, options, policy)
        return Reservation(self, claim, asked).apply_async_on_commit(args, kwargs, **options)

    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        """Let the run in, or end it before its body (a hook of Celery's tracer)."""
        pass_guard(self, task_id)

    setattr(before_start, GUARDED, True)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the body, or return what stands for it where the run is that of a duplicate.

        A call of the tracer's runs under the request that is there; any other, also one out of
        the body, has a request of its own (as in ``celery.app.trace``, which sees to that in
        workers only).
        """
        request: Any = self.request_stack.top
        if request is None or request.called_directly or request._protected:
            return super().__call__(*args, **kwargs)
        request._protected = 1
        answer = vars(request).get(canvas.ANSWER)
        return self.run(*args, **kwargs) if answer is None else answer[0]

    def _claim(
        self,
        task_id: str | None,
        call: Call,
        once: Mapping[str, Any] | Reservation | None,
        asked: OnceOptions,
        options: Mapping[str, Any],
        policy: OnDuplicate,
    ) -> Claim:
        if isinstance(once, Reservation) and asked.until != "running":
            claim = claiming.reserved_claim(self, once.lock, call, asked, options)
            if claim.holder is None or policy != "rerun":
                return claim
        return claiming.new_claim(self, task_id, call, asked, options, policy)

    def once_options(self, once: Mapping[str, Any] | None = None) -> OnceOptions:
        """Return the options of a call: the task's, then the settings', then ``once``.

        Where none has a ``timeout``, celery-once's on the Celery app may stand in. Raise
        ``ValueError`` for a ``cache`` in ``once``: another call would not see its lock.
        """
        if once and "cache" in once:
            raise ValueError(
                "once['cache'] is for all calls of a task, which would not see each other's locks "
                f"elsewhere: set it where {self.name} is defined, or in DJANGO_CELERY_ONCE['TASKS']"
            )
        set_here = conf.task_options(self.name)
        if once:
            return inherit(OnceOptions.merge(self.once, set_here, once), self.app.conf)
        known = type(self)._once_read
        if not known or known[:2] != (self.once, set_here):
            asked = OnceOptions.merge(self.once, set_here)
            known = type(self)._once_read = (dict(self.once), dict(set_here), asked)
        return inherit(known[2], self.app.conf)

    def result_of(self, lock: Lock) -> Any:
        """Return the ``AsyncResult`` of a lock's call, which tells its key."""
        return _tell(self.AsyncResult(lock.owner), lock)

    def queued_seconds(
        self, timeout: float | None, options: Mapping[str, Any], *, kept: bool = False
    ) -> float:
        """Return the seconds to lock a call published with Celery's ``options``.

        ``kept``: for its whole time, also where its message expires before.
        """
        limits = {"expires": self.expires, **options}
        if limits["expires"] is None and MOMENTS.isdisjoint(limits):
            return timeout or conf.timeout
        if kept:
            limits["expires"] = None
        return queued_seconds(timeout or conf.timeout, limits, self.app.timezone)


def _tell(result: Any, lock: Lock | None) -> Any:
    """Let the result of a call tell where its lock is, to whoever wants to know how it stands."""
    setattr(result, KEY, "" if lock is None else lock.key)
    setattr(result, CACHE, "" if lock is None else lock.alias)
    return result


def celery_conf() -> Mapping[str, Any]:
    """Return the configuration of this process's Celery app."""
    configuration: Mapping[str, Any] = current_app.conf
    return configuration
