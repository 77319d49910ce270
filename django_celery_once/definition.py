"""What the class of a task says: its signature, and whether its options fit it."""

from __future__ import annotations

import inspect
import re
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from string import Formatter
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from django_celery_once import keys
from django_celery_once.options import check_combination, combine, read_standing_options
from django_celery_once.validation import Validate, validator_of

#: The kinds of parameters that can be given by name.
BY_NAME = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
#: Where the body of a class that has none comes from.
NO_BODY = "celery.app.task"
#: Where the one ``get_key`` comes from that is called.
GET_KEY = "django_celery_once.task"
#: What was wrong with the classes that could not be defined. Celery tries each once only, in
#: whatever code needs a task first, so that a check that comes later must ask here.
broken: list[str] = []


def signature_of(cls: Any) -> inspect.Signature:
    """Return the signature that callers of a task see: a bound ``self`` is left out."""
    known: inspect.Signature | None = cls.__dict__.get("_once_signature")
    if known is None:
        known = inspect.signature(cls.run)
        if not isinstance(inspect.getattr_static(cls, "run"), staticmethod):
            known = known.replace(parameters=list(known.parameters.values())[1:])
        cls._once_signature = known
    return known


def named_parameters(cls: Any) -> Mapping[str, inspect.Parameter] | None:
    """Return a task's parameters, if each can be given by its name; else ``None``."""
    if "_once_parameters" not in cls.__dict__:
        parameters = signature_of(cls).parameters
        named = all(each.kind in BY_NAME for each in parameters.values())
        cls._once_parameters = dict(parameters) if named else None
    known: Mapping[str, inspect.Parameter] | None = cls._once_parameters
    return known


def validator(cls: Any) -> Validate | None:
    """Return what validates the arguments of a task as its run does (``pydantic=True``)."""
    if "_once_validate" not in cls.__dict__:
        run = inspect.getattr_static(cls, "run")
        bound = not isinstance(run, staticmethod)
        cls._once_validate = validator_of(getattr(run, "__func__", run), bound=bound)
    known: Validate | None = cls.__dict__["_once_validate"]
    return known


def definition_errors(cls: Any, once: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with the ``once`` options of a task's class."""
    try:
        options = read_standing_options(once)
        check_combination({**read_standing_options(cls.once), **options})
    except (TypeError, ValueError) as error:
        return [str(error)]
    if cls.run.__module__ == NO_BODY:
        return []
    signature = signature_of(cls)
    there = ", ".join(signature.parameters) or "none"
    named = {"keys": options.get("keys") or (), "label": _names_in(options.get("label"))}
    misfit = _misfit(options.get("key"), signature)
    return ([misfit] if misfit else []) + [
        f"once[{option!r}] names {name!r}, which is no parameter of the task (there is: {there})"
        for option, names in named.items()
        for name in keys.unknown_names(signature, names)
    ]


def _misfit(key: Any, signature: inspect.Signature) -> str:
    """Return why a ``key`` callable can't be given the arguments of a task, as far as known."""
    try:
        taken = inspect.signature(key)
    except (TypeError, ValueError):  # none, or one that is not written in Python
        return ""
    call = inspect.BoundArguments(signature, OrderedDict())
    for name, each in signature.parameters.items():
        if each.kind not in (each.VAR_POSITIONAL, each.VAR_KEYWORD):
            call.arguments[name] = None
    try:
        taken.bind(*call.args, **call.kwargs)
    except TypeError as error:
        there = ", ".join(signature.parameters) or "none"
        return f"once['key'] does not fit the arguments of the task (there is: {there}): {error}"
    return ""


def _names_in(label: object) -> list[str]:
    """Return the names that a format string asks for, without attributes and indexes."""
    if not isinstance(label, str):
        return []
    fields = [name for _text, name, _spec, _conversion in Formatter().parse(label) if name]
    return [re.split(r"[.\[]", name, maxsplit=1)[0] for name in fields]


def define(cls: Any, *annotated: Mapping[str, Any]) -> None:
    """Merge a task's options with those of its bases, and with those that annotate it.

    Raise ``ImproperlyConfigured``, naming the task, if they do not fit it.
    """
    if "_once_given" not in cls.__dict__:
        cls._once_given = (cls.__dict__.get("once", {}),)
    cls._once_given = (*cls.__dict__["_once_given"], *annotated)
    try:
        cls.once = combine(*_given_along(cls.__mro__))
    except (TypeError, ValueError) as error:
        errors = [str(error)]
    else:
        errors = definition_errors(cls, cls.once)
    if cls.get_key.__module__ != GET_KEY:  # as celery-once's users do
        errors.append(
            "an own get_key() would make no key; give once['key'] a callable, which gets the "
            "arguments of the call"
        )
    if errors:
        name = cls.__dict__.get("name") or f"{cls.__module__}.{cls.__qualname__}"
        problem = f"{name}: {'; '.join(errors)}"
        if problem not in broken:
            broken.append(problem)
        raise ImproperlyConfigured(problem)


def _given_along(classes: Sequence[type]) -> Iterator[Mapping[str, Any]]:
    """Return what a class and its bases have been given, the furthest first."""
    for each in reversed(classes):
        yield from each.__dict__.get("_once_given", (each.__dict__.get("once", {}),))
