"""Log back: what is confirmed, written into the proxy study, where optuna-dashboard shows it."""

from collections.abc import Sequence
from typing import Any

from optuna.trial import Trial
from optuna_dashboard import save_note

from search.caveats import caveats
from search.results import Confirmed, bpb_text, confirmed, noise, transfer
from search.study import LinkedStudy


def log_back(study: LinkedStudy) -> None:
    """Write what is confirmed so far into the proxy study: an attribute and a note for each configuration.

    A finished trial's attributes can't change in Optuna; a study's attributes and notes can. One key for each
    configuration, so that two workers never overwrite one another.
    """
    with study.database.lock(f"lilm-search/log-back/{study.plan.name}"):
        found = confirmed(study)
        by_number = {t.number: t for t in study.proxy_trials()}
        stored = study.proxies.user_attrs
        for place, entry in enumerate(found, start=1):
            if stored.get(_key(entry)) != _record(entry):
                study.proxies.set_user_attr(_key(entry), _record(entry))
            proxy = by_number.get(entry.proxy_number) if entry.proxy_number is not None else None
            if proxy is not None and entry.lr_scale == 1:
                save_note(Trial(study.proxies, proxy._trial_id), _trial_note(study, entry, place, len(found)))
        if found:
            save_note(study.proxies, study_note(study, found))


def log_back_missing(study: LinkedStudy) -> None:
    """Log back where a run's worker was lost before it could: its result came later, or by another way."""
    stored = study.proxies.user_attrs
    if any(stored.get(_key(entry)) != _record(entry) for entry in confirmed(study)):
        log_back(study)


def _key(entry: Confirmed) -> str:
    return f"confirmed:{entry.key}"


def _record(entry: Confirmed) -> dict[str, Any]:
    return {
        "bpb": entry.mean_bpb,
        "seeds": {str(k): v for k, v in sorted(entry.bpb_by_seed.items())},
        "proxy_bpb": entry.proxy_bpb,
        "proxy_trial": entry.proxy_number,
        "baseline": entry.baseline,
        "lr_scale": entry.lr_scale,
    }


def _trial_note(study: LinkedStudy, entry: Confirmed, place: int, among: int) -> str:
    seeds = ", ".join(f"{bpb:.4f} (seed {seed})" for seed, bpb in sorted(entry.bpb_by_seed.items()))
    return (
        f"**Confirmed at {study.plan.confirm.budget}: {entry.mean_bpb:.4f} BPB**, "
        f"place {place} of {among} ({entry.label}).\n\n"
        f"Runs in `{study.confirmations.study_name}`: {seeds}."
    )


def study_note(study: LinkedStudy, found: Sequence[Confirmed]) -> str:
    """Return the study's note: leaderboard and transfer check, in Markdown."""
    pooled = noise(found)
    rows = []
    for place, c in enumerate(found, start=1):
        half = pooled.half_width(len(c.bpb_by_seed))
        proxy = f"{c.proxy_bpb:.4f}" if c.proxy_bpb is not None else "–"
        rows.append(f"| {place} | {c.label} | {bpb_text(c.mean_bpb, half)} | {len(c.bpb_by_seed)} | {proxy} |")
    budgets = study.plan.confirm.budget, study.plan.proxy.budget
    head = "| rank | configuration | BPB at {} | seeds | BPB at {} |\n|---|---|---|---|---|\n".format(*budgets)
    warned = "".join(f"\n- {c.sentence}" for c in caveats(study.plan, study.proxy_trials(), found))
    return f"### Confirmed\n\n{head}" + "\n".join(rows) + f"\n\n{transfer(found).verdict}\n{warned}"
