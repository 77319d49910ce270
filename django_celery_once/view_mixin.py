"""Views of any kind that answer a duplicate kindly; ``mixins`` has this, and what forms need."""

from __future__ import annotations

from inspect import iscoroutine
from typing import TYPE_CHECKING, Any, cast

from asgiref.sync import sync_to_async
from django.http import HttpRequest, HttpResponseBase
from django.utils.functional import Promise

from django_celery_once import answers, mixin_checks, transactions
from django_celery_once.answers import Answer
from django_celery_once.exceptions import AlreadyQueued, AlreadyQueuedHere, NotQueued
from django_celery_once.requester import asking_by
from django_celery_once.wording import STANDARD, Asker, Wording, asker_of

if TYPE_CHECKING:
    from django.views.generic import View as _View
else:
    _View = object


class OnceViewMixin(_View):
    """Answer ``AlreadyQueued`` and ``NotQueued`` (an outage) from a view; stand left of it.

    The answer is that of ``AlreadyQueuedMiddleware`` or, with ``once_redirect_to`` (what
    ``django.shortcuts.redirect`` takes), a duplicate's is a redirect with a message. An outage
    is a 503 in any case. ``once_label`` names the thing ("monthly report"); by default the
    task's own label does. ``once_wording`` has the sentences. What the view did in an open
    transaction (``ATOMIC_REQUESTS``) is undone. Views may be sync or async.
    """

    once_label: str | Promise = ""
    once_redirect_to: Any = None
    once_wording: Wording = STANDARD

    def __init_subclass__(cls, **kwargs: Any) -> None:
        """Raise ``ImproperlyConfigured`` where the mixin would do nothing."""
        super().__init_subclass__(**kwargs)
        mixin_checks.check_order(cls, OnceViewMixin)

    def dispatch(self, request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponseBase:
        """Let the view answer, and else answer for it."""
        try:
            with asking_by(request):
                response: Any = super().dispatch(request, *args, **kwargs)
                response = self._publish_held(response)
        except (AlreadyQueued, NotQueued) as error:
            return self._answer(error)
        if iscoroutine(response):
            response = self._awaited(response)
        return cast("HttpResponseBase", response)

    def _publish_held(self, response: Any) -> Any:
        """Publish what was to wait for the end of the view; return its response."""
        return response

    async def _awaited(self, response: Any) -> HttpResponseBase:
        try:
            with asking_by(self.request):
                return cast("HttpResponseBase", await response)
        except (AlreadyQueued, NotQueued) as error:
            # A thread, since user, session and templates may need the database.
            return await sync_to_async(self._answer)(error)

    def _answer(self, error: AlreadyQueued | NotQueued) -> HttpResponseBase:
        if isinstance(error, AlreadyQueuedHere):
            raise error
        if isinstance(error, AlreadyQueued):
            response = self.handle_already_queued(error)
        else:
            response = self.handle_lock_unavailable(error)
        transactions.roll_back()
        return response

    def handle_already_queued(self, duplicate: AlreadyQueued) -> HttpResponseBase:
        """Answer a duplicate; override for another answer."""
        answer = self.get_already_queued_answer(duplicate)
        if self.once_redirect_to is None:
            return answers.respond(self.request, answer)
        return answers.redirect(self.request, answer, self.once_redirect_to)

    def handle_lock_unavailable(self, error: NotQueued) -> HttpResponseBase:
        """Answer an outage of the lock store, or of the broker; override for another answer."""
        answer = answers.to_outage(error, self.get_lock_unavailable_message(error))
        return answers.respond(self.request, answer)

    def get_already_queued_answer(self, duplicate: AlreadyQueued) -> Answer:
        """Return what the answers to a duplicate are made of."""
        message = self.get_already_queued_message(duplicate)
        return answers.to_duplicate(duplicate, self.request, message)

    def get_already_queued_message(self, duplicate: AlreadyQueued) -> str:
        """Return the sentence for the person."""
        asker = asker_of(duplicate, getattr(self, "request", None))
        name = self.get_requester_name(duplicate) if asker is Asker.ANOTHER else ""
        return self.once_wording.already_queued(duplicate, asker, label=self.once_label, name=name)

    def get_requester_name(self, duplicate: AlreadyQueued) -> str:
        """Return whom to name as the one who asked first (``duplicate.requested_by``).

        By default nobody is named: the sentence is about "a colleague".
        """
        return ""

    def get_lock_unavailable_message(self, error: NotQueued) -> str:
        """Return the sentence for the person."""
        return self.once_wording.lock_unavailable()
