"""The learning rate as a pure function of progress."""

import math


def one_cycle(progress: float, *, max_lr: float, pct_start: float, div_factor: float, final_div_factor: float) -> float:
    """Return the learning rate at a progress of 0 to 1.

    OneCycle with cosine annealing both ways, in the spelling of torch's `OneCycleLR` (Smith & Topin 2018,
    arXiv:1708.07120): from max_lr / div_factor up to max_lr at `pct_start`, then down to the first rate
    divided by final_div_factor.
    """
    first = max_lr / div_factor
    if progress < pct_start:
        return _cosine(first, max_lr, progress / pct_start)
    return _cosine(max_lr, first / final_div_factor, min((progress - pct_start) / (1 - pct_start), 1.0))


def _cosine(start: float, end: float, fraction: float) -> float:
    return end + (start - end) / 2 * (1 + math.cos(math.pi * fraction))
