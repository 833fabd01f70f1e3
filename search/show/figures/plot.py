"""The command `plot`: one picture of a study written to a file, or the list of all pictures with what each needs."""

import json
from pathlib import Path

from rich.table import Table

from search.analysis.snapshot import Snapshot
from search.common.errors import SearchError
from search.show.figures.gallery import PICTURES, picture
from search.show.figures.output import write_figure
from search.show.figures.style import plain
from storage.redaction import redact


def plot(name: str, snapshot: Snapshot, out: Path) -> None:
    """Draw a picture into a file; raises `SearchError` that says what it needs if it can't be drawn yet."""
    import plotly.graph_objects as go

    chosen = picture(name)
    figure = chosen.draw(snapshot) if chosen.fits(snapshot) else None
    if figure is None:
        raise SearchError(f'"{snapshot.plan.name}" has nothing to draw as {name} yet: it needs {chosen.needs}')
    plan = snapshot.plan
    runs = f"{'runs' if plan.is_grid else 'proxies'} of {plan.proxy.budget}"
    subtitle = " · ".join(part for part in (plan.name, redact(plan.description), runs) if part)
    caption = "\n".join(text for text in (redact(chosen.describe(snapshot)), chosen.how_to_read) if text)
    figure = go.Figure(plain(json.loads(figure.to_json())))  # names in a study aren't markup
    write_figure(figure, out, title=chosen.title, subtitle=subtitle, caption=caption)


def listing(snapshot: Snapshot | None) -> Table:
    """Return a table of all pictures and what each needs; with a snapshot, what those need that can't be drawn yet."""
    title_end = f" of {snapshot.plan.name}" if snapshot else ""
    caption = f"lilm-search plot NAME --study {snapshot.plan.name if snapshot else 'STUDY'} draws one"
    table = Table(title=f"Pictures{title_end}", caption=caption, pad_edge=False, box=None)
    table.title_justify = table.caption_justify = "left"
    for column in ("name", "what it shows", "still needs" if snapshot else "needs"):
        table.add_column(column, overflow="fold")
    drawable = {
        name for name, each in PICTURES.items() if snapshot and each.fits(snapshot) and each.draw(snapshot) is not None
    }
    for name, each in sorted(PICTURES.items(), key=lambda item: item[0] not in drawable):
        needs = "nothing" if name in drawable else each.needs
        table.add_row(name, each.title, needs, style="dim" if snapshot and name not in drawable else "")
    return table
