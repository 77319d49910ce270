"""What people are told: whose the report under way is, and since when."""

from __future__ import annotations

import math
from datetime import UTC, datetime
from enum import Enum
from typing import TYPE_CHECKING

from django.contrib.messages import INFO, WARNING
from django.template.loader import render_to_string
from django.utils import timezone
from django.utils.formats import date_format
from django.utils.functional import Promise
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from django.utils.translation import gettext, ngettext, pgettext
from django.utils.translation import gettext_lazy as _

from django_celery_once.audience import who
from django_celery_once.exceptions import AlreadyQueued
from django_celery_once.record import record
from django_celery_once.requester import Requester

if TYPE_CHECKING:
    from django.http import HttpRequest

    Words = str | Promise

#: How long a second submit is taken for a double click, in seconds.
JUST_NOW = 10
MINUTE, HOUR, DAY = 60, 3600, 86400


class Asker(Enum):
    """Who asked for what is under way, as seen by the person who asks again."""

    SELF = "the same person"
    ANOTHER = "somebody else"
    UNKNOWN = "nobody can tell"

    @property
    def level(self) -> int:
        """Return the level of the message, as ``django.contrib.messages`` counts."""
        return WARNING if self is Asker.ANOTHER else INFO


def asker_of(duplicate: AlreadyQueued, request: HttpRequest | None) -> Asker:
    """Return who asked first, as far as logins tell, and the browsers of those without."""
    known = Requester("web", request=request)
    first, now = duplicate.requested_by, known.user_id
    asked = who(first, duplicate.visitor)
    if asked and asked == who(now, known.visitor):
        return Asker.SELF
    return Asker.ANOTHER if first and now else Asker.UNKNOWN


def seconds_since(duplicate: AlreadyQueued) -> float:
    """Return the seconds since the accepted call; 0 where nobody knows."""
    if duplicate.since is None:
        return 0.0
    return max(0.0, timezone.now().timestamp() - duplicate.since.timestamp())


def ago(seconds: float) -> str:
    """Return ``just now``, ``4 minutes ago``, ``2 hours ago``, in the current language."""
    whole = int(seconds)
    if whole < JUST_NOW:
        return gettext("just now")
    if whole < MINUTE:
        text = ngettext("%(count)d second ago", "%(count)d seconds ago", whole)
        return text % {"count": whole}
    if whole < HOUR:
        count = whole // MINUTE
        text = ngettext("%(count)d minute ago", "%(count)d minutes ago", count)
    elif whole < DAY:
        count = whole // HOUR
        text = ngettext("%(count)d hour ago", "%(count)d hours ago", count)
    else:
        count = whole // DAY
        text = ngettext("%(count)d day ago", "%(count)d days ago", count)
    return text % {"count": count}


def ahead(seconds: float) -> str:
    """Return ``in 30 seconds``, ``in 4 minutes``, rounded up, in the current language."""
    if seconds <= MINUTE:
        count = math.ceil(seconds)
        text = ngettext("in %(count)d second", "in %(count)d seconds", count)
    elif seconds <= HOUR:
        count = math.ceil(seconds / MINUTE)
        text = ngettext("in %(count)d minute", "in %(count)d minutes", count)
    elif seconds <= DAY:
        count = math.ceil(seconds / HOUR)
        text = ngettext("in %(count)d hour", "in %(count)d hours", count)
    else:
        count = math.ceil(seconds / DAY)
        text = ngettext("in %(count)d day", "in %(count)d days", count)
    return text % {"count": count}


def at(moment: datetime) -> str:
    """Return ``5:24 p.m.``, with the date unless it is today, in the current language and zone."""
    local = timezone.localtime(moment)
    today = local.date() == timezone.localtime(datetime.now(UTC)).date()
    return date_format(local, "TIME_FORMAT" if today else "DATETIME_FORMAT")


@record
class Wording:
    """The sentences for people, each of which can be another.

    ``%(label)s`` is the thing that was asked for, ``%(ago)s`` since when ("4 minutes ago"),
    ``%(ahead)s`` when it can be had again, ``%(when)s`` for when it is planned and ``%(name)s``
    who else asked. A ``template`` is rendered instead of all sentences about duplicates, with
    ``sentence``, ``label``, ``ago``, ``ahead``, ``when``, ``name``, ``asker`` (a name of
    ``Asker``) and ``duplicate``.
    """

    # Translators: %(label)s is a noun of any gender, without an article: "monthly report".
    own: Words = _("Your %(label)s is already being prepared. You don't need to send it again.")
    own_since: Words = _(
        "Your %(label)s is already being prepared (started %(ago)s). "
        "You don't need to send it again."
    )
    # Translators: %(ago)s is "4 minutes ago" or "just now"; %(name)s is a person.
    another: Words = _("%(name)s already asked for this %(label)s %(ago)s.")
    another_without_label: Words = _("%(name)s already asked for this %(ago)s.")
    unknown: Words = _(
        "This %(label)s is already being prepared (started %(ago)s). "
        "You don't need to send it again."
    )
    # Translators: %(ahead)s is "in 4 minutes".
    kept: Words = _(
        "This %(label)s was already made (asked for %(ago)s). You can ask for it again %(ahead)s."
    )
    # Nothing is queued yet, and maybe never is: this promises nothing.
    reserved: Words = _(
        "This %(label)s is being submitted right now. If nothing comes of that, please send it "
        "again."
    )
    # Translators: %(when)s is "5:24 p.m." or "Dec. 1, 2026, 5:24 p.m.".
    planned: Words = _(
        "Your %(label)s is already planned (for %(when)s). You don't need to send it again."
    )
    planned_by_another: Words = _(
        "%(name)s already asked for this %(ago)s; it is planned (for %(when)s)."
    )
    planned_by_unknown: Words = _(
        "This %(label)s is already planned (for %(when)s). You don't need to send it again."
    )
    unavailable: Words = _(
        "We couldn't confirm your request. Nothing was submitted; please try again."
    )
    # Nobody should send again what is saved already.
    saved_only: Words = _(
        "What you sent was saved, but we couldn't start to work on it. Please tell us, and don't "
        "send it again."
    )
    saved_too_late: Words = _(
        "What you sent was saved, but nothing new was started for it, since the same was already "
        "asked for."
    )
    template: str = ""

    def already_queued(
        self, duplicate: AlreadyQueued, asker: Asker, *, label: Words = "", name: str = ""
    ) -> str:
        """Return what to tell of a duplicate.

        Without a ``label`` the task's own is used, where it is the asker's: it may hold what
        somebody else has typed. Without a ``name`` somebody else is a colleague.
        """
        seconds = seconds_since(duplicate)
        label = label or (duplicate.label if asker is Asker.SELF else "")
        kept = duplicate.phase == "kept"
        begins = duplicate.begins if duplicate.phase == "planned" else None
        words = {
            # Translators: the %(label)s of the sentences, where nothing better is known.
            "label": label or pgettext("what somebody asked for", "request"),
            "ago": ago(seconds),
            "ahead": ahead(duplicate.countdown) if kept else "",
            "when": "" if begins is None else at(begins),
            "name": name or gettext("A colleague"),
        }
        chosen = self._of_phase(duplicate, asker) or self._choose(asker, seconds, bool(label))
        sentence = capfirst(str(chosen) % words)
        if not self.template:
            return sentence
        more = {"sentence": sentence, "asker": asker.name, "duplicate": duplicate}
        return SafeString(render_to_string(self.template, {**words, **more}).strip())

    def lock_unavailable(self) -> str:
        """Return what to tell of an outage of the lock store, or of the broker."""
        return str(self.unavailable)

    def saved_before(self) -> str:
        """Return what to tell where the data is saved, and its call was then found to be there."""
        return str(self.saved_too_late)

    def only_saved(self) -> str:
        """Return what to tell where the data is saved, and its call could not be queued."""
        return str(self.saved_only)

    def _of_phase(self, duplicate: AlreadyQueued, asker: Asker) -> Words | None:
        """Return what is told where no run is queued for now or under way."""
        if duplicate.phase == "planned" and duplicate.begins is not None:
            by_others = {
                Asker.ANOTHER: self.planned_by_another,
                Asker.UNKNOWN: self.planned_by_unknown,
            }
            return by_others.get(asker, self.planned)
        return {"kept": self.kept, "reserved": self.reserved}.get(duplicate.phase)

    def _choose(self, asker: Asker, seconds: float, has_label: bool) -> Words:
        if asker is Asker.SELF:
            return self.own if seconds < JUST_NOW else self.own_since
        if asker is Asker.UNKNOWN:
            return self.unknown
        return self.another if has_label else self.another_without_label


STANDARD = Wording()
