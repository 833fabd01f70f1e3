"""The study file's page, from the frozen records that read it."""

import json
import types
import typing
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields
from typing import Any

from docs.generate.markdown import code, fenced, page, table
from model.settings import Settings
from search.study.plan import SECTIONS
from search.study.shipped import descriptions
from search.study.space import RECORDS, Parameter

HEAD = ("key", "type", "unit", "default", "allowed", "meaning")
UNITS = {
    "_seconds": "seconds",
    "_bytes": "bytes",
    "_mb": "megabytes",
    "_hours": "hours",
    "usd_per_gpu_hour": "dollars an hour",
    "_usd": "dollars",
}
"""By the end of a key; the units of other keys are in their meaning."""
TYPES = {int: "integer", float: "number", str: "string", bool: "true or false", types.NoneType: ""}
NEEDED = {"data": "needed", "proxy": "needed", "confirm": "needed, except in a sweep"}
INTRO = (
    "A study file is TOML. `lilm-search studies show NAME` prints one with all its defaults. A misspelt key, a value "
    "out of range, or a baseline outside the space is refused with its place and what is allowed. How to write one: "
    "[your own space](../howto/own-space.md)."
)
HEADLESS = (
    "Above the sections may stand `description`, a string that `lilm-search studies` shows. Keys with a default, and "
    "sections that aren't needed, can be left out."
)
SPACE = (
    "Which settings of `[tokenizer]`, `[model]` and `[train]` are searched, each a table of its own. A setting that "
    "isn't here keeps the value of its section. Either `low` and `high`, or `choices`; of a real setting `low = 0` and "
    "`high = 1` make a range of real numbers, and `step` makes steps. A condition that never holds is refused, and a "
    "range in which something can't be trained."
)
BASELINES = (
    "Hand-made configurations, one table for each, named by you: a value for every searched setting that applies, "
    "each within the space, and for any other setting of `[tokenizer]`, `[model]` and `[train]` that it needs another "
    "value of than the study's. A baseline always runs as a proxy and is always confirmed. A sweep has none."
)
IDEAS = (
    "Of a sweep: what it compares with the study's own configuration, one table for each idea, named by you, with the "
    "settings that it changes. Each runs alone, `repeats` times, and the plain configuration √k times as often for k "
    "ideas, since all are compared with it. Beside them `[space]` is left out: [sweeps](../howto/sweep.md)."
)


def study_file_page() -> str:
    """Return the page."""
    parts = [_section(name, record) for name, record in SECTIONS.items()]
    files = [[code(name), description] for name, description in descriptions().items()]
    return page(
        "# Study file",
        INTRO,
        HEADLESS,
        *parts,
        f"## `[space]`\n\nNeeded. {SPACE}",
        key_table(Parameter),
        fenced(
            'n_layer = { low = 1, high = 8 }\nn_kv_head = { low = 1, high = 4, when = { attention = "grouped" } }\n'
            'window = { choices = [64, 256], when = { attention = ["full", "grouped"] } }'
        ),
        f"## `[baselines.NAME]`\n\n{BASELINES}",
        fenced(
            "[baselines.by-hand]\nmax_lr = 3e-3\nn_layer = 2\n"
            "weight_decay = 0.02        # not searched: the baseline's own"
        ),
        f"## `[ideas.NAME]`\n\n{IDEAS}",
        fenced("[ideas]\nshared-keys = { kv_blocks = 2 }\nlocal-and-global = { window = 128, global_every = 4 }"),
        f"## Shipped study files\n\n{table(('name', 'what it searches'), files)}",
    )


def _section(name: str, record: type[Settings]) -> str:
    summary = (record.__doc__ or "").splitlines()[0]
    notes = [NEEDED[name].capitalize() + "."] if name in NEEDED else []
    notes += ["Each key can be searched: see [`[space]`](#space)."] if name in RECORDS else []
    return f"## `[{name}]`\n\n{' '.join([summary, *notes])}\n\n{key_table(record)}"


def key_table(record: type[Settings]) -> str:
    """Return a record's keys as a table."""
    hints = typing.get_type_hints(record)
    return table(HEAD, [_row(f, hints[f.name]) for f in fields(record)])


def _row(f: "Field[Any]", hint: Any) -> list[str]:
    doc = f.metadata.get("doc", "")
    return [code(f.name), _type(hint), _unit(f.name), _default(f), allowed(f.metadata), doc]


def _unit(name: str) -> str:
    return next((unit for end, unit in UNITS.items() if name.endswith(end)), "")


def _type(hint: Any) -> str:
    """Return a type as a person who writes TOML calls it."""
    if hint in TYPES:
        return TYPES[hint]
    origin, inner = typing.get_origin(hint), typing.get_args(hint)
    if origin is tuple:
        return f"list of {_type(inner[0])}s" if inner[0] in TYPES else "list"
    if origin is dict:
        return "table"
    return " or ".join(dict.fromkeys(name for option in inner if (name := _type(option))))


def _default(f: "Field[Any]") -> str:
    if f.default is MISSING:
        return "must be given"
    value = list(f.default) if isinstance(f.default, tuple) else f.default
    if type(value) is int:
        return code(f"{value:_}" if value >= 10_000 else str(value))
    return "" if value is None else code(json.dumps(value, ensure_ascii=False))


def allowed(limits: Mapping[str, Any]) -> str:
    """Return which values a record takes: choices, or the ends of a range."""
    if limits.get("choices"):
        return ", ".join(code(json.dumps(choice)) for choice in limits["choices"])
    signs = {"at_least": "≥", "above": ">", "at_most": "≤", "below": "<"}
    given = [f"{sign} {limits[key]:,}" for key, sign in signs.items() if limits.get(key) is not None]
    return " and ".join(given)
