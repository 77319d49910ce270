"""An incident as a table: who held the key, who asked for it, how it ended."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from django.utils.translation import gettext as _
from django.utils.translation import ngettext

from django_celery_once.admin.holder import Holder, Standing
from django_celery_once.admin.moments import from_epoch, to_the_second
from django_celery_once.models import BlockedAttempt, BlockedDuplicate
from django_celery_once.record import record


@record
class Event:
    """A line of the timeline; ``arguments`` are those of a refused call, where they are kept."""

    when: str
    what: str
    who: str = ""
    where: str = ""
    task_id: str = ""
    arguments: str = ""


def timeline(
    incident: BlockedDuplicate,
    attempts: Sequence[BlockedAttempt],
    holder: Holder,
    holder_name: str,
) -> Iterator[Event]:
    """Yield what happened, from the request that went through to its end, or to now."""
    yield Event(
        to_the_second(incident.held_since),
        _("accepted: this request went through"),
        who=holder_name or _("not known"),
        task_id=incident.holder_task_id,
    )
    for attempt in attempts:
        yield _of_attempt(attempt)
    more = incident.rejections - len(attempts)
    if more > 0:
        text = ngettext(
            "%(count)d more was blocked and only counted",
            "%(count)d more were blocked and only counted, the last of them at this time",
            more,
        )
        when = to_the_second(incident.last_rejection)
        yield Event(when, text % {"count": more}, who=incident.last_requester)
    yield _of_end(incident, holder)


def _of_attempt(attempt: BlockedAttempt) -> Event:
    view = f"({attempt.view_name})" if attempt.view_name else ""
    place = f"{attempt.path} {view}".strip()
    return Event(
        to_the_second(attempt.at),
        attempt.get_policy_display(),
        who=attempt.requester or _("not logged in"),
        where=", ".join(filter(None, [attempt.get_source_display(), place])),
        task_id=attempt.task_id,
        arguments=attempt.arguments,
    )


def _of_end(incident: BlockedDuplicate, holder: Holder) -> Event:
    if incident.released_at is not None:
        words = incident.get_outcome_display() or _("not known")
        text = _("lock freed: %(why)s") % {"why": words}
        return Event(to_the_second(incident.released_at), text)
    lock = holder.lock
    if lock is None or holder.standing not in {Standing.RUNNING, Standing.SILENT}:
        return Event(_("now"), _of_standing(holder.standing))
    when = _("since %(start)s") % {"start": to_the_second(from_epoch(lock.started))}
    return Event(when, _of_standing(holder.standing), where=lock.worker)


def _of_standing(standing: Standing) -> str:
    return {
        Standing.RESERVED: _("reserved until its transaction commits"),
        Standing.PLANNED: _("planned for a time to come"),
        Standing.QUEUED: _("queued"),
        Standing.RUNNING: _("running"),
        Standing.SILENT: _("running, but its worker gives no sign of life"),
        Standing.KEPT: _("ended; its key is kept until its time is up"),
        Standing.GONE: _("lock gone without a word, probably expired"),
        Standing.UNREACHABLE: _("not known: the lock store can't be reached"),
    }[standing]
