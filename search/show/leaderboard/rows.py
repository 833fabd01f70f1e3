"""The leaderboard as data and as text: JSON, YAML for a static site, CSV, Markdown."""

import csv
import io
import json
import re
import textwrap
from collections.abc import Sequence
from typing import Any

import yaml

from search.common.safe_text import fenced
from search.show.leaderboard.boards import Board, Row

DIGITS = 6
FIGURES = ("rank", "group", "model", "score", "low", "high", "seeds", "notes", "date", "link")
"""Columns of the CSV."""
HOW = (
    "Ranked by mean BPB, bits per byte of validation text: lower is better. ± is Student's t interval (95%) of the "
    "mean over seeds, with the noise pooled over a study. Only what was measured on the same text, by the same "
    "protocol, after the same budget on the same hardware is ranked together."
)


def rows(found: Sequence[Board]) -> list[dict[str, Any]]:
    """Return every row as a plain map, for a site's data file; `group` tells the boards apart."""
    return [_plain(board, row) for board in found for row in board.rows]


def _plain(board: Board, row: Row) -> dict[str, Any]:
    e, half = row.entrant, row.entrant.half_width
    interval = None if half is None else [round(e.mean_bpb - half, DIGITS), round(e.mean_bpb + half, DIGITS)]
    return {
        "rank": row.rank,
        "model": e.name,
        "score": round(e.mean_bpb, DIGITS),
        "interval": interval,
        "seeds": e.seeds,
        "notes": "; ".join(_all_notes(board, row)),
        "date": e.confirmed_on.isoformat() if e.confirmed_on else None,
        "link": e.link,
        "group": f"{board.heading}; {board.ground.measured}",
        "generations": [{"prompt": prompt, "text": text} for prompt, text in e.generations.items()],
    }


def _all_notes(board: Board, row: Row) -> list[str]:
    """Return a row's notes with those that stand in its board's heading: a site may show the row alone."""
    ground, going = board.ground, ["its study still runs"] if row.entrant.going else []
    return [ground.budget, "lossless" if ground.lossless else "LOSSY", row.entrant.settings, *row.notes, *going]


def as_json(found: Sequence[Board]) -> str:
    """Return the rows as JSON."""
    return json.dumps(rows(found), indent=2, ensure_ascii=False) + "\n"


def as_yaml(found: Sequence[Board]) -> str:
    """Return the rows as YAML, as Jekyll and Hugo read data files."""
    return yaml.safe_dump(rows(found), sort_keys=False, allow_unicode=True, width=100)


def as_csv(found: Sequence[Board]) -> str:
    """Return the rows as CSV, without what the models wrote."""
    text = io.StringIO()
    table = csv.DictWriter(text, FIGURES, extrasaction="ignore", lineterminator="\n")
    table.writeheader()
    for row in rows(found):
        low, high = row["interval"] or (None, None)
        table.writerow({k: _no_formula(v) for k, v in {**row, "low": low, "high": high}.items()})
    return text.getvalue()


def _no_formula(value: Any) -> Any:
    """Keep a spreadsheet from computing a text (owasp.org/www-community/attacks/CSV_Injection)."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@")) else value


def as_markdown(found: Sequence[Board]) -> str:
    """Return a table for each board, as GitHub and static sites render them, and what each model wrote."""
    parts = ["# Leaderboard"] if found else ["Nothing is confirmed yet."]
    for board in found:
        parts += [f"## {escaped(board.heading)}", _table(board), escaped(f"{board.sureness} ({board.ground.measured})")]
        for row in board.rows:
            if row.entrant.generations:
                parts += [f"### {row.rank}\\. {escaped(row.entrant.name)} writes", _written(row)]
    return "\n\n".join([*parts, escaped(HOW)]) + "\n"


def _table(board: Board) -> str:
    lines = ["| rank | model | BPB (± 95%) | seeds | notes | date |", "|---:|---|---:|---:|---|---|"]
    for row in board.rows:
        e = row.entrant
        name = f"[{escaped(e.name)}](<{e.link}>)" if e.link else escaped(e.name)
        notes = escaped("; ".join([e.settings, *row.notes]))
        lines.append(f"| {row.rank} | {name} | {e.score} | {e.seeds} | {notes} | {e.confirmed_on or '–'} |")
    return "\n".join(lines)


def escaped(text: str) -> str:
    """Return a line as Markdown that shows just this text: no mark-up, no HTML, no link, no new cell, no Liquid tag."""
    text = re.sub(r"([\\`*_{}%\[\]<>#|~&:@$])", r"\\\1", text)
    return re.sub(r"(?i)\b(www)\.", r"\1\\.", text)


def _written(row: Row) -> str:
    """Return what a model wrote as a block of code, in which nothing is mark-up, whatever it says."""
    texts = [prompt + text for prompt, text in row.entrant.generations.items()]
    lines = [part for text in texts for line in [*text.split("\n"), ""] for part in textwrap.wrap(line, 100) or [""]]
    body = re.sub(r"\{(?=[{%])", "{ ", "\n".join(lines).strip("\n"))  # Jekyll runs {{ }} and {% %} in code too
    return fenced(body, "text")
