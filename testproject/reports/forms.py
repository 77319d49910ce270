from __future__ import annotations

from django import forms
from django.utils import timezone
from django.utils.translation import gettext_lazy as _

from testproject.reports.months import last_months


def month_choices() -> list[tuple[str, str]]:
    return [(str(month), month.name) for month in last_months(timezone.localdate())]


class ReportForm(forms.Form):
    email = forms.EmailField(
        label=_("E-mail address"),
        max_length=254,  # as in the model
        widget=forms.EmailInput(attrs={"autocomplete": "email"}),
    )
    month = forms.ChoiceField(label=_("Month"), choices=month_choices)
