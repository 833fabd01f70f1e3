"""What the file of a merge says of it, and how other commands know one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from search.common.errors import SearchError

MERGE = "merge"
"""Key in a checkpoint's info under which a merge names its method, ingredients and figures."""


_NUMBERS = ("groups", "documents", "bytes", "before_bpb", "difference")
_TEXTS = ("method", "divided", "before")


def merge_of(info: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return what a model's file says of the merge that it is; None if it is one run's.

    Raises `SearchError` if that is damaged.
    """
    if MERGE not in info:
        return None
    table = info[MERGE]
    whole = (
        isinstance(table, Mapping)
        and all(type(table.get(key)) in (int, float) for key in _NUMBERS)
        and all(type(table.get(key)) is str for key in _TEXTS)
        and type(table.get("ingredients")) is list
        and all(isinstance(info.get(key), Mapping) for key in ("data", "provenance"))
        and type(info.get("val_bpb")) is float
    )
    if not whole:
        raise SearchError("the model says that it is a merge, but not of what, or how good: its file is damaged")
    return table  # type: ignore[no-any-return]


def ingredients_text(merge: Mapping[str, Any]) -> str:
    """Return a merge's ingredients on one line."""
    return "; ".join(str(each.get("label", "?")) for each in merge["ingredients"] if isinstance(each, Mapping))


def why_not_again(path: Path) -> str | None:
    """Return why the model in a file can't be trained again, if it is a merge; None for anything else."""
    import torch

    from model.errors import CheckpointError
    from model.formats.load import load

    try:
        merge = merge_of(load(path, torch.device("cpu")).info)
    except (CheckpointError, OSError):  # an export, mostly: whoever reads it next says what is wrong with it
        return None
    if merge is None:
        return None
    return (
        f"{path} is a merge of {ingredients_text(merge)}, which no single training makes again; verify those "
        f"(`verify --study NAME --confirmation N`), and measure the merge with `evaluate --checkpoint {path}`"
    )
