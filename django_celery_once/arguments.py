"""The arguments of a refused call in words, for staff: secrets masked, long values cut.

Writing them asks no database and never raises, whatever the arguments are.
"""

from __future__ import annotations

import dataclasses
import inspect
import re
from collections.abc import Callable, Iterable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, Self

from django.db.models import Model, QuerySet
from django.utils.functional import Promise

from django_celery_once.record import record
from django_celery_once.validation import fields_of, is_model

#: What is kept of a value, in characters.
MAX_VALUE = 200
#: What is kept of all arguments of a call, in characters.
MAX_TEXT = 2000
#: How deep lists and dictionaries within each other are written.
MAX_DEPTH = 6
MASK = "***"
ELLIPSIS = "…"

_SECRET = re.compile(
    r"(?:^|_)(?:password|passwd|passphrase|passcode|pwd|secret|token|api_?key|access_?key"
    r"|private_?key|authorization|auth|bearer|cookie|credential|card|cvc|cvv|iban|ssn|pin|otp"
    r")s?\d*(?:_|$)"
)
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_BETWEEN_WORDS = re.compile(r"[^0-9a-z]+")


@record
class Call:
    """The arguments of a call, and the words for them that its caller chose, if any.

    ``argsrepr`` and ``kwargsrepr`` are Celery's options: who gives them wants the arguments
    themselves to be seen nowhere.
    """

    args: Any
    kwargs: Mapping[str, Any]
    argsrepr: object = None
    kwargsrepr: object = None

    @classmethod
    def of(cls, args: Any, kwargs: Mapping[str, Any] | None, options: Mapping[str, Any]) -> Self:
        """Return the call that Celery's ``apply_async(args, kwargs, **options)`` makes."""
        return cls(args or (), kwargs or {}, options.get("argsrepr"), options.get("kwargsrepr"))


def looks_secret(name: object) -> bool:
    """Return whether a name has a word in it that stands for a secret, such as ``api_key``."""
    text = name.decode(errors="replace") if isinstance(name, bytes) else str(name)
    return bool(_SECRET.search(_BETWEEN_WORDS.sub("_", _HUMP.sub("_", text).lower())))


def describe_all(call: Call, signature: inspect.Signature) -> str:
    """Return ``email='ada@example.org', month='May'``, defaults included.

    Where the caller chose words, they stand for the arguments that they are about.
    """
    if call.argsrepr is None and call.kwargsrepr is None:
        return _joined(_assigned(_bound(call, signature)))
    positional = signature.bind_partial(*call.args)
    return _joined(
        [
            *_chosen_words(call.argsrepr, positional.arguments, call.args),
            *_chosen_words(call.kwargsrepr, call.kwargs, call.kwargs),
        ]
    )


def describe_some(call: Call, signature: inspect.Signature, names: Iterable[str] | None) -> str:
    """Return the arguments with these ``names`` (``None``: all), as ``describe_all`` does.

    The caller's words may tell of other arguments, too: a value that they hide is masked.
    """
    hidden: set[str] = set()
    if call.argsrepr is not None:
        hidden |= set(signature.bind_partial(*call.args).arguments)
    if call.kwargsrepr is not None:
        hidden |= set(call.kwargs)
    arguments = _bound(call, signature)
    if names is not None:
        arguments = {name: arguments[name] for name in names if name in arguments}
    return _joined(_assigned(arguments, hidden))


def describe_key(call: Call, key: Callable[..., object]) -> str:
    """Return the value that a key is made of, masked where the caller hides the arguments."""
    if call.argsrepr is not None or call.kwargsrepr is not None:
        return f"key={MASK}"
    return _joined(_assigned({"key": key(*call.args, **call.kwargs)}))


def _bound(call: Call, signature: inspect.Signature) -> dict[str, object]:
    """Return the arguments by their names, those of ``**kwargs`` by their own."""
    # A reservation gives only what its key needs.
    bound = signature.bind_partial(*call.args, **call.kwargs)
    bound.apply_defaults()
    arguments: dict[str, object] = {}
    for name, value in bound.arguments.items():
        kind = signature.parameters[name].kind
        if kind is inspect.Parameter.VAR_KEYWORD:
            arguments.update(value)
        elif kind is not inspect.Parameter.VAR_POSITIONAL or value:
            arguments[name] = value
    return arguments


def _chosen_words(words: object, arguments: Mapping[str, object], given: object) -> list[str]:
    if not given:
        return []
    return _assigned(arguments) if words is None else [_cut(_safely(str, words))]


def _assigned(arguments: Mapping[str, object], hidden: Iterable[str] = ()) -> list[str]:
    return [
        f"{name}={MASK if name in hidden or looks_secret(name) else _written(value)}"
        for name, value in arguments.items()
    ]


def _joined(parts: Iterable[str]) -> str:
    text = ", ".join(parts)
    return text if len(text) <= MAX_TEXT else text[: MAX_TEXT - 1] + ELLIPSIS


def _cut(text: str) -> str:
    return text if len(text) <= MAX_VALUE else text[: MAX_VALUE - 1] + ELLIPSIS


def _written(value: object) -> str:
    return _cut(_safely(_plain, value))


def _safely(write: Callable[[Any], str], value: object) -> str:
    try:
        return write(value)
    except Exception:
        return f"<{type(value).__name__} that can't be shown>"


def _plain(value: object, depth: int = 0) -> str:
    if depth > MAX_DEPTH:
        return ELLIPSIS
    if isinstance(value, Mapping):
        return f"{{{_items(value.items(), _pair, depth)}}}"
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return _record(value, zip(value._fields, value, strict=True), depth)
    if isinstance(value, list | tuple | AbstractSet):
        begin, end = "[]" if isinstance(value, list) else "()" if isinstance(value, tuple) else "{}"
        return f"{begin}{_items(value, _item, depth)}{end}"
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
        return _record(value, ((name, getattr(value, name)) for name in names), depth)
    if is_model(value):
        return _record(value, fields_of(value).items(), depth)
    return _single(value)


def _record(value: object, fields: Iterable[tuple[str, object]], depth: int) -> str:
    return f"{type(value).__name__}({_items(fields, _field, depth)})"


def _single(value: object) -> str:
    if isinstance(value, Promise):
        value = str(value)
    if isinstance(value, str):
        return repr(str.__str__(value)[: MAX_VALUE + 1])
    if isinstance(value, bytes | bytearray | memoryview):
        return repr(bytes(value[: MAX_VALUE + 1]))
    if isinstance(value, Model):
        return f"<{value._meta.label} {value.pk}>"
    if isinstance(value, QuerySet):  # its repr would ask the database
        return f"<{type(value).__name__} of {value.model._meta.label}>"
    return repr(value)


def _items(items: Iterable[Any], write: Callable[[Any, int], str], depth: int) -> str:
    """Write as many items as can be seen in the end."""
    parts: list[str] = []
    length = 0
    for item in items:
        if length > MAX_VALUE:
            break
        parts.append(write(item, depth + 1))
        length += len(parts[-1]) + 2
    return ", ".join(parts)


def _item(value: object, depth: int) -> str:
    return _safely(lambda each: _plain(each, depth), value)


def _pair(item: tuple[object, object], depth: int) -> str:
    name, value = item
    return f"{_item(name, depth)}: {MASK if _names_secret(name) else _item(value, depth)}"


def _field(item: tuple[str, object], depth: int) -> str:
    name, value = item
    return f"{name}={MASK if looks_secret(name) else _item(value, depth)}"


def _names_secret(name: object) -> bool:
    return isinstance(name, str | bytes) and looks_secret(name)
