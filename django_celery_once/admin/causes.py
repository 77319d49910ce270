"""Why a task was asked for twice, as far as the log tells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta

from django.db.models import TextChoices
from django.utils.translation import gettext_lazy as _

from django_celery_once.models import BlockedAttempt, BlockedDuplicate

Source = BlockedAttempt.Source

#: Up to here, a person who asks again has not read the first answer.
DOUBLE_CLICK = timedelta(seconds=5)


class Cause(TextChoices):
    """What probably happened."""

    STUCK = "stuck", _("a stuck lock, with no living worker behind it")
    DOUBLE_CLICK = "double click", _("a double click (asked again within seconds)")
    IMPATIENCE = "impatience", _("impatience (the same person asked again while waiting)")
    TWO_PEOPLE = "two people", _("two people, or more, wanted the same")
    SCHEDULE = "schedule", _("an overlapping schedule (the last run was not over yet)")
    TASK = "task", _("another task asked for it as well")
    PROGRAM = "program", _("a command or program asked for it as well")
    MIXED = "mixed", _("it was asked for from different places")
    UNKNOWN = "unknown", _("not known, since the log does not tell who asked each time")


_OF_SOURCE: Mapping[str, Cause] = {
    Source.BEAT: Cause.SCHEDULE,
    Source.WORKER: Cause.TASK,
    Source.COMMAND: Cause.PROGRAM,
    Source.OTHER: Cause.PROGRAM,
}


def probable_cause(
    incident: BlockedDuplicate, attempts: Sequence[BlockedAttempt], *, stuck: bool = False
) -> Cause:
    """Return the cause of an incident, from who asked when, and from where.

    ``stuck``: its lock is held now, and by nobody who lives.
    """
    if stuck:
        return Cause.STUCK
    causes = {_OF_SOURCE.get(each.source) for each in attempts}
    if len(causes) > 1:
        return Cause.MIXED
    return (causes.pop() if causes else Cause.UNKNOWN) or _of_people(incident, attempts)


def _of_people(incident: BlockedDuplicate, attempts: Sequence[BlockedAttempt]) -> Cause:
    people = {incident.holder_user_id, *(each.user_id for each in attempts)}
    known = people - {None}
    # Users who were deleted since have left their names.
    names = {each.requester for each in attempts} - {""}
    if len(known) > 1 or len(names) > 1:
        return Cause.TWO_PEOPLE
    # Nobody is known on a site without login; seconds apart, it still was one hand.
    if len(people) == 1 and incident.last_rejection - incident.held_since <= DOUBLE_CLICK:
        return Cause.DOUBLE_CLICK
    return Cause.IMPATIENCE if people == known else Cause.UNKNOWN
