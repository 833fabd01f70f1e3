"""The figures' page, from the gallery."""

from docs.generate.markdown import code, page, table
from search.show.gallery import PICTURES

INTRO = (
    "Figures of a study by their names. A figure whose study hasn't yet what it needs is left out, or says so. How to "
    "read them: [reading the report](../howto/report.md)."
)


def figures_page() -> str:
    """Return the page."""
    rows = [[code(name), p.title, p.needs] for name, p in sorted(PICTURES.items())]
    return page("# Figures", INTRO, table(("name", "what it shows", "what it needs"), rows))
