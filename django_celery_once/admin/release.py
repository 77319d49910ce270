"""Releasing a lock in the admin: what is asked before, and what is done."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from django import forms
from django.contrib import messages
from django.contrib.auth import get_user_model
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed
from django.shortcuts import redirect
from django.utils.crypto import constant_time_compare
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from django_celery_once import live
from django_celery_once.admin.listing import Holding
from django_celery_once.exceptions import LockUnavailable
from django_celery_once.locks import Lock
from django_celery_once.models import HeldLock

if TYPE_CHECKING:
    from django_celery_once.admin.locks import HeldLockAdmin

logger = logging.getLogger(__name__)


class ReleaseForm(forms.Form):
    """What somebody who releases a lock says."""

    reason = forms.CharField(
        label=_("Reason"),
        max_length=200,
        help_text=_("Kept in the history, at most 200 characters."),
        widget=forms.TextInput(attrs={"class": "vTextField", "autocomplete": "off"}),
    )
    twice = forms.BooleanField(
        label=_("Release it although its worker is alive: this may run twice."),
    )
    revoke = forms.BooleanField(
        label=_("Also revoke the task: drop it if it waits, end it if it runs."),
        required=False,
    )

    def __init__(self, holding: Holding, data: Any = None) -> None:
        super().__init__(data)
        if not holding.is_living:
            del self.fields["twice"]


class ReleaseView:
    """One POST to a lock's release: the first shows what is asked, the second does it."""

    def __init__(self, admin: HeldLockAdmin, request: HttpRequest, key: str) -> None:
        self.admin = admin
        self.request = request
        self.key = key
        #: Where the list has seen the lock, if locks are in several caches.
        self.cache = request.GET.get("cache", "")

    def answer(self) -> HttpResponse:
        """Return the confirmation page, or do what was confirmed."""
        if self.request.method != "POST":
            return HttpResponseNotAllowed(["POST"])
        if not self.admin.has_release_permission(self.request):
            raise PermissionDenied
        try:
            return self._answer()
        except LockUnavailable:
            logger.warning("The lock %s can't be released now", self.key, exc_info=True)
            return self._back(
                messages.ERROR,
                gettext(
                    "The lock store did not answer. Whether the lock was released is not known."
                ),
            )

    def _answer(self) -> HttpResponse:
        held = live.look_up(self.key, self.cache)
        posted = self.request.POST
        if held is None or not constant_time_compare(Holding(held).mark, posted.get("mark", "")):
            return self._gone(held)
        confirmed = "confirmed" in posted
        form = ReleaseForm(Holding(held), posted if confirmed else None)
        if not (confirmed and form.is_valid()):
            return self._ask(held, form)
        return self._release(held, form.cleaned_data["reason"], form.cleaned_data["revoke"])

    def _ask(self, held: Lock, form: ReleaseForm) -> HttpResponse:
        context = {
            "title": gettext("Release a lock"),
            "form": form,
            "holding": Holding(held),
            "cache": self.cache and held.alias,
            "requester": user_label(held.requester),
            "back": self.admin.list_url(),
        }
        return self.admin.render(self.request, self.admin.release_template, context)

    def _release(self, seen: Lock, reason: str, revoke: bool) -> HttpResponse:
        last = live.free(seen, by=self.request.user.get_username(), reason=reason)
        if last is None:
            return self._gone(live.look_up(self.key, self.cache))
        words = {"what": Holding(last).what, "task": last.owner, "reason": reason}
        done = gettext("Released the lock of %(what)s, task %(task)s: %(reason)s") % words
        if not revoke:
            level, told = messages.SUCCESS, gettext("The lock of %(what)s is free.") % words
        elif self._revoke(last):
            done = gettext("%(done)s (and revoked the task)") % {"done": done}
            level = messages.SUCCESS
            told = gettext("The lock of %(what)s is free and task %(task)s is revoked.") % words
        else:
            level = messages.WARNING
            told = (
                gettext(
                    "The lock of %(what)s is free, but task %(task)s is not revoked: the "
                    "broker can't be reached."
                )
                % words
            )
        self.admin.log_change(self.request, HeldLock(key=last.key), done)
        return self._back(level, told)

    def _revoke(self, lock: Lock) -> bool:
        try:
            live.revoke(lock)
        except Exception:
            # Each broker's client has errors of its own; the lock is free all the same.
            logger.warning("The task %s can't be revoked", lock.owner, exc_info=True)
            return False
        return True

    def _gone(self, held: Lock | None) -> HttpResponse:
        if held is None:
            return self._back(messages.INFO, gettext("The lock is free already."))
        return self._back(
            messages.WARNING,
            gettext("This is another lock now, or its task has started. Nothing was done."),
        )

    def _back(self, level: int, words: str) -> HttpResponse:
        self.admin.message_user(self.request, words, level)
        return redirect(self.admin.list_url())


def user_label(user_id: str) -> str:
    """Return who asked for a task, or nothing: a visitor, or a user who is no more."""
    if not user_id:
        return ""
    try:
        user = get_user_model()._default_manager.filter(pk=user_id).first()
    except (ValueError, ValidationError):
        return ""
    return "" if user is None else str(user)
