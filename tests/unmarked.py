"""Find words for people that are not marked for translation, in templates and in modules."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from html.parser import HTMLParser

from django.template.base import Lexer, Token, TokenType

from tests.catalogues import KEYWORDS

#: Attributes that people read, or have read to them.
ATTRIBUTES = {"alt", "title", "aria-label", "aria-description", "placeholder", "value"}
#: Filters whose argument is shown.
SHOWN = re.compile(
    r"""\|\s*(?:default|default_if_none|yesno|add|pluralize|join):"""
    r"""(?:"[^"]*[^\W\d_]|'[^']*[^\W\d_])"""
)
#: Tags around what is not shown as it is: it is marked, a comment, or names of classes.
HIDING = {
    "blocktranslate": "endblocktranslate",
    "blocktrans": "endblocktrans",
    "comment": "endcomment",
    "block bodyclass": "endblock",
    "block once_kind": "endblock",
}
#: Names of arguments and attributes that hold what people read.
READ = {"description", "help_text", "label", "short_description", "title", "verbose_name"}
READ |= {"empty_value_display", "search_help_text", "verbose_name_plural"}
LETTER = re.compile(r"[^\W\d_]")


class _Page(HTMLParser):
    """What is left of a template without its tags: all words are unmarked ones."""

    def __init__(self) -> None:
        super().__init__()
        self.words: list[str] = []

    def handle_data(self, data: str) -> None:
        if self.cdata_elem is None:  # a style or script
            self._note(data)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        for name in ATTRIBUTES & set(given):
            if not (name == "value" and given.get("type") == "hidden"):
                self._note(given[name] or "")

    def _note(self, text: str) -> None:
        if LETTER.search(text):
            self.words.append(text.strip())


def in_template(source: str) -> list[str]:
    """Return the words of a template that stand outside of ``translate`` and its like."""
    tokens = list(_shown(Lexer(source).tokenize()))
    page = _Page()
    page.feed("".join(each.contents for each in tokens if each.token_type is TokenType.TEXT))
    page.close()
    others = [each.contents for each in tokens if each.token_type is not TokenType.TEXT]
    return page.words + [each for each in others if SHOWN.search(each)]


def _shown(tokens: list[Token]) -> Iterator[Token]:
    end = ""
    for token in tokens:
        words = token.contents.split()
        is_tag = token.token_type is TokenType.BLOCK
        if end:
            end = "" if is_tag and words[0] == end else end
        elif is_tag and (hidden := HIDING.get(words[0]) or HIDING.get(" ".join(words))):
            end = hidden
        elif token.token_type is not TokenType.COMMENT:
            yield token


def in_module(code: str) -> list[str]:
    """Return the texts of a module that look as if people read them, and are not marked.

    Those that it raises or logs are for developers, and in English.
    """
    found: list[str] = []
    _look(ast.parse(code), found)
    return found


def _look(node: ast.AST, found: list[str]) -> None:
    if _is_for_developers(node) or _called(node) in KEYWORDS:
        return
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        if " " in node.value and node.value[:1].isupper():
            found.append(node.value)
        return
    found += _labels(node)
    for child in ast.iter_child_nodes(node):
        _look(child, found)


def _is_for_developers(node: ast.AST) -> bool:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant):
        return True  # a docstring
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
        return getattr(node.func.value, "id", "") == "logger"
    return isinstance(node, ast.Raise)


def _called(node: ast.AST) -> str:
    """Return the name of the function that is called, without its module."""
    if not isinstance(node, ast.Call):
        return ""
    return str(getattr(node.func, "attr", "") or getattr(node.func, "id", ""))


def _labels(node: ast.AST) -> list[str]:
    """Return the unmarked texts under names, or in places, that hold what people read."""
    texts = [each.value for each in _read(node) if isinstance(each, ast.Constant)]
    return [each for each in texts if isinstance(each, str) and LETTER.search(each)]


def _read(node: ast.AST) -> Iterator[ast.expr | None]:
    match node:
        case ast.keyword(arg=name, value=value) if name in READ:
            yield value
        case ast.Assign(targets=[ast.Name(id=name)], value=value) if name in READ:
            yield value
        case ast.AnnAssign(target=ast.Name(id=name), value=value) if name in READ:
            yield value
        case ast.Call(args=[first, *_]) if re.fullmatch(r"[A-Z]\w*Field", _called(node)):
            yield first  # a model's field and its verbose name
        case ast.ClassDef(bases=[ast.Attribute(attr=base) | ast.Name(id=base), *_]):
            if base.endswith("Choices"):
                yield from _choices(node)


def _choices(node: ast.ClassDef) -> Iterator[ast.expr]:
    for each in node.body:
        match each:
            case ast.Assign(value=ast.Tuple(elts=[_value, label])):
                yield label


def pieced_together(code: str) -> list[str]:
    """Return the texts of a module that are marked, but not as they are written.

    ``gettext(f"…")``, ``gettext("…" % …)`` and ``gettext(name)`` find nothing in a catalogue.
    """
    calls = [node for node in ast.walk(ast.parse(code)) if _called(node) in KEYWORDS]
    found = []
    for call in calls:
        assert isinstance(call, ast.Call)
        texts = call.args[: len(KEYWORDS[_called(call)] or (1,))]
        if not texts or not all(isinstance(each, ast.Constant) for each in texts):
            found.append(ast.unparse(call))
    return found
