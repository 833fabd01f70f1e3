"""A confirmation run's record as a small text: configuration, result, parameters, curve, provenance, last lines."""

import json
import re
from collections.abc import Iterable, Mapping
from typing import Any

from search.study.plan import Plan
from search.study.trials import BASELINE, BUDGET, CONFIRMS, KIND, LR_SCALE, PROVENANCE, SEED, WHY, Attributes, label

IDENTITY = (BASELINE, CONFIRMS, LR_SCALE, SEED, BUDGET, KIND, WHY, PROVENANCE)
"""Attributes that have a line or a part of their own."""


def record(
    plan: Plan,
    name: str,
    end: str,
    params: Mapping[str, Any],
    attrs: Mapping[str, Any],
    reports: Mapping[int, float],
    lines: Iterable[str],
) -> str:
    """Return the record of a run.

    Args:
        plan: the study's plan.
        name: name of the run, such as "confirmation 3".
        end: how the run ended, in words.
        params: its parameters.
        attrs: its user attributes.
        reports: validation BPB by percent of the budget.
        lines: lines that the worker printed; those that name the run are kept.

    """
    run = Attributes(attrs)
    configuration = label(run.baseline, run.confirms, run.lr_scale)
    parts = {
        f"{name} of {plan.name}": f"{configuration}, seed {run.seed}, {run.budget or plan.confirm.budget}\n"
        f"why: {run.why}\nended: {end}",
        "parameters": _table(params),
        "reports": "\n".join(["progress_percent,val_bpb", *(f"{p},{bpb:.6g}" for p, bpb in sorted(reports.items()))]),
        "measured": _table({k: v for k, v in attrs.items() if k not in IDENTITY}),
        "provenance": json.dumps(dict(run.provenance), indent=1, sort_keys=True, ensure_ascii=False),
        "the worker's lines": "\n".join(line for line in lines if re.search(rf"\b{re.escape(name)}\b", line)),
    }
    return "\n\n".join(f"# {title}\n{text}" for title, text in parts.items()) + "\n"


def _table(values: Mapping[str, Any]) -> str:
    return "\n".join(f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in values.items())
