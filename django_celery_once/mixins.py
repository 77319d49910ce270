"""Views that answer a duplicate kindly: ``OnceViewMixin``, and ``OnceFormMixin`` for forms."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, cast

from django.contrib import messages
from django.contrib.messages.views import SuccessMessageMixin
from django.core.exceptions import ImproperlyConfigured
from django.db import router
from django.db.models import Model
from django.http import HttpRequest, HttpResponse, HttpResponseBase, HttpResponseRedirect
from django.views.generic.edit import BaseCreateView, BaseUpdateView

from django_celery_once import answers, leftovers, mixin_checks, places, transactions, wizards
from django_celery_once.answers import Answer
from django_celery_once.exceptions import AlreadyQueued, AlreadyQueuedHere, NotQueued
from django_celery_once.saving import Saving
from django_celery_once.unqueued import BrokerUnavailable
from django_celery_once.view_mixin import OnceViewMixin

if TYPE_CHECKING:
    from django.views.generic.edit import FormView

    from django_celery_once.reservations import Reservation
    from django_celery_once.task import QueueOnce

    _FormView = FormView[Any]
else:
    _FormView = object

__all__ = ["OnceFormMixin", "OnceViewMixin"]

logger = logging.getLogger(__name__)

#: What ``once_on_duplicate`` may say.
ANSWERS = ("redirect", "rerender")
#: Methods that only look; a form's answer to them could send a browser round in circles.
SAFE_METHODS = ("GET", "HEAD", "OPTIONS", "TRACE")


class OnceFormMixin(OnceViewMixin, _FormView):
    """Answer ``AlreadyQueued`` from ``form_valid`` with a message; stand left of the view.

    To the person a duplicate is no error: the answer is the redirect of a success, with a
    message that makes sense on its own. ``once_on_duplicate = "rerender"`` answers with 409
    and the form as it was sent instead. An outage is a 503 with the form as it was sent.
    Programs that prefer JSON, and htmx, are answered as by ``OnceViewMixin``. A wizard of several
    forms (django-formtools) is answered alike; without a ``success_url`` it begins anew.

    With ``once_task`` the mixin queues the task itself: it claims the key before the form is
    saved (``get_once_kwargs``) and publishes at the commit (``get_task_kwargs``), when the view
    has ended. If saving fails, the key is free again.
    """

    once_task: QueueOnce | None = None
    once_on_duplicate: str = "redirect"
    _once_form: Any = None
    _once_saving = Saving()
    _once_told: int = 0
    #: What the view has queued, and where.
    _once_queued: Mapping[str, places.Place | None] = {}
    #: What ``form_valid`` has reserved, until the view ends; none where nothing waits for that.
    _once_held: list[Reservation] | None = None

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Raise ``ImproperlyConfigured`` where there is no form, or ``once_task`` is no task."""
        super().__init_subclass__(**kwargs)
        mixin_checks.check_form(cls, OnceFormMixin)
        mixin_checks.check_task(cls, cls.__dict__.get("once_task"))

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Handle the form, and a duplicate wherever it was found out."""
        self._once_told = len(answers.queued_messages(request))
        self._once_held = None if self.view_is_async else []
        try:
            with leftovers.noting_queued() as self._once_queued:
                return super().dispatch(request, *args, **kwargs)
        finally:
            for reservation in self._once_held or ():  # the view has failed
                reservation.release()

    def _publish_held(self, response: Any) -> Any:
        try:
            while self._once_held:
                self._once_held.pop(0).let_go()
        except BrokerUnavailable as error:
            if not isinstance(getattr(self, "object", None), Model):
                raise
            logger.exception("%s has saved what it could not queue", type(self).__qualname__)
            return self._saved_only(response, error)
        return response

    def get_form(self, *args: Any, **kwargs: Any) -> Any:
        """Return the form, and remember it for a duplicate's answer."""
        self._once_form = super().get_form(*args, **kwargs)
        self._once_saving = Saving(self._once_form)
        return self._once_form

    def form_valid(self, form: Any) -> HttpResponse:
        """Save the form as the view does, and queue ``once_task`` if there is one.

        It is queued at the commit, but not before the view has ended: what belongs to the form,
        such as its inlines, may be saved after it.
        """
        return cast("HttpResponse", self._saved_once(form, partial(super().form_valid, form)))

    def construct_formset(self) -> Any:
        """Return the formset (django-extra-views), and remember it for a duplicate's answer."""
        view: Any = super()
        self._once_form = view.construct_formset()
        self._once_saving = Saving(self._once_form)
        return self._once_form

    def formset_valid(self, formset: Any) -> Any:
        """Save the formset (django-extra-views), and queue ``once_task`` as for a form."""
        view: Any = super()
        return self._saved_once(formset, partial(view.formset_valid, formset))

    def render_done(self, form: Any, **kwargs: Any) -> Any:
        """Let a wizard (django-formtools) be done, and queue ``once_task`` as for a form.

        ``form`` is that of the last step; ``self.get_all_cleaned_data()`` has those of all.
        """
        view: Any = self
        view.done = partial(self._saved_once, form, view.done)
        view = super()
        return view.render_done(form, **kwargs)

    def _saved_once(
        self, form: Any, save: Callable[..., HttpResponseBase], *args: Any, **kwargs: Any
    ) -> HttpResponseBase:
        if self.once_task is None:
            return save(*args, **kwargs)
        mixin_checks.check_is_guarded(type(self), self.once_task)
        with self._reserve(self.once_task, self.get_once_kwargs(form)) as reservation:
            response = save(*args, **kwargs)
            if self._once_held is not None:
                reservation.hold_back()
                self._once_held.append(reservation)
            reservation.apply_async_on_commit(
                kwargs=self.get_task_kwargs(form), using=self._once_database()
            )
        return response

    def _reserve(self, task: QueueOnce, arguments: dict[str, Any]) -> Reservation:
        try:
            return task.reserve(**arguments)
        except AlreadyQueued as duplicate:
            if duplicate.task_id not in self._once_queued:
                raise
            place = places.words(self._once_queued[duplicate.task_id])
            raise AlreadyQueuedHere(
                duplicate.countdown,
                f"{place} has queued {task.name}, which the once_task of "
                f"{type(self).__qualname__} queues when the form is saved. Take one of the two out",
                task_name=task.name,
                key=duplicate.key,
                task_id=duplicate.task_id,
            ) from duplicate

    def _once_database(self) -> str | None:
        """Return the database of the object that is saved, if it has a transaction open."""
        saved = getattr(self, "object", None)
        if not isinstance(saved, Model):
            return None
        alias = router.db_for_write(type(saved), instance=saved)
        return alias if transactions.is_open(alias) else None

    def get_once_kwargs(self, form: Any) -> dict[str, Any]:
        """Return the arguments of ``once_task`` that make its key; nothing is saved yet."""
        raise ImproperlyConfigured(
            f"{type(self).__name__} has once_task, so it needs a method get_once_kwargs(form) "
            "that returns the arguments which make the task's key"
        )

    def get_task_kwargs(self, form: Any) -> dict[str, Any]:
        """Return all arguments of ``once_task``; a model form's ``self.object`` is saved.

        By default they are those that make its key.
        """
        return self.get_once_kwargs(form)

    def handle_already_queued(self, duplicate: AlreadyQueued) -> HttpResponseBase:
        """Answer a duplicate; override for another answer."""
        if self.once_on_duplicate not in ANSWERS:
            raise ImproperlyConfigured(
                f"{type(self).__name__}.once_on_duplicate must be one of {ANSWERS}, "
                f"not {self.once_on_duplicate!r}"
            )
        self._take_back_success()
        # A wizard whose steps have addresses ends by GET.
        ends = wizards.is_wizard(self) and getattr(self, "success_url", None)
        if self.request.method in SAFE_METHODS and not ends:
            return super().handle_already_queued(duplicate)
        answer = self.get_already_queued_answer(duplicate)
        if self._saved_before(duplicate):
            words = self.once_wording.saved_before()
            answer = replace(answer, detail=words, level=messages.WARNING)
        elif self.once_on_duplicate == "rerender":
            return self._show_form_again(answer)
        wizards.forget(self)
        url = self.get_already_queued_url(duplicate)
        return wizards.stored(self, answers.redirect(self.request, answer, url))

    def handle_lock_unavailable(self, error: NotQueued) -> HttpResponseBase:
        """Answer an outage of the lock store, or of the broker; override for another answer."""
        self._take_back_success()
        if self.request.method in SAFE_METHODS:
            return super().handle_lock_unavailable(error)
        if self._saved_before(error):
            return self._saved_only(HttpResponseRedirect(self._success_url()), error)
        answer = answers.to_outage(error, self.get_lock_unavailable_message(error))
        return self._show_form_again(answer)

    def _saved_only(self, response: HttpResponseBase, error: NotQueued) -> HttpResponseBase:
        words = self.once_wording.only_saved()
        return answers.saved_only(self.request, response, words, error.code)

    def _saved_before(self, error: AlreadyQueued | NotQueued) -> bool:
        """Return whether what the form has saved stays, though no call is queued for it."""
        if not self._once_saving or transactions.are_open():
            return False
        logger.warning(
            "%s saved its form before its task could be queued (%s): what it saved stays, and no "
            "task will run for it. Let once_task queue it, or claim its key before (reserve())",
            type(self).__qualname__,
            error,
        )
        return True

    def get_already_queued_url(self, duplicate: AlreadyQueued) -> str:
        """Return where to go after a duplicate: where a success goes, or else to this page.

        A ``CreateView`` that was refused before it saved has no object to go to, and one whose
        transaction is rolled back has none either.
        """
        return self._success_url()

    def _success_url(self) -> str:
        view: Any = self
        if isinstance(self, BaseCreateView) and transactions.are_open():
            view.object = None
        if isinstance(self, BaseUpdateView):
            view.object.refresh_from_db()  # the form has changed it, maybe its URL
        success_url = getattr(self, "success_url", None)
        try:
            return self.get_success_url()
        except (AttributeError, ImproperlyConfigured):
            if getattr(self, "object", self) is not None and not wizards.is_wizard(self):
                raise
        try:
            return str(success_url or "").format() or self.request.get_full_path()
        except LookupError:
            return self.request.get_full_path()

    def _show_form_again(self, answer: Answer) -> HttpResponseBase:
        if answers.prefers_problem(self.request):
            return answers.respond(self.request, answer)
        if wizards.is_wizard(self):
            form = wizards.last_form(self)
        else:
            form = self._once_form or self.get_form()
        name = "form"
        if hasattr(form, "add_error"):
            form.add_error(None, answer.detail)
        else:
            form.non_form_errors().append(answer.detail)
            name = "formset" if hasattr(self, "formset_invalid") else name
        response = self.render_to_response(self.get_context_data(**{name: form}))
        answers.finish(self.request, response, answer)
        return wizards.stored(self, response)

    def _take_back_success(self) -> None:
        if isinstance(self, SuccessMessageMixin):  # it may have spoken too soon
            answers.take_back_success(self.request, self._once_told)
