"""The leaderboard printed or written to a file, in any of its formats."""

import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rich.console import Console

from search.common import out_file
from search.common.errors import SearchError
from search.show.leaderboard.boards import Board
from search.show.leaderboard.rows import as_csv, as_json, as_markdown, as_yaml
from search.show.leaderboard.view import WIDE, page, tables
from storage.redaction import print_file

TABLE = "table"
FORMATS: Mapping[str, Callable[[Sequence[Board]], str]] = {
    "markdown": as_markdown,
    "html": page,
    "yaml": as_yaml,
    "json": as_json,
    "csv": as_csv,
}
ENDINGS = {".md": "markdown", ".html": "html", ".htm": "html", ".yml": "yaml", ".yaml": "yaml"}
ENDINGS |= {".json": "json", ".csv": "csv"}


def choose_format(form: str | None, out: Path | None) -> str:
    """Return the requested format, or that of the file's ending; raises `SearchError` for an unknown one."""
    form = form or (ENDINGS.get(out.suffix.lower()) if out else None) or TABLE
    if form not in (TABLE, *FORMATS):
        raise SearchError(f'--format is "{form}", but must be one of {", ".join((TABLE, *FORMATS))}')
    return form


def publish(ranked_boards: Sequence[Board], form: str, out: Path | None, *, prompts: bool) -> None:
    """Print the boards, or write them to a file, completely or not at all; raises `SearchError` if it can't."""
    if out is None:
        if form == TABLE:
            console = Console()
            console.print(tables(ranked_boards, console.width, prompts=prompts), highlight=False)
        else:
            print_file(FORMATS[form](ranked_boards))
        return
    out_file.write(out, _text(ranked_boards, form, prompts=prompts))


def _text(ranked_boards: Sequence[Board], form: str, *, prompts: bool) -> str:
    if form != TABLE:
        return FORMATS[form](ranked_boards)
    console = Console(file=io.StringIO(), width=WIDE)
    console.print(tables(ranked_boards, WIDE, prompts=prompts), highlight=False)
    return str(console.file.getvalue())  # type: ignore[attr-defined]
