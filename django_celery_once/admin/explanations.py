"""An incident in plain words: what happened, and what to do about it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from django.utils.text import capfirst
from django.utils.translation import gettext as _
from django.utils.translation import gettext_lazy, ngettext

from django_celery_once.admin.holder import Holder, Standing
from django_celery_once.admin.moments import duration, from_epoch, in_a_sentence
from django_celery_once.locks import Lock
from django_celery_once.models import BlockedDuplicate

if TYPE_CHECKING:
    from django.utils.functional import _StrOrPromise

Outcome = BlockedDuplicate.Outcome

_OF_OUTCOME: Mapping[str, _StrOrPromise] = {
    Outcome.SUCCESS: gettext_lazy("Nothing to do: the request of %(since)s succeeded at %(end)s."),
    Outcome.FAILURE: gettext_lazy(
        "The request of %(since)s failed at %(end)s. Its lock is free: find out why it failed, "
        "then ask again."
    ),
    Outcome.IGNORED: gettext_lazy(
        "The request of %(since)s stopped at %(end)s by its own decision (Ignore). Its lock is "
        "free: ask again if it is still wanted."
    ),
    Outcome.REJECTED: gettext_lazy(
        "The request of %(since)s was turned away by its own task (Reject) at %(end)s. Its lock "
        "is free: ask again if it is still wanted."
    ),
    Outcome.REVOKED: gettext_lazy(
        "The request of %(since)s was revoked, or expired, at %(end)s. Its lock is free: ask "
        "again if it is still wanted."
    ),
    Outcome.KILLED: gettext_lazy(
        "The process that worked on the request of %(since)s was killed at %(end)s. Its lock is "
        "free: ask again."
    ),
    Outcome.STARTED: gettext_lazy(
        "Nothing to do: a worker began with the request of %(since)s at %(end)s. From then on, "
        "the next one was let through."
    ),
    Outcome.RELEASED: gettext_lazy(
        "Somebody released the lock of the request of %(since)s at %(end)s. Ask again if it is "
        "still wanted."
    ),
    Outcome.WITHDRAWN: gettext_lazy(
        "The request of %(since)s was taken back at %(end)s, before it was queued: its transaction "
        "was rolled back, or the broker did not take it. Ask again if it is still wanted."
    ),
}

_ENDED = gettext_lazy(
    "The request of %(since)s ended at %(end)s; how is not recorded. Its lock is free: ask again "
    "if nothing came of it."
)

# What django-celery-results has to say where the lock ended without a word.
_OF_RESULT: Mapping[str, _StrOrPromise] = {
    "SUCCESS": gettext_lazy(
        "Nothing to do: the request of %(since)s succeeded, according to its stored result."
    ),
    "FAILURE": gettext_lazy(
        "The request of %(since)s failed, according to its stored result. Find out why it failed, "
        "then ask again."
    ),
    "REVOKED": gettext_lazy(
        "The request of %(since)s was revoked, according to its stored result. Ask again if it is "
        "still wanted."
    ),
}


def story(incident: BlockedDuplicate, holder_name: str = "") -> str:
    """Return sentences about who was blocked, by what and why.

    ``holder_name`` is the person who made the request that went through, if that is known.
    """
    text = ngettext(
        "%(who)s asked for “%(what)s” again at %(last)s and was blocked, because the request of "
        "%(since)s was still under way.",
        "“%(what)s” was asked for %(count)d more times, last by %(who)s at %(last)s. Each time it "
        "was blocked, because the request of %(since)s was still under way.",
        incident.rejections,
    )
    sentence = text % {
        "what": incident.label or incident.task_name,
        "count": incident.rejections,
        "last": in_a_sentence(incident.last_rejection),
        "who": incident.last_requester or _("somebody who was not logged in"),
        "since": in_a_sentence(incident.held_since),
    }
    if not incident.last_requester:
        sentence = capfirst(sentence)  # but never somebody's name
    if not holder_name:
        return sentence
    return " ".join([sentence, _("That request was made by %(name)s.") % {"name": holder_name}])


def advice(incident: BlockedDuplicate, holder: Holder, result: str = "") -> str:
    """Return what to do now; ``result`` is the task's state in django-celery-results."""
    since = in_a_sentence(incident.held_since)
    if incident.released_at is not None:
        words = _OF_OUTCOME.get(incident.outcome, _ENDED)
        return str(words) % {"since": since, "end": in_a_sentence(incident.released_at)}
    if holder.lock is not None:
        return _of_lock(holder.standing, holder.lock, since)
    if result in _OF_RESULT:
        return str(_OF_RESULT[result]) % {"since": since}
    if holder.standing is Standing.GONE:
        text = _(
            "The lock of the request of %(since)s is gone without a word; probably it expired. Ask "
            "again if nothing came of it."
        )
    else:
        text = _(
            "The lock store can't be reached, so nobody can tell how the request of %(since)s "
            "stands. Bring the store back first, then look here again."
        )
    return text % {"since": since}


def _of_lock(standing: Standing, lock: Lock, since: str) -> str:
    if standing is Standing.RESERVED:
        text = _(
            "The request of %(since)s waits for its transaction to commit, and is queued then. Its "
            "lock is freed in %(left)s at the latest."
        )
    elif standing is Standing.PLANNED:
        text = _(
            "Nothing to do but wait: the request of %(since)s is planned for %(begins)s. Unless a "
            "worker begins with it then, its lock is freed in %(left)s."
        )
    elif standing is Standing.QUEUED:
        text = _(
            "Wait: the request of %(since)s is queued for a worker, for its time or for another "
            "try. If the workers are idle, check that one of them serves its queue. Unless one "
            "begins with it, its lock is freed in %(left)s."
        )
    elif standing is Standing.KEPT:
        text = _(
            "Nothing to do: the request of %(since)s has ended. Its task runs at most once in its "
            "time; the next request is let through in %(left)s, or when you release the lock."
        )
    elif standing is Standing.RUNNING:
        text = _(
            "Nothing to do but wait: the request of %(since)s has been running on %(worker)s "
            "since %(started)s."
        )
    else:
        text = _(
            "The lock has no living worker; release it. The request of %(since)s was running on "
            "%(worker)s, whose last sign of life was %(silence)s ago. Left alone, the lock is "
            "freed in %(left)s."
        )
    return text % {
        "since": since,
        "worker": lock.worker or _("a worker"),
        "started": in_a_sentence(from_epoch(lock.started)),
        "begins": in_a_sentence(from_epoch(lock.begins)),
        "left": duration(lock.remaining),
        "silence": duration(lock.silence),
    }
