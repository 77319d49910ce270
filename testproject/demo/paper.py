"""A report as its reader has it: a PDF, attached to a mail."""

from __future__ import annotations

from collections.abc import Iterable
from io import BytesIO

from pypdf import PdfReader

from testproject.reports.months import Month
from testproject.reports.outbox import Mail
from testproject.reports.pdf import euros
from testproject.reports.sample_sales import amount_of


def promised_words(month: Month, email: str) -> list[str]:
    """Return what stands in the report of a month: heading, reader and total."""
    return [f"Sales report {month.name}", f"Prepared for {email}", euros(amount_of(month))]


def words_found(mail: Mail, words: Iterable[str]) -> list[str]:
    """Open the PDF that came with ``mail``; return the words that stand in it."""
    if mail.attachment is None:
        return []
    pages = PdfReader(BytesIO(mail.attachment.content)).pages
    text = " ".join(page.extract_text() for page in pages)
    return [each for each in words if each in text]
