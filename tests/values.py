"""Arbitrary arguments, and an oracle that says which of them are the same."""

from __future__ import annotations

import datetime as dt
from typing import Any

from hypothesis import strategies as st

scalars = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text()
    | st.binary()
    | st.decimals(allow_nan=False, allow_infinity=False)
    | st.uuids()
    | st.dates()
    | st.datetimes(timezones=st.just(dt.UTC))
    | st.datetimes()
    | st.times()
    | st.timedeltas()
)
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.text(max_size=5) | st.integers(), inner, max_size=4)
        | st.frozensets(scalars, max_size=4)
    ),
    max_leaves=12,
)


def typed(value: Any) -> Any:
    """Return a form in which Python compares types, too; an oracle for ``canonical``."""
    if isinstance(value, list | tuple):
        return ("list", tuple(map(typed, value)))
    if isinstance(value, dict):
        return ("dict", frozenset((typed(each), typed(item)) for each, item in value.items()))
    if isinstance(value, frozenset | set):
        return ("set", frozenset(map(typed, value)))
    if isinstance(value, dt.datetime | dt.time):
        return (type(value), value.tzinfo is None, value)
    return (type(value), value)
