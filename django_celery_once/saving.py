"""Whether a form has been saved by the time that its call turns out not to be queued."""

from __future__ import annotations

from typing import Any

from django.db.models import Model
from django.forms import BaseModelForm, BaseModelFormSet


class Saving:
    """Notes that a model form, or a model formset, is saved; true once it has been.

    A form that fails after it has made its row, as by a call in its own ``save()``, has saved it.
    """

    def __init__(self, form: Any = None) -> None:
        self._form, self._done, self._new = form, False, _is_new(form)
        if isinstance(form, BaseModelForm | BaseModelFormSet):
            self._save, form.save = form.save, self._note  # type: ignore[method-assign]

    def __bool__(self) -> bool:
        return self._done or (self._new and not _is_new(self._form))

    def _note(self, commit: bool = True) -> Any:
        saved = self._save(commit=commit)
        self._done = self._done or commit
        return saved


def _is_new(form: Any) -> bool:
    instance = getattr(form, "instance", None)
    return isinstance(instance, Model) and instance._state.adding
