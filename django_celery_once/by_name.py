"""Messages that were sent by name: their runs make their keys, and tell the main process.

Only a run knows what its key may ask for, such as the tenant that ``task_prerun`` sets. The main
process, which sees that a run was killed, hears of its key by a pipe, or sees it in itself.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from django_celery_once import claims
from django_celery_once.conf import conf
from django_celery_once.header import Header
from django_celery_once.running import message_with

logger = logging.getLogger(__name__)

#: Where children write and the main process reads, neither of which ever waits.
_pipe: tuple[int, int] | None = None
#: The begin of a line whose end has not been read.
_begun = b""


def listen(**_signal: Any) -> None:
    """Open the pipe, before the worker has children (``celeryd_after_setup``)."""
    global _pipe
    if _pipe is None:
        _pipe = os.pipe()
        for end in _pipe:
            os.set_blocking(end, False)


def header_without_key(request: Mapping[str, Any]) -> Header:
    """Return the header of a message that has none; each copy of the message has the same."""
    return Header(token=claims.token_of_message(request["id"], request.get("properties")))


def lacks_key(header: Header) -> bool:
    """Return whether the key of a message is for its run to make."""
    return bool(header.token) and not header.key


def make_key(task: Any, request: Any, header: Header | None) -> Header:
    """Return the header of a run that has been sent by name, and tell the main process of it."""
    asked = task.once_options()
    key, alias = task.get_key(request.args, request.kwargs), claims.alias_of(asked)
    name = claims.name_of(key, alias)
    token = claims.token_of_message(request.id, request.properties)
    made = claims.new_header(key, name, token, asked, asked.timeout or conf.timeout)
    if header is not None:
        made = replace(made, run=header.run, received=header.received)
        _tell(made)
    return made


def heard(header: Header | None) -> Header | None:
    """Return the header of a message in the main process, with its key if its run has told it."""
    if header is None or not lacks_key(header):
        return header
    _hear()
    message = message_with(header.run)
    return header if message is None else message.once_header


def _tell(header: Header) -> None:
    message = message_with(header.run)
    if message is not None:  # not with prefork
        message.once_header = header
    elif _pipe is not None:
        line = json.dumps(header.plain()).encode() + b"\n"
        try:
            os.write(_pipe[1], line)  # shorter than PIPE_BUF, and so in one piece
        except OSError:
            logger.debug("The main process can't be told of %s", header.key, exc_info=True)


def _hear() -> None:
    global _begun
    while _pipe is not None:
        try:
            read = os.read(_pipe[0], 65536)
        except OSError:  # there is no more
            return
        *lines, _begun = (_begun + read).split(b"\n")
        for line in lines:
            header = Header.of(json.loads(line))
            message = message_with(header.run)
            if message is not None:
                message.once_header = header
