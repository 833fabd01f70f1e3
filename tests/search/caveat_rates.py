"""How often each caveat appears, over simulated studies of which the truth is known.

python -m tests.search.caveat_rates --truth nothing --sampler tpe --studies 200 --trials 60 --prune
"""

import argparse
import math
import warnings
from collections import Counter
from typing import Any

import numpy as np
import optuna
from optuna.trial import FrozenTrial, TrialState

from search.analysis.caveats import caveats
from search.strategy.entrants import proxies_to_confirm
from search.strategy.pruner import CorrelationPruner
from search.study.results import Confirmed
from search.study.space import Params
from tests.search.made import PLAN, confirmed_of

NOISE, SEED_NOISE, DIVERGED = 0.05, 0.01, 0.05
WHERE = {"device": "a GPU", "torch": "2.11", "precision": "bfloat16", "host": "a"}


def truth(kind: str, params: Params) -> float:
    """BPB above the best: nothing matters; an optimum inside the space; one below the lowest learning rate."""
    if kind == "nothing":
        return 0.0
    at = {"max_lr": 5e-5 if kind == "edge" else 2e-3, "n_layer": 12, "batch_size": 32, "vocab_size": 6144}
    optimum = at if kind == "inside" else {k: at[k] for k in ("max_lr", "n_layer")}
    return sum(0.05 * math.log(params[k] / best) ** 2 for k, best in optimum.items())


def simulated(
    kind: str, seed: int, trials: int, sampler: str, prune: bool
) -> tuple[list[FrozenTrial], list[Confirmed]]:
    """One study: proxies of four like workers, a twentieth diverged; the best five and one more confirmed twice."""
    rng = np.random.default_rng(seed)
    make: Any = optuna.samplers.TPESampler if sampler == "tpe" else optuna.samplers.RandomSampler
    study = optuna.create_study(study_name="rates", sampler=make(seed=seed))
    pruner = CorrelationPruner() if prune else None
    for _ in range(trials):
        run(study, kind, rng, pruner)
    done = study.get_trials()
    configurations = []
    for trial in proxies_to_confirm(done, top=5, drawn=1, seed=0):
        bpb = 1.2 + truth(kind, trial.params) + SEED_NOISE * rng.standard_normal(2)
        configurations.append(confirmed_of(trial, bpb.tolist()))
    return done, sorted(configurations, key=lambda c: c.mean_bpb)


def run(study: optuna.Study, kind: str, rng: np.random.Generator, pruner: CorrelationPruner | None) -> None:
    """One proxy: the loss so far is the final one, a part that shrinks with progress, and noise that drifts."""
    trial = study.ask()
    params = PLAN.space.suggest(trial, PLAN.fixed())
    n_params = 12 * params["n_layer"] * (64 * params["n_head"]) ** 2
    speed = round(1e13 / n_params**0.9 * math.exp(0.05 * rng.standard_normal()))
    attrs = {"worker": f"a/{rng.integers(4)}", "n_params": n_params, "tokens_per_second": speed, "provenance": WHERE}
    for key, value in attrs.items():
        trial.set_user_attr(key, value)
    if rng.random() < DIVERGED:
        trial.set_user_attr("failure", "diverged")
        study.tell(trial, state=TrialState.FAIL)
        return
    final = 1.3 + truth(kind, params) + NOISE * float(rng.standard_normal())
    drift = rng.standard_normal()
    for percent in PLAN.report_points()[:-1]:
        drift = 0.9 * drift + math.sqrt(0.19) * rng.standard_normal()
        trial.report(final + (1 - percent / 100) * (1 + 0.4 * drift), percent)
        if pruner and pruner.judge(study, study._storage.get_trial(trial._trial_id)).prune:
            study.tell(trial, state=TrialState.PRUNED)
            return
    study.tell(trial, final)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--truth", choices=("nothing", "inside", "edge"), default="nothing")
    parser.add_argument("--sampler", choices=("tpe", "random"), default="tpe")
    parser.add_argument("--studies", type=int, default=100)
    parser.add_argument("--trials", type=int, default=60)
    parser.add_argument("--prune", action="store_true")
    args = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    counts: Counter[str] = Counter()
    for seed in range(args.studies):
        study = simulated(args.truth, seed, args.trials, args.sampler, args.prune)
        counts.update({c.name for c in caveats(PLAN, *study)})
    rates = ", ".join(f"{name} {n / args.studies:.3f}" for name, n in sorted(counts.items()))
    print(f"{args.truth}, {args.sampler}, {args.trials} trials{', pruned' * args.prune}: {rates or 'none'}")


if __name__ == "__main__":
    main()
