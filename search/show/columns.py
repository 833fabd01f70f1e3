"""A table that fits into a terminal: if it is too wide, its least important columns move below their row, or go."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions
from rich.text import Text

GAP = "  "
INDENT = "    "
NOTHING = "–"
"""Text of an empty cell."""


@dataclass(frozen=True, kw_only=True)
class Column:
    """One column."""

    name: str
    right: bool = False
    """Whether its cells are aligned right, as numbers are."""
    weight: int = 0
    """Order of removal if the table is too wide: the highest weight first; a column of weight 0 always stays."""
    below: bool = False
    """Whether, instead of being removed, it moves to a line of its own below each row."""


@dataclass(frozen=True)
class Columns:
    """Rows below a heading; each column is as wide as its widest cell, and empty columns are left out."""

    head: Sequence[Column]
    rows: Sequence[Sequence[str | Text]]
    styles: Sequence[str] = ()
    """Style of each row; empty if no row has one."""

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> Iterator[Text]:
        """Yield the table's lines for rich."""
        yield from self.lines(options.max_width)

    def lines(self, width: int) -> list[Text]:
        """Return the table's lines, none wider than `width` if removing columns can achieve that."""
        beside, below = self._placed(width)
        lines = [self._line([c.name for c in self.head], beside, "dim")]
        for place, row in enumerate(self.rows):
            style = self.styles[place] if self.styles else ""
            lines.append(self._line(row, beside, style))
            for index in below:
                if _plain(row[index]) not in ("", NOTHING):
                    lines += hanging(_plain(row[index]), width)
        return lines

    def _placed(self, width: int) -> tuple[list[int], list[int]]:
        """Return the indices of the columns in the row, and of those on lines of their own below it."""
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
    """Return a text wrapped at spaces, after `lead`; further lines are indented by the lead's width."""
    lines: list[str] = []
    line, indent = lead, " " * cell_len(lead)
    for word in text.split():
        if len(line) > len(indent) and cell_len(line) + 1 + cell_len(word) > width:
            lines.append(line)
            line = indent
        line += f" {word}" if len(line) > len(indent) else word
    return [Text(wrapped, style=style) for wrapped in (*lines, line)]
