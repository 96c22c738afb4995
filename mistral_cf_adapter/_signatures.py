"""Signatures and docstrings that fit a screen in `help()`, and say what each keyword is for."""

import ast
import inspect
import re
import textwrap
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
    lines = [
        textwrap.fill(
            f"{name}: {' '.join(text.split())}",
            _WIDTH,
            initial_indent=" " * 4,
            subsequent_indent=" " * 8,
            break_on_hyphens=False,
            break_long_words=False,
        )
        for name, text in texts.items()
    ]
    thing.__doc__ = "\n".join([inspect.cleandoc(thing.__doc__ or ""), "", title, *lines])


def add_paragraph(thing: Any, text: str) -> None:
    """Add a paragraph to a docstring, before its sections."""
    text = textwrap.fill(text, _WIDTH, break_on_hyphens=False, break_long_words=False)
    before, section, after = re.split(
        r"(\n\n(?:Attributes|Example):\n|\Z)", inspect.cleandoc(thing.__doc__ or ""), maxsplit=1
    )
    thing.__doc__ = f"{before}\n\n{text}{section}{after}"


def document_attributes(*classes: type) -> None:
    """Add to a class's docstring the text that stands below each of its fields in the source.

    Editors show that text, `help()` does not. Without the source the docstring stays as it is.
    """
    for cls in classes:
        with suppress(OSError, SyntaxError):
            texts = dict(_texts_below_fields(inspect.getsource(cls)))
            add_section(cls, "Fields:", texts)


def _texts_below_fields(source: str) -> Iterable[tuple[str, str]]:
    (definition,) = ast.parse(textwrap.dedent(source)).body
    body = definition.body if isinstance(definition, ast.ClassDef) else []
    for field, below in pairwise(body):
        if not isinstance(field, ast.AnnAssign) or not isinstance(field.target, ast.Name):
            continue
        if isinstance(below, ast.Expr) and isinstance(below.value, ast.Constant):
            yield field.target.id, str(below.value.value)
