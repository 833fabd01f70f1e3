"""The report's page: one HTML file with every answer, figure and command of a study, which needs no network."""

import base64
import hashlib
import json
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from typing import Any

from search.analysis.anonymize import anonymous_caveats, anonymous_study_file
from search.analysis.snapshot import Snapshot
from search.common import out_file
from search.common.errors import SearchError
from search.common.templates import fill
from search.show.figures.gallery import PICTURES
from search.show.figures.output import check_format
from search.show.figures.style import GRID, INK, LINK, MUTED, ON_DARK, PANEL, PAPER, plain, template
from search.show.report.answers import ANSWERS, unfinished
from search.show.report.next_steps import ACTIONABLE, next_steps
from search.show.report.tables import commands, confirmed_table, glossary, heading, provenance, settings_table
from storage.redaction import redact

FORMATS = ("html", "pdf", "png")
PICTURE_PIXELS = 1100


@dataclass(frozen=True, kw_only=True)
class DrawnFigure:
    """A figure of the page."""

    name: str
    title: str
    description: str
    how_to_read: str
    spec: str
    """Plotly's figure as JSON that may stand in a script element."""
    height: int


def page(snapshot: Snapshot, *, samples: str = "", now: datetime | None = None) -> str:
    """Return the report as HTML; `samples` is text that the winner generated."""
    drawn, missing = figures(snapshot)
    script = _resource("report.js")
    context = {
        "study": snapshot.plan.name,
        "description": redact(snapshot.plan.description),
        "heading": heading(snapshot, now or datetime.now(UTC)),
        "unfinished": unfinished(snapshot),
        "sections": [
            (key, question, answer(snapshot), [f for f in drawn if PICTURES[f.name].answers == key])
            for key, (question, answer) in ANSWERS.items()
        ],
        "caveats": [c.sentence for c in anonymous_caveats(snapshot) if c.name not in ACTIONABLE],
        "next_steps": next_steps(snapshot),
        "confirmed": confirmed_table(snapshot),
        "settings": settings_table(snapshot),
        "missing": missing,
        "samples": redact(samples),
        "provenance": provenance(snapshot),
        "commands": commands(snapshot),
        "glossary": glossary(snapshot),
        "settled": anonymous_study_file(snapshot.plan),
        "colours": {ground: _colours(ground) for ground in ("light", "dark")},
        "templates": in_script(
            {ground: template(ground).to_plotly_json() for ground in ("light", "dark")} | {"on_dark": ON_DARK}
        ),
        "plotly": _plotly(),
        "script": script,
        "hashes": [_hash(_plotly()), _hash(script)],
    }
    return fill(__package__, "report.html.j2", **context).removesuffix("\n")


def figures(snapshot: Snapshot) -> tuple[list[DrawnFigure], list[tuple[str, str]]]:
    """Return the figures that can be drawn, and the titles of the others with what they need."""
    drawn, missing = [], []
    for name, picture in PICTURES.items():
        if not picture.fits(snapshot):
            continue
        figure = picture.draw(snapshot)
        if figure is None:
            missing.append((picture.title, picture.needs))
            continue
        figure.layout.template = None  # the page has one for each ground
        height = int(figure.layout.height or 400)
        spec = in_script(plain(json.loads(figure.to_json())))
        description = redact(picture.describe(snapshot))
        drawn.append(
            DrawnFigure(
                name=name,
                title=picture.title,
                description=description,
                how_to_read=picture.how_to_read,
                spec=spec,
                height=height,
            )
        )
    return drawn, missing


def in_script(table: Any) -> str:
    """Return JSON that can't end the script element that holds it."""
    text = json.dumps(table, ensure_ascii=False, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def _colours(ground: str) -> dict[str, str]:
    tables = {"ink": INK, "muted": MUTED, "link": LINK, "grid": GRID, "paper": PAPER, "panel": PANEL}
    return {name: table[ground] for name, table in tables.items()}


def _resource(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    return str(get_plotlyjs())


def _hash(script: str) -> str:
    """Return the source expression that allows exactly this script in the page's Content-Security-Policy."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}'"


def output_path(study: str, out: Path | None, form: str | None) -> tuple[Path, str]:
    """Return a report's path and format, from the options; raises `SearchError` if they can't be used."""
    if form and form not in FORMATS:
        raise SearchError(f'--format is "{form}", but must be one of {", ".join(FORMATS)}')
    path = out or Path(f"{study}-report.{form or FORMATS[0]}")
    out_file.check(path, example=path / f"{study}-report.{form or FORMATS[0]}")
    ending = check_format(out, [f".{name}" for name in FORMATS]) if out and not form else ".html"
    return path, form or ending[1:]


def write(html: str, out: Path, form: str) -> int:
    """Write the report in one of `FORMATS`, completely or not at all; return its size in bytes."""
    from search.show import chromium

    if form == "html":
        out_file.write(out, html)
    else:
        with tempfile.TemporaryDirectory(prefix="lilm-report-") as folder:
            source = Path(folder) / "report.html"
            source.write_text(html, encoding="utf-8")
            drawn = chromium.print_pdf(source) if form == "pdf" else chromium.screenshot(source, PICTURE_PIXELS, 1.0)
        out_file.write(out, drawn)
    return out.stat().st_size
