"""Learning rates as pure functions of progress, the fraction of the budget that is spent (0 to 1)."""

import math

EARLIER_PRESETS = {
    "one_cycle_torch": (0.3, 25.0, 1e4),
    "one_cycle_early": (0.05, 25.0, 1e4),
    "one_cycle_shallow": (0.3, 10.0, 10.0),
}
"""Presets of earlier versions, in whose studies and exports they stand."""

PRESETS = {
    "one_cycle_standard": (0.3, 3.0, 10.0),
    "one_cycle_aggressive": (0.05, 10.0, 100.0),
    "one_cycle_medium": (0.1, 6.0, 20.0),
    **EARLIER_PRESETS,
}
"""OneCycle's (pct_start, div_factor, final_div_factor) by name, both factors in the meaning of torch's `OneCycleLR`."""

SCHEDULES = ("one_cycle", *PRESETS, "warmup_stable_decay", "cosine", "linear")


def learning_rate(
    schedule: str,
    progress: float,
    *,
    max_lr: float,
    pct_start: float,
    div_factor: float,
    final_div_factor: float,
    decay_fraction: float,
) -> float:
    """Return the learning rate of a schedule by name.

    All rise from max_lr / div_factor to max_lr at `pct_start` and end at the first rate divided by
    final_div_factor. `one_cycle` goes by cosines both ways, as torch's `OneCycleLR` does (Smith & Topin 2018,
    arXiv:1708.07120); `cosine` and `linear` rise linearly and fall at once; `warmup_stable_decay` falls linearly,
    in the last `decay_fraction` only (Hu et al. 2024, arXiv:2404.06395). Presets fix one_cycle's three numbers.
    """
    if schedule in PRESETS:
        pct_start, div_factor, final_div_factor = PRESETS[schedule]
    first = max_lr / div_factor
    last = first / final_div_factor
    if progress < pct_start:
        rise = _cosine if schedule.startswith("one_cycle") else _line
        return rise(first, max_lr, progress / pct_start)
    fall = {"warmup_stable_decay": _line, "linear": _line}.get(schedule, _cosine)
    begin = 1 - decay_fraction if schedule == "warmup_stable_decay" else pct_start
    return fall(max_lr, last, min(max((progress - begin) / (1 - begin), 0.0), 1.0))


def _cosine(start: float, end: float, fraction: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * fraction))


def _line(start: float, end: float, fraction: float) -> float:
    return start + (end - start) * fraction
