"""The leaderboard in the format that was asked for, printed or written to a file."""

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


def chosen(form: str | None, out: Path | None) -> str:
    """Return the format that was asked for, or the one of the file's ending; raises `SearchError` on an unknown one."""
    form = form or (ENDINGS.get(out.suffix.lower()) if out else None) or TABLE
    if form not in (TABLE, *FORMATS):
        raise SearchError(f'--format is "{form}", but must be one of {", ".join((TABLE, *FORMATS))}')
    return form


def publish(found: Sequence[Board], form: str, out: Path | None, *, prompts: bool) -> None:
    """Print the boards, or write them to a file, whole or not at all; raises `SearchError` where that can't be."""
    if out is None:
        if form == TABLE:
            console = Console()
            console.print(tables(found, console.width, prompts=prompts), highlight=False)
        else:
            print_file(FORMATS[form](found))
        return
    out_file.write(out, _text(found, form, prompts=prompts))


def _text(found: Sequence[Board], form: str, *, prompts: bool) -> str:
    if form != TABLE:
        return FORMATS[form](found)
    console = Console(file=io.StringIO(), width=WIDE)
    console.print(tables(found, WIDE, prompts=prompts), highlight=False)
    return str(console.file.getvalue())  # type: ignore[attr-defined]
