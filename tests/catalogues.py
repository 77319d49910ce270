"""The texts of the package, and their catalogues: what ``make messages`` gathers and compiles.

A ``.po`` has neither line numbers nor dates, so that only what was translated makes a change.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

from babel.messages import Catalog, Message
from babel.messages.extract import extract
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po
from django.utils.translation.template import templatize

PACKAGE = Path(__file__).resolve().parent.parent / "django_celery_once"
LANGUAGES: Mapping[str, str] = MappingProxyType({"de": "German", "fr": "French", "es": "Spanish"})
HEADER = """\
# {name} texts of django-celery-once.
#
# Run `make messages`, fill what is empty, and run it again to compile."""
#: Which argument is the text; those of pgettext have a context before it.
KEYWORDS = {
    "_": None,
    "gettext": None,
    "gettext_lazy": None,
    "ngettext": (1, 2),
    "ngettext_lazy": (1, 2),
    "pgettext": ((1, "c"), 2),
    "pgettext_lazy": ((1, "c"), 2),
    "npgettext": ((1, "c"), 2, 3),
    "npgettext_lazy": ((1, "c"), 2, 3),
}

#: What tells a text from any other: its context, if it has one, and its words.
Identity = tuple[str | None, str | tuple[str, ...]]


class PlainCatalog(Catalog):
    """A catalogue whose header is always the same."""

    @property
    def mime_headers(self) -> list[tuple[str, str]]:
        """Return the header, without the dates and versions that Babel puts there."""
        return [
            ("Project-Id-Version", "django-celery-once"),
            ("Language", str(self.locale_identifier)),
            ("MIME-Version", "1.0"),
            ("Content-Type", "text/plain; charset=UTF-8"),
            ("Content-Transfer-Encoding", "8bit"),
            ("Plural-Forms", self.plural_forms),
        ]

    @mime_headers.setter
    def mime_headers(self, headers: Iterable[tuple[str, str]]) -> None:
        """Keep the header as it is, whatever is read."""


def po_path(language: str) -> Path:
    """Return the file for translators; the compiled one is beside it, as ``.mo``."""
    return PACKAGE / "locale" / language / "LC_MESSAGES" / "django.po"


def sources() -> Iterator[tuple[Path, str]]:
    """Yield the package's modules and templates as Python; tags have become calls."""
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path, path.read_text()
    for path in sorted(PACKAGE.rglob("*.html")):
        # What is around the tags has become words in lines; their indents mean nothing.
        yield path, re.sub(r"^[ \t]+", "", templatize(path.read_text()), flags=re.MULTILINE)


def gather() -> dict[Identity, Message]:
    """Return all marked texts of the package, with what their authors tell translators."""
    found = Catalog()
    for _path, code in sources():
        lines = io.BytesIO(code.encode())
        for _line, words, comments, context in extract("python", lines, KEYWORDS, ["Translators:"]):
            found.add(words, auto_comments=comments, context=context)
    return {identity(message): message for message in found if message.id}


def identity(message: Message) -> Identity:
    """Return what tells a text from any other."""
    words = message.id if isinstance(message.id, str) else tuple(message.id)
    return message.context, words


def read(language: str) -> Catalog:
    """Return the catalogue as it is; an empty one where there is none yet."""
    path = po_path(language)
    if not path.exists():
        return Catalog(locale=language)
    with path.open("rb") as file:
        return read_po(file, locale=language)


def merge(language: str, texts: Mapping[Identity, Message]) -> PlainCatalog:
    """Return the catalogue of exactly these texts, with the translations that are there."""
    old_one = read(language)
    known = {identity(message): message for message in old_one}
    header = HEADER.format(name=LANGUAGES[language])
    merged = PlainCatalog(locale=language, fuzzy=False, header_comment=header)
    # Babel's next version may count other plurals than the translations have.
    merged._num_plurals = old_one.num_plurals  # type: ignore[assignment]
    merged._plural_expr = old_one.plural_expr  # type: ignore[assignment]
    for each, text in texts.items():
        old = known.get(each)
        empty = ("",) * merged.num_plurals if text.pluralizable else ""
        merged.add(
            text.id,
            old.string if old else empty,
            flags=old.flags if old else (),
            auto_comments=text.auto_comments,
            user_comments=old.user_comments if old else (),
            context=text.context,
        )
    return merged


def compiled(catalogue: Catalog) -> bytes:
    """Return the catalogue as gettext reads it."""
    file = io.BytesIO()
    write_mo(file, catalogue)
    return file.getvalue()


def forms(message: Message) -> tuple[str, ...]:
    """Return the translations of a text, one for each plural form."""
    return (message.string,) if isinstance(message.string, str) else tuple(message.string or ())


def is_gap(message: Message) -> bool:
    """Return whether a text, or one of its plural forms, has no translation to be relied on."""
    return message.fuzzy or not all(forms(message))


def update() -> Iterator[tuple[str, int, int]]:
    """Write all catalogues; yield each language, the number of its texts, and that of gaps."""
    texts = gather()
    for language in LANGUAGES:
        merged = merge(language, texts)
        path = po_path(language)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("wb") as file:
            write_po(file, merged, no_location=True, sort_output=True, ignore_obsolete=True)
        path.with_suffix(".mo").write_bytes(compiled(merged))
        yield language, len(merged), sum(is_gap(message) for message in merged if message.id)
