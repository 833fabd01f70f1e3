"""A figure as a file: one offline HTML page, plotly's JSON, or a picture through this machine's Chromium."""

import base64
import html
import tempfile
import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from search.common import out_file
from search.common.errors import SearchError
from search.show.chromium import evaluate, print_pdf
from search.show.figures.style import HEIGHT, INK, PAPER, template

FORMATS = (".html", ".json", ".png", ".svg", ".pdf")
WIDTH = 900
"""Width of a picture, in CSS pixels."""
SCALE = 2
"""Pixels of a PNG for each CSS pixel, along a side."""
TITLE_PIXELS, SUBTITLE = 66, 130
"""Height of a picture's title in CSS pixels; most characters of the line below it."""
PHONE_PIXELS = 560
PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<style>
:root {{ color-scheme: light dark; }}
body {{ font: 15px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 0 auto; padding: 16px;
  color: {ink}; background: {paper}; }}
h1 {{ font-size: 1.3em; margin: 0; }}
@media (prefers-color-scheme: dark) {{ body {{ color: {dark_ink}; background: {dark_paper}; }} }}
</style></head><body>
<h1>{title}</h1>
<p>{subtitle}</p>
{figure}
{caption}
</body></html>
"""
CONFIG = {"displayModeBar": False, "responsive": True}
ADAPT = """
const figure = document.getElementById("{plot_id}");
const adapt = {};
if (matchMedia("(prefers-color-scheme: dark)").matches) adapt.template = %s;
const narrow = (figure.layout.meta || {}).narrow;
if (narrow && innerWidth < %d) Object.assign(adapt, narrow);
if (Object.keys(adapt).length) Plotly.relayout(figure, adapt);
"""
"""Script of a page: its figure takes the colours of a dark ground, and on a phone its own narrow layout."""

MAKE_ROOM = """
const figure = document.getElementById("{plot_id}");
const legend = figure.querySelector(".legend");
const height = legend ? legend.getBoundingClientRect().height : 0;
Plotly.relayout(figure, {"margin.t": figure.layout.margin.t + height});
"""
"""Script of a picture: room for its legend below the title, since only a browser knows the legend's height."""


def check_format(out: Path, formats: Sequence[str] = FORMATS) -> str:
    """Return a file's ending in lower case; raises `SearchError` if it isn't one of `formats`."""
    ending = out.suffix.lower()
    if ending not in formats:
        raise SearchError(f"--out is {out}, but must end in one of {', '.join(formats)}")
    return ending


def write_figure(figure: Any, out: Path, *, title: str, subtitle: str = "", caption: str = "") -> None:
    """Write a figure in the format of the file's ending; raises `SearchError` if it can't be written."""
    ending = check_format(out)
    if ending == ".html":
        out_file.write(out, page(figure, title, subtitle, caption))
        return
    figure = titled(figure, title, subtitle)
    if ending == ".json":
        out_file.write(out, figure.to_json())
    else:
        out_file.write(out, _picture(figure, ending))


def page(figure: Any, title: str, subtitle: str = "", caption: str = "") -> str:
    """Return an HTML page that needs no network, for light and dark grounds, desktops and phones."""
    adapt = ADAPT % (template("dark").to_json(), PHONE_PIXELS)
    drawn = figure.to_html(full_html=False, include_plotlyjs=True, post_script=adapt, config=CONFIG)
    texts = {"title": html.escape(title), "subtitle": html.escape(subtitle)}
    texts["caption"] = "\n".join(f"<p>{html.escape(text)}</p>" for text in caption.split("\n"))
    grounds = {"ink": INK["light"], "dark_ink": INK["dark"], "paper": PAPER["light"], "dark_paper": PAPER["dark"]}
    return PAGE.format(figure=drawn, **texts, **grounds)


def titled(figure: Any, title: str, subtitle: str = "") -> Any:
    """Return a figure to be shown alone: with its title and a background."""
    import plotly.graph_objects as go

    alone = go.Figure(figure)
    under = html.escape(textwrap.shorten(subtitle, SUBTITLE, placeholder=" …"))
    text = f'{html.escape(title)}<br><span style="font-size:12px">{under}</span>'
    place = {"x": 0.012, "yref": "container", "yanchor": "top", "y": 1 - 24 / _height(figure)}
    alone.update_layout(title={"text": text, "font": {"size": 17}, **place})
    alone.update_layout(paper_bgcolor=PAPER["light"], width=WIDTH, height=_height(figure), margin={"t": TITLE_PIXELS})
    return alone


def _height(figure: Any) -> int:
    return int((figure.layout.height or HEIGHT) + TITLE_PIXELS)


def _picture(figure: Any, ending: str) -> bytes:
    with tempfile.TemporaryDirectory(prefix="lilm-figure-") as folder:
        page_path = Path(folder) / "figure.html"
        drawn = figure.to_html(full_html=False, include_plotlyjs=True, post_script=MAKE_ROOM)
        page_path.write_text(f'<!doctype html><meta charset="utf-8"><body style="margin:0">{drawn}', encoding="utf-8")
        if ending == ".pdf":
            return print_pdf(page_path, (figure.layout.width, figure.layout.height))
        options = f'{{format: "{ending[1:]}", scale: {SCALE if ending == ".png" else 1}, imageDataOnly: true}}'
        answer = evaluate(page_path, f'Plotly.toImage(document.querySelector(".js-plotly-plot"), {options})', WIDTH)
        return base64.b64decode(answer) if ending == ".png" else str(answer).encode()
