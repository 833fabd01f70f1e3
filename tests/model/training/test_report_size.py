import itertools

import pytest
import torch

from model.config import ModelConfig
from model.training.report_size import LEAST_BYTES, MOST_BYTES, evaluation_tokens_per_second, report_bytes

SMALL = (ModelConfig(n_layer=2, n_head=2, head_dim=8, context=16), 64)
HUGE = (ModelConfig(n_layer=200, n_head=16, head_dim=64, context=16), 64)


def size(tokens_per_second: float, budget_seconds: float = 360.0, largest: tuple[ModelConfig, int] = SMALL) -> int:
    speed = {"tokens_per_second": tokens_per_second, "budget_seconds": budget_seconds}
    return report_bytes(SMALL, largest, bytes_per_token=4.0, **speed)


def test_a_report_takes_a_thousandth_of_the_budget_at_most() -> None:
    """0.36 s at 40,000 tokens/s of 4 bytes are 57,600 bytes; the next lower power of two is 32,768."""
    assert size(40_000) == 32_768
    assert size(46_000) == 65_536
    assert size(40_000, budget_seconds=720.0) == 65_536


def test_bytes_have_limits() -> None:
    assert size(1e12) == MOST_BYTES
    assert size(1.0) == LEAST_BYTES


def test_the_largest_network_counts_where_it_is_much_slower() -> None:
    """Its reports take 1% at most: some thousands of times as many operations leave the least."""
    assert size(1e6) == MOST_BYTES
    assert size(1e6, largest=HUGE) == LEAST_BYTES


def test_speed_is_that_of_the_better_pass_after_a_first() -> None:
    """Passes of 10, 2 and 4 s, the clock read before and after each; 8,192 tokens in 2 s."""
    clock = itertools.accumulate([0.0, 10.0, 0.0, 2.0, 0.0, 4.0])
    speed = evaluation_tokens_per_second(SMALL, torch.device("cpu"), lambda: next(clock))
    assert speed == pytest.approx(4096)
