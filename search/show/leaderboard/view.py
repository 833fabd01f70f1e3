"""The leaderboard as tables in a terminal, and as one self-contained HTML page."""

from collections.abc import Sequence
from typing import Any

from rich.console import Group
from rich.table import Table
from rich.text import Text

from search.common.templates import fill
from search.show.leaderboard.boards import Board, Row
from search.show.leaderboard.rows import HOW

WIDE = 120
"""Columns of a terminal from which notes have a column of their own."""


def tables(boards: Sequence[Board], width: int, *, prompts: bool = False) -> Group:
    """Return the boards' tables for a terminal of `width` columns."""
    parts: list[Any] = []
    for board in boards:
        parts += [
            _table(board, width >= WIDE),
            Text(board.sureness),
            Text(board.conditions.measured, style="dim"),
            Text(),
        ]
        if prompts:
            parts += [line for row in board.rows for line in _generations(row)]
    return Group(*(parts or [Text("Nothing is confirmed yet.")]))


def _table(board: Board, wide: bool) -> Table:
    table = Table(title=Text(board.heading), title_justify="left", title_style="bold", pad_edge=False)
    table.add_column("rank", justify="right")
    table.add_column("model" if wide else "model, notes", ratio=None if wide else 1)
    table.add_column("BPB (± 95%)", justify="right", no_wrap=True)
    if wide:
        table.add_column("mean", justify="right", no_wrap=True)
    if board.scored:
        table.add_column("minimal pairs", justify="right")
    table.add_column("seeds", justify="right")
    if wide:
        table.add_column("notes", ratio=1)
    table.add_column("date", no_wrap=True)
    for row in board.rows:
        e = row.entrant
        name = Text(e.name, style="bold" if board.proven and row.rank == 1 else "")
        about = Text("\n".join(filter(None, [e.settings, "; ".join(row.notes), e.link])), style="dim")
        model = [name, about] if wide else [Text("\n").join([name, about])]
        figures = [f"{e.mean_bpb:.4f}"] * wide + [e.pairs.text if e.pairs else "–"] * board.scored
        table.add_row(str(row.rank), model[0], e.score, *figures, str(e.seeds), *model[1:], str(e.confirmed_on or "–"))
    return table


def _generations(row: Row) -> list[Text]:
    if not row.entrant.generations:
        return []
    lines = [Text(f"{row.rank}. {row.entrant.name} writes:", style="bold")]
    for prompt, text in row.entrant.generations.items():
        lines += [Text.assemble((prompt, "bold"), text), Text()]
    return lines


def page(boards: Sequence[Board]) -> str:
    """Return the boards as one HTML page without scripts; all texts are escaped."""
    return fill(__package__, "leaderboard.html.j2", boards=boards, how=HOW).removesuffix("\n")
