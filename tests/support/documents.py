"""The documents for users: their sections, code blocks and tables."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

import mistral_cf_adapter

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = Path(mistral_cf_adapter.__file__).parent  # elsewhere, where the wheel is tested
PATHS = {
    "README.md": ROOT / "README.md",
    "REFERENCE.md": PACKAGE / "REFERENCE.md",
    "examples/README.md": ROOT / "examples" / "README.md",
}
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
QUOTED = re.compile(r"`([^`]+)`")


@dataclass
class Section:
    """What stands below one heading."""

    title: str
    text: str
    blocks: list[tuple[str, str]] = field(default_factory=list)

    def code(self, language):
        return [code for known, code in self.blocks if known == language]

    def table(self, heading):
        """Map what the first cell of each row quotes to the row's other cells, all columns named.

        Args:
            heading: The title of the first column.
        """
        lines = iter(self.text.splitlines())
        titles = next(cells for cells in map(_cells, lines) if cells[0] == heading)
        next(lines)  # the rule
        rows = {}
        for line in lines:
            if not line.startswith("|"):
                break
            first, *others = _cells(line)
            for name in QUOTED.findall(first):
                rows[name] = dict(zip(titles[1:], others, strict=True))
        return rows


def _cells(line):
    return [cell.strip().replace(r"\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]] or [""]


@dataclass
class Document:
    """One document, section by section."""

    name: str
    text: str
    sections: dict[str, Section]

    def code(self, language):
        return [code for section in self.sections.values() for code in section.code(language)]

    @property
    def languages(self):
        return {language for each in self.sections.values() for language, _ in each.blocks}


def read(name):
    """Return a document; a section ends where the next heading of any depth begins."""
    text = PATHS[name].read_text("utf-8")
    # A comment in a shell block looks like a heading.
    outside = re.sub(FENCE, lambda block: block[0].replace("\n#", "\n\0#"), text)
    before, *rest = re.split(r"^#{1,3} (.+)$", outside, flags=re.MULTILINE)
    assert before == ""
    sections = {}
    for title, raw in zip(rest[::2], rest[1::2], strict=True):
        below = raw.replace("\0", "")
        sections[title] = Section(title, below, FENCE.findall(below))
    return Document(name, text, sections)


def execute(document, names):
    """Run the Python of a document from top to bottom, as one program with these names."""
    for section in document.sections.values():
        for code in section.code("python"):
            exec(compile(code, f"<{document.name}: {section.title}>", "exec"), names)
