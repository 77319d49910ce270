"""A value -> the text that equal values have in common, and no other.

Every item carries its type and its length, so that neither ``1`` and ``"1"`` nor
``("1_b-2",)`` and ``("1", "2")`` can meet.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
from collections.abc import Callable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from decimal import Decimal
from pathlib import PurePath
from typing import Any
from uuid import UUID

from django.db.models import Manager, Model, QuerySet
from django.http import HttpRequest
from django.utils.datastructures import MultiValueDict
from django.utils.functional import Promise

from django_celery_once.validation import dump_of, fields_of, is_model


class UnsupportedArgumentError(TypeError):
    """The value has no canonical form."""


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
    raise UnsupportedArgumentError(_why(value))


#: What is passed by mistake, in place of what a task can be sent.
_INSTEAD: tuple[tuple[Any, str], ...] = (
    (HttpRequest, "a request stays where it is; pass what the task needs of it, as a user's id"),
    (
        (QuerySet, Manager),
        "a {} is a question to the database, whose answer changes; pass ids, as "
        "list(queryset.values_list('pk', flat=True))",
    ),
    (Iterator, "a {} can be read only once; pass a list of what it yields"),
)


def _why(value: object) -> str:
    kind = f"{type(value).__module__}.{type(value).__qualname__}"
    found = (words for kinds, words in _INSTEAD if isinstance(value, kinds))
    return next(found, "a {} has no canonical form").format(kind)


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
