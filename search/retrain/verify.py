"""Training an export again, to see whether the BPB it claims comes out.

Everything is taken from the export: settings, seed, budget, hashes of text and tokenizer, hardware class, and the
noise from seed to seed, which gives the interval in which one new run should lie. What is exported as the best of
several is a little flattered by having been chosen, so a miss by a hair on the worse side is to be expected now and
then beyond the interval's 5%.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from model.data.corpus import Corpus
from model.data.tokenizer import cpu_count
from model.training.result import Result
from model.training.train import train
from search.common.errors import SearchError
from search.export.reader import Claimed, Recipe, read_export
from search.machine.hardware import Hardware, compare, detect_hardware
from search.machine.preparation import Progress
from search.retrain.train import recipes_text, train_recipe

Say = Callable[[str], None]
SLOW = 0.9
"""Of the claim's tokens/s: below, a worse BPB says nothing against the claim."""
WAYS_OUT = "`--tolerance 0.02` compares with a difference of your own"


@dataclass(frozen=True)
class Interval:
    """Where one new run's BPB should lie, and why there."""

    low: float
    high: float
    why: str
    from_noise: bool = True
    """Or from a tolerance that was given."""


def interval(claimed: Claimed, tolerance: float | None = None) -> Interval | None:
    """Return the 95% interval of one new run, or the claim ± a tolerance; None where the noise isn't known."""
    n = len(claimed.seeds)
    half, why = tolerance, f"± {tolerance:g}, the tolerance given" if tolerance is not None else ""
    if half is None:
        half = claimed.noise.prediction_half_width(n)
        why = f"95%, one new run: noise from seed to seed {claimed.noise.deviation or 0:.4f} BPB"
        why += f" ({claimed.noise.degrees} degrees of freedom, {claimed.noise_of})" if claimed.noise_of else ""
    return None if half is None else Interval(claimed.val_bpb - half, claimed.val_bpb + half, why, tolerance is None)


@dataclass(frozen=True)
class Verdict:
    """Whether the BPB came out again: yes, no, or can't tell; and why."""

    answer: str
    why: str


def judge(bpb: float, wanted: Interval | None, undecided: str = "") -> Verdict:
    """Return the verdict on a run's BPB; `undecided` says why the run can't decide, if it can't."""
    if wanted is None:
        return Verdict("can't tell", f"the export doesn't know the noise from seed to seed; {WAYS_OUT}")
    inside = wanted.low <= bpb <= wanted.high
    side = "within the interval" if inside else f"{'below' if bpb < wanted.low else 'above'} the interval"
    if undecided:
        return Verdict("can't tell", f"{undecided} (it lies {side})")
    # Both sides count: a claim that is too modest isn't what the run came to either.
    return Verdict("yes" if inside else "no", f"it lies {side}")


def wide(wanted: Interval | None, corpus: Corpus) -> str:
    """Return why an interval from noise is too wide to decide anything; empty where it isn't."""
    if wanted is None or not wanted.from_noise or wanted.high < corpus.unigram_bpb:
        return ""
    return f"so few seeds leave an interval in which merely counting tokens would lie ({corpus.unigram_bpb:.4f} BPB)"


def starved(claimed: float | None, here: float) -> str:
    """Return why a run that came out worse decides nothing: it got clearly fewer tokens than the claim's."""
    if not claimed or here >= SLOW * claimed:
        return ""
    return (
        f"this run had {1 - here / claimed:.0%} fewer tokens a second: the machine is slower, or something else used it"
    )


@dataclass(frozen=True)
class Terms:
    """How this machine can check a claim: by what the budget is scaled, or why no run of it can decide."""

    budget_scale: float = 1.0
    incomparable: str = ""
    said: str = ""


def terms(claimed: Hardware | None, here: Hardware) -> Terms:
    """Return on what terms a run here compares with a claim; a CPU's timings are too noisy to scale a budget by."""
    if claimed is None:
        return Terms(incomparable="the export doesn't name the hardware of its budget")
    found = compare(claimed, here)
    if not found.refused and found.scale == 1.0:
        return Terms(said=found.difference)
    said = found.difference.replace("the study's", "the export's")
    if here.kind != "cuda" or found.scale is None:
        return Terms(incomparable=f"{said}, and a time budget buys something else there")
    return Terms(found.scale, said=f"{said}; the budget is scaled × {found.scale:.2f}")


def another(what: str, of: str, there: str, here: str) -> str:
    """Say that text or tokenizer here are not the claim's, and what to do."""
    return (
        f"the {what} here is not the {of}'s: sha-256 {here[:9]}… here, {there[:9]}… there. "
        "BPB on another text says nothing about the claim: bring the same files with --data "
        "(for built-in text: the same Python version)."
    )


def check_text(claimed: Claimed, corpus: Corpus) -> list[str]:
    """Return the hashes that agree; raises `SearchError` for text or a tokenizer other than the export's."""
    agreed = []
    for what, key, here in (
        ("text", "text_sha256", corpus.text_sha256),
        ("tokenizer", "tokenizer_sha256", corpus.tokenizer.sha256),
    ):
        there = claimed.provenance.get(key)
        if there is not None and there != here:
            raise SearchError(another(what, "export", str(there), here))
        agreed += [what] if there is not None else []
    return agreed


def verify(
    config: Path,
    *,
    rank: int | None = None,
    seed: int | None,
    tolerance: float | None,
    data: str | None,
    device: torch.device,
    progress: Progress,
    say: Say,
    trainer: Callable[..., Result] = train,
) -> Verdict:
    """Train an export again, for its budget with its first seed, and say whether the BPB comes out.

    `trainer` is called as `model.training.train.train` is.

    Raises `SearchError` before anything is trained where text or tokenizer are not the export's.
    """
    export = read_export(config, rank)
    recipe, claimed = export.recipe, export.claim
    corpus = recipes_text(recipe, data, progress)
    agreed = check_text(claimed, corpus)
    say(f"the same: {', '.join(agreed)} (sha-256)" if agreed else "note: the export has no hash of its text")
    _as_many_threads(claimed.machine, device)
    here = detect_hardware(device)
    on = terms(claimed.machine, here)
    if on.said or on.incomparable:
        say(f"note: {on.said or on.incomparable}")
    chosen = claimed.seeds[0] if seed is None else seed
    result = train_recipe(
        recipe, corpus, budget_scale=on.budget_scale, seed=chosen, device=device, say=say, trainer=trainer
    )
    assert result.val_bpb is not None
    wanted = interval(claimed, tolerance)
    undecided = f"not comparable: {on.incomparable}" if on.incomparable else wide(wanted, corpus)
    if wanted is not None and result.val_bpb > wanted.high and on.budget_scale == 1:
        undecided = undecided or starved(claimed.tokens_per_second, result.tokens_per_second)
    found = judge(result.val_bpb, wanted, undecided)
    for line in told(recipe, claimed, wanted, result, chosen, on, found):
        say(line)
    return found


def _as_many_threads(claimed: Hardware | None, device: torch.device) -> None:
    """On a CPU take as many threads as the claimed run had, where there are so many cores."""
    if claimed is not None and claimed.kind == device.type == "cpu":
        torch.set_num_threads(max(1, min(claimed.threads, cpu_count())))


def told(
    recipe: Recipe,
    claimed: Claimed,
    wanted: Interval | None,
    result: Result,
    seed: int,
    on: Terms,
    found: Verdict,
) -> list[str]:
    """Return claim, interval, this run and the verdict, a line each."""
    seeds = f"mean of {len(claimed.seeds)} seeds" if len(claimed.seeds) > 1 else f"seed {claimed.seeds[0]}"
    scaled = f" = {recipe.budget} × {on.budget_scale:.2f}, scaled" if on.budget_scale != 1 else ""
    faster = ""
    if claimed.tokens_per_second:
        faster = f", {result.tokens_per_second / claimed.tokens_per_second - 1:+.0%} tokens/s"
    bounds = f"{wanted.low:.4f} … {wanted.high:.4f} BPB ({wanted.why})" if wanted else "not known"
    return [
        f"claimed:  {claimed.val_bpb:.4f} BPB, {seeds}, {recipe.budget}: {claimed.label}",
        f"interval: {bounds}",
        f"this run: {result.val_bpb:.4f} BPB, seed {seed}, {result.train_seconds:.1f} s{scaled}{faster}",
        f"verdict:  {found.answer}: {found.why}",
    ]
