"""The reference step's timing, on clocks of our own."""

import itertools

import pytest
import torch

from model.training.reference_step import MOST, ON_CPU, ON_GPU, median_seconds, reference_tokens_per_second


class Card:
    """A device and its clock: step i takes the i-th of these times, when what was launched is waited for."""

    def __init__(self, step_seconds: "itertools.repeat[float] | itertools.chain[float]") -> None:
        self.now, self.steps, self._launched, self._times = 0.0, 0, 0.0, iter(step_seconds)

    def step(self) -> None:
        self.steps += 1
        self._launched += next(self._times)

    def settle(self) -> None:
        self.now, self._launched = self.now + self._launched, 0.0

    def clock(self) -> float:
        return self.now

    def measure(self, rounds: int = 9, round_seconds: float = 0.3) -> float:
        return median_seconds(self.step, self.settle, self.clock, rounds=rounds, round_seconds=round_seconds)


def test_a_throttled_card_is_slower_by_its_factor() -> None:
    healthy, throttled = Card(itertools.repeat(0.01)), Card(itertools.repeat(0.013))
    assert throttled.measure() / healthy.measure() == pytest.approx(1.3)


def test_steps_in_flight_are_waited_for_and_the_first_ones_are_not_counted() -> None:
    card = Card(itertools.chain([5.0], itertools.repeat(0.01)))
    assert card.measure() == pytest.approx(0.01)
    assert card.steps == 1 + 2 + 9 * 30


def test_a_hiccup_in_fewer_than_half_of_the_rounds_changes_nothing() -> None:
    """Rounds are of 30 steps: in four of nine one step takes a hundred times as long."""
    early = itertools.chain.from_iterable(([0.01] * 29 + [1.0]) for _ in range(4))
    card = Card(itertools.chain([0.01] * 3, early, itertools.repeat(0.01)))
    assert card.measure() == pytest.approx(0.01)


def test_a_very_slow_machine_is_not_waited_for() -> None:
    """A step of 2 s against rounds of 0.3 s: 9 rounds would take 18 s; after MOST · 9 · 0.3 s no other begins."""
    card = Card(itertools.repeat(2.0))
    assert card.measure() == pytest.approx(2.0)
    rounds = card.steps - 3
    assert (rounds - 1) * 2.0 < MOST * 9 * 0.3 <= rounds * 2.0


def test_on_a_real_cpu_the_clock_alone_decides_the_figure() -> None:
    """A clock that moves a second at each look: a round of one step lasts a second, whatever the machine does."""
    ticks = itertools.count()
    before = torch.random.get_rng_state()
    assert reference_tokens_per_second(torch.device("cpu"), lambda: float(next(ticks))) == ON_CPU.tokens == 4 * 64
    assert torch.equal(before, torch.random.get_rng_state())


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_on_a_real_gpu_two_measurements_agree_and_memory_is_given_back() -> None:
    device = torch.device("cuda")
    first, second = (reference_tokens_per_second(device) for _ in range(2))
    assert 0.9 < first / second < 1.1
    assert ON_GPU.tokens == 8192
    assert torch.cuda.memory_allocated(device) < 64 * 2**20
