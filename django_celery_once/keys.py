"""A call of a task -> the key that makes two calls the same.

Values are written in a canonical form in which every item carries its type and its length,
so that neither ``1`` and ``"1"`` nor ``("1_b-2",)`` and ``("1", "2")`` can meet.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import functools
import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from decimal import Decimal
from inspect import BoundArguments, Parameter, Signature
from pathlib import PurePath
from typing import Any
from uuid import UUID

from django.db.models import Model
from django.utils.datastructures import MultiValueDict
from django.utils.functional import Promise

from django_celery_once.validation import dump_of, fields_of, is_model

PREFIX = "once"
#: Longest task name that a key spells out, in characters. Together with prefix, digest and
#: 100 bytes of ``KEY_PREFIX`` it stays below Memcached's limit of 250 bytes.
MAX_NAME = 100
_UNSAFE = re.compile(r"[^!-~]")


class UnsupportedArgumentError(TypeError):
    """The value has no canonical form."""


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
    """Return the key of a call whose ``once={"key": …}`` callable returned ``value``."""
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


def canonical(value: object) -> str:
    """Write a value so that equal values are equal, and unequal or differently typed are not."""
    return (_WRITERS.get(type(value)) or _inherited_writer(value))(value)


def _inherited_writer(value: object) -> Callable[[Any], str]:
    for kind, writer in _BASES:
        if isinstance(value, kind):
            return writer
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _dataclass
    if is_model(value):
        return _pydantic
    if hasattr(value, "get_secret_value"):  # pydantic's secrets are dumped as asterisks
        return lambda secret: canonical(secret.get_secret_value())
    kind = type(value)
    raise UnsupportedArgumentError(f"a {kind.__module__}.{kind.__qualname__} has no canonical form")


def _text(value: object, tag: str = "s") -> str:
    text = str(value)
    return f"{tag}{len(text)}:{text}"


def _derived_text(value: str) -> str:
    # str() of an enumeration member is its name; a lazy object is no real str.
    return _text(str.__str__(value) if issubclass(type(value), str) else value)


def _integer(value: int) -> str:
    return f"i{int(value):x};"


def _float(value: float) -> str:
    return f"f{float(value) + 0.0!r};"


def _decimal(value: Decimal) -> str:
    sign, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int):
        return f"d{value};"
    figures = "".join(map(str, digits)).lstrip("0")
    trimmed = figures.rstrip("0")
    if not trimmed:
        return "d0;"
    return f"d{'-' * sign}{trimmed}e{exponent + len(figures) - len(trimmed)};"


def _bytes(value: bytes | bytearray | memoryview) -> str:
    data = bytes(value)
    return f"b{len(data)}:{data.hex()}"


def _datetime(value: dt.datetime) -> str:
    offset = value.utcoffset()
    if offset is None:
        return f"t{value.replace(tzinfo=None, fold=0).isoformat()};"
    instant = value.replace(tzinfo=None) - dt.datetime.min - offset  # noqa: DTZ901
    return f"T{instant // dt.timedelta(microseconds=1)};"


def _date(value: dt.date) -> str:
    return f"D{dt.date.isoformat(value)};"


def _time(value: dt.time) -> str:
    offset = value.utcoffset()
    if offset is None:
        return f"c{value.replace(tzinfo=None, fold=0).isoformat()};"
    since_midnight = dt.timedelta(
        hours=value.hour,
        minutes=value.minute,
        seconds=value.second,
        microseconds=value.microsecond,
    )
    return f"C{(since_midnight - offset) // dt.timedelta(microseconds=1)};"


def _timedelta(value: dt.timedelta) -> str:
    return f"p{value // dt.timedelta(microseconds=1)};"


def _sequence(value: Sequence[object]) -> str:
    return f"[{''.join(map(canonical, value))}]"


def _set(value: AbstractSet[object]) -> str:
    return f"{{{''.join(sorted(map(canonical, value)))}}}"


def _mapping(value: Mapping[object, object]) -> str:
    items = sorted((canonical(key), canonical(item)) for key, item in value.items())
    return f"({''.join(key + item for key, item in items)})"


def _multi_value(value: MultiValueDict[object, object]) -> str:
    return f"m{_mapping(dict(value.lists()))}"


def _named(value: object, tag: str) -> str:
    kind = type(value)
    return _text(f"{kind.__module__}.{kind.__qualname__}", tag)


def _enum(value: enum.Enum) -> str:
    return f"{_named(value, 'E')}{canonical(value.value)}"


def _model(value: Model) -> str:
    meta = value._meta
    if value.pk is None:
        raise UnsupportedArgumentError(f"the {meta.label} is not saved and has no primary key")
    model = meta.concrete_model or type(value)
    return f"{_text(model._meta.label, 'M')}{canonical(value.pk)}"


def _pydantic(value: Any) -> str:
    fields = sorted(fields_of(value))
    body = "".join(f"{_text(name)}{_pydantic_field(value, name)}" for name in fields)
    return f"{_named(value, 'V')}({body})"


def _pydantic_field(model: Any, name: str) -> str:
    try:
        return canonical(fields_of(model)[name])
    except UnsupportedArgumentError:
        return canonical(dump_of(model, name))


def _dataclass(value: Any) -> str:
    fields = [field.name for field in dataclasses.fields(value) if field.compare]
    body = "".join(f"{_text(name)}{canonical(getattr(value, name))}" for name in fields)
    return f"{_named(value, 'R')}({body})"


_WRITERS: dict[type, Callable[[Any], str]] = {
    str: lambda value: f"s{len(value)}:{value}",
    int: lambda value: f"i{value:x};",
    bool: lambda value: "B1;" if value else "B0;",
    type(None): lambda _value: "n;",
    float: _float,
    UUID: lambda value: f"u{value.hex};",
    dt.datetime: _datetime,
    dt.date: _date,
    dt.time: _time,
    dt.timedelta: _timedelta,
    Decimal: _decimal,
    bytes: _bytes,
    list: _sequence,
    tuple: _sequence,
    dict: _mapping,
    set: _set,
    frozenset: _set,
}

#: Subclasses, in this order: an enumeration that is also a string or a number counts as
#: that string or number, which it equals and which it becomes in a message.
_BASES: tuple[tuple[type, Callable[[Any], str]], ...] = (
    (Model, _model),
    (Promise, _text),
    (str, _derived_text),
    (bool, _WRITERS[bool]),
    (int, _integer),
    (float, _float),
    (enum.Enum, _enum),
    (dt.datetime, _datetime),
    (dt.date, _date),
    (dt.time, _time),
    (dt.timedelta, _timedelta),
    (Decimal, _decimal),
    (UUID, _WRITERS[UUID]),
    (bytes, _bytes),
    (bytearray, _bytes),
    (memoryview, _bytes),
    (PurePath, lambda value: _text(value, "P")),
    (MultiValueDict, _multi_value),
    (Mapping, _mapping),
    (list, _sequence),
    (tuple, _sequence),
    (AbstractSet, _set),
)
