"""``QueueOnce``: the base class of tasks that are queued once at a time."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar, cast

from celery.app.annotations import resolve_all
from celery.app.task import Context
from celery.contrib.django.task import DjangoTask

from django_celery_once import claiming, leftovers, policies, settling, transactions
from django_celery_once.arguments import Call
from django_celery_once.binding import bind, key_of_call
from django_celery_once.claims import Claim
from django_celery_once.conf import conf
from django_celery_once.definition import define
from django_celery_once.gate import GUARDED, answer_of, is_traced, keep_guard
from django_celery_once.header import CACHE, KEY, NAME, TASK, read_header
from django_celery_once.locks import Lock
from django_celery_once.options import OnceOptions
from django_celery_once.predecessor import inherit
from django_celery_once.republishing import Again, headers_of
from django_celery_once.reservations import Reservation
from django_celery_once.running import run_of
from django_celery_once.unqueued import tell_of_broker
from django_celery_once.waits import MOMENTS, queued_seconds

if TYPE_CHECKING:
    _Task = DjangoTask[Any, Any]
else:
    _Task = DjangoTask


class Guarded(_Task):
    """What a ``QueueOnce`` task does, after all that a project's own base classes do.

    A base class that sends something along, such as the tenant, does so in its ``apply_async``.
    The lock is taken for the call that this makes, in whichever order a task's bases are named:
    a call that waits, to be published later, would lack it otherwise.
    """

    abstract = True
    once: ClassVar[Mapping[str, Any]] = {}
    #: Whether it is one of Celery's own tasks, which have this class by ``task_cls``.
    once_exempt: ClassVar[bool] = False
    #: What ``track_started`` says: a run is told as started when the guard has let it in.
    once_track_started: ClassVar[bool] = False
    #: The ``once`` of the class itself, and of its annotations; ``once`` has its bases' merged in.
    _once_given: ClassVar[tuple[Mapping[str, Any], ...]]
    _once_signature: ClassVar[inspect.Signature]
    _once_parameters: ClassVar[Mapping[str, inspect.Parameter] | None]
    _once_validate: ClassVar[Any]
    #: The options of the task's calls, and what they were read from.
    _once_read: ClassVar[tuple[Any, ...]] = ()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Check the options, and keep the guard where a subclass has hooks of its own."""
        super().__init_subclass__(**kwargs)
        after = cls.__mro__[cls.__mro__.index(Guarded) :]
        if not set(after) <= set(Guarded.__mro__):  # named last, it comes after them all
            cls.__bases__ = (*cls.__bases__, Guarded)
        cls.once_exempt = cls.__module__.partition(".")[0] == "celery"
        keep_guard(cls)
        define(cls)

    @classmethod
    def annotate(cls) -> None:
        """Apply ``task_annotations``, and keep the guard where they replace a hook.

        Celery would tell that a run has started before the guard has let it in.
        """
        super().annotate()
        keep_guard(cls)
        app: Any = cls.app
        annotations: Any = resolve_all(app.annotations, cls)
        define(cls, *(each["once"] for each in annotations if "once" in each))
        if not cls.once_exempt:
            cls.once_track_started = cls.once_track_started or bool(cls.track_started)
            cls.track_started = False

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
        once: Mapping[str, Any] | Reservation | Claim | Again | None = None,
        **options: Any,
    ) -> Any:
        """Take the lock of this call and queue it, or answer as for a duplicate.

        ``once`` overrides the task's options for this call (a ``Reservation``, or the ``Claim`` of
        a call that is settled, gives itself here); the rest is as in
        ``celery.app.task.Task.apply_async``. Return the ``AsyncResult``: for a duplicate that
        joins, the holder's; for one that asks for a rerun, that run's; and for a rejected one
        ``EagerResult(None, None, "REJECTED")``. Raise ``AlreadyQueued`` for any other duplicate,
        ``LockUnavailable`` when the lock store can't be reached, ``BrokerUnavailable`` (Celery's
        ``OperationalError``) when the broker can't, ``ImproperlyConfigured`` for a
        duplicate's ``link`` that no result can reach, and what publishing raises; in each case
        nothing was queued and no lock is left.
        """
        if self.once_exempt:
            return super().apply_async(
                args, kwargs, task_id, producer, link, link_error, shadow, **options
            )
        headers = dict(options.pop("headers", None) or {})
        options.update(link=link, link_error=link_error, shadow=shadow, headers=headers)
        if isinstance(once, Again):
            once.passed = True
            headers.update(once.headers_for(self, task_id))
            return super().apply_async(args, kwargs, task_id, producer, **options)
        call, claim = Call.of(args, kwargs, options), cast("Any", once)
        if not isinstance(once, Claim):
            claim = claiming.carried_claim(self, task_id, headers, call, options)
        if claim is None:
            asked, reserved = self._asked(once)
            awaited = {"link": link, "link_error": link_error, "task_id": task_id}
            claim = settling.settle(self, call, asked, reserved, options, awaited)
        if not isinstance(claim, Claim):
            return claim  # the answer to a duplicate
        headers[NAME] = claim.header.as_message(self.name, claim.lock.owner)
        try:
            result = super().apply_async(args, kwargs, claim.lock.owner, producer, **options)
        except BaseException as error:
            claim.give_back(type(self))
            tell_of_broker(error, self.name)
            raise
        leftovers.note_queued(claim.lock.owner)
        if claim.holder is not None and not claim.header.follows:
            return self.result_of(claim.holder)
        # One that waits for its turn has no lock yet.
        return _tell(result, self.name, claim.lock if claim.header.until != "running" else None)

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
        using: str | None = None,
        **options: Any,
    ) -> Any:
        """Take the lock now and queue the call when the transaction commits.

        That is the transaction of the database ``using`` or, without it, the one that is open;
        raise ``TransactionManagementError`` where several are. Return and raise now what
        ``apply_async`` would; at the commit, nothing is raised (see
        ``Reservation.apply_async_on_commit``). Outside a transaction, do as ``apply_async``.
        """
        connection = transactions.to_wait_for(using)
        if connection is None:
            return self.apply_async(args, kwargs, task_id=task_id, once=once, **options)
        return settling.publish_at_commit(self, args, kwargs, once, connection, task_id, options)

    def signature_from_request(
        self,
        request: Any = None,
        args: Any = None,
        kwargs: Any = None,
        queue: str | None = None,
        **options: Any,
    ) -> Any:
        """Return what a retry publishes, with all the headers that its message was sent with.

        Celery forgets those beside which a tracer has nested its own.
        """
        request = self.request if request is None else request
        header = None if request.is_eager else read_header(request)
        if header is not None:
            own = {NAME: header.as_message(self.name, request.id)}
            request = Context({**vars(request), "headers": {**headers_of(request), **own}})
        return super().signature_from_request(request, args, kwargs, queue, **options)

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the body, or return what stands for it where the run is that of a duplicate.

        A call of the tracer's runs under the request that is there; any other, also one out of
        the body, has a request of its own (as in ``celery.app.trace``, which sees to that in
        workers only).
        """
        request: Any = self.request_stack.top
        if not is_traced(request):
            return super().__call__(*args, **kwargs)
        answer = answer_of(self, request)
        request._protected = 1
        return self.run(*args, **kwargs) if answer is None else answer[0]

    setattr(__call__, GUARDED, True)

    def _asked(self, once: Any) -> tuple[OnceOptions, Lock | None]:
        if isinstance(once, Reservation):
            return once.asked, once.lock
        return self.once_options(once), None

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
        """Return the ``AsyncResult`` of a lock's call, which tells its key, as published."""
        return _tell(self.AsyncResult(lock.owner), self.name, lock)

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


class QueueOnce(Guarded):
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


keep_guard(QueueOnce)


def _tell(result: Any, task_name: str, lock: Lock | None) -> Any:
    """Let the result of a call tell where its lock is, to whoever wants to know how it stands."""
    setattr(result, TASK, task_name)
    setattr(result, KEY, "" if lock is None else lock.key)
    setattr(result, CACHE, "" if lock is None else lock.alias)
    result.published = True
    return result
