"""Answers within Django's admin: a message on the page that was used, and what was not saved."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from copy import copy
from dataclasses import replace
from enum import Enum
from http import HTTPStatus
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from django.contrib import messages
from django.contrib.admin.helpers import ACTION_CHECKBOX_NAME
from django.db import connections, router
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from django_celery_once import answers
from django_celery_once.answers import Answer
from django_celery_once.exceptions import AlreadyQueued, NotQueued
from django_celery_once.record import record
from django_celery_once.wording import Asker, Wording, asker_of

if TYPE_CHECKING:
    from django.contrib.admin import ModelAdmin

    Admin = ModelAdmin[Any]

#: The field that names an action on a change form (Django 6.1), and the buttons that save.
FORM_ACTION = "CHANGE_FORM-action"
SAVING = {"_save", "_continue", "_addanother", "_saveasnew"}

#: The sentences without the advice not to send it again: what belongs to it was not saved.
UNDER_WAY = Wording(
    own=_("Your %(label)s is already being prepared."),
    own_since=_("Your %(label)s is already being prepared (started %(ago)s)."),
    unknown=_("This %(label)s is already being prepared (started %(ago)s)."),
)


class Deed(Enum):
    """What a page of the admin was to do, and what to tell where all of it was undone."""

    # Translators: these follow a sentence about the task that is already queued.
    SAVE = _("Nothing of what you entered was saved. Please save it again later.")
    DELETE = _("Nothing was deleted. Please try again later.")
    ACT = _("The action stopped there, and nothing that it had changed was saved.")


@record
class Use:
    """What was done to a page of some admin site; ``view`` is its name in the ``ModelAdmin``."""

    deed: Deed
    admin: Admin
    view: str


def use_of(request: HttpRequest) -> Use | None:
    """Return what a request was to do; ``None`` where it only looks, or for a project's view."""
    match = request.resolver_match
    admin = None if match is None else getattr(match.func, "model_admin", None)
    if match is None or admin is None or request.method != "POST":
        return None
    prefix = f"{admin.opts.app_label}_{admin.opts.model_name}_"
    page = (match.url_name or "").removeprefix(prefix)
    saves = not SAVING.isdisjoint(request.POST)
    if page == "changelist":
        return Use(Deed.SAVE if saves else Deed.ACT, admin, "changelist_view")
    if page in {"add", "change"}:
        acts = FORM_ACTION in request.POST and not saves
        return Use(Deed.ACT if acts else Deed.SAVE, admin, f"{page}_view")
    return Use(Deed.DELETE, admin, "delete_view") if page == "delete" else None


def respond(request: HttpRequest, error: AlreadyQueued | NotQueued, use: Use) -> HttpResponseBase:
    """Return to the page, and tell there what kept it from its end, and what was not saved.

    A form is shown with what was typed; a list as it was filtered.
    """
    undone = _is_undone(request, use)
    answer = _answer(request, error, use.deed, undone=undone)
    if undone:
        answers.take_back_success(request)
        if use.deed is Deed.SAVE and answers.prefers_page(request):
            page = _form_again(request, use, answer)
            if page is not None:
                return page
    return answers.redirect(request, answer, request.get_full_path())


def _is_undone(request: HttpRequest, use: Use) -> bool:
    """Return whether all was done in a transaction, which has been rolled back since."""
    written = router.db_for_write(use.admin.model)
    rows: Any = use.admin.get_queryset(request)
    used = rows._db or written  # an admin may name a database itself
    view: Any = request.resolver_match and request.resolver_match.func
    if connections[used].settings_dict["ATOMIC_REQUESTS"]:
        return used not in getattr(view, "_non_atomic_requests", ())
    in_transaction = use.deed is not Deed.ACT or use.view != "changelist_view"
    return in_transaction and used == written


def _answer(
    request: HttpRequest, error: AlreadyQueued | NotQueued, deed: Deed, *, undone: bool
) -> Answer:
    answer = answers.to_error(error, request, label=_name(error, request), wording=UNDER_WAY)
    answer = replace(answer, level=max(answer.level, messages.WARNING))
    if isinstance(error, NotQueued):
        return replace(answer, detail=_outage(answer, request, deed, undone=undone))
    if undone:
        more = str(deed.value)
    elif deed is Deed.ACT:
        # Translators: it follows a sentence about the task that is already queued.
        more = gettext("The action stopped there: whatever was to come after it was left out.")
    else:
        # Translators: it follows a sentence about the task that is already queued.
        more = gettext("Not all of it was done: please look what was saved and what was not.")
    return replace(answer, detail=f"{answer.detail} {more}")


def _outage(answer: Answer, request: HttpRequest, deed: Deed, *, undone: bool) -> str:
    if undone:
        return gettext("We couldn't confirm your request. Nothing was changed; please try again.")
    if deed is Deed.ACT and not _selected_several(request):
        return answer.detail
    return gettext(
        "We couldn't confirm your request, or not all of it: some of it may be on its way. "
        "Please try again."
    )


def _name(error: AlreadyQueued | NotQueued, request: HttpRequest) -> str:
    """Return words for the one of several tasks that is the duplicate."""
    if isinstance(error, NotQueued):
        return ""
    own = error.label if asker_of(error, request) is Asker.SELF else ""
    return own or error.task_name


def _selected_several(request: HttpRequest) -> bool:
    everything = request.POST.get("select_across") == "1"
    return everything or len(request.POST.getlist(ACTION_CHECKBOX_NAME)) > 1


def _form_again(request: HttpRequest, use: Use, answer: Answer) -> HttpResponse | None:
    """Return the page as after an error in its form; ``None`` where it ends as before."""
    match: Any = request.resolver_match
    admin = copy(use.admin)
    for name in ("get_form", "get_changelist_formset"):
        setattr(admin, name, _refusing(getattr(use.admin, name)))
    try:
        page: HttpResponse = getattr(admin, use.view)(request, *match.args, **match.kwargs)
    except (AlreadyQueued, NotQueued):
        return None
    if page.status_code == HTTPStatus.OK:
        messages.add_message(request, answer.level, answer.detail, fail_silently=True)
        answers.finish(request, page, answer)
    return page


class _Unsaved:
    """What a form, or a formset, is that can't be saved though nothing is wrong with it."""

    errors: Mapping[str, Any] = MappingProxyType({})

    def is_valid(self) -> bool:
        return False


def _refusing(make: Callable[..., type[Any]]) -> Callable[..., type[Any]]:
    """Return what makes a form or formset as ``make`` does, but one that is not to be saved."""

    def made(*args: Any, **kwargs: Any) -> type[Any]:
        kind = make(*args, **kwargs)
        return type(kind.__name__, (_Unsaved, kind), {})

    return made
