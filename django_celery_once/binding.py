"""A call's arguments, bound to its task's signature, and what follows from them."""

from __future__ import annotations

import inspect
import logging
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from django_celery_once import keys
from django_celery_once.arguments import Call
from django_celery_once.canonical import UnsupportedArgumentError, canonical
from django_celery_once.definition import named_parameters, signature_of, validator
from django_celery_once.options import OnceOptions

logger = logging.getLogger(__name__)

#: What is kept of a label, in characters.
MAX_LABEL = 200


class Bound(inspect.BoundArguments):
    """The arguments that a task gets; ``keyed`` are those that a key is made of.

    ``valid`` is false where pydantic refuses them: callables that want models can't have them.
    """

    keyed: inspect.BoundArguments | None = None
    valid = True


def bind(task: Any, args: Any, kwargs: Mapping[str, Any] | None, *, partly: bool = False) -> Bound:
    """Return the arguments of ``task.apply_async(args, kwargs)`` with defaults applied.

    With ``pydantic=True`` they are validated, or as they were given where they are not valid:
    the run will say so. ``partly``: some may be missing. Raise ``TypeError``, naming the task,
    for arguments that do not fit.
    """
    validate = validator(type(task))
    args, kwargs = args or (), kwargs or {}
    if validate is None:
        return _fit(task, args, kwargs, partly=partly)
    given = _fit(task, args, kwargs, partly=partly)
    try:
        bound, again = (_fit(task, *validate(*args, **kwargs), partly=partly) for _ in range(2))
    except Exception:
        # Validators are the project's, and what is wrong with the arguments is for the run to say.
        logger.debug("The arguments of %s are not valid", task.name, exc_info=True)
        given.valid = False
        return given
    bound.keyed = inspect.BoundArguments(
        bound.signature,
        OrderedDict(
            (name, value if _is_steady(value, again.arguments[name]) else given.arguments[name])
            for name, value in bound.arguments.items()
        ),
    )
    return bound


def _is_steady(value: object, again: object) -> bool:
    """Return whether validating gives the same each time, as it does not with a random default."""
    try:
        return canonical(value) == canonical(again)
    except (UnsupportedArgumentError, RecursionError):
        return False


def as_sent(task: Any, call: Call, options: Mapping[str, Any]) -> Call:
    """Return a call as Celery sends it: from 5.7 on, pydantic's models as their dumps."""
    dump = getattr(task, "_dump_pydantic_arguments", None)
    if dump is None or (options.get("serializer") or task.serializer) == "pickle":
        return call
    args, kwargs = dump(call.args, call.kwargs)
    return replace(call, args=args, kwargs=kwargs)


def _fit(task: Any, args: Any, kwargs: Mapping[str, Any], *, partly: bool) -> Bound:
    signature = signature_of(type(task))
    fitting = _bind_plainly(named_parameters(type(task)), args, kwargs)
    if fitting is not None:
        return Bound(signature, fitting)
    try:
        binding = signature.bind_partial if partly else signature.bind
        bound = Bound(signature, binding(*args, **kwargs).arguments)
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


def key_of_call(task_name: str, bound: Bound, asked: OnceOptions) -> str:
    """Return the key of a call; raise ``TypeError`` where an argument can't be part of one.

    What a ``key`` callable raises gets a note that names the task.
    """
    if asked.key is not None and bound.valid:
        try:
            value = asked.key(*bound.args, **bound.kwargs)
        except Exception as error:
            error.add_note(f"It comes from once['key'] of {task_name}.")
            raise
        return keys.make_custom_key(task_name, value)
    return keys.make_key(task_name, bound.keyed or bound, asked.keys)


def label_of_call(task_name: str, bound: Bound, asked: OnceOptions, *, partly: bool = False) -> str:
    """Return words for people, or nothing where they can't be had; never raise.

    ``partly``: the arguments that the words need may be missing.
    """
    if asked.label is None:
        return ""
    try:
        if callable(asked.label):
            words = asked.label(*bound.args, **bound.kwargs)
        else:
            words = asked.label.format_map(_Named(bound, partly=partly))
        # No lone surrogates: neither Redis nor a database would take them.
        return str(words)[:MAX_LABEL].encode(errors="replace").decode()
    except Exception:
        # Words for people are no reason to refuse a task.
        level = logging.ERROR if bound.valid and not partly else logging.DEBUG
        logger.log(
            level, "%s: once['label'] failed; the lock has no label", task_name, exc_info=True
        )
        return ""


class _Named(dict[str, Any]):
    """A call's arguments by their names; one of ``**kwargs`` that is left out is no word."""

    def __init__(self, bound: Bound, *, partly: bool) -> None:
        super().__init__({**bound.arguments, **bound.kwargs})
        parameters = bound.signature.parameters
        kinds = {each.kind for each in parameters.values()}
        self._optional = not partly and inspect.Parameter.VAR_KEYWORD in kinds
        self._parameters = parameters

    def __missing__(self, name: str) -> str:
        if self._optional and name not in self._parameters:
            return ""
        raise KeyError(name)
