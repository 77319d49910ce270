"""The mails that were sent here: Django's file backend writes them into a folder."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator
from dataclasses import dataclass
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path

#: What the backend writes below a mail; without it the file is not complete yet.
END = b"\n" + b"-" * 79 + b"\n"


@dataclass(frozen=True)
class Attachment:
    name: str
    content: bytes


@dataclass(frozen=True)
class Mail:
    """One mail; ``id`` is the name of its file."""

    id: str
    to: str
    subject: str
    sent_at: dt.datetime
    attachment: Attachment | None


def mails_in(folder: Path) -> Iterator[Mail]:
    """Yield the mails in ``folder``, the latest first; none where it is missing."""
    for path in sorted(folder.glob("*.log"), reverse=True):
        content = path.read_bytes()
        if content.endswith(END):
            yield _mail(path.stem, content.removesuffix(END))


def _mail(mail_id: str, content: bytes) -> Mail:
    message = message_from_bytes(content, policy=policy.default)
    return Mail(
        id=mail_id,
        to=str(message["To"]),
        subject=str(message["Subject"]),
        sent_at=message["Date"].datetime,
        attachment=_first_attachment(message),
    )


def _first_attachment(message: EmailMessage) -> Attachment | None:
    for part in message.iter_attachments():
        return Attachment(part.get_filename("attachment"), part.get_content())
    return None
