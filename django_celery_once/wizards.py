"""What a wizard of several forms (django-formtools) needs where a view of one form does not."""

from __future__ import annotations

from typing import Any, TypeVar

Response = TypeVar("Response")


def is_wizard(view: object) -> bool:
    """Return whether a view is a wizard."""
    return hasattr(view, "get_all_cleaned_data")


def last_form(view: Any) -> Any:
    """Return the form of a wizard's current step, as it was sent."""
    step, storage = view.steps.current, view.storage
    return view.get_form(step, storage.current_step_data, storage.current_step_files)


def forget(view: Any) -> None:
    """Forget what was sent to a wizard, as it does after a success."""
    if is_wizard(view):
        view.storage.reset()


def stored(view: Any, response: Response) -> Response:
    """Let a wizard's storage prepare a response (cookies), which it does only where none raises."""
    if is_wizard(view):
        view.storage.update_response(response)
    return response
