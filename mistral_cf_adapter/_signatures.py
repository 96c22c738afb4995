"""Signatures and docstrings that fit a screen in `help()`, and say what each keyword is for."""

import ast
import inspect
import sys
from collections.abc import Collection, Iterable, Mapping
from contextlib import suppress
from itertools import pairwise
from typing import Any

_WIDTH = 72  # characters of a docstring's line, which help() indents by up to 8
_LONGEST = 60  # of a signature after its name


class ShortSignature(inspect.Signature):
    """A signature that is shown without its types, and if it is still too long, as keywords.

    Its parameters are whole: notebooks complete them, `inspect.signature()` has their types.
    """

    def format(self, **_: Any) -> str:
        """Return the text that `help()` prints, from Python 3.13 on."""
        nothing = inspect.Parameter.empty
        bare = [each.replace(annotation=nothing) for each in self.parameters.values()]
        text = str(inspect.Signature(bare))
        if len(text) <= _LONGEST:
            return text
        return "(self, **keywords)" if "self" in self.parameters else "(**keywords)"

    def __str__(self) -> str:
        return self.format()


def shorten_signatures(*things: Any, without: Collection[str] = ()) -> None:
    """Give classes and functions the signature that they have, shown without its types.

    Args:
        things: Classes, with all their functions, and functions.
        without: Parameters that take nothing, and are there for a better error.
    """
    for thing in things:
        functions: list[Any] = [thing]
        if inspect.isclass(thing):
            functions += [each for each in vars(thing).values() if inspect.isfunction(each)]
        for function in functions:
            known = inspect.signature(function)
            function.__signature__ = ShortSignature(
                [each for each in known.parameters.values() if each.name not in without],
                return_annotation=known.return_annotation,
            )


def set_keywords(thing: Any, names: Iterable[str]) -> None:
    """Give a function or class the signature of these keywords, at run time."""
    kind = inspect.Parameter.KEYWORD_ONLY
    thing.__signature__ = ShortSignature(
        [inspect.Parameter(name, kind, default=None) for name in names]
    )


def add_section(thing: Any, title: str, texts: Mapping[str, str]) -> None:
    """Add a list of names, each with its text, to a docstring."""
    thing.__doc__ = _add_to(thing.__doc__, title, texts)


def _add_to(doc: str | None, title: str, texts: Mapping[str, str]) -> str:
    lines = [_fill(f"{name}: {text}", " " * 4, " " * 8) for name, text in texts.items()]
    return "\n".join([inspect.cleandoc(doc or ""), "", title, *lines])


def _fill(text: str, first_indent: str = "", indent: str = "") -> str:
    """Wrap a text between its words, as `textwrap.fill()` does in four times the time."""
    lines: list[str] = []
    line = first_indent
    for number, word in enumerate(text.split()):
        if number and len(line) + 1 + len(word) > _WIDTH:
            lines.append(line)
            line = indent + word
        else:
            line += f" {word}" if number else word
    return "\n".join([*lines, line])


_SECTIONS = ("Attributes", "Example")


def add_paragraph(thing: Any, text: str) -> None:
    """Add a paragraph to a docstring, before its sections."""
    doc = inspect.cleandoc(thing.__doc__ or "")
    starts = [doc.find(f"\n\n{title}:\n") for title in _SECTIONS]
    end = min((start for start in starts if start >= 0), default=len(doc))
    thing.__doc__ = f"{doc[:end]}\n\n{_fill(text)}{doc[end:]}"


def document_attributes(*classes: Any) -> None:
    """Add to a class's docstring the text that stands below each of its fields in the source.

    Editors show that text, `help()` does not. Without the source the docstring stays as it is.
    """
    for cls in classes:
        cls.__doc__ = _DocWithFields(cls)


class _DocWithFields:
    """The docstring of a class, put together when it is read: the source is not read before."""

    def __init__(self, cls: type) -> None:
        self._doc = cls.__doc__
        self._module = cls.__module__  # which another name takes the place of, to be shown
        self._name = cls.__name__

    def __get__(self, instance: object, owner: type) -> str | None:
        with suppress(OSError, SyntaxError, KeyError):
            source = inspect.getsource(sys.modules[self._module])
            texts = dict(_texts_below_fields(source, self._name))
            return _add_to(self._doc, "Fields:", texts)
        return self._doc


def _texts_below_fields(source: str, name: str) -> Iterable[tuple[str, str]]:
    for definition in ast.parse(source).body:
        if not isinstance(definition, ast.ClassDef) or definition.name != name:
            continue
        for field, below in pairwise(definition.body):
            if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
                continue
            if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
                yield field.target.id, str(below.value.value)
