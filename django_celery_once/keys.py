"""A call of a task -> the key that makes two calls the same."""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import Iterable, Mapping
from inspect import BoundArguments, Parameter, Signature

from django_celery_once.canonical import UnsupportedArgumentError, canonical

PREFIX = "once"
#: Longest task name that a key spells out, in characters. Together with prefix, digest and
#: 100 bytes of ``KEY_PREFIX`` it stays below Memcached's limit of 250 bytes.
MAX_NAME = 100
_UNSAFE = re.compile(r"[^!-~]")


def make_key(task_name: str, bound: BoundArguments, only: Iterable[str] | None = None) -> str:
    """Return the key of a call, such as ``once:reports.send:5f1c…``.

    ``bound`` are the arguments bound to the task's signature, with defaults applied; ``only``
    restricts the key to these parameters (names that are no parameter are looked up among
    the ``**kwargs``, where one that is left out is unlike any value). Raise
    ``UnsupportedArgumentError``, a ``TypeError`` that names the argument, for a value without
    a canonical form.
    """
    arguments = bound.arguments if only is None else _chosen(task_name, bound, only)
    return key_of(task_name, _written_arguments(task_name, arguments))


def make_custom_key(task_name: str, value: object) -> str:
    """Return the key of a call whose ``once={"key": …}`` callable returned ``value``.

    Raise ``TypeError`` where that is ``None``, as from a callable that forgot to return.
    """
    if value is None:
        raise TypeError(
            f"{task_name}: once['key'] returned None; return what makes two calls the same"
        )
    return key_of(task_name, _written_arguments(task_name, {"key": value}))


def key_of(task_name: str, written: str) -> str:
    """Return ``once:<task name>:<digest>``, safe for every cache."""
    data = f"{len(task_name)}:{task_name}{written}".encode("utf-8", "surrogatepass")
    return f"{key_prefix(task_name)}{hashlib.blake2b(data, digest_size=16).hexdigest()}"


@functools.lru_cache(maxsize=1024)
def key_prefix(task_name: str) -> str:
    """Return what all keys of a task begin with, up to and with the last colon."""
    return f"{PREFIX}:{_safe_name(task_name)}:"


def task_in(key: str) -> str:
    """Return the name of the task as a key spells it."""
    return key[len(PREFIX) + 1 :].rpartition(":")[0]


def unknown_names(signature: Signature, names: Iterable[str]) -> list[str]:
    """Return those of ``names`` that a call with this signature can never have."""
    parameters = signature.parameters
    if any(each.kind is Parameter.VAR_KEYWORD for each in parameters.values()):
        return []
    return [name for name in names if name not in parameters]


def _safe_name(name: str) -> str:
    if len(name) <= MAX_NAME and not _UNSAFE.search(name):
        return name
    digest = hashlib.blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).hexdigest()
    return f"{_UNSAFE.sub('_', name)[: MAX_NAME - 17]}~{digest}"


def _chosen(task_name: str, bound: BoundArguments, only: Iterable[str]) -> dict[str, object]:
    extra: Mapping[str, object] = {}
    parameters, optional = bound.signature.parameters, False
    for name, parameter in parameters.items():
        if parameter.kind is Parameter.VAR_KEYWORD:
            extra, optional = bound.arguments.get(name, {}), True
    known = {**extra, **bound.arguments}
    needed = [each for each in only if each in parameters or not optional]
    missing = [each for each in needed if each not in known]
    if missing:
        raise TypeError(
            f"{task_name}: once['keys'] names {missing[0]!r}, which this call does not give by name"
        )
    return {name: known[name] for name in only if name in known}


def _written_arguments(task_name: str, arguments: Mapping[str, object]) -> str:
    parts = []
    for name in sorted(arguments):
        try:
            parts.append(f"{len(name)}:{name}={canonical(arguments[name])}")
        except UnsupportedArgumentError as error:
            raise UnsupportedArgumentError(
                f"{task_name}: argument {name!r} can't be part of the key: {error}. Leave it out "
                'with once={"keys": [...]}, or build the key with once={"key": callable}.'
            ) from None
        except RecursionError:
            raise UnsupportedArgumentError(
                f"{task_name}: argument {name!r} is nested too deeply or contains itself."
            ) from None
    return "".join(parts)
