"""Promotion: which proxies' configurations are trained for the long budget, and what came of it, logged back."""

import random
from collections.abc import Sequence

import numpy as np
from optuna.trial import FrozenTrial, Trial
from optuna_dashboard import save_note

from search.caveats import caveats
from search.results import Confirmed, confirmed, noise, transfer
from search.study import LinkedStudy, finished


def candidates(proxies: Sequence[FrozenTrial], *, top: int, drawn: int, seed: int) -> list[FrozenTrial]:
    """Return the proxies to confirm: the best `top` that differ in configuration, and `drawn` others at random.

    Baselines are confirmed in any case and take no place here; nor does a proxy that equals one. The random
    ones are there so that proxy and confirmation are not compared on winners alone. A configuration that was run
    several times counts by its mean, so that no lucky seed decides.
    """
    seen = [t.params for t in proxies if "baseline" in t.user_attrs]
    distinct: list[FrozenTrial] = []
    ended = finished(list(proxies))
    values: dict[str, list[float]] = {}
    for trial in ended:
        values.setdefault(_same(trial), []).append(trial.value or 0.0)
    for trial in sorted(ended, key=lambda t: (np.mean(values[_same(t)]), t.number)):
        if "baseline" not in trial.user_attrs and trial.params not in seen:
            seen.append(trial.params)
            distinct.append(trial)
    best, rest = distinct[:top], distinct[top:]
    return best + random.Random(seed).sample(rest, min(drawn, len(rest)))


def _same(trial: FrozenTrial) -> str:
    """Return what two trials of one configuration have in common."""
    return repr(sorted(trial.params.items()))


def promote(study: LinkedStudy) -> int:
    """Queue the confirmation runs that are due; returns how many are new. Repeating it adds nothing.

    Due once every proxy trial has finished. Every candidate gets its first seed before any gets its second.
    """
    plan = study.plan
    trials = study.proxy_trials()
    if any(not t.state.is_finished() for t in trials) or study.proxy_queue.slots() < plan.proxy.trials:
        return 0
    chosen = candidates(trials, top=plan.confirm.top, drawn=plan.confirm.random, seed=plan.proxy.seed)
    added = 0
    for seed in plan.confirm.seed_values:
        for trial in chosen:
            added += study.confirm_queue.enqueue(dict(trial.params), {"confirms": trial.number, "seed": seed})
    return added


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
            record = {
                "bpb": entry.mean_bpb,
                "seeds": {str(k): v for k, v in sorted(entry.bpb_by_seed.items())},
            }
            record |= {
                "proxy_bpb": entry.proxy_bpb,
                "proxy_trial": entry.proxy_number,
                "baseline": entry.baseline,
            }
            if stored.get(f"confirmed:{entry.key}") != record:
                study.proxies.set_user_attr(f"confirmed:{entry.key}", record)
            proxy = by_number.get(entry.proxy_number) if entry.proxy_number is not None else None
            if proxy is not None:
                save_note(Trial(study.proxies, proxy._trial_id), _trial_note(study, entry, place, len(found)))
        if found:
            save_note(study.proxies, study_note(study, found))


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
        interval = f" ± {half:.4f}" if half is not None else ""
        proxy = f"{c.proxy_bpb:.4f}" if c.proxy_bpb is not None else "–"
        rows.append(f"| {place} | {c.label} | {c.mean_bpb:.4f}{interval} | {len(c.bpb_by_seed)} | {proxy} |")
    budgets = study.plan.confirm.budget, study.plan.proxy.budget
    head = "| rank | configuration | BPB at {} | seeds | BPB at {} |\n|---|---|---|---|---|\n".format(*budgets)
    warned = "".join(f"\n- {c.sentence}" for c in caveats(study.plan, study.proxy_trials(), found))
    return f"### Confirmed\n\n{head}" + "\n".join(rows) + f"\n\n{transfer(found).verdict}\n{warned}"
