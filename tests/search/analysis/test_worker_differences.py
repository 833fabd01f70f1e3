from typing import Any

import numpy as np
from optuna.trial import FrozenTrial

from search.analysis.worker_differences import worker_differences
from tests.search.made import PLAN, proxy

PROVENANCE = {"device": "NVIDIA RTX 4090", "torch": "2.11.0", "precision": "bfloat16", "host": "a"}


def runs(n: int, seed: int = 0, workers: int = 3, slow: float = 1.0, **provenance: str) -> list[FrozenTrial]:
    """Runs of random shapes whose speed follows from the shape, with 3% of noise; the first worker is slow."""
    rng = np.random.default_rng(seed)
    made = []
    for i in range(n):
        shape = {"n_layer": int(rng.integers(4, 33)), "n_head": int(rng.integers(2, 9))}
        n_params = 12 * shape["n_layer"] * (64 * shape["n_head"]) ** 2
        speed = 1e13 / n_params**0.9 * np.exp(0.03 * rng.standard_normal()) * (slow if i % workers == 0 else 1)
        where: dict[str, Any] = {"worker": f"a/{i % workers}", "provenance": {**PROVENANCE, **provenance}}
        made.append(proxy(i, 1.4, shape, n_params=n_params, tokens_per_second=round(float(speed)), **where))
    return made


def test_workers_alike_are_not_mentioned() -> None:
    assert worker_differences(PLAN, runs(40)) == []
    assert worker_differences(PLAN, [proxy(0, 1.4), proxy(1, 1.5)]) == []


def test_two_devices_are_named_with_their_workers_and_runs() -> None:
    (text,) = worker_differences(PLAN, [*runs(12), *runs(4, workers=1, device="NVIDIA RTX 3090")])
    assert text == (
        "workers' devices differ: NVIDIA RTX 4090 (12 runs by a/0, a/1 and 1 more), "
        "NVIDIA RTX 3090 (4 runs by a/0); compare their BPB with care."
    )


def test_two_versions_of_torch() -> None:
    (text,) = worker_differences(PLAN, [*runs(6), *runs(2, torch="2.12.0")])
    assert text.startswith("workers' versions of torch differ: 2.11.0 (6 runs by a/0, a/1 and 1 more), 2.12.0 (2 runs")


def test_runs_that_were_compiled_beside_runs_that_were_not() -> None:
    modes = ("eager", "eager", "compiled", "compiled + CUDA graphs", "compiled")
    mixed = [proxy(i, 1.4, {}, provenance={**PROVENANCE, "mode": mode}) for i, mode in enumerate(modes)]
    (text,) = worker_differences(PLAN, mixed)
    assert text.startswith("3 of 5 runs were compiled, the others not")
    assert worker_differences(PLAN, mixed[2:]) == worker_differences(PLAN, mixed[:2]) == []


def test_precisions_that_a_study_asks_for_are_not_compared() -> None:
    """An idea's runs have another precision than the plain ones by their own setting."""
    eight, plain = (
        proxy(i, 1.4, {}, provenance={**PROVENANCE, "precision": p}) for i, p in enumerate(("float8", "bfloat16"))
    )
    assert worker_differences(PLAN, [plain, eight])
    eight.system_attrs = {"fixed_params": {"precision": "float8"}}
    assert worker_differences(PLAN, [plain, eight]) == []


def test_precision_is_compared_at_one_width() -> None:
    """Narrow networks run in float32 on a CPU by design; one width in two precisions is another matter."""
    narrow = proxy(0, 1.4, {"n_head": 2}, provenance={**PROVENANCE, "precision": "float32"})
    wide = [proxy(i, 1.4, {"n_head": 8}, provenance=PROVENANCE) for i in (1, 2)]
    assert worker_differences(PLAN, [narrow, *wide]) == []
    odd = proxy(3, 1.4, {"n_head": 8}, provenance={**PROVENANCE, "precision": "float32"}, worker="b/1")
    (text,) = worker_differences(PLAN, [narrow, *wide, odd])
    assert text.startswith("precisions at width 512 differ: bfloat16 (2 runs by a), float32 (1 run by b/1)")


def test_a_slow_worker_is_named_with_its_figure() -> None:
    (text,) = worker_differences(PLAN, runs(40, slow=0.8))
    assert text.startswith("worker a/0 is ")
    assert "% slower than others with NVIDIA RTX 4090 on like shapes (14 of 40 runs)" in text
    assert 17 <= int(text.split("is ")[1].split("%")[0]) <= 23


def test_a_difference_that_is_not_worth_a_word_or_of_few_runs() -> None:
    assert worker_differences(PLAN, runs(40, slow=0.94)) == []
    assert worker_differences(PLAN, runs(8, slow=0.8)) == []


def test_workers_alike_are_rarely_called_slow() -> None:
    warned = sum(bool(worker_differences(PLAN, noisy(seed))) for seed in range(200))
    assert warned / 200 <= 0.06


def noisy(seed: int) -> list[FrozenTrial]:
    """Speeds that scatter by 30%, so that only the test, not the size of the difference, holds it back."""
    rng = np.random.default_rng(seed + 1000)
    made = runs(30, seed)
    for trial in made:
        trial.user_attrs["tokens_per_second"] *= float(np.exp(0.3 * rng.standard_normal()))
    return made
