"""Whether a connection to Redis would wait for ever."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any


def has_time_out(given: Mapping[str, Any], kind: Any) -> bool:
    """Return whether a kind of connection, with what it is given, has a socket time-out."""
    if "socket_timeout" in given:
        return given["socket_timeout"] is not None
    # redis-py 8 has a time-out by default, earlier versions have none.
    for each in kind.__mro__:
        known = inspect.signature(each.__init__).parameters.get("socket_timeout")
        if known is not None:
            return known.default is not None
    return False
