"""Study files: shipped ones are found by name, a user's own by path."""

import re
from dataclasses import replace
from pathlib import Path, PurePath

from model.atomic import why_not
from model.config import DataConfig
from model.data.text_files import expanded
from model.settings import nearest
from search.common.errors import StudyFileError
from search.study.plan import Plan
from search.study.shipped import shipped


def is_path(study: str) -> bool:
    """Return whether the user means a file rather than a name."""
    return study.endswith(".toml") or "/" in study


def study_name(study: str) -> str:
    """Return the study name that a name or path stands for; raises `StudyFileError` if it isn't a valid name."""
    name = Path(study).stem if is_path(study) else study
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,59}", name) or name.endswith("-confirm"):
        raise StudyFileError(
            f'"{name}" can\'t name a study: use lower-case letters, digits, "-" and "_" '
            'or a path to a .toml file; at most 60 characters, not ending in "-confirm"'
        )
    return name


def read(study: str) -> Plan:
    """Return the plan of a shipped study or of a file; raises `StudyFileError`."""
    name = study_name(study)
    if is_path(study):
        path = Path(study)
        try:
            plan = Plan.parse(path.read_text(encoding="utf-8-sig"), name=name, origin=str(path))
        except (OSError, UnicodeDecodeError) as error:
            reason = why_not(path, error) if isinstance(error, OSError) else "not UTF-8 text; save it as UTF-8"
            if isinstance(error, FileNotFoundError):
                reason += f"; shipped studies go by their names; {nearest(name, shipped())}"
            raise StudyFileError(f"{path}: can't be read: {reason}") from None
        return _with_local_paths(plan, path.parent)
    if name not in shipped():
        raise StudyFileError(
            f'no study file is named "{name}"; a file of your own goes by its path; {nearest(name, shipped())}'
        )
    return Plan.parse(shipped()[name].read_text(encoding="utf-8"), name=name, origin=f"studies/{name}.toml")


def _with_local_paths(plan: Plan, folder: Path) -> Plan:
    """Return the plan with its local paths, which are relative to the study file's folder, made absolute."""
    scores = tuple(local_source(source, folder) for source in plan.confirm.scores)
    data = replace(plan.data, source=local_source(plan.data.source, folder))
    return replace(plan, data=data, confirm=replace(plan.confirm, scores=scores))


def with_data(plan: Plan, source: str, column: str | None) -> Plan:
    """Return the plan with other text; split and hold-out are reset to the defaults, since they suit the old text."""
    return replace(plan, data=DataConfig(source=local_source(source), column=column or DataConfig.column))


def is_named(source: str) -> bool:
    """Return whether a data source is a name, the same on every machine, and not a path."""
    return source == "builtin" or source.startswith("hf:")


def source_name(source: str) -> str:
    """Return a data source without its folders; a Hugging Face dataset and "builtin" have none."""
    return source if source.startswith("hf:") else PurePath(source.replace("\\", "/")).name or source


def local_source(source: str, beside: Path | None = None) -> str:
    """Return a data source with a local path made absolute, since workers start elsewhere."""
    if is_named(source):
        return source
    try:
        return str(((beside or Path.cwd()) / expanded(source)).resolve())
    except RuntimeError as error:  # symbolic links in a circle
        raise StudyFileError(f"the text is {source}, which leads nowhere: {error}") from None
