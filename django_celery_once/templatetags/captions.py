"""A caption for tables that another's template makes."""

from __future__ import annotations

from django import template
from django.utils.html import escape

register = template.Library()


@register.filter(is_safe=True)
def captioned(markup: str, caption: str) -> str:
    """Give the admin's list, a table without a caption, one that screen readers tell."""
    head, table, tail = markup.partition("<table")
    if not table or "<caption" in tail:
        return markup
    attributes, end, rest = tail.partition(">")
    words = f'<caption class="once-hidden">{escape(caption)}</caption>'
    return f"{head}{table}{attributes}{end}{words}{rest}"
