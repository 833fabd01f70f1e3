"""Completion in the shell: names of studies and values of options. It is quick and silent, and starts no server."""

import ast
from collections.abc import Callable
from importlib.resources import files

from search.cli.welcome import earlier_studies, storage_url
from search.study.shipped import shipped


def study_files(incomplete: str) -> list[str]:
    """Return the shipped studies whose names begin with `incomplete`; if none does, the shell offers files itself."""
    return [name for name in shipped() if name.startswith(incomplete)]


def studies(incomplete: str) -> list[str]:
    """Return the names of studies that begin with `incomplete`: in a running server, of logs here, and shipped."""
    names = [*_stored_names(), *earlier_studies()]
    return list(dict.fromkeys([*(n for n in names if n.startswith(incomplete)), *study_files(incomplete)]))


def _stored_names() -> list[str]:
    from search.common import paths
    from storage.server import quick_look

    try:
        url = storage_url()
        server = quick_look.url_settings(url) if url else quick_look.embedded_settings(paths.home() / "postgres")
        return [study.name for study in quick_look.studies(server)] if server else []
    except Exception:  # completion must neither wait nor print errors
        return []


def completion_of(*values: str) -> Callable[[str], list[str]]:
    """Return a function that completes to these values."""

    def matching(incomplete: str) -> list[str]:
        return [value for value in values if value.startswith(incomplete)]

    return matching


def pictures(incomplete: str) -> list[str]:
    """Return the figures' names that begin with `incomplete`, from the gallery's source: importing it takes seconds."""
    tree = ast.parse(files("search.show.figures").joinpath("gallery.py").read_text(encoding="utf-8"))
    keys = [
        key.value
        for node in tree.body
        if isinstance(node, ast.AnnAssign | ast.Assign) and "PICTURES" in ast.unparse(node).partition("=")[0]
        for key in (node.value.keys if isinstance(node.value, ast.Dict) else [])
        if isinstance(key, ast.Constant)
    ]
    return [name for name in map(str, keys) if name.startswith(incomplete)]
