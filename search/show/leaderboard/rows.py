"""The leaderboard as JSON, YAML for a static site, CSV and Markdown."""

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
CSV_COLUMNS = (
    *("rank", "group", "model", "score", "low", "high", "mean", "seeds", "minimal_pairs"),
    *("notes", "date", "link"),
)
"""Columns of the CSV."""
HOW = (
    "Ranked by the mean BPB of their runs, bits per byte of validation text: lower is better. BPB (± 95%) is what to "
    "expect of a model: the mean of its runs, shrunk towards its study's others for having been chosen among them. "
    "Only what was measured on the same text, by the same protocol, after the same budget on the same hardware is "
    "ranked together."
)


def rows(boards: Sequence[Board]) -> list[dict[str, Any]]:
    """Return every row as a dictionary, for a site's data file; `group` names its board."""
    return [_row_map(board, row) for board in boards for row in board.rows]


def _row_map(board: Board, row: Row) -> dict[str, Any]:
    e, stated = row.entrant, row.entrant.stated
    half = stated.half_width
    interval = None if half is None else [round(stated.bpb - half, DIGITS), round(stated.bpb + half, DIGITS)]
    return {
        "rank": row.rank,
        "model": e.name,
        "score": round(stated.bpb, DIGITS),
        "interval": interval,
        "mean": round(e.mean_bpb, DIGITS),
        "seeds": e.seeds,
        "minimal_pairs": None if e.pairs is None else round(e.pairs.accuracy, DIGITS),
        "notes": "; ".join(_all_notes(board, row)),
        "date": e.confirmed_on.isoformat() if e.confirmed_on else None,
        "link": e.link,
        "group": f"{board.heading}; {board.conditions.measured}",
        "generations": [{"prompt": prompt, "text": text} for prompt, text in e.generations.items()],
    }


def _all_notes(board: Board, row: Row) -> list[str]:
    """Return a row's notes with those of its board's heading, since a site may show the row alone."""
    conditions, running = board.conditions, ["its study still runs"] if row.entrant.running else []
    return [
        conditions.budget,
        "lossless" if conditions.lossless else "LOSSY",
        row.entrant.settings,
        *row.notes,
        *running,
    ]


def as_json(boards: Sequence[Board]) -> str:
    """Return the rows as JSON."""
    return json.dumps(rows(boards), indent=2, ensure_ascii=False) + "\n"


def as_yaml(boards: Sequence[Board]) -> str:
    """Return the rows as YAML, a data file for Jekyll and Hugo."""
    return yaml.safe_dump(rows(boards), sort_keys=False, allow_unicode=True, width=100)


def as_csv(boards: Sequence[Board]) -> str:
    """Return the rows as CSV, without generated texts."""
    text = io.StringIO()
    table = csv.DictWriter(text, CSV_COLUMNS, extrasaction="ignore", lineterminator="\n")
    table.writeheader()
    for row in rows(boards):
        low, high = row["interval"] or (None, None)
        table.writerow({k: _no_formula(v) for k, v in {**row, "low": low, "high": high}.items()})
    return text.getvalue()


def _no_formula(value: Any) -> Any:
    """Return a cell that no spreadsheet takes for a formula (owasp.org/www-community/attacks/CSV_Injection)."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@")) else value


def as_markdown(boards: Sequence[Board]) -> str:
    """Return a Markdown table for each board, for GitHub and static sites, and the generated texts."""
    parts = ["# Leaderboard"] if boards else ["Nothing is confirmed yet."]
    for board in boards:
        parts += [
            f"## {escaped(board.heading)}",
            _table(board),
            escaped(f"{board.sureness} ({board.conditions.measured})"),
        ]
        for row in board.rows:
            if row.entrant.generations:
                parts += [f"### {row.rank}\\. {escaped(row.entrant.name)} writes", _generations_block(row)]
    return "\n\n".join([*parts, escaped(HOW)]) + "\n"


def _table(board: Board) -> str:
    head, rule = (" minimal pairs |", "---:|") if board.scored else ("", "")
    lines = [
        f"| rank | model | BPB (± 95%) | mean |{head} seeds | notes | date |",
        f"|---:|---|---:|---:|{rule}---:|---|---|",
    ]
    for row in board.rows:
        e = row.entrant
        name = f"[{escaped(e.name)}](<{e.link}>)" if e.link else escaped(e.name)
        notes = escaped("; ".join([e.settings, *row.notes]))
        pairs = [e.pairs.text if e.pairs else "–"] if board.scored else []
        figures = " | ".join([e.score, f"{e.mean_bpb:.4f}", *pairs, str(e.seeds)])
        lines.append(f"| {row.rank} | {name} | {figures} | {notes} | {e.confirmed_on or '–'} |")
    return "\n".join(lines)


def escaped(text: str) -> str:
    """Return a line escaped for Markdown: no mark-up, no HTML, no link, no new cell, no Liquid tag."""
    text = re.sub(r"([\\`*_{}%\[\]<>#|~&:@$])", r"\\\1", text)
    return re.sub(r"(?i)\b(www)\.", r"\1\\.", text)


def _generations_block(row: Row) -> str:
    """Return a model's generated texts as a block of code, in which nothing is mark-up."""
    texts = [prompt + text for prompt, text in row.entrant.generations.items()]
    lines = [part for text in texts for line in [*text.split("\n"), ""] for part in textwrap.wrap(line, 100) or [""]]
    body = re.sub(r"\{(?=[{%])", "{ ", "\n".join(lines).strip("\n"))  # Jekyll runs {{ }} and {% %} in code too
    return fenced(body, "text")
