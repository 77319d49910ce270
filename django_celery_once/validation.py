"""What pydantic makes of a call's arguments (``pydantic=True``); nothing here imports it."""

from __future__ import annotations

import functools
import inspect
import logging
import sys
from collections.abc import Callable
from types import CellType, FunctionType
from typing import Any

logger = logging.getLogger(__name__)

#: Returns the positional and the named arguments that a task's body would get.
Validate = Callable[..., tuple[tuple[Any, ...], dict[str, Any]]]
#: Where Celery's wrapper around the body of such a task comes from, and two names in it.
WRAPPER, BODY, SIGNATURE = "celery.app.base", "task_fun", "task_signature"


def is_model(value: object) -> bool:
    """Return whether a value is one of pydantic's models."""
    known = getattr(sys.modules.get("pydantic.main"), "BaseModel", None)
    return known is not None and isinstance(value, known)


def fields_of(model: Any) -> dict[str, object]:
    """Return a model's values by their names, also those that it does not declare."""
    values = vars(model)
    declared = {name: values[name] for name in type(model).model_fields if name in values}
    return {**declared, **(model.model_extra or {})}


def dump_of(model: Any, name: str) -> object:
    """Return one field as JSON has it, or itself where the model can't or won't dump it."""
    value: object = fields_of(model)[name]
    try:
        value = model.model_dump(mode="json", include={name}).get(name, value)
    except Exception:  # its serializers are the project's
        logger.debug("%s.%s can't be dumped", type(model).__name__, name, exc_info=True)
    return value


def validator_of(run: Any, *, bound: bool) -> Validate | None:
    """Return what validates a task's arguments as its run would; ``None`` where nothing does.

    ``bound``: the run is also given the task, its callers do not see that.

    Celery (``celery.app.base.pydantic_wrapper``) tells nobody else which models it uses, and how
    strictly. So its own wrapper runs here, around a body that gives back what it gets; and
    arguments may be missing, since a reservation gives only what makes its key.
    """
    code = getattr(run, "__code__", None)
    if code is None or not {BODY, SIGNATURE} <= set(code.co_freevars):
        return None
    if run.__globals__.get("__name__") != WRAPPER:
        return None
    cells = dict(zip(code.co_freevars, run.__closure__, strict=True))
    cells[BODY] = CellType(lambda *args, **kwargs: (args[bound:], kwargs))
    cells[SIGNATURE] = CellType(_all_optional(cells[SIGNATURE].cell_contents))
    wrapper = FunctionType(code, run.__globals__, closure=tuple(cells.values()))
    return functools.partial(wrapper, None) if bound else wrapper


def _all_optional(signature: inspect.Signature) -> inspect.Signature:
    many = (inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD)
    parameters = [
        each if each.kind in many else each.replace(default=None)
        for each in signature.parameters.values()
    ]
    return signature.replace(parameters=parameters)
