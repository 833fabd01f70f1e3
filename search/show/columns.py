"""A table for terminals that fits: where it is too wide, what matters least moves below its row, or goes."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions
from rich.text import Text

GAP = "  "
INDENT = "    "
NOTHING = "–"


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column."""

    name: str
    right: bool = False
    """Whether it is set flush right, as numbers are."""
    weight: int = 0
    """Where the table is too wide, the heaviest column goes first; one of weight 0 stays."""
    below: bool = False
    """Whether it moves to a line of its own below the row, instead of going."""


@dataclass(frozen=True)
class Columns:
    """Rows under a head, as wide as they must be; a column with nothing in it is left out."""

    head: Sequence[Column]
    rows: Sequence[Sequence[str | Text]]
    styles: Sequence[str] = ()
    """Of each row, where any has one."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        """Yield one line of text after another."""
        yield from self.lines(options.max_width)

    def lines(self, width: int) -> list[Text]:
        """Return the table's lines, none wider than this if that can be."""
        beside, below = self._placed(width)
        lines = [self._line([c.name for c in self.head], beside, "dim")]
        for place, row in enumerate(self.rows):
            style = self.styles[place] if self.styles else ""
            lines.append(self._line(row, beside, style))
            for index in below:
                lines += hanging(_plain(row[index]), width) if row[index] else []
        return lines

    def _placed(self, width: int) -> tuple[list[int], list[int]]:
        """Return the columns that stand beside one another, and those that stand below their row."""
        beside = [i for i in range(len(self.head)) if any(_plain(row[i]) not in ("", NOTHING) for row in self.rows)]
        below: list[int] = []
        while sum(self._width(i) for i in beside) + len(GAP) * (len(beside) - 1) > width:
            heavy = max((i for i in beside if self.head[i].weight), key=lambda i: self.head[i].weight, default=None)
            if heavy is None:
                break
            beside.remove(heavy)
            below += [heavy] if self.head[heavy].below else []
        return beside, below

    def _width(self, index: int) -> int:
        return max(cell_len(_plain(cell)) for cell in (self.head[index].name, *(row[index] for row in self.rows)))

    def _line(self, cells: Sequence[str | Text], beside: Sequence[int], style: str) -> Text:
        line = Text(style=style, no_wrap=True, overflow="ellipsis")
        for i in beside:
            space = " " * (self._width(i) - cell_len(_plain(cells[i])))
            line.append(GAP if line else "")
            parts = (space, cells[i]) if self.head[i].right else (cells[i], space)
            for part in parts:
                line.append(part)
        line.rstrip()
        return line


def _plain(cell: str | Text) -> str:
    return cell.plain if isinstance(cell, Text) else cell


def hanging(text: str, width: int, lead: str = INDENT, style: str = "dim") -> list[Text]:
    """Return a text folded at spaces, behind this lead; further lines hang below its first word."""
    lines: list[str] = []
    line, indent = lead, " " * cell_len(lead)
    for word in text.split():
        if len(line) > len(indent) and cell_len(line) + 1 + cell_len(word) > width:
            lines.append(line)
            line = indent
        line += f" {word}" if len(line) > len(indent) else word
    return [Text(kept, style=style) for kept in (*lines, line)]
