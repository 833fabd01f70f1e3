"""Every figure by its name: what it shows, what it needs, and the function of a study's facts that draws it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from model.settings import nearest
from search.errors import SearchError
from search.show.confirmed import draw_leaderboard, draw_transfer, say_leaderboard, say_transfer
from search.show.correlation import draw_correlation, say_correlation
from search.show.facts import Facts
from search.show.sweeps import ANY, BATCH, DEPTH, LATENT, SCHEDULES, VOCABULARY, Sweep, draw_sweep, say_sweep


def _nothing(facts: Facts) -> str:
    return ""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One figure."""

    title: str
    """What it shows, as its heading."""
    draw: Callable[[Facts], Any]
    """Returns plotly's figure, or None where there is nothing to draw yet."""
    needs: str
    """What a study must have for it, in words: "3 finished proxies"."""
    says: Callable[[Facts], str] = _nothing
    """Returns what is to be seen in it, in a sentence or two with their numbers; empty where it goes without."""
    how: str = ""
    """How to read it, for someone who wasn't there."""
    answers: str = "mattered"
    """The report's question that it helps to answer: won, predicts, mattered, cost."""


SWEPT = (
    "Every point is the mean of its finished runs, and nothing but the settings named here differs between points. "
    "Bars and bands are 95% intervals from the noise of all repeats together; without them nothing was repeated, and "
    "small differences may be chance. What leaves the frame at the top rises further."
)


def _of_sweep(sweep: Sweep, title: str, needs: str, how: str = "") -> Picture:
    return Picture(
        title=title,
        draw=partial(draw_sweep, sweep),
        needs=needs,
        says=partial(say_sweep, sweep),
        how=f"{how} {SWEPT}".strip(),
    )


PICTURES: Mapping[str, Picture] = {
    "leaderboard": Picture(
        title="What was confirmed",
        draw=draw_leaderboard,
        needs="1 finished confirmation run",
        says=say_leaderboard,
        how="Each row is a configuration, the best on top: its mean over seeds with the 95% interval, and a stroke for "
        "each seed. The dotted line is the best hand-made baseline. Where two intervals overlap widely, don't "
        "tell the two apart.",
        answers="won",
    ),
    "transfer": Picture(
        title="Proxy against confirmed",
        draw=draw_transfer,
        needs="2 configurations with a proxy and a confirmation run",
        says=say_transfer,
        how="Each point is a configuration, by its trial's number or its baseline's name. If short runs foretell long "
        "ones, points climb from lower left to upper right; τ is 1 where the order is the same, 0 where it is chance. "
        "Bars are 95% intervals.",
        answers="predicts",
    ),
    "correlation": Picture(
        title="How well the loss so far foretells the final one",
        draw=draw_correlation,
        needs="4 finished proxies",
        says=say_correlation,
        how="At each report of the proxies: ρ is 1 where the order so far is the final one, 0 where it says nothing. "
        "Bad runs make ρ high; pruning goes by the green line, which asks whether the loss tells the best runs apart. "
        "Where the ground is shaded that is proven, and hopeless proxies are pruned; the bars below count them.",
        answers="predicts",
    ),
    "sweep": _of_sweep(
        ANY, "BPB by the setting with the most values", 'a grid (sampler = "grid") with 2 finished points'
    ),
    "schedules": _of_sweep(
        SCHEDULES,
        "Learning rate and schedule, validation and training",
        "a grid over max_lr, such as sweep-lr",
        "Training BPB is the mean over the batches since the last report before the end, each measured before it was "
        "learned from; where it is well below validation, text was learned by heart.",
    ),
    "vocabulary": _of_sweep(
        VOCABULARY,
        "Vocabulary: BPB, bytes per token, speed",
        "a grid over vocab_size, such as sweep-vocab",
        "A larger vocabulary makes fewer tokens of a text (more bytes in each), and each of them costs more.",
    ),
    "depth-sweep": _of_sweep(
        DEPTH,
        "Depth: tokens per parameter and BPB",
        "a grid over n_layer, such as sweep-depth",
        "Deeper networks train on fewer tokens in the same time.",
    ),
    "batch": _of_sweep(
        BATCH,
        "Batch size: BPB and speed",
        "a grid over batch_size, such as sweep-batch",
        "Fewer sequences make more steps of the same tokens, at less speed.",
    ),
    "latent-sweep": _of_sweep(
        LATENT,
        "Latent projection: parameters, token rate, tokens, BPB",
        "a grid over projection_dim, such as sweep-latent",
        "The lines across are attention without a projection.",
    ),
}


def picture(name: str) -> Picture:
    """Return the picture of this name; raises `SearchError` that names the one most like it."""
    if name not in PICTURES:
        raise SearchError(f'no picture is called "{name}"; {nearest(name, PICTURES)}')
    return PICTURES[name]
