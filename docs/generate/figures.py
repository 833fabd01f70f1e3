"""The figures' page, from the gallery."""

from docs.generate.markdown import code, page, table
from search.show.figures.gallery import PICTURES, Picture

INTRO = (
    "Figures of a study by their names: `lilm-search plot NAME --study STUDY` draws one, "
    "`lilm-search plot --study STUDY` lists what there is to draw and what is missing. A figure whose study hasn't yet "
    "what it needs is left out of the [report](../howto/report.md)."
)


def figures_page() -> str:
    """Return the page."""
    rows = [[code(name), picture.title, picture.needs] for name, picture in PICTURES.items()]
    read = [_how(name, picture) for name, picture in PICTURES.items()]
    return page("# Figures", INTRO, table(("name", "what it shows", "what it needs"), rows), *read)


def _how(name: str, picture: Picture) -> str:
    """Return how to read a figure, under its name."""
    how = picture.how_to_read
    return f"## {name}\n\n{picture.title}. {how}" if how else ""
