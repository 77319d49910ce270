"""Whatever people read in the browser is marked for translation."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.catalogues import PACKAGE
from tests.unmarked import in_module, in_template, pieced_together

#: Modules whose words are read in the browser. All others speak to developers, in English.
FACING_PEOPLE = [
    "admin",
    "admin_answers.py",
    "answers.py",
    "apps.py",
    "contrib",
    "decorators.py",
    "middleware.py",
    "mixins.py",
    "models.py",
    "status.py",
    "templatetags",
    "views.py",
    "wording.py",
]
#: No sentences, or sentences that Django keeps in English.
ALLOWED = {
    "Can export blocked duplicates",  # names of permissions are rows of a table
    "Can release a lock",
    "Y-m-d H:i",  # formats
    "Y-m-d H:i:s",
}


def modules() -> Iterator[Path]:
    """Yield the files of the modules that face people."""
    for name in FACING_PEOPLE:
        path = PACKAGE / name
        yield from sorted(path.rglob("*.py")) if path.is_dir() else [path]


def shown(path: Path) -> str:
    """Return the name of a file for a test's id."""
    return str(path.relative_to(PACKAGE))


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.html")), ids=shown)
def test_templates_have_no_unmarked_words(path: Path) -> None:
    assert in_template(path.read_text()) == []


@pytest.mark.parametrize("path", list(modules()), ids=shown)
def test_modules_have_no_unmarked_words(path: Path) -> None:
    assert set(in_module(path.read_text())) <= ALLOWED


def test_nothing_is_allowed_without_need() -> None:
    found = {text for path in modules() for text in in_module(path.read_text())}

    assert found == ALLOWED


def test_every_module_with_marked_texts_faces_people() -> None:
    translating = {
        path for path in PACKAGE.rglob("*.py") if "django.utils.translation" in path.read_text()
    }

    assert translating <= set(modules())


@pytest.mark.parametrize("path", sorted(PACKAGE.rglob("*.py")), ids=shown)
def test_marked_texts_are_literal(path: Path) -> None:
    assert pieced_together(path.read_text()) == []


@pytest.mark.parametrize(
    "source",
    [
        "<p>Words</p>",
        "{% if a %}Words{% endif %}",
        "{% translate 'a' %} words",
        "{% blocktranslate %}a{% endblocktranslate %} words",
        "{{ a }} words",
        '<img alt="Words">',
        '<a title="{{ a }} words">',
        '<button aria-label="Words">',
        '<input placeholder="{% if a %}words{% endif %}">',
        '<input type="submit" value="Words">',
        "<svg><title>Words</title></svg>",
        '{{ a|default:"words" }}',
        "{{ a|yesno:'yes,no' }}",
    ],
)
def test_unmarked_words_of_templates_are_found(source: str) -> None:
    assert len(in_template(source)) == 1


@pytest.mark.parametrize(
    "source",
    [
        "<p>{% translate 'Words' %}</p>",
        "{% blocktranslate count a=b %}a word{% plural %}{{ a }} words{% endblocktranslate %}",
        '<a class="words" id="words" href="/words/">{{ words }}: 1, 2 … 3</a>',
        '<a title="{% translate "Words" %}" aria-label="{{ words }}">',
        '<input type="hidden" name="a" value="words">',
        "{# words #}{% comment %}words{% endcomment %}<!-- words --><style>p {}</style>",
        '{{ a|default:"…" }}{{ a|default:_("words") }}{{ a|date:"Y-m-d" }}',
        "{% block bodyclass %}{{ block.super }} words{% endblock %}",
        "<!doctype html>",
    ],
)
def test_marked_words_of_templates_are_no_find(source: str) -> None:
    assert in_template(source) == []


@pytest.mark.parametrize(
    "code",
    [
        "say('Some words')",
        "say(f'Some words {about}')",
        "say('Some %s' % words)",
        "say(label='words')",
        "class A:\n    verbose_name = 'words'",
        "class A:\n    title: str = 'words'",
        "class A(models.TextChoices):\n    B = 'b', 'words'",
        "key = models.CharField('words', max_length=1)",
    ],
)
def test_unmarked_words_of_modules_are_found(code: str) -> None:
    assert len(in_module(code)) == 1


@pytest.mark.parametrize(
    "code",
    [
        "'''Some words.'''",
        "class A:\n    B = auto()\n    '''Some words.'''",
        "say(_('Some words'))",
        "say(translation.gettext('Some words'))",
        "say(label=_('words'), help_text='', title=title)",
        "raise ValueError(f'Some words {about}')",
        "logger.warning('Some words: %s', words)",
        "class A(models.TextChoices):\n    B = 'b', _('words')",
        "key = models.CharField(_('words'), max_length=1)",
        "html = '<p class=\"words\">'",
    ],
)
def test_marked_words_of_modules_are_no_find(code: str) -> None:
    assert in_module(code) == []


@pytest.mark.parametrize(
    "code",
    [
        "_(f'{a} words')",
        "gettext('%s words' % a)",
        "gettext_lazy('{} words'.format(a))",
        "translation.gettext(words)",
        "ngettext('a word', f'{a} words', a)",
        "pgettext('thing', words)",
    ],
)
def test_pieced_together_texts_are_found(code: str) -> None:
    assert pieced_together(code) == [code]


def test_literal_texts_are_no_find() -> None:
    assert pieced_together("_('%(a)s words') % {'a': a}\nngettext('a', 'b', len(c))") == []
