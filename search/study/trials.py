"""The vocabulary of trials: their attributes by key and type, those that a retry inherits, labels for people."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from optuna.trial import FrozenTrial, TrialState

from search.common.durations import parse_duration

if TYPE_CHECKING:
    from search.study.plan import Plan
    from search.study.space import Params

# Keys of a trial's user attributes: first, those that say what the trial is.
BASELINE, CONTROL, GRID, SAMPLER = "baseline", "control", "grid", "sampler"
CONFIRMS, SEED, BUDGET, LR_SCALE = "confirms", "seed", "budget", "lr_scale"
KIND, WHY, BY_HAND = "kind", "why", "by_hand"
PREDICTED, PREDICTED_HALF_WIDTH = "predicted", "predicted_half_width"

INHERITED = (
    *(BASELINE, CONTROL, GRID, SAMPLER, CONFIRMS, SEED, BUDGET, LR_SCALE),
    *(KIND, WHY, BY_HAND, PREDICTED, PREDICTED_HALF_WIDTH),
)
"""Attributes that a retry inherits from the trial that was lost."""

# Its worker and its fate; the queue in `storage` writes the first four under the same keys.
WORKER, FAILURE, FAILURE_DETAIL, RETRIES = "worker", "failure", "failure_detail", "retries"
CLAIMED_AT, BUDGET_SCALE, RESUMED_AT, RAN_BEFORE = "claimed_at", "budget_scale", "resumed_at_percent", "ran_before"
PRUNER, BEST_AS_BAD, PROOF = "pruner", "best_as_bad", "proof"
PLACE_CHANCE, NEW_TRIALS_PLACES = "place_chance", "new_trials_places"
PLACE, CAME_AS_FAR = "place", "came_as_far"

# Measurements.
N_PARAMS, STEPS, TOKENS, MICRO_BATCH = "n_params", "steps", "tokens", "micro_batch"
TOKENS_PER_PARAM, TOKENS_PER_SECOND, BYTES_PER_TOKEN = "tokens_per_param", "tokens_per_second", "bytes_per_token"
N_ACTIVE_PARAMS, TOKENS_PER_ACTIVE_PARAM, DROPPED = "n_active_params", "tokens_per_active_param", "dropped_share"
TRAIN_BPB, TRAIN_CURVE, MFU, MODE, PROVENANCE = "train_bpb", "train_curve", "mfu", "mode", "provenance"
SCORES = "scores"
TOTAL_SECONDS, TRAIN_SECONDS, STARTUP_SECONDS = "total_seconds", "train_seconds", "startup_seconds"
COMPILE_SECONDS, EVALUATE_SECONDS = "compile_seconds", "evaluate_seconds"


def _text(value: Any) -> bool:
    return type(value) is str


def _whole(value: Any) -> bool:
    return type(value) is int


def _count(value: Any) -> bool:
    return _whole(value) and 0 <= value < 2**63


def _flag(value: Any) -> bool:
    return type(value) is bool


def _number(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < 1e300 and not math.isnan(value)


def _factor(value: Any) -> bool:
    return _number(value) and value > 0


def _budget(value: Any) -> bool:
    try:
        return _text(value) and parse_duration(value) > 0
    except ValueError:
        return False


def _table(value: Any) -> bool:
    return type(value) is dict


def _scores(value: Any) -> bool:
    """Return whether a value has the form that `search.study.scores` writes."""
    if not (_table(value) and _text(value.get("sha256")) and _table(value.get("phenomena")) and value["phenomena"]):
        return False
    counts = value["phenomena"].values()
    return _number(value.get("paradigm_mean")) and all(
        type(c) is list and len(c) == 2 and _count(c[0]) and _count(c[1]) and c[1] > 0 and c[0] <= c[1] for c in counts
    )


VALIDATORS: Mapping[str, Callable[[Any], bool]] = {
    **dict.fromkeys((BASELINE, WORKER, FAILURE, FAILURE_DETAIL, KIND, WHY, PRUNER), _text),
    **dict.fromkeys((CONFIRMS, SEED, RETRIES, GRID, PLACE, CAME_AS_FAR), _count),
    **dict.fromkeys((TOKENS, N_PARAMS, N_ACTIVE_PARAMS), _whole),
    **dict.fromkeys((CONTROL, BY_HAND), _flag),
    **dict.fromkeys((TOTAL_SECONDS, TRAIN_SECONDS, STARTUP_SECONDS, COMPILE_SECONDS, EVALUATE_SECONDS), _number),
    **dict.fromkeys((TOKENS_PER_SECOND, TOKENS_PER_PARAM, TOKENS_PER_ACTIVE_PARAM, DROPPED), _number),
    **dict.fromkeys((CLAIMED_AT, TRAIN_BPB, BYTES_PER_TOKEN, RESUMED_AT), _number),
    **dict.fromkeys((LR_SCALE, BUDGET_SCALE), _factor),
    **dict.fromkeys((BEST_AS_BAD, PLACE_CHANCE, NEW_TRIALS_PLACES, PROOF), _number),
    **dict.fromkeys((PREDICTED, PREDICTED_HALF_WIDTH), _number),
    BUDGET: _budget,
    PROVENANCE: _table,
    SCORES: _scores,
}
"""Function that checks a value's type, for each of our attributes that is read again."""


T = TypeVar("T")


class _Typed(Generic[T]):
    """An attribute of this key; None if it is absent or of another type."""

    def __init__(self, key: str) -> None:
        self._key = key

    def __get__(self, attributes: "Attributes | None", owner: type) -> T | None:
        value: T | None = attributes.stored.get(self._key) if attributes is not None else None
        return value if VALIDATORS[self._key](value) else None


@dataclass(frozen=True)
class Attributes:
    """A trial's attributes, typed; one whose value has another type (anybody may write them) counts as absent."""

    stored: Mapping[str, Any]

    baseline = _Typed[str](BASELINE)
    """Name of the baseline; None for a configuration that the search drew."""
    control = _Typed[bool](CONTROL)
    """Whether it is a control trial, never to be pruned; None before that is drawn."""
    grid = _Typed[int](GRID)
    """Index of its point in a grid."""
    confirms = _Typed[int](CONFIRMS)
    """Number of the proxy trial whose configuration a confirmation run has."""
    seed = _Typed[int](SEED)
    """Seed of initial weights and data order."""
    budget = _Typed[str](BUDGET)
    """Training time, such as 30m; None if it is the study's own."""
    kind = _Typed[str](KIND)
    """How it entered the race."""
    by_hand = _Typed[bool](BY_HAND)
    """Whether a person asked for it."""
    worker = _Typed[str](WORKER)
    """Name of the worker that runs it, or ran it last."""
    failure = _Typed[str](FAILURE)
    """Cause of its failure."""
    failure_detail = _Typed[str](FAILURE_DETAIL)
    """Last lines of its error."""
    retries = _Typed[int](RETRIES)
    """Number of the lost trial whose place it takes."""
    claimed_at = _Typed[float](CLAIMED_AT)
    """Time of its claim by the server's clock, in seconds since 1970."""
    budget_scale = _Typed[float](BUDGET_SCALE)
    """Factor on the budget on slower or faster hardware; None if it was not scaled."""
    pruner = _Typed[str](PRUNER)
    """The pruner's reason at the last report."""
    best_as_bad = _Typed[float](BEST_AS_BAD)
    """Expected share of the best runs that look as bad at the last report, by the pruner's rule "risk"."""
    place_chance = _Typed[float](PLACE_CHANCE)
    """Chance of a place among the best so far, by the pruner's rule "worth" at the last report."""
    new_trials_places = _Typed[float](NEW_TRIALS_PLACES)
    """Expected number of such places for new trials that cost as much as its rest."""
    place = _Typed[int](PLACE)
    """Place among the trials that came as far, by the pruner's rule "halving" at its look."""
    came_as_far = _Typed[int](CAME_AS_FAR)
    """Number of these trials."""
    predicted = _Typed[float](PREDICTED)
    """Long BPB that was predicted when the run was queued."""
    predicted_half_width = _Typed[float](PREDICTED_HALF_WIDTH)
    """Half of the 90% interval in which the run's BPB was predicted to lie."""
    n_params = _Typed[int](N_PARAMS)
    """Parameters of the network, all of them."""
    n_active_params = _Typed[int](N_ACTIVE_PARAMS)
    """Parameters that a token passes through; None in trials of earlier versions."""
    dropped_share = _Typed[float](DROPPED)
    """Share of the choices of experts that found no room at the end of training; None without experts."""
    tokens = _Typed[int](TOKENS)
    """Tokens that it was trained on."""
    tokens_per_second = _Typed[float](TOKENS_PER_SECOND)
    """Tokens of training per second."""
    total_seconds = _Typed[float](TOTAL_SECONDS)
    """Seconds from its start to its end."""
    train_seconds = _Typed[float](TRAIN_SECONDS)
    """Seconds of training on the clock."""
    scores = _Typed[dict[str, Any]](SCORES)
    """Counts of right choices among minimal pairs, as `search.study.scores` writes and reads them."""
    _lr_scale, _why, _provenance = _Typed[float](LR_SCALE), _Typed[str](WHY), _Typed[dict[str, Any]](PROVENANCE)

    @property
    def lr_scale(self) -> float:
        """Factor on the proxy's learning rate."""
        return self._lr_scale or 1.0

    @property
    def why(self) -> str:
        """Reason why the race started it."""
        return "first run" if self._why is None else self._why

    @property
    def provenance(self) -> Mapping[str, Any]:
        """Hardware and software that it was trained with; empty before it has ended."""
        return self._provenance or {}


def attributes_of(trial: FrozenTrial) -> Attributes:
    """Return a trial's attributes, typed."""
    return Attributes(trial.user_attrs)


def trial_params(trial: FrozenTrial) -> "Params":
    """Return a trial's settings: searched ones, whether `suggest` has set them yet or not, and a baseline's own.

    Optuna's own `trial.params` has the searched ones alone.
    """
    queued = trial.system_attrs.get("fixed_params")
    return {**(queued if isinstance(queued, dict) else {}), **trial.params}


def label(baseline: str | None, number: int | None, lr_scale: float) -> str:
    """Return the name for people of a configuration with confirmation runs."""
    name = f"baseline {baseline}" if baseline else f"trial {number}"
    return name if lr_scale == 1 else f"{name} at lr × {lr_scale:g}"


def run_label(proxy: bool, number: int) -> str:
    """Return the name for people of a proxy trial or a confirmation run."""
    return f"trial {number}" if proxy else f"confirmation {number}"


def configuration_key(run: FrozenTrial) -> tuple[str | None, int | None, float]:
    """Return the key of a confirmation run's configuration: baseline name, proxy trial number, learning-rate factor."""
    attrs = attributes_of(run)
    return attrs.baseline, attrs.confirms, attrs.lr_scale


def budget_of(run: FrozenTrial, plan: "Plan") -> str:
    """Return the budget of a confirmation run: the study's final one, or that of a rung."""
    return attributes_of(run).budget or plan.confirm.budget


def final_budget(plan: "Plan", run: FrozenTrial) -> bool:
    """Return whether a confirmation run has the study's final budget, and not that of a rung."""
    return budget_of(run, plan) == plan.confirm.budget


def finished(trials: list[FrozenTrial]) -> list[FrozenTrial]:
    """Return the trials that trained to the end."""
    return [t for t in trials if t.state == TrialState.COMPLETE and t.value is not None]
