"""Links to models, made from a template: to the dashboard, a folder or a site."""

import string
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import quote, urlsplit

from search.common.errors import SearchError

FIELDS = ("study", "study_id", "configuration", "trial", "file")
SCHEMES = ("", "http", "https", "file")


@dataclass(frozen=True)
class LinkTemplate:
    """A URL with names in braces, such as https://example.org/{study}; empty: no links.

    Raises `SearchError` for an unknown name, and for a scheme that a page should not link to.
    """

    text: str = ""

    def __post_init__(self) -> None:
        unknown = [name for name in self._names() if name not in FIELDS]
        if unknown:
            allowed = ", ".join(f"{{{name}}}" for name in FIELDS)
            raise SearchError(f'--link has "{{{unknown[0]}}}", but what can be filled in is {allowed}')
        if (scheme := self.text and urlsplit(self.text).scheme) not in SCHEMES:
            raise SearchError(f'--link begins with "{scheme}:", but must be a path, or begin with http, https or file')

    def fill(self, values: Mapping[str, object]) -> str | None:
        """Return the URL with its names filled in and quoted; None without a template, or if a name has no value."""
        if not self.text or any(values.get(name) is None for name in self._names()):
            return None
        quoted = {name: quote(str(value), safe="/") for name, value in values.items()}
        return quote(self.text.format(**quoted), safe="%:/?#[]@!$&'*+,;=")

    def _names(self) -> list[str]:
        try:
            parts = list(string.Formatter().parse(self.text))
        except ValueError as error:
            raise SearchError(f'--link is "{self.text}": {error}; write a literal brace twice') from None
        # Format specifications, as in {trial:5} or {trial!r}, aren't allowed: the message shows them as written.
        return [
            name + (f"!{kind}" if kind else "") + (f":{form}" if form else "")
            for _, name, form, kind in parts
            if name is not None
        ]
