"""Text for a terminal, with colours and columns at its width, or plain lines for a pipe."""

import os
import shutil
import textwrap
from collections.abc import Iterable, Sequence
from typing import TextIO

BOLD, DIM, RED, GREEN, YELLOW = "1", "2", "31", "32", "33"
_NARROWEST = 16  # characters of a column
_LEAST = 24  # characters of a page
_GAP = "  "

Row = Sequence[str]


def open_page(out: TextIO) -> "Page":
    """Return a page for a stream: what it can show, and what the environment wants."""
    is_terminal = out.isatty() and os.environ.get("TERM") != "dumb"
    is_styled = is_terminal or bool(os.environ.get("FORCE_COLOR"))
    return Page(
        width=shutil.get_terminal_size().columns if out.isatty() else None,
        colour=is_styled and not os.environ.get("NO_COLOR"),
        marks=is_styled,
        encoding=getattr(out, "encoding", None) or "utf-8",
    )


class Page:
    """Lines of text that are collected, and no wider than they may be."""

    def __init__(
        self,
        *,
        width: int | None = None,
        colour: bool = False,
        marks: bool = False,
        encoding: str = "utf-8",
    ) -> None:
        """Begin a page.

        Args:
            width: Characters of a line; `None`: as many as there are, and no columns.
            colour: Whether there is colour.
            marks: Whether there are ticks and crosses.
            encoding: Of what it is printed on.
        """
        self.width = None if width is None else max(width, _LEAST)
        self._colour = colour
        self._marks = marks
        self._encoding = encoding
        self._lines: list[str] = []

    @property
    def text(self) -> str:
        """All lines, with escapes for what the encoding cannot show, such as a path's letters."""
        text = "\n".join(self._lines)
        return text.encode(self._encoding, "backslashreplace").decode(self._encoding)

    def gap(self) -> None:
        """Add an empty line, unless there is one."""
        if self._lines and self._lines[-1]:
            self._lines.append("")

    def title(self, text: str) -> None:
        """Begin a section."""
        self.gap()
        self.paragraph(text, colour=BOLD, whole=True)

    def paragraph(
        self,
        text: str,
        *,
        prefix: str = "",
        mark: str = "",
        colour: str = "",
        whole: bool = False,
    ) -> None:
        """Add a text, wrapped below itself.

        Args:
            text: The text.
            prefix: What stands before it.
            mark: A tick or its like before that, where there are any.
            colour: Of mark and prefix.
            whole: Whether the text has the colour too.
        """
        prefix = f"{mark} {prefix}" if mark and self._can_show(mark) else prefix
        lines = self._wrap(text, None if self.width is None else self.width - len(prefix))
        for number, line in enumerate(lines):
            before = prefix if number == 0 else " " * len(prefix)
            if whole:
                self._lines.append(self._paint(before + line, colour))
            else:
                self._lines.append(self._paint(before, colour if before.strip() else "") + line)

    def rows(self, rows: Iterable[Row], *, dim: Iterable[bool] = (), cut: bool = False) -> None:
        """Add rows: in columns that fit the width, or two spaces apart where none do.

        Args:
            rows: Texts, as many in each row.
            dim: Which rows are of less interest.
            cut: Whether a text that is too long ends in dots, instead of on the next lines.
        """
        known = list(rows)
        dimmed = [*dim] or [False] * len(known)
        widths = self._measure(known)
        for row, faint in zip(known, dimmed, strict=True):
            for line in self._lay_out(row, widths, cut=cut):
                self._lines.append(self._paint(line, DIM if faint else ""))

    def _measure(self, rows: list[Row]) -> list[int] | None:
        """Return the widths of columns that fit the page; `None` if they do not.

        The widest is made narrower, but for the first one, which has the names.
        """
        if self.width is None or not rows:
            return None
        first, *others = [max(map(len, column)) for column in zip(*rows, strict=True)]
        while first + sum(others) + len(_GAP) * (len(others) + 1) > self.width:
            if max(others, default=0) <= _NARROWEST:
                return None
            others[others.index(max(others))] -= 1
        return [first, *others]

    def _lay_out(self, row: Row, widths: list[int] | None, *, cut: bool) -> list[str]:
        if widths is None:
            lines = self._wrap(_GAP.join(row), self.width and self.width - 2 * len(_GAP))
            return [_GAP + lines[0], *(2 * _GAP + line for line in lines[1:])]
        cells = [
            [_shorten(text, width)] if cut else self._wrap(text, width)
            for text, width in zip(row, widths, strict=True)
        ]
        height = max(map(len, cells))
        filled = [[*cell, *[""] * (height - len(cell))] for cell in cells]
        return [
            (_GAP + _GAP.join(map(str.ljust, line, widths))).rstrip()
            for line in zip(*filled, strict=True)
        ]

    def _wrap(self, text: str, width: int | None) -> list[str]:
        if width is None:
            return [" ".join(text.splitlines())]
        return textwrap.wrap(text, max(width, 8), break_on_hyphens=False) or [""]

    def _can_show(self, mark: str) -> bool:
        if not self._marks:
            return False
        try:
            mark.encode(self._encoding)
        except UnicodeEncodeError:
            return False
        return True

    def _paint(self, text: str, colour: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self._colour and colour and text else text


def _shorten(text: str, width: int) -> str:
    return text if len(text) <= width else f"{text[: width - 3]}..."
