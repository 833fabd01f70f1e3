"""All figures by name: what each shows, what it needs, and the function of a snapshot that draws it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from model.settings import nearest
from search.analysis.snapshot import Snapshot
from search.common.errors import SearchError
from search.show.figures.confirmed import describe_leaderboard, describe_transfer, draw_leaderboard, draw_transfer
from search.show.figures.costs import describe_dollars, draw_dollars
from search.show.figures.grid import draw_sweep
from search.show.figures.grid_panels import ANY, BATCH, DEPTH, LATENT, SCHEDULES, VOCABULARY, Sweep, describe_sweep
from search.show.figures.history import describe_curves, describe_history, draw_curves, draw_history
from search.show.figures.ideas import describe_ideas, draw_ideas
from search.show.figures.pruning_gate import describe_correlation, draw_correlation
from search.show.figures.size_and_speed import (
    describe_depth,
    describe_latent,
    describe_speed,
    draw_depth,
    draw_latent,
    draw_speed,
)
from search.show.figures.space import describe_importance, describe_slices, draw_importance, draw_slices
from search.show.figures.workers import describe_workers, draw_workers


def _nothing(snapshot: Snapshot) -> str:
    return ""


@dataclass(frozen=True, kw_only=True)
class Picture:
    """One figure."""

    title: str
    """Heading, which says what it shows."""
    draw: Callable[[Snapshot], Any]
    """Function that returns plotly's figure, or None if there is nothing to draw yet."""
    needs: str
    """The least that a study must have for it, such as "3 finished proxies"."""
    describe: Callable[[Snapshot], str] = _nothing
    """Function that returns the figure's main numbers in a sentence or two; empty if there are none."""
    how_to_read: str = ""
    """Instructions for reading it."""
    answers: str = "mattered"
    """Key of the report's question that it helps to answer: won, predicts, mattered or cost."""
    grids: bool | None = None
    """True: only for grids; False: only for studies that search; None: for both."""
    ideas: bool = False
    """Whether, of the grids, it is for those of ideas, or for those of values."""

    def fits(self, snapshot: Snapshot) -> bool:
        """Return whether this kind of study can have it."""
        plan = snapshot.plan
        return self.grids is None or (self.grids == plan.is_grid and (not self.grids or self.ideas == bool(plan.ideas)))


SWEPT = (
    "Every point is the mean of its finished runs, and nothing but the settings named here differs between points. "
    "Bars and bands are 95% intervals from the noise of all repeats together; without them nothing was repeated, and "
    "small differences may be chance. What leaves the frame at the top rises further."
)


def _of_sweep(sweep: Sweep, title: str, needs: str, how_to_read: str = "") -> Picture:
    return Picture(
        title=title,
        draw=partial(draw_sweep, sweep),
        needs=needs,
        describe=partial(describe_sweep, sweep),
        how_to_read=f"{how_to_read} {SWEPT}".strip(),
        grids=True,
    )


PICTURES: Mapping[str, Picture] = {
    "leaderboard": Picture(
        title="What was confirmed",
        draw=draw_leaderboard,
        needs="1 finished confirmation run",
        describe=describe_leaderboard,
        how_to_read="Each row is a configuration, the best on top: what to expect of it with the 95% interval, and a "
        "stroke for each seed. The dotted line, if any, is the best hand-made baseline. Where two intervals overlap "
        "widely, don't tell the two apart.",
        answers="won",
    ),
    "transfer": Picture(
        title="Proxy against confirmed",
        draw=draw_transfer,
        needs="2 configurations with a proxy and a confirmation run",
        describe=describe_transfer,
        how_to_read="Each point is a configuration, by its trial's number or its baseline's name. If short runs "
        "predict long ones, points climb from lower left to upper right; τ is 1 where the order is the same, 0 where "
        "it is chance. Bars are 95% intervals.",
        answers="predicts",
    ),
    "correlation": Picture(
        title="How well the loss so far predicts the final one",
        draw=draw_correlation,
        needs="4 finished proxies",
        describe=describe_correlation,
        how_to_read="At each report of the proxies: ρ is 1 where the order so far is the final one, 0 where it says "
        "nothing. Bad runs make ρ high; the green line looks at good ones alone: how sure it is that losses tell the "
        "best of them apart, by which the pruner's rule risk decides. Where the ground is shaded that is proven (95%). "
        "The bars below count the proxies that were pruned.",
        answers="predicts",
    ),
    "importance": Picture(
        title="Which settings mattered",
        draw=draw_importance,
        needs="16 finished or pruned proxies",
        describe=describe_importance,
        how_to_read="How differently the best quarter of the proxies and all of them are spread over each setting "
        "(PED-ANOVA's Pearson divergence: 0 where they are alike, with no upper end). A stroke marks the most that "
        "shuffled results showed: a bar that stays below it says nothing. It can't tell settings that only matter "
        "together, nor what matters in long runs; where the sampler closed in early, it overrates. 0 for a setting "
        "that is searched only `when` another has some value doesn't mean that it doesn't matter: few of the best may "
        "have had it at all.",
    ),
    "slices": Picture(
        title="BPB by each setting",
        draw=draw_slices,
        needs="2 finished proxies",
        describe=describe_slices,
        how_to_read="Every panel shows the same proxies, by one setting each; lower is better. A valley within the "
        "panel is a good range; best points at an edge ask for a wider space. Other settings differ from point to "
        "point.",
    ),
    "depth": Picture(
        title="Tokens per parameter by depth",
        draw=draw_depth,
        needs="a search (not a grid) with 2 finished proxies of different depth",
        describe=describe_depth,
        how_to_read="Each point is a finished proxy; the bluer, the better. Deeper networks train on fewer tokens in "
        "the same time: where the blue ones lie is how the best proxies balance size and data at this budget.",
        grids=False,
    ),
    "latent": Picture(
        title="Token rate, tokens and BPB by latent projection",
        draw=draw_latent,
        needs="a search (not a grid) with finished proxies of two values of projection_dim",
        describe=describe_latent,
        how_to_read="Finished proxies by the width of latent attention's projection, beside those with another "
        "attention. Other settings differ from point to point: a sweep compares like with like.",
        grids=False,
    ),
    "speed": Picture(
        title="Throughput by size",
        draw=draw_speed,
        needs="2 finished runs",
        describe=describe_speed,
        how_to_read="Tokens that a worker trained on in each second, without start-up and evaluation. Points far below "
        "others of their size were slowed down, by small batches or by a busy machine.",
    ),
    "curves": Picture(
        title="Learning curves",
        draw=draw_curves,
        needs="1 finished proxy with reports",
        describe=describe_curves,
        how_to_read="Each line is a run, measured at its report points; lower is better. Short runs bend down early "
        'where their learning rate falls to its end earlier (all but those with schedule = "prefix"): they can\'t be '
        "compared with long ones at the same time.",
    ),
    "history": Picture(
        title="Every proxy in its turn",
        draw=draw_history,
        needs="1 finished proxy",
        describe=describe_history,
        how_to_read="From left to right in the order in which they ended. The line is the best so far: where it has "
        "been flat for long, more proxies of this space may promise little. What lies above the frame is drawn at its "
        "edge.",
    ),
    "dollars": Picture(
        title="Cost over time",
        draw=draw_dollars,
        needs="1 worker",
        describe=describe_dollars,
        how_to_read="The upper edge is what all workers cost so far, idle or not; the areas are what it was spent on.",
        answers="cost",
    ),
    "workers": Picture(
        title="What every worker did",
        draw=draw_workers,
        needs="1 trial that a worker began",
        describe=describe_workers,
        how_to_read="A row for each worker, a bar for each trial; where there is only the pale bar, it waited.",
        answers="cost",
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
    "ideas": Picture(
        title="Which ideas help",
        draw=draw_ideas,
        needs="a sweep with [ideas], such as sweep-ideas, with finished runs of the plain configuration and an idea",
        describe=describe_ideas,
        how_to_read="Each idea alone beside the plain configuration (dotted), for the same seconds; left of the line "
        "it has fewer bits per byte. The bars are intervals that hold for all ideas together, at 95% (Dunnett's test, "
        "with the noise of all repeats): an idea whose bar stays on one side helps or hurts, here and within this "
        "budget. Seeds: so many runs of each idea would tell a true difference of the size seen, four times in five. "
        "Other settings, the learning rate too, are those that were tuned without it.",
        grids=True,
        ideas=True,
    ),
}


def picture(name: str) -> Picture:
    """Return the picture of this name; raises `SearchError` that suggests the most similar name."""
    if name not in PICTURES:
        raise SearchError(f'no picture is called "{name}"; {nearest(name, PICTURES)}')
    return PICTURES[name]
