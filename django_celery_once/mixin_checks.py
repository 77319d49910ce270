"""What is told when a view's class is made with a mixin that would not work there."""

from __future__ import annotations

from functools import cached_property
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.views.generic import View

#: What a view with a form has, of which the mixin makes one more: Django's views, django-formtools'
#: wizards, django-extra-views' formsets and inlines.
FORMS = ("form_valid", "render_done", "formset_valid", "forms_valid")
#: Where Celery's proxies come from: to look into one would end the making of its app.
PROXIES = "celery.local"


def check_order(view: type, mixin: type) -> None:
    """Refuse a mixin that is right of the view: the view's ``dispatch`` would never ask it."""
    line = view.__mro__
    first = next(each for each in line if issubclass(each, mixin) and not issubclass(each, View))
    if View in line and line.index(View) < line.index(first):
        raise ImproperlyConfigured(
            f"{_name(view)}: {first.__name__} does nothing right of a view. Name it first: class "
            f"{view.__name__}({first.__name__}, …)"
        )


def check_form(view: type, mixin: type) -> None:
    """Refuse a mixin for forms on a view that has none."""
    others = [each for each in view.__mro__ if each is not mixin]
    if View in others and not any(name in vars(each) for each in others for name in FORMS):
        raise ImproperlyConfigured(
            f"{_name(view)}: {mixin.__name__} is for views with a form, and this has none. Use "
            "OnceViewMixin, or a FormView"
        )


def check_task(view: type, task: Any) -> None:
    """Refuse a ``once_task`` that can't be one, as far as that can be told without a Celery app."""
    settled = isinstance(task, property | cached_property)
    if task is None or settled or type(task).__module__ == PROXIES:
        return
    check_is_guarded(view, task)


def check_is_guarded(view: type, task: Any) -> None:
    """Refuse a ``once_task`` that has no QueueOnce as its base."""
    if not hasattr(task, "reserve"):
        raise ImproperlyConfigured(
            f"{_name(view)}.once_task must be a task with QueueOnce as its base, not {task!r}"
        )


def _name(view: type) -> str:
    return f"{view.__module__}.{view.__qualname__}"
