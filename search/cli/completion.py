"""What a shell offers after TAB: names of studies and values of options. Quick, silent, and starting nothing."""

import ast
from collections.abc import Callable
from importlib.resources import files

from search.cli.welcome import earlier_studies, storage_url
from search.study.shipped import shipped


def study_files(incomplete: str) -> list[str]:
    """Return the shipped studies whose names begin so; the shell itself offers files where none does."""
    return [name for name in shipped() if name.startswith(incomplete)]


def studies(incomplete: str) -> list[str]:
    """Return the stored studies whose names begin so, where a server is up, those that ran here, and the shipped."""
    found = [*_stored(), *earlier_studies()]
    return list(dict.fromkeys([*(n for n in found if n.startswith(incomplete)), *study_files(incomplete)]))


def _stored() -> list[str]:
    from search.common import paths
    from storage.server import quick_look as glance

    try:
        url = storage_url()
        where = glance.url_settings(url) if url else glance.embedded_settings(paths.home() / "postgres")
        return [seen.name for seen in glance.studies(where)] if where else []
    except Exception:  # a shell that completes must neither wait nor complain
        return []


def one_of(*values: str) -> Callable[[str], list[str]]:
    """Return what completes to these values."""

    def offered(incomplete: str) -> list[str]:
        return [value for value in values if value.startswith(incomplete)]

    return offered


def pictures(incomplete: str) -> list[str]:
    """Return the names of the gallery's figures that begin so, from its text: to import it takes seconds."""
    tree = ast.parse(files("search.show.figures").joinpath("gallery.py").read_text(encoding="utf-8"))
    keys = [
        key.value
        for node in tree.body
        if isinstance(node, ast.AnnAssign | ast.Assign) and "PICTURES" in ast.unparse(node).partition("=")[0]
        for key in (node.value.keys if isinstance(node.value, ast.Dict) else [])
        if isinstance(key, ast.Constant)
    ]
    return [name for name in map(str, keys) if name.startswith(incomplete)]
