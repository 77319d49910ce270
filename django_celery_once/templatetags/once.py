"""``{% load once %}``: how a call stands, and a guard against double clicks."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from django import template
from django.core.exceptions import ImproperlyConfigured
from django.templatetags.static import static
from django.urls import NoReverseMatch, reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString

from django_celery_once.audience import Reader
from django_celery_once.status import Reference, find_out, policy
from django_celery_once.views import fragment

register = template.Library()


@register.simple_tag(takes_context=True)
def once_status(
    context: template.Context,
    call: Any = None,
    key: str = "",
    label: Any = "",
    result_url: str = "",
) -> str:
    """Show how a call stands, and follow it with a script where there is one.

    ``call`` is what ``delay()`` returned, an ``AlreadyQueued`` or a task id; a task id alone
    tells what the result backend knows, with its ``key`` (``task.once_key(…)``) also whether
    it waits or runs. Without a ``call``, whoever holds the key is meant. Nothing is shown to
    people who may not see it, nor where there is nothing to follow. ``result_url`` is linked
    to when the call is done. The script asks ``django_celery_once.urls``; where a project has
    not included these, a reload tells.
    """
    request = context.get("request")
    if request is None:
        raise ImproperlyConfigured(
            "{% once_status %} needs the request: render the page with one, and have "
            "'django.template.context_processors.request' in TEMPLATES"
        )
    reference = Reference.of(call, key)
    if not (reference.task_id or reference.key):
        return ""
    looking = Reader.of(request).who
    reference = replace(reference, label=str(label), result_url=result_url, user_id=looking)
    status, own = find_out(reference), policy()
    nobody_holds_it = not status.reference.task_id and status.finished
    if nobody_holds_it or not own.may_see(request, status):
        return ""
    words = SafeString(fragment(request, status, own.get_result_url(request, status)))
    try:
        signed = _for_reader(status.reference, own=own.owns_result(request, status))
        address = reverse("django_celery_once:status", args=[signed.token()])
    except NoReverseMatch:
        return format_html('<div class="once-status" role="status">{}</div>', words)
    return format_html(
        '<div class="once-status" role="status" data-once-url="{}">{}</div>{}',
        address,
        words,
        _script(context, "status.js"),
    )


def _for_reader(reference: Reference, *, own: bool) -> Reference:
    """Return what an address says for one reader: anybody can read it, so nothing too much."""
    return replace(reference, own=own, result_url=reference.result_url if own else "")


@register.simple_tag(takes_context=True)
def once_submit_guard(context: template.Context) -> str:
    """Let each form with ``method="post"`` on the page be sent once per click, however fast.

    A form that has ``data-once-guard="off"`` is left alone.
    """
    return _script(context, "submit-guard.js")


def _script(context: template.Context, name: str) -> SafeString:
    """Return the element that loads a script, once for a page."""
    kept: Any = context.render_context
    loaded = kept.setdefault("django_celery_once_scripts", set())
    if name in loaded:
        return SafeString("")
    loaded.add(name)
    return format_html('<script src="{}" defer></script>', static(f"django_celery_once/{name}"))
