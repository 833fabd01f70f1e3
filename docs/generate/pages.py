"""Every generated page by its file's name."""

from collections.abc import Callable, Mapping
from pathlib import Path

from docs.generate.commands import commands_page
from docs.generate.exported import exported_page
from docs.generate.figures import figures_page
from docs.generate.keys import study_file_page
from docs.generate.schema import schema_file, status_page

REFERENCE = Path(__file__).parent.parent / "reference"

PAGES: Mapping[str, Callable[[], str]] = {
    "study-file.md": study_file_page,
    "commands.md": commands_page,
    "exported.md": exported_page,
    "figures.md": figures_page,
    "status-json.md": status_page,
    "../status.schema.json": schema_file,
}
