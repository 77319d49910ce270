"""Answers to the actions of Django's admin: a message above the list they were started from."""

from __future__ import annotations

from dataclasses import replace

from django.contrib import messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.utils.translation import gettext as _

from django_celery_once import answers
from django_celery_once.answers import Answer
from django_celery_once.exceptions import AlreadyQueued, LockUnavailable
from django_celery_once.wording import Asker, asker_of


def is_action(request: HttpRequest) -> bool:
    """Return whether a request is an action on what was selected in a list of some admin site.

    The list's own *Save* is none: whoever has edited something wants to keep it.
    """
    match = request.resolver_match
    return (
        match is not None
        and "admin" in match.app_names
        and (match.url_name or "").endswith("_changelist")
        and request.method == "POST"
        and "_save" not in request.POST
    )


def respond(request: HttpRequest, error: AlreadyQueued | LockUnavailable) -> HttpResponseBase:
    """Return to the list, as it was filtered, and tell there what kept an action from its end."""
    answer = answers.to_error(error, request, label=_name(error, request))
    answer = replace(answer, level=max(answer.level, messages.WARNING))
    if _selected_several(request):
        answer = replace(answer, detail=_in_part(error, answer))
    return answers.redirect(request, answer, request.get_full_path())


def _name(error: AlreadyQueued | LockUnavailable, request: HttpRequest) -> str:
    """Return words for the one of several tasks that is the duplicate."""
    if isinstance(error, LockUnavailable):
        return ""
    own = error.label if asker_of(error, request) is Asker.SELF else ""
    return own or error.task_name


def _selected_several(request: HttpRequest) -> bool:
    everything = request.POST.get("select_across") == "1"
    return everything or len(request.POST.getlist(ACTION_CHECKBOX_NAME)) > 1


def _in_part(error: AlreadyQueued | LockUnavailable, answer: Answer) -> str:
    """Return what to tell where some tasks may have been queued before."""
    if isinstance(error, LockUnavailable):
        return _(
            "We couldn't confirm your request, or not all of it: some of it may be on its way. "
            "Please try again."
        )
    # Translators: it follows a sentence about the task that is already queued.
    more = _("The action stopped there: whatever was to come after it was left out.")
    return f"{answer.detail} {more}"
