"""Attributes that a worker stores with a trial once it has been trained."""

from typing import Any

from model.data.corpus import Corpus
from model.training.result import Result
from search.machine.provenance import data_hashes, run_provenance
from search.strategy.pruner import PruningDecision
from search.study.trials import (
    BEST_AS_BAD,
    BUDGET_SCALE,
    BYTES_PER_TOKEN,
    CAME_AS_FAR,
    COMPILE_SECONDS,
    DROPPED,
    EVALUATE_SECONDS,
    MFU,
    MICRO_BATCH,
    MODE,
    N_ACTIVE_PARAMS,
    N_PARAMS,
    NEW_TRIALS_PLACES,
    PLACE,
    PLACE_CHANCE,
    PROOF,
    PROVENANCE,
    PRUNER,
    STARTUP_SECONDS,
    STEPS,
    TOKENS,
    TOKENS_PER_ACTIVE_PARAM,
    TOKENS_PER_PARAM,
    TOKENS_PER_SECOND,
    TOTAL_SECONDS,
    TRAIN_BPB,
    TRAIN_CURVE,
    TRAIN_SECONDS,
)
from search.worker.run_context import RunContext


def result_attributes(
    context: RunContext,
    result: Result,
    corpus: Corpus,
    decision: PruningDecision | None,
    *,
    seed: int,
    budget_seconds: float,
) -> dict[str, Any]:
    """Return what is stored of a result: counts, throughput, times, provenance and the pruner's last decision."""
    provenance = run_provenance(
        context.device,
        result,
        context.hardware,
        seed=seed,
        budget_seconds=budget_seconds,
        self_test=context.self_test,
    )
    active = result.n_params if result.n_active_params is None else result.n_active_params
    scale = {BUDGET_SCALE: context.budget_scale} if context.budget_scale != 1 else {}
    return {
        N_PARAMS: result.n_params,
        N_ACTIVE_PARAMS: active,
        STEPS: result.steps,
        TOKENS: result.tokens,
        TOKENS_PER_PARAM: round(result.tokens / result.n_params, 3),
        TOKENS_PER_ACTIVE_PARAM: round(result.tokens / active, 3),
        TOKENS_PER_SECOND: round(result.tokens_per_second),
        BYTES_PER_TOKEN: round(corpus.train.bytes_per_token, 4),
        TRAIN_BPB: result.train_bpb,
        TRAIN_CURVE: {str(r.percent): r.train_bpb for r in result.reports},
        TRAIN_SECONDS: round(result.train_seconds, 3),
        MFU: round(result.mfu, 5),
        MODE: result.mode,
        STARTUP_SECONDS: round(result.startup_seconds, 3),
        COMPILE_SECONDS: round(result.compile_seconds, 3),
        EVALUATE_SECONDS: round(result.evaluate_seconds, 3),
        TOTAL_SECONDS: round(result.total_seconds, 3),
        MICRO_BATCH: result.micro_batch,
        PROVENANCE: provenance | data_hashes(corpus),
        **scale,
        **({} if result.dropped_share is None else {DROPPED: round(result.dropped_share, 6)}),
        **_decision_attributes(decision),
    }


def _decision_attributes(decision: PruningDecision | None) -> dict[str, Any]:
    if decision is None:
        return {}
    figures = {
        PROOF: decision.proof,
        BEST_AS_BAD: decision.chance,
        PLACE_CHANCE: decision.place_chance,
        NEW_TRIALS_PLACES: decision.new_trials_places,
        PLACE: decision.place,
        CAME_AS_FAR: decision.came_as_far,
    }
    return {PRUNER: decision.reason, **{key: value for key, value in figures.items() if value is not None}}
