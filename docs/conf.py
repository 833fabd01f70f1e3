"""How Sphinx builds the site: `make docs`. The pages are plain Markdown that reads well on GitHub too."""

import re
import tomllib
from pathlib import Path
from typing import Any

PROJECT = tomllib.loads((Path(__file__).parent.parent / "pyproject.toml").read_text(encoding="utf-8"))["project"]

project = PROJECT["name"]
release = version = PROJECT["version"]
html_title = f"{project} {release}"
extensions = ["myst_parser"]
exclude_patterns = ["_build", "generate"]
nitpicky = True
myst_heading_anchors = 4
html_theme = "furo"
html_static_path = ["_static"]
html_css_files = ["site.css"]
highlight_language = "none"
smartquotes = False  # what is quoted may be typed
html_copy_source = False
html_show_search_summary = False  # which a page on the disk may not fetch
html_show_sourcelink = False
html_show_copyright = False
pygments_style, pygments_dark_style = "tango", "monokai"
html_theme_options: dict[str, Any] = {"top_of_page_buttons": []}


def contents(text: str) -> str:
    """Return a hidden table of contents for each heading of the index, made from the links below it.

    So the index is an ordinary page of links on GitHub, and the sidebar of the site.
    """
    trees = []
    for part in re.split(r"^## ", text, flags=re.M)[1:]:
        caption, *lines = part.splitlines()
        pages = re.findall(r"\]\(([^)#:]+)\.md\)", "\n".join(line for line in lines if line.startswith("- ")))
        if pages:
            trees.append("\n".join(["```{toctree}", ":hidden:", f":caption: {caption}", "", *pages, "```"]))
    return "\n\n".join(trees)


def _with_contents(app: Any, name: str, source: list[str]) -> None:
    if name == "index":
        source[0] += "\n" + contents(source[0])


def setup(app: Any) -> None:
    """Register with Sphinx."""
    app.connect("source-read", _with_contents)
