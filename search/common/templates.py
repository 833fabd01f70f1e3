"""Templates of long texts, in files beside the modules that fill them in."""

import shlex
from typing import Any

from search.common.safe_text import code, fenced, plain, sentence

FILTERS = {"shell": shlex.quote, "plain": plain, "sentence": sentence, "code": code, "fenced": fenced}
"""Filters that escape a value for a shell's command line or for Markdown; HTML templates escape all values."""


def fill(package: str, name: str, /, **values: Any) -> str:
    """Return a package's template filled in; a value that is missing is an error, and in HTML all are escaped."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader(package, ""),
        autoescape=name.endswith(".html.j2"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters.update(FILTERS)
    return environment.get_template(name).render(values)
