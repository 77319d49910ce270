"""The catalogues are complete, compiled, and spoken."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from gettext import GNUTranslations
from io import BytesIO
from typing import Any

import pytest
from babel.messages import Message
from django.test import Client
from django.urls import reverse
from django.utils import translation

from django_celery_once import AlreadyQueued
from django_celery_once.admin.moments import duration
from django_celery_once.locks import open_store
from django_celery_once.models import BlockedAttempt, BlockedDuplicate, HeldLock
from django_celery_once.wording import STANDARD, Asker, ago
from tests.admin import people
from tests.admin.incidents import make_incident
from tests.admin.test_locks import hold
from tests.catalogues import LANGUAGES, compiled, forms, gather, identity, is_gap, po_path, read

MAKE = "run `make messages`, and translate what is empty"
PLACEHOLDER = re.compile(r"%\((\w+)\)([a-z])|%(.?)")
TAG = re.compile(r"<[^<>]+>")
#: Texts that are the same in English.
SAME = {
    "de": {"%(since)s (%(age)s)", "Cache", "Phase", "Task", "Worker"},
    "fr": {"%(since)s (%(age)s)", "Action", "Cache", "Phase", "Worker", "arguments", "incident"},
    "es": {"%(since)s (%(age)s)", "Error:", "Worker"},
}
#: How each counts: as Django does, but for its third form of Spanish, after millions.
PLURALS = {
    "de": "nplurals=2; plural=(n != 1)",
    "fr": "nplurals=2; plural=(n > 1)",
    "es": "nplurals=2; plural=(n != 1)",
}
#: What a duplicate is told, by language, of a report asked for now and 4 minutes ago.
TOLD = {
    "de": (
        "Schon in Arbeit: Bericht. Sie brauchen nichts noch einmal zu senden.",
        "Jemand anderes hat das vor 4 Minuten schon angefordert: Bericht.",
    ),
    "fr": (
        "Déjà en préparation\u00a0: Bericht. "
        "Vous n\u2019avez pas besoin de l\u2019envoyer à nouveau.",
        "Une autre personne a déjà fait cette demande il y a 4 minutes\u00a0: Bericht.",
    ),
    "es": (
        "Ya está en preparación: Bericht. No hace falta que envíe nada de nuevo.",
        "Otra persona ya hizo esta solicitud hace 4 minutos: Bericht.",
    ),
}
each_language = pytest.mark.parametrize("language", LANGUAGES)


def messages(language: str) -> list[Message]:
    """Return the texts of a catalogue, without its header."""
    return [message for message in read(language) if message.id]


def duplicate(seconds: float) -> AlreadyQueued:
    """Return a duplicate of a call that was accepted some seconds ago."""
    return AlreadyQueued(30, task_id="id-1", since=datetime.now(UTC) - timedelta(seconds=seconds))


def originals(message: Message) -> tuple[str, ...]:
    """Return a text in English: one, or singular and plural."""
    return (message.id,) if isinstance(message.id, str) else tuple(message.id)


def wrong(language: str, looks_wrong: Any) -> list[tuple[str, str]]:
    """Return what ``looks_wrong(original, translated)``, form by form."""
    return [
        (original, translated)
        for message in messages(language)
        for original, translated in zip(originals(message), forms(message), strict=True)
        if looks_wrong(original, translated)
    ]


# ---- complete


@each_language
def test_every_text_is_in_the_catalogue_and_no_other(language: str) -> None:
    catalogue = read(language)

    there = {identity(message) for message in catalogue if message.id}

    assert there == set(gather()), MAKE
    assert not catalogue.obsolete, MAKE


@each_language
def test_every_text_is_translated(language: str) -> None:
    catalogue = read(language)

    assert [message.id for message in messages(language) if is_gap(message)] == [], MAKE
    assert {len(forms(message)) for message in messages(language) if message.pluralizable} == {
        catalogue.num_plurals
    }


@each_language
def test_placeholders_and_tags_stay(language: str) -> None:
    def differ(original: str, translated: str) -> bool:
        return any(
            sorted(pattern.findall(original)) != sorted(pattern.findall(translated))
            for pattern in (PLACEHOLDER, TAG)
        )

    # Where English counts one without a figure, the other language must do so as well.
    assert wrong(language, differ) == []


@each_language
def test_nothing_was_left_in_english(language: str) -> None:
    same = wrong(language, lambda original, translated: original == translated)

    assert {original for original, _translated in same} == SAME[language]


@pytest.mark.parametrize(
    ("language", "strange"),
    [
        ("de", r"[\"'”«»]"),
        ("fr", r"[\"'“”„]|(?<!\u00a0)[:;?!»]|«(?!\u00a0)"),
        ("es", r"[\"'“”„]"),
    ],
)
def test_punctuation_is_that_of_the_language(language: str, strange: str) -> None:
    assert wrong(language, lambda _original, text: re.search(strange, text)) == []


@each_language
def test_compiled_catalogue_is_that_of_the_translators(language: str) -> None:
    with po_path(language).with_suffix(".mo").open("rb") as file:
        committed = vars(GNUTranslations(file))["_catalog"]
    fresh = vars(GNUTranslations(BytesIO(compiled(read(language)))))["_catalog"]

    # Babel puts the day into the header of what it compiles.
    rules = [re.findall("Plural-Forms: .*;", each.pop("")) for each in (committed, fresh)]
    assert rules[0] == rules[1] == [f"Plural-Forms: {PLURALS[language]};"]
    assert committed == fresh, MAKE


@each_language
def test_catalogues_tell_nothing_of_when_and_where_they_were_made(language: str) -> None:
    text = po_path(language).read_text()

    assert not re.search(r"^#: |-Date:|Generated-By|Translator:", text, re.MULTILINE)


# ---- spoken


@each_language
def test_duplicates_are_told_of(language: str) -> None:
    with translation.override(language):
        own = STANDARD.already_queued(duplicate(0), Asker.SELF, label="Bericht")
        another = STANDARD.already_queued(duplicate(240), Asker.ANOTHER, label="Bericht")

    assert (own, another) == TOLD[language]


@pytest.mark.parametrize(
    ("language", "expected"),
    [
        ("de", "Schon in Arbeit: Ihre Anfrage."),
        ("fr", "Déjà en préparation\u00a0: votre demande."),
        ("es", "Ya está en preparación: su solicitud."),
        ("de-ch", "Schon in Arbeit: Ihre Anfrage."),
        ("fr-ca", "Déjà en préparation\u00a0: votre demande."),
        ("es-mx", "Ya está en preparación: su solicitud."),
        ("it", "Your request is already being prepared."),
    ],
)
def test_countries_speak_their_language(language: str, expected: str) -> None:
    with translation.override(language):
        told = STANDARD.already_queued(duplicate(0), Asker.SELF)

    assert told.startswith(expected)


@pytest.mark.parametrize(
    ("language", "expected"),
    [
        ("de", ["0 Sekunden", "1 Sekunde", "2 Sekunden", "vor 1 Minute", "vor 4 Minuten"]),
        ("fr", ["0 seconde", "1 seconde", "2 secondes", "il y a 1 minute", "il y a 4 minutes"]),
        ("es", ["0 segundos", "1 segundo", "2 segundos", "hace 1 minuto", "hace 4 minutos"]),
    ],
)
def test_plural_forms_are_those_of_the_language(language: str, expected: list[str]) -> None:
    with translation.override(language):
        told = [*map(duration, [0, 1, 2]), *map(ago, [60, 240])]

    assert told == expected


@each_language
def test_names_of_models_are_translated(language: str) -> None:
    models = (BlockedDuplicate, BlockedAttempt, HeldLock)
    names = [name for model in models for name in _names(model)]

    english = [str(name) for name in names]
    with translation.override(language):
        spoken = [str(name) for name in names]

    unchanged = {one for one, other in zip(english, spoken, strict=True) if one == other}
    assert unchanged <= SAME[language]


def _names(model: Any) -> list[Any]:
    fields = [field.verbose_name for field in model._meta.fields if field.name != "id"]
    return [model._meta.verbose_name, model._meta.verbose_name_plural, *fields]


@pytest.fixture
def _speaking(settings: Any) -> Iterator[None]:
    """Let the browser choose the language, and have the old one back after that."""
    first, *others = settings.MIDDLEWARE
    settings.MIDDLEWARE = [first, "django.middleware.locale.LocaleMiddleware", *others]
    with translation.override(translation.get_language()):
        yield


def page(client: Client, name: str, language: str) -> str:
    """Return a page of the admin, in the language that the browser prefers."""
    address = reverse(f"admin:django_celery_once_{name}")
    response = client.get(address, headers={"accept-language": language})
    assert response.status_code == 200
    return response.content.decode()


@pytest.mark.django_db
@pytest.mark.usefixtures("_speaking")
@pytest.mark.parametrize(
    ("language", "title", "overview", "phase"),
    [
        ("de", "Abgewiesene Duplikate", "Überblick", "in der Warteschlange"),
        ("fr", "Doublons bloqués", "Vue d\u2019ensemble", "en file d\u2019attente"),
        ("es", "Duplicados bloqueados", "Resumen", "en cola"),
        ("en", "Blocked duplicates", "Overview", "queued"),
    ],
)
def test_admin_speaks(language: str, title: str, overview: str, phase: str) -> None:
    make_incident()
    hold(open_store("locks"))
    client = people.superuser()

    incidents = page(client, "blockedduplicate_changelist", language)
    figures = page(client, "blockedduplicate_overview", language)

    assert f"{title}, " in incidents  # the caption
    assert f">{overview}</a>" in incidents
    assert f"<h1>{overview}</h1>" in figures
    assert f">{title}</a>" in figures
    assert f"{phase}, " in figures
