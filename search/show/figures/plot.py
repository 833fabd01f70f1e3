"""One picture of a study into a file, and the list of all with what each still needs."""

import json
from pathlib import Path

from rich.table import Table

from search.analysis.snapshot import Snapshot
from search.common.errors import SearchError
from search.show.figures.gallery import PICTURES, picture
from search.show.figures.output import write_figure
from search.show.figures.style import plain
from storage.redaction import redact


def plot(name: str, facts: Snapshot, out: Path) -> None:
    """Draw a picture into a file; raises `SearchError` that says what it needs where there is nothing to draw."""
    import plotly.graph_objects as go

    chosen = picture(name)
    figure = chosen.draw(facts) if chosen.fits(facts) else None
    if figure is None:
        raise SearchError(f'"{facts.plan.name}" has nothing to draw as {name} yet: it needs {chosen.needs}')
    plan = facts.plan
    runs = f"{'runs' if plan.is_grid else 'proxies'} of {plan.proxy.budget}"
    subtitle = " · ".join(part for part in (plan.name, redact(plan.description), runs) if part)
    caption = "\n".join(text for text in (redact(chosen.says(facts)), chosen.how) if text)
    figure = go.Figure(plain(json.loads(figure.to_json())))  # a study's names are no markup
    write_figure(figure, out, title=chosen.title, subtitle=subtitle, caption=caption)


def listing(facts: Snapshot | None) -> Table:
    """Return all pictures by name; with a study's facts, what each that can't be drawn yet needs for it."""
    of = f" of {facts.plan.name}" if facts else ""
    how = f"lilm-search plot NAME --study {facts.plan.name if facts else 'STUDY'} draws one"
    table = Table(title=f"Pictures{of}", caption=how, pad_edge=False, box=None)
    table.title_justify = table.caption_justify = "left"
    for column in ("name", "what it shows", "still needs" if facts else "needs"):
        table.add_column(column, overflow="fold")
    ready = {name for name, each in PICTURES.items() if facts and each.fits(facts) and each.draw(facts) is not None}
    for name, each in sorted(PICTURES.items(), key=lambda item: item[0] not in ready):
        needs = "nothing" if name in ready else each.needs
        table.add_row(name, each.title, needs, style="dim" if facts and name not in ready else "")
    return table
