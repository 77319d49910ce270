"""A call's arguments, bound to its task's signature, and what follows from them."""

from __future__ import annotations

import inspect
import logging
from collections.abc import Mapping
from typing import Any

from django_celery_once import keys
from django_celery_once.definition import named_parameters, signature_of
from django_celery_once.options import OnceOptions

logger = logging.getLogger(__name__)

#: What is kept of a label, in characters.
MAX_LABEL = 200


def bind(
    task: Any, args: Any, kwargs: Mapping[str, Any] | None, *, partly: bool = False
) -> inspect.BoundArguments:
    """Return the arguments of ``task.apply_async(args, kwargs)`` with defaults applied.

    ``partly``: some may be missing. Raise ``TypeError``, naming the task, for arguments that
    do not fit.
    """
    signature = signature_of(type(task))
    args, kwargs = args or (), kwargs or {}
    fitting = _bind_plainly(named_parameters(type(task)), args, kwargs)
    if fitting is not None:
        return inspect.BoundArguments(signature, fitting)
    try:
        binding = signature.bind_partial if partly else signature.bind
        bound = binding(*args, **kwargs)
    except TypeError as error:
        raise TypeError(f"{task.name}: {error}") from None
    bound.apply_defaults()
    return bound


def _bind_plainly(
    parameters: Mapping[str, inspect.Parameter] | None, args: Any, kwargs: Mapping[str, Any]
) -> dict[str, Any] | None:
    """Bind a call that gives all it must, which ``Signature.bind`` takes its time for.

    Return ``None`` for any other.
    """
    if parameters is None or len(args) > len(parameters):
        return None
    bound = dict(zip(parameters, args, strict=False))
    if bound and parameters[next(reversed(bound))].kind is inspect.Parameter.KEYWORD_ONLY:
        return None
    for name, value in kwargs.items():
        if name in bound or name not in parameters:
            return None
        bound[name] = value
    if len(bound) < len(parameters):
        bound = {name: bound.get(name, each.default) for name, each in parameters.items()}
        if any(value is inspect.Parameter.empty for value in bound.values()):
            return None
    return bound


def key_of_call(task_name: str, bound: inspect.BoundArguments, asked: OnceOptions) -> str:
    """Return the key of a call; raise ``TypeError`` where an argument can't be part of one."""
    if asked.key is not None:
        return keys.make_custom_key(task_name, asked.key(*bound.args, **bound.kwargs))
    return keys.make_key(task_name, bound, asked.keys)


def label_of_call(
    task_name: str, bound: inspect.BoundArguments, asked: OnceOptions, *, partly: bool = False
) -> str:
    """Return words for people, or nothing where they can't be had; never raise.

    ``partly``: the arguments that the words need may be missing.
    """
    if asked.label is None:
        return ""
    try:
        if callable(asked.label):
            words = asked.label(*bound.args, **bound.kwargs)
        else:
            words = asked.label.format(**{**bound.arguments, **bound.kwargs})
        # No lone surrogates: neither Redis nor a database would take them.
        return str(words)[:MAX_LABEL].encode(errors="replace").decode()
    except Exception:
        # Words for people are no reason to refuse a task.
        level = logging.DEBUG if partly else logging.ERROR
        logger.log(
            level, "%s: once['label'] failed; the lock has no label", task_name, exc_info=True
        )
        return ""
